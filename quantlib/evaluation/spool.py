"""Values of tensors over many samples, kept in files: memory holds those of one sample at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.runners import Array
from quantlib.tflite import Model, Tensor

#: A tensor by subgraph and index; and whether it is what an operator found there before it wrote.
Key = tuple[int, int, bool]


@dataclass(frozen=True, slots=True)
class Trace:
    """Values of one tensor, one sample after another.

    Attributes
    ----------
    path : str
    shape : tuple of int
        Of one sample.
    dtype : dtype
    samples : list of int
        Which ones have it.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    samples: list[int] = field(default_factory=list)

    def values(self) -> Array:
        """All of them, with an axis of samples in front: a view of the file, of which memory holds what is read."""
        shape = (len(self.samples), *self.shape)
        return np.memmap(self.path, self.dtype, "r", shape=shape) if math.prod(shape) else np.empty(shape, self.dtype)


class Spool:
    """A folder of `Trace` files.

    Parameters
    ----------
    folder : str
        That exists; whoever made it removes it.
    model : Model
        Whose tensors they are.
    """

    def __init__(self, folder: str, model: Model) -> None:
        self._folder, self._model = folder, model
        self._traces: dict[Key, Trace] = {}

    def add(self, sample: int, values: Mapping[Key, Array]) -> None:
        """Keep the tensors of the next sample.

        Raises
        ------
        InvalidValue
            If a tensor has another shape than in an earlier one.
        OSError
            If they can't be written.
        """
        for key, value in values.items():
            trace = self._traces.get(key)
            if trace is None:
                path = os.path.join(self._folder, "_".join(str(int(part)) for part in key))
                trace = self._traces[key] = Trace(path, value.shape, value.dtype)
            elif trace.shape != value.shape:
                shapes = f"{list(trace.shape)} and {list(value.shape)}"
                raise InvalidValue(
                    f"{Tensor(self._model, *key[:2])}: shapes {shapes} in different samples; ask for one sample"
                )
            with open(trace.path, "ab") as file:  # one at a time: there may be more tensors than open files
                file.write(np.ascontiguousarray(value).tobytes())
            trace.samples.append(sample)

    def trace(self, g: int, index: int, *, before: bool = False) -> Trace | None:
        """Values of a tensor; None where no sample wrote it."""
        return self._traces.get((g, index, before))

    @property
    def subgraphs(self) -> list[int]:
        """Those in which a tensor was written, in order."""
        return sorted({g for g, _, _ in self._traces})

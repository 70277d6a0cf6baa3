"""One subgraph whose tensors become another type: what is known of it, and how operators and tensors are added."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, retyped
from quantlib.tflite import Data, Deferred, Draft, Table, tensor_types

from ..forms import form_of, with_form
from ..versions import raise_version

#: What an INT8 value is less than the UINT8 value of the same meaning.
SHIFT = 128
_Bytes = npt.NDArray[np.uint8]


class Refusal(Exception):
    """Why an operator stays as it is."""


def less(data: Data, by: int) -> Deferred:
    """Bytes of UINT8 values as INT8 values that are less by a number; what doesn't fit wraps around."""

    def produce(start: int, stop: int) -> _Bytes:
        return data.read(start, stop) - np.uint8(by)

    return Deferred(data.nbytes, produce)


def vector(indices: object) -> list[int]:
    """Tensor indices of an operator's vector."""
    return [] if indices is None else [int(t) for t in np.asarray(indices)]


class Rewriter:
    """One subgraph of a draft, whose tensors of a type become another: what is known of it, and what is made of it.

    Parameters
    ----------
    draft : Draft
    g : int
        Index of the subgraph.
    exact : bool
        Results must be the same integers; else the same numbers will do, as other types are still to come.

    Attributes
    ----------
    kind : str
        The type.
    forms : dict of int to Affine
        What the integers of that type mean, by tensor.
    constants : dict
        Constants that were added: of which tensor, and what they are.
    """

    kind = "UINT8"

    def __init__(self, draft: Draft, g: int, *, exact: bool = True) -> None:
        self.draft, self.g, self.graph, self.exact = draft, g, draft.graphs[g], exact
        self.before = list(self.graph.tensors)
        self.order: list[tuple[Table, int | None]] = []
        self.forms: dict[int, Affine] = {}
        for t, table in enumerate(self.before):
            if tensor_types()[table.type] == self.kind and self._is_one(table):
                form = form_of(table, f"tensor {self.name(t)!r}")
                self.forms.update({} if form is None else {t: form})
        self.constants: dict[tuple[int, str], int] = {}
        self._copies: dict[tuple[int, float], int] = {}

    def _is_one(self, table: Table) -> bool:
        """Whether a tensor stands for real numbers by one scale; others of INT8 are weights, or states."""
        found = table.quantization
        if self.kind == "UINT8":
            return found is not None
        return found is not None and found.scale is not None and found.scale.size == 1 and not table.is_variable

    def data(self, t: int) -> Data | None:
        """Data of a constant as it was."""
        index = self.before[t].buffer if t >= 0 else 0
        data: Data | None = self.draft.buffers[index].data if index < len(self.draft.buffers) else None
        return data if data is not None and data.nbytes else None

    def constant(
        self, t: int, kind: str, form: Affine, data: Data | npt.NDArray[np.int8], shape: tuple[int, ...] | None = None
    ) -> int:
        """A constant in a form, made once for each kind."""
        if (t, kind) not in self.constants:
            table = with_form(self.before[t], form).replace(buffer=self.draft.add_buffer(data))
            self.graph.tensors.append(table if shape is None else table.replace(shape=list(shape)))
            self.constants[t, kind] = len(self.graph.tensors) - 1
        return self.constants[t, kind]

    def plain(self, t: int) -> int:
        """A tensor as INT8: one that is computed is so already; a constant is stored less 128."""
        data = self.data(t) if t in self.forms else None
        return t if data is None else self.constant(t, "less", retyped(self.forms[t], "INT8"), less(data, SHIFT))

    def beside(self, t: int, suffix: str, table: Table) -> int:
        """A new tensor named after another."""
        self.graph.tensors.append(table.replace(name=f"{self.name(t)}_{suffix}"))
        return len(self.graph.tensors) - 1

    def copy(self, x: int, table: Table) -> int:
        """A tensor with the same integers and nearly the same scale, made once for each."""
        key = (x, float(table.quantization.scale[0]))
        if key not in self._copies:
            self._copies[key] = self.beside(x, "copy", table)
            self.add("QUANTIZE", [x], [self._copies[key]])
        return self._copies[key]

    def indices(self, name: str, values: list[int]) -> int:
        """A constant of INT32."""
        buffer = self.draft.add_buffer(np.array(values, np.int32))
        return self.graph.add_tensor(name, "INT32", (len(values),), buffer=buffer)

    def emit(self, operator: Table, origin: int | None = None) -> None:
        """Put an operator behind those that are there."""
        self.order.append((raise_version(self.draft, self.graph, operator), origin))

    def add(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        options: Table | None = None,
        origin: int | None = None,
    ) -> None:
        """Make an operator and put it behind those that are there."""
        self.emit(self.draft.operator(name, inputs, outputs, options), origin)

    def name(self, t: int) -> str:
        """Name of a tensor of the model."""
        return self.before[t].name or f"({self.g}, {t})"

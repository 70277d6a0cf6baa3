"""`Model`: a `.tflite` file as a value, and the one-tensor view that most people come for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue, NotFound

from . import writer
from .archive import moved
from .data import Data, Inline
from .schema import builtin_operators
from .source import Source
from .tensor import Tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from .table import Table
    from .tensor import Quantization

#: How a tensor is named by a caller: its name, or (subgraph, index).
Reference = str | tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A TFLite model: the tables of the file, whose weights are read when they are needed.

    Attributes
    ----------
    root : Table
        The file's ``Model`` table.
    trailing : Data
        Bytes that follow the FlatBuffer, such as the ZIP of associated files.
    source : Source
        Where the model was read from; an empty one for a model that was built.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> print(model)
    Model: 11 operators, 1 subgraph, 15 constants, 193,520 bytes of constants
    """

    root: Table
    trailing: Data = field(default_factory=lambda: Inline(b""))
    source: Source = field(default_factory=lambda: Source(b""))
    source_root: Table | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the tables are those that were read from the source."""
        return self.root is self.source_root

    @property
    def trailing_start(self) -> int:
        """Position of the trailing bytes in the source."""
        return self.source.size - self.trailing.nbytes

    @cached_property
    def subgraphs(self) -> tuple[Table, ...]:
        """The ``SubGraph`` tables."""
        return tuple(self.root.subgraphs or ())

    @cached_property
    def buffers(self) -> tuple[Table, ...]:
        """The ``Buffer`` tables."""
        return tuple(self.root.buffers or ())

    def data(self, buffer: int) -> Data | None:
        """Data of a buffer by index; None where it holds nothing."""
        if buffer >= len(self.buffers):
            return None
        data: Data | None = self.root.buffers[buffer].data
        return data if data is not None and data.nbytes else None

    @cached_property
    def operator_names(self) -> tuple[str, ...]:
        """Name of each operator code: the builtin's, or the custom code."""
        return tuple(
            code.custom_code or "CUSTOM"
            if (number := max(code.builtin_code, code.deprecated_builtin_code)) == 32
            else builtin_operators()[number]
            for code in self.root.operator_codes or ()
        )

    def operator_name(self, operator: Table) -> str:
        """Name of an operator's type, ``CONV_2D`` or a custom code."""
        index: int = operator.opcode_index
        return self.operator_names[index]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors that go into the first subgraph, in order."""
        return self._ends("inputs")

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Tensors that come out of the first subgraph, in order."""
        return self._ends("outputs")

    def _ends(self, which: str) -> tuple[Tensor, ...]:
        indices = getattr(self.subgraphs[0], which) if self.subgraphs else None
        return tuple(Tensor(self, 0, int(i)) for i in (() if indices is None else indices))

    def tensors(self, subgraph: int | None = None) -> Iterator[Tensor]:
        """All tensors, or those of one subgraph, in file order."""
        for g, table in enumerate(self.subgraphs):
            if subgraph in (None, g):
                for i in range(len(table.tensors or ())):
                    yield Tensor(self, g, i)

    def tensor(self, reference: Reference) -> Tensor:
        """Find one tensor.

        Parameters
        ----------
        reference : str or (int, int)
            The tensor's name, or its subgraph and index.

        Raises
        ------
        NotFound
            If there is none, or several have that name.
        InvalidValue
            If it is neither a name nor a pair.
        """
        if isinstance(reference, (tuple, list)) and len(reference) == 2:
            g, i = reference
            if not (isinstance(g, (int, np.integer)) and isinstance(i, (int, np.integer))):
                raise InvalidValue(f"tensor {reference!r}: give its name, or (subgraph, index)")
            if 0 <= g < len(self.subgraphs) and 0 <= i < len(self.subgraphs[g].tensors or ()):
                return Tensor(self, g, i)
            raise NotFound(f"tensor {reference}: the model has {self._extent()}; give (subgraph, index) within them")
        if not isinstance(reference, str):
            raise InvalidValue(f"tensor {reference!r}: give its name, or (subgraph, index)")
        found = [t for t in self.tensors() if t.name == reference]
        if len(found) == 1:
            return found[0]
        if not found:
            raise NotFound(f"tensor {reference!r}: no tensor has that name{self._similar(reference)}")
        places = ", ".join(str((t.subgraph, t.index)) for t in found[:4])
        raise NotFound(f"tensor {reference!r}: {len(found)} tensors have that name; give one of {places} instead")

    def _extent(self) -> str:
        return ", ".join(f"{len(s.tensors or ())} tensors in subgraph {g}" for g, s in enumerate(self.subgraphs))

    def _similar(self, name: str) -> str:
        import difflib

        for signature in self.root.signature_defs or ():
            g = signature.subgraph_index
            for entry in (*(signature.inputs or ()), *(signature.outputs or ())):
                if entry.name == name and g < len(self.subgraphs):
                    return f"; it is a signature's name of ({g}, {entry.tensor_index}), give that"
        close = difflib.get_close_matches(name, {t.name for t in self.tensors()}, 3, 0.5)
        return f"; similar ones are {', '.join(map(repr, close))}" if close else ""

    def replace(
        self,
        reference: Reference,
        *,
        data: npt.NDArray[Any] | None = None,
        type: str | None = None,
        quantization: Quantization | None = None,
    ) -> Model:
        """Return a model in which one tensor's data, type or quantization is another.

        Other tensors that share its buffer keep theirs.

        Parameters
        ----------
        reference : str or (int, int)
            The tensor's name, or its subgraph and index.
        data : ndarray, optional
            New values, in the tensor's shape and of its dtype; of another where `type` is given, or where integers
            come with their quantization.
        type : str, optional
            New element type by its schema name; INT4 and INT2 take int8 values and are packed here.
        quantization : Quantization, optional
            New scale and zero point; an empty `Quantization` removes them.

        Returns
        -------
        Model

        Raises
        ------
        NotFound
            If there is no such tensor.
        InvalidValue
            If shape, dtype, range, scales or zero points don't fit, or nothing is to be changed.
        """
        from .replace import replace_tensor

        return replace_tensor(self, self.tensor(reference), data, type, quantization)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, as 64 hexadecimal digits."""
        import hashlib  # OpenSSL takes a while to load

        if self.unchanged:
            return hashlib.sha256(self.source.bytes(0, self.source.size).data).hexdigest()
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self, *, rebuild: bool = False) -> bytes:
        """Return the file's bytes; `rebuild` encodes every table anew even where nothing changed."""
        return writer.to_bytes(self, rebuild=rebuild)

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        rebuild: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Write the file, whole or not at all, and return its size in bytes.

        See `quantlib.tflite.writer.write` for what is promised and raised.
        """
        return writer.write(self, path, rebuild=rebuild, progress=progress)

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: object) -> Model:
        return self  # nothing in it changes

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's bytes: a memory map can't be taken elsewhere, and the file may not be there."""
        from .read import read

        return read, (self.to_bytes(),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Model):
            return NotImplemented
        return self.root == other.root and self._archive() == other._archive()

    def _archive(self) -> bytes:
        """What follows the FlatBuffer, with offsets that count from its own start."""
        return moved(self.trailing.numpy().tobytes(), -self.trailing_start) if self.trailing.nbytes else b""

    def __hash__(self) -> int:
        return hash(self.root)

    def __repr__(self) -> str:
        operators = sum(len(g.operators or ()) for g in self.subgraphs)
        constants = {t.buffer: self.data(t.buffer) for g in self.subgraphs for t in g.tensors or ()}
        sizes = [data.nbytes for data in constants.values() if data is not None]

        def counted(count: int, what: str) -> str:
            return f"{count:,} {what}{'s' * (count != 1)}"

        parts = (
            counted(operators, "operator"),
            counted(len(self.subgraphs), "subgraph"),
            counted(len(sizes), "constant"),
            f"{sum(sizes):,} bytes of constants",
        )
        return f"Model: {', '.join(parts)}"


def require_models(**given: object) -> None:
    """Refuse what is no `Model`, by the name of its parameter.

    Raises
    ------
    InvalidValue
    """
    for name, model in given.items():
        if not isinstance(model, Model):
            raise InvalidValue(f"{name} is a {type(model).__name__}, and a Model is required; read the file first")

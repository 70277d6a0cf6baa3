"""`Table`: one FlatBuffer table as an immutable value, whatever its type."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from quantlib.errors import InvalidValue

from .data import Data, Inline
from .schema import Layout, layout, union_members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Table:
    """An immutable record of one table of the schema.

    Fields are attributes by their schema names. A field that isn't stored gives its default: zero, False or
    the schema's own for scalars, None for everything else. Scalar vectors are read-only NumPy arrays, vectors
    of tables and of strings are tuples, a union is the table that it holds, and ``Buffer.data`` is a `Data`.

    Parameters
    ----------
    kind : str
        Name of the table in the schema.
    **values
        Field values; sequences of scalars become arrays of the field's type.

    Raises
    ------
    InvalidValue
        If the schema has no such table or field.

    Examples
    --------
    >>> options = Table("SoftmaxOptions", beta=1.0)
    >>> options.beta, options.replace(beta=2.0).beta
    (1.0, 2.0)
    """

    __slots__ = ("_layout", "_values")
    _layout: Layout
    _values: dict[str, Any]

    def __init__(self, kind: str, **values: Any) -> None:
        try:
            known = layout(kind)
        except KeyError:
            raise InvalidValue(f"the TFLite schema has no table {kind!r}") from None
        object.__setattr__(self, "_layout", known)
        object.__setattr__(self, "_values", {k: _normal(known, k, v) for k, v in values.items() if v is not None})

    @classmethod
    def _trusted(cls, known: Layout, values: dict[str, Any]) -> Table:
        """Make a table from values that are already in normal form (the reader's way)."""
        self = object.__new__(cls)
        object.__setattr__(self, "_layout", known)
        object.__setattr__(self, "_values", values)
        return self

    @property
    def kind(self) -> str:
        """Name of the table in the schema."""
        return self._layout.name

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            pass
        at = self._layout.index.get(name)
        if at is None:
            raise AttributeError(f"{self._layout.name} has no field {name!r}")
        return self._layout.slots[at].default

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {self.kind} is immutable: use replace({name}=...)")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.kind, self._values)

    def replace(self, **changes: Any) -> Table:
        """Return a copy with some fields changed; None removes a field."""
        return Table(self.kind, **{**self._values, **changes})

    def stored(self) -> Mapping[str, Any]:
        """Fields that are stored, that is not left at their default, by name."""
        return dict(self._values)

    def children(self) -> Iterator[Table]:
        """Tables directly below this one."""
        for value in self._values.values():
            if isinstance(value, Table):
                yield value
            elif isinstance(value, tuple):
                yield from (v for v in value if isinstance(v, Table))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        if self is other:
            return True
        if self.kind != other.kind:
            return False
        return all(_same(getattr(self, s.name), getattr(other, s.name)) for s in self._layout.slots)

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={_short(v)}" for k, v in self._values.items())
        return f"{self.kind}({shown})"


def _restore(kind: str, values: dict[str, Any]) -> Table:
    return Table._trusted(layout(kind), values)


def _normal(known: Layout, name: str, value: Any) -> Any:
    """Bring a field's value to the form in which the reader would give it."""
    at = known.index.get(name)
    if at is None:
        raise InvalidValue(f"{known.name} has no field {name!r}; it has {', '.join(known.index) or 'none'}")
    slot = known.slots[at]
    if slot.kind == "scalar":
        return {"bool": bool, "float32": float}.get(slot.type, int)(value)
    if slot.kind in ("tables", "strings"):
        return tuple(value)
    if slot.kind == "scalars":
        if known.name == "Buffer" or isinstance(value, Data):
            return value if isinstance(value, Data) else Inline(value)
        array = np.asarray(value, dtype=slot.type)
        if array.flags.writeable:
            array = array.copy()
            array.flags.writeable = False
        return array.reshape(-1)
    if slot.kind == "union" and value.kind not in union_members(slot.type):
        raise InvalidValue(f"{known.name}.{name} can't hold a {value.kind}")
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({len(value)} items)"
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"[{value.size} x {value.dtype}]"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)

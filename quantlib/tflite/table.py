"""`Table`: one FlatBuffer table as an immutable value, whatever its type."""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quantlib.errors import InvalidValue

from .data import Data, Inline, is_frozen
from .schema import SCALARS, Layout, Slot, layout, union_members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FLOAT = struct.Struct("<f")


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
        If the schema has no such table or field, or the field can't hold a value.

    Examples
    --------
    >>> options = Table("SoftmaxOptions", beta=1.0)
    >>> options.beta, options.replace(beta=2.0).beta
    (1.0, 2.0)
    """

    _layout: ClassVar[Layout]

    def __new__(cls, kind: str, **values: Any) -> Table:
        try:
            made = _class_of(kind)
        except KeyError:
            raise InvalidValue(f"the TFLite schema has no table {kind!r}") from None
        found = {k: _normal(made._layout, k, v) for k, v in values.items()}
        return _holding(made, {k: v for k, v in found.items() if v is not None})

    @property
    def kind(self) -> str:
        """Name of the table in the schema."""
        return self._layout.name

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self._layout.name} has no field {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {self.kind} is immutable: use replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {self.kind} is immutable: use replace({name}=None)")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.kind, self.__dict__)

    def __copy__(self) -> Table:
        return self

    def __deepcopy__(self, memo: object) -> Table:
        return self  # nothing in it changes

    def replace(self, **changes: Any) -> Table:
        """Return a copy with some fields changed; None removes a field."""
        known, values = self._layout, self.__dict__.copy()
        for name, value in changes.items():
            normal = _normal(known, name, value)
            if normal is None:
                values.pop(name, None)
            else:
                values[name] = normal
        return _holding(type(self), values)

    def stored(self) -> Mapping[str, Any]:
        """Fields that are stored, that is not left at their default, by name."""
        return self.__dict__.copy()

    def children(self) -> Iterator[Table]:
        """Tables directly below this one."""
        for value in self.__dict__.values():
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
        shown = ", ".join(f"{k}={_short(v)}" for k, v in self.__dict__.items())
        return f"{self.kind}({shown})"


@cache
def _class_of(kind: str) -> type[Table]:
    """The class of a type's tables, whose attributes are the defaults of the fields (KeyError where there is none).

    So a field is found as fast as any attribute: in the table where it is stored, else in its class.
    """
    known = layout(kind)
    return type(kind, (Table,), {**known.defaults, "_layout": known, "__module__": __name__})


def table_of(kind: str, values: dict[str, Any]) -> Table:
    """Make a table from values that are already in normal form, none of them None (the reader's way)."""
    return _holding(_class_of(kind), values)


def _restored(kind: str, values: dict[str, Any]) -> Table:
    """Make a table from what was pickled: NumPy doesn't keep that an array was read-only."""
    for value in values.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return table_of(kind, values)


def _holding(made: type[Table], values: dict[str, Any]) -> Table:
    self: Table = object.__new__(made)
    object.__setattr__(self, "__dict__", values)
    return self


def _normal(known: Layout, name: str, value: Any) -> Any:
    """Bring a field's value to the form in which the reader would give it; None stays."""
    at = known.index.get(name)
    if at is None:
        raise InvalidValue(f"{known.name} has no field {name!r}; it has {', '.join(known.index) or 'none'}")
    if value is None:
        return None
    slot = known.slots[at]
    where = f"{known.name}.{name}"
    if slot.kind == "scalar":
        return _scalar(slot, value, where)
    if slot.kind == "string":
        return _string(value, where)
    if slot.kind in ("strings", "tables") and not isinstance(value, (list, tuple)):
        raise InvalidValue(f"{where}: a {type(value).__name__} where a list or tuple is required")
    if slot.kind == "strings":
        return tuple(_string(v, where) for v in value)
    if slot.kind == "scalars":
        return _scalars(known, slot, value, where)
    if slot.kind == "tables":
        return tuple(_member(v, (slot.type,), where) for v in value)
    if slot.kind == "union type":
        return _scalar(slot, value, where)
    return _member(value, union_members(slot.type) if slot.kind == "union" else (slot.type,), where)


def _scalar(slot: Slot, value: Any, where: str) -> bool | int | float:
    if slot.type == "bool":
        return bool(value)
    try:
        if slot.type == "float32":
            return _single(float(value), where)
        number = int(value)
        exact = isinstance(value, int) or number == value
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise InvalidValue(f"{where}: {value!r} where a number of {slot.type} is required")
    code, _ = SCALARS.get(slot.type, ("B", 1))
    try:
        struct.pack(f"<{code}", number)
    except struct.error:
        raise InvalidValue(f"{where}: {number} doesn't fit {slot.type}; nothing else can be stored there") from None
    return number


def _single(value: float, where: str) -> float:
    """Return the float32 that is nearest to a value, as Python's float: what a file gives back."""
    try:
        return float(_FLOAT.unpack(_FLOAT.pack(value))[0])
    except OverflowError:
        raise InvalidValue(f"{where}: {value} doesn't fit float32; nothing else can be stored there") from None


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidValue(f"{where}: a {type(value).__name__} where text is required")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidValue(f"{where}: {value!r} can't be stored as UTF-8") from None
    return value


def _scalars(known: Layout, slot: Slot, value: Any, where: str) -> Any:
    if known.name == "Buffer":
        if not isinstance(value, (Data, bytes, np.ndarray)):
            raise InvalidValue(f"{where}: a {type(value).__name__} where an array, bytes or a Data is required")
        return value if isinstance(value, Data) else Inline(value)
    given = value.numpy() if isinstance(value, Data) else value
    try:
        if not isinstance(given, np.ndarray):
            given = np.asarray(given, dtype=None if len(given) else slot.type)
        with np.errstate(invalid="ignore", over="ignore"):
            array = np.asarray(given, dtype=slot.type)
    except (OverflowError, ValueError, TypeError) as error:
        raise InvalidValue(f"{where}: {error}; values of {slot.type} are required") from None
    whole = given.dtype.kind in "iu" or array.dtype.kind in "iu"
    if array is not given and whole and not np.array_equal(array, given):
        raise InvalidValue(f"{where}: values of {given.dtype} that don't fit {slot.type}")
    array = array.reshape(-1)
    if not is_frozen(array):
        array = array.copy()
        array.flags.writeable = False
    return array


def _member(value: Any, kinds: tuple[str, ...], where: str) -> Table:
    if not isinstance(value, Table) or value.kind not in kinds:
        held = value.kind if isinstance(value, Table) else type(value).__name__
        raise InvalidValue(
            f"{where} can't hold a {held}; {kinds[0] if len(kinds) == 1 else 'a union member'} is required"
        )
    return value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, Data):
        return isinstance(b, Data) and a == b
    return type(a) is type(b) and bool(a == b)


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({len(value)} items)"
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"[{value.size} x {value.dtype}]"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)

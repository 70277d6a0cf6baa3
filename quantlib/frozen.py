"""A mapping that nobody can change, as a field of a value that is copied and pickled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Frozen(Mapping[K, V]):
    """A read-only copy of a mapping; `types.MappingProxyType` is one as well, and can't be pickled.

    Parameters
    ----------
    items : mapping or iterable of (key, value)

    Examples
    --------
    >>> import pickle
    >>> Frozen({"a": 1}) == pickle.loads(pickle.dumps(Frozen({"a": 1}))) == {"a": 1}
    True
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._items: dict[K, V] = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self._items,)

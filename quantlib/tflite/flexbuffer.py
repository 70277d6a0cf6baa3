"""Options of custom operators: FlexBuffers, decoded into plain Python values."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quantlib.errors import InvalidModel

#: Nesting that no writer of options comes near; a deeper file was made to overflow the stack.
_DEEPEST = 32
#: Values may be shared, so that few bytes can stand for many values; what a real file holds is below this, per byte.
_VALUES_PER_BYTE = 16

#: What the reader of the `flatbuffers` package raises where bytes aren't what they should be.
_FAULTS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, struct.error)


def decode_flexbuffer(raw: bytes) -> Mapping[str, Any]:
    """Decode a FlexBuffer whose root is a map, the form in which custom operators keep their options.

    Parameters
    ----------
    raw : bytes
        ``Operator.custom_options``.

    Returns
    -------
    mapping of str to Any
        Read-only. Values are None, bool, int, float, str, bytes, or tuples and mappings of those.

    Raises
    ------
    InvalidModel
        If the bytes are no FlexBuffer, its root is no map, or it expands to far more than its size.

    Examples
    --------
    >>> dict(decode_flexbuffer(bytes.fromhex("6b0001030101010704022401")))
    {'k': 7}
    """
    # Few models have a custom operator: the others don't pay for the import.
    from flatbuffers import flexbuffers

    if len(raw) < 3:
        raise InvalidModel(f"custom options of {len(raw)} bytes: a FlexBuffer with a map is required")
    try:
        root = flexbuffers.GetRoot(bytes(raw))
        if not root.IsMap:
            raise InvalidModel(f"custom options of {len(raw)} bytes are a FlexBuffer without a map; one is required")
        decoded: Mapping[str, Any] = _Decoder(len(raw) * _VALUES_PER_BYTE).value(root, 0)
    except InvalidModel:
        raise
    except _FAULTS as error:
        raise InvalidModel(f"custom options of {len(raw)} bytes are no FlexBuffer: {error}") from None
    return decoded


class _Decoder:
    """Turns references into values, at most `budget` of them."""

    def __init__(self, budget: int) -> None:
        self._budget = budget

    def value(self, reference: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise InvalidModel(f"custom options: a FlexBuffer nested deeper than {_DEEPEST} levels")
        if reference.IsMap:
            return self._map(reference.AsMap, depth)
        if reference.IsVector:
            vector = reference.AsVector
            return tuple(self.value(vector[i], depth + 1) for i in range(self._spend(len(vector))))
        if reference.IsTypedVector or reference.IsFixedTypedVector:
            typed = reference.AsTypedVector if reference.IsTypedVector else reference.AsFixedTypedVector
            self._spend(len(typed))
            return tuple(typed.Value)
        plain = reference.Value
        if isinstance(plain, (str, bytes)):
            self._spend(len(plain))
        return plain

    def _map(self, found: Any, depth: int) -> Mapping[str, Any]:
        keys, values = found.Keys, found.Values
        count = self._spend(len(found))
        decoded = {self._key(keys[i]): self.value(values[i], depth + 1) for i in range(count)}
        if len(decoded) != count:
            raise InvalidModel(f"custom options: a map of {count} keys with only {len(decoded)} different ones")
        return MappingProxyType(decoded)

    def _key(self, reference: Any) -> str:
        key: str = reference.AsKey
        self._spend(len(key))
        return key

    def _spend(self, count: int) -> int:
        self._budget -= count
        if self._budget < 0:
            raise InvalidModel("custom options: a FlexBuffer that expands to far more than its size")
        return count

"""Operator versions: which one an operator needs, which ones LiteRT accepts, since which runtime.

A runtime refuses a model that has an operator in a version it doesn't accept. It doesn't notice a version
that is too low for the types in use. So a version is neither raised to be safe nor left low, but exact.
"""

from __future__ import annotations

from collections.abc import Iterable

from ._version_conditions import Signature, holds
from ._version_table import FIRST_VERSION, RUNTIMES, UNREGISTERED

__all__ = ["Signature", "accepted_versions", "maximum_version", "minimum_runtime", "operator_version"]


def operator_version(signature: Signature) -> int:
    """Lowest version of an operator that has what the operator uses.

    Rules of `tflite/converter/tools/versioning/op_version.cc` in LiteRT; operators without a rule, such
    as custom ones, have version 1. An OperatorCode that several operators share needs the highest of theirs.

    Two results have no runtime: int16 LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM (5) lie above `maximum_version`.

    Parameters
    ----------
    signature : Signature
        The operator's types, options and whatever else of it decides.

    Returns
    -------
    int
        The version, 1 or more.

    Examples
    --------
    >>> operator_version(Signature("FULLY_CONNECTED", ("int8", "int8", "int32"), ("int8",)))
    4
    >>> operator_version(Signature("CONV_2D", ("float32", "int8", "float32"), ("float32",), per_channel=True))
    5
    """
    from ._version_rules import RULES  # on first use, to keep importing cheap

    for rule in RULES.get(signature.operator, ()):
        if holds(rule, signature):
            return rule[0]
    return 1


def accepted_versions(operator: str) -> range | None:
    """Versions of a builtin operator that LiteRT's resolver accepts; None where it knows none.

    Examples
    --------
    >>> accepted_versions("BROADCAST_TO")
    range(2, 5)
    """
    if operator not in RUNTIMES:
        return None
    first = FIRST_VERSION.get(operator, 1)
    return range(first, first + len(RUNTIMES[operator].split()))


def maximum_version(operator: str) -> int | None:
    """Highest version of a builtin operator that LiteRT's resolver accepts; None where it knows none.

    Examples
    --------
    >>> maximum_version("FULLY_CONNECTED")
    14
    """
    accepted = accepted_versions(operator)
    return None if accepted is None else accepted[-1]


def minimum_runtime(pairs: Iterable[tuple[str, int]]) -> str | None:
    """Oldest TensorFlow Lite runtime that has all these operators: the value of ``min_runtime_version``.

    Parameters
    ----------
    pairs : iterable of (str, int)
        Operator name and version. Pairs that LiteRT's `runtime_version.cc` doesn't know are skipped.

    Returns
    -------
    str or None
        Such as ``"2.10.0"``, compared number by number; None when no pair is known.

    Examples
    --------
    >>> minimum_runtime([("ADD", 2), ("SIGN", 1), ("ADD", 99)])
    '2.11.0'
    """
    known = [runtime for operator, version in pairs if (runtime := _runtime(operator, version)) is not None]
    return max(known, key=_numbers, default=None)


def _runtime(operator: str, version: int) -> str | None:
    accepted = accepted_versions(operator)
    if accepted is None:
        return UNREGISTERED.get(operator) if version == 1 else None
    return RUNTIMES[operator].split()[accepted.index(version)] if version in accepted else None


def _numbers(runtime: str) -> tuple[int, ...]:
    return tuple(int(number) for number in runtime.split("."))

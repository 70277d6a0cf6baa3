"""An independent judge of quantized files: rules of LiteRT's formats and kernels, on PyPI's `tflite` reader alone."""

from __future__ import annotations

from collections.abc import Iterator

from . import kernels, scales, structure, tensors, weights, xnnpack
from .finding import Finding, place
from .operands import integer
from .reader import File, Graph, Operator, each, read
from .tables import REFERENCE_MAXIMUM

_OPERATOR_RULES = {**kernels.RULES, **weights.RULES, **scales.RULES}
RULES = frozenset({*tensors.RULES, *_OPERATOR_RULES, *structure.RULES})


def violations(data: bytes, original: bytes | None = None) -> list[str]:
    """What in a file breaks a rule, one line each: place, rule, what was found and what is required.

    Parameters
    ----------
    data : bytes
        A ``.tflite`` file.
    original : bytes, optional
        The file that it was made from; versions that it had already may stay.
    """
    file = read(data)
    before = None if original is None else read(original)
    return list(dict.fromkeys(_all(file, before)))


def slower(data: bytes) -> list[str]:
    """Operators that are valid, but whose scales keep them out of XNNPACK."""
    return [_line("xnnpack", g, o, f) for g, o in each(read(data)) for f in xnnpack.declined(g, o)]


def integer_operators(data: bytes) -> list[str]:
    """Names of the operators that compute with quantized activations, or hold them."""
    return [o.name for g, o in each(read(data)) if integer(g, o)]


def unknown_to_reference(data: bytes) -> list[str]:
    """Operator codes that the resolver of LiteRT's reference kernels lacks, while the ordinary one has them."""
    codes = (code for code in read(data).codes if code.builtin)
    return [f"{c.name} {c.version}" for c in codes if c.version > REFERENCE_MAXIMUM.get(c.name, c.version)]


def _all(file: File, original: File | None) -> Iterator[str]:
    for graph in file.graphs:
        for tensor in graph.tensors:
            for name, rule in tensors.RULES.items():
                for found in rule(graph, tensor):
                    yield _line(name, graph, None, Finding(found.found, found.required, tensor))
    for graph, operator in each(file):
        for name, check in _OPERATOR_RULES.items():
            for found in check(graph, operator):
                yield _line(name, graph, operator, found)
    for name, whole in structure.RULES.items():
        for where, doer, found in whole(file, original):
            yield _line(name, where, doer, found)


def _line(rule: str, graph: Graph | None, operator: Operator | None, found: Finding) -> str:
    where = place(graph, operator, found.tensor)
    return f"{where}: {rule}: found {found.found}, required {found.required}"

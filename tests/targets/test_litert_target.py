"""What LiteRT refuses, the profiles find; what they pass, LiteRT loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from tests.support.litert import interpreter
from tests.support.shared import each_model

from . import cases

#: The resolver that runs a target's kernels.
RESOLVERS = {"litert": "builtin", "xnnpack": "default"}
#: Runs, and the output has nothing to do with the input.
GARBAGE = {("PRELU", "INT16")}


def loads(path: Path, target: str) -> bool:
    try:
        interpreter(str(path), RESOLVERS[target])
    except (RuntimeError, ValueError):
        return False
    return True


def runs(op: cases.Op, target: str) -> bool:
    """Whether it loads and runs once, on stored values that stand for positive numbers."""
    try:
        made = interpreter(op.model().to_bytes(), RESOLVERS[target])
        for detail in made.get_input_details():
            made.set_tensor(detail["index"], np.full(detail["shape"], 5, detail["dtype"]))
        made.invoke()
    except (RuntimeError, ValueError):
        return False
    return True


def table(*dictionaries: dict[str, tuple[cases.Op, cases.Op, str]]) -> pytest.MarkDecorator:
    entries = {name: case for entry in dictionaries for name, case in entry.items()}
    return pytest.mark.parametrize(("good", "bad", "words"), entries.values(), ids=entries)


def found(op: cases.Op, target: str, words: str) -> bool:
    return any(words in v.reason for v in ql.check(op.model(), target).violations)


@pytest.mark.parametrize("target", RESOLVERS)
@table(cases.REFUSED)
def test_what_both_refuse_is_found(target: str, good: cases.Op, bad: cases.Op, words: str) -> None:
    assert runs(good, target)
    assert str(ql.check(good.model(), target)) == f"{target}: no violations in 1 operator"
    assert not runs(bad, target)
    assert found(bad, target, words), ql.check(bad.model(), target)


@table(cases.BUILTIN_ONLY)
def test_what_only_the_builtin_kernels_refuse(good: cases.Op, bad: cases.Op, words: str) -> None:
    assert not runs(bad, "litert")
    assert found(bad, "litert", words)
    for op in (good, bad):
        assert runs(op, "xnnpack")
        assert ql.check(op.model(), "xnnpack").ok


@table(cases.XNNPACK)
def test_what_only_xnnpack_refuses_is_wrong_everywhere(good: cases.Op, bad: cases.Op, words: str) -> None:
    assert runs(good, "xnnpack")
    assert ql.check(good.model(), "xnnpack").ok
    assert not runs(bad, "xnnpack")
    assert found(bad, "xnnpack", words), ql.check(bad.model(), "xnnpack")
    assert runs(bad, "litert")


@table(cases.BUILTIN)
def test_what_the_builtin_kernels_refuse_is_wrong_everywhere(good: cases.Op, bad: cases.Op, words: str) -> None:
    assert runs(good, "litert")
    assert not runs(bad, "litert")
    assert all(found(bad, target, words) for target in RESOLVERS)


@pytest.mark.parametrize("target", RESOLVERS)
@table(cases.NONSENSE)
def test_what_loads_and_computes_nonsense_is_found(target: str, good: cases.Op, bad: cases.Op, words: str) -> None:
    assert runs(bad, target)
    assert found(bad, target, words), ql.check(bad.model(), target)


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "INT16", "UINT8"])
@pytest.mark.parametrize("name", [*cases.UNARY, *cases.BINARY])
def test_a_type_passes_exactly_where_it_runs(name: str, type: str) -> None:
    op = (cases.unary if name in cases.UNARY else cases.binary)(name, type)
    for target in RESOLVERS:
        assert ql.check(op.model(), target).ok == (runs(op, target) and (name, type) not in GARBAGE)


@pytest.mark.parametrize("target", RESOLVERS)
@each_model(most=3_000_000)
def test_a_real_model_passes_exactly_where_it_loads(path: Path, target: str) -> None:
    assert ql.check(ql.read(path), target).ok == loads(path, target)

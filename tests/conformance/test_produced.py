"""What our recipes make of real and of small models is valid, by an independent judge and by LiteRT's resolvers."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import quantlib as ql
from quantlib.calibration import merge
from tests.runners.accuracy import BIG, MEDIAPIPE, drawn, signatures, tasks
from tests.support.litert import RESOLVERS, interpreter
from tests.support.networks import EXAMPLES, example
from tests.support.rules import integer_operators, unknown_to_reference, violations
from tests.support.shared import needs_shared

MODES = ("int8", "int16x8", "uint8", "int8-int4")
TASKS = list(tasks())

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # ranges from few samples are what's wanted

#: LiteRT shows no tensor of these while they run: of the bodies of loops, and of MediaPipe's operators.
NUMPY = frozenset({"dtln_1_while_float", "lyra_soundstream_encoder_float"})


@cache
def of_task(name: str) -> tuple[ql.Model, Any]:
    """A task's model and statistics over few samples, for all of its signatures."""
    task = tasks()[name]
    model = ql.read(task.model)
    found = []
    for i, signature in enumerate(signatures(model)):
        samples = task.samples("calib", 1 if name in BIG else 3) if i == 0 else _drawn(model, signature)
        runner = "numpy" if name in NUMPY else "litert"
        given = {"observer": "minmax", "runner": runner, "signature": signature, "sequence": task.stateful}
        found.append(ql.calibrate(model, [list(sample) for sample in samples], **given))
    return model, merge(*found)


def _drawn(model: ql.Model, signature: str | None) -> list[Any]:
    from quantlib.runners import LiteRTRunner

    interface = LiteRTRunner(model, signature).interface
    return [drawn(interface, seed) for seed in range(2)]


@cache
def of_example(name: str) -> tuple[ql.Model, Any]:
    """A small network and its statistics."""
    made = example(name)
    found = [ql.calibrate(made.model, data, observer="minmax", signature=key) for key, data in made.data.items()]
    return made.model, merge(*found)


def check(model: ql.Model, statistics: Any, mode: str, resolvers: tuple[str, ...] = RESOLVERS) -> None:
    """Integers compute, no rule is broken, and every resolver that has the operators prepares the file."""
    made = ql.quantize(model, mode, statistics).to_bytes()
    assert integer_operators(made)
    found = violations(made, model.to_bytes())
    assert not found, "\n".join(found[:20])
    for resolver in resolvers:
        if resolver != "reference" or not unknown_to_reference(made):
            interpreter(made, resolver)


@needs_shared
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in BIG else n for n in TASKS])
def test_task(name: str, mode: str) -> None:
    check(*of_task(name), mode, ("default",) if name in MEDIAPIPE else RESOLVERS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_small_network(name: str, mode: str) -> None:
    check(*of_example(name), mode)

"""Integer LSTM and SVDF: LiteRT computes what the float model does, and no rule is broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.numerics import sqnr_db
from quantlib.runners import LiteRTRunner
from quantlib.tflite import Draft, Model
from tests.runners.accuracy import tasks
from tests.support.litert import RESOLVERS, interpreter
from tests.support.network import Array
from tests.support.recurrent import lstm, samples, svdf
from tests.support.rules import integer_operators, unknown_to_reference, violations
from tests.support.shared import needs_shared

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of few samples and of ids: as the tasks have them

INTEGER = ql.recipes.int8(recurrent="integer")

#: Rounding the input, two products' weights, and the state that each step reads again, to 8 bits: each is an error of
#: some 40 dB or better, the state's at most doubled by the recurrence. A scale that is wrong anywhere leaves less.
LSTM_DB = 32.0
#: Weights and the input; nothing is read again.
SVDF_DB = 37.0


def outputs(data: bytes, x: Array, resolver: str, sequence: bool) -> Array:
    """Real outputs of a model in LiteRT, of each sample."""
    made = interpreter(data, resolver)
    first, last, found = made.get_input_details()[0], made.get_output_details()[0], []
    for sample in x:
        if not sequence:
            made.reset_all_variables()
        made.set_tensor(first["index"], sample)
        made.invoke()
        found.append(made.get_tensor(last["index"]).copy())
    return np.stack(found)


def check(model: Model, least: float, sequence: bool = False) -> Model:
    """Quantize; the file keeps all rules, and what LiteRT makes of it is near the float model's."""
    x = samples(model)
    statistics = ql.calibrate(model, [[v] for v in x], observer="minmax", sequence=sequence)
    made = ql.quantize(model, INTEGER, statistics)
    content = made.to_bytes()
    assert violations(content, model.to_bytes()) == []
    assert len(integer_operators(content)) == 1
    wanted = outputs(model.to_bytes(), x, "builtin", sequence)
    for resolver in RESOLVERS:
        assert sqnr_db(wanted, outputs(content, x, resolver, sequence)) >= least, resolver
    return made


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("projection", [0, 16, 10])
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("cifg", [False, True])
def test_lstm_of_every_kind(cifg: bool, peephole: bool, projection: int, norm: bool) -> None:
    if peephole and projection == 10:
        return  # refused: tests/recipes/test_recurrent.py
    check(lstm(cifg=cifg, peephole=peephole, projection=projection, norm=norm), LSTM_DB)


def test_time_major() -> None:
    check(lstm(time_major=True), LSTM_DB)


def test_clip() -> None:
    check(lstm(clip=1.0), LSTM_DB)


@pytest.mark.parametrize("everything", [False, True])
def test_operator_lstm_step_by_step(everything: bool) -> None:
    model = lstm(operator="LSTM", peephole=everything, norm=everything, projection=16 * everything)
    check(model, LSTM_DB, sequence=True)


@pytest.mark.parametrize(("rank", "memory", "bias"), [(1, 5, True), (2, 5, True), (2, 5, False), (1, 400, True)])
def test_svdf(rank: int, memory: int, bias: bool) -> None:
    # Over 400 steps time weights have 81 levels on each side of zero, not 511.
    check(svdf(rank, memory=memory, bias=bias), SVDF_DB if memory < 100 else 30.0, sequence=True)


@pytest.mark.parametrize(
    ("model", "version"), [(lstm(), 1), (lstm(operator="LSTM"), 1), (lstm(norm=True, projection=8), 1), (svdf(), 3)]
)
def test_versions(model: Model, version: int) -> None:
    made = ql.quantize(model, INTEGER.replace(default_ranges=(-1, 1)))
    codes = {made.operator_name(o): made.root.operator_codes[o.opcode_index] for o in made.subgraphs[0].operators}
    assert codes[model.operator_names[0]].version == version


def test_intermediates_of_the_model_are_kept() -> None:
    """Converters write them with the float model; they get their parameters, and no others are added."""
    draft = Draft(lstm(norm=True))
    graph = draft.graphs[0]
    own = [graph.add_tensor(f"own{i}", "FLOAT32", (0,)) for i in range(5)]
    graph.operators[0] = graph.operators[0].replace(intermediates=own)
    made = ql.quantize(draft.done(), INTEGER.replace(default_ranges=(-1, 1)))
    operator = next(o for o in made.subgraphs[0].operators if made.operator_name(o) == "UNIDIRECTIONAL_SEQUENCE_LSTM")
    assert [made.tensor((0, int(i))).name for i in operator.intermediates] == [f"own{i}" for i in range(5)]
    assert [made.tensor((0, int(i))).type for i in operator.intermediates] == ["INT16"] * 4 + ["INT8"]


def test_float_lstm_between_integers_keeps_its_state() -> None:
    made = ql.quantize(lstm(), ql.recipes.int8(default_ranges=(-1, 1), input_type="INT8", output_type="INT8"))
    assert made.operator_names == ("UNIDIRECTIONAL_SEQUENCE_LSTM", "DEQUANTIZE", "QUANTIZE")
    assert {t.type for t in made.tensors() if t.table.is_variable} == {"FLOAT32"}


@pytest.fixture(scope="module", params=["mnist_lstm_float", "recommendation_rnn_float"])
def task(request: pytest.FixtureRequest) -> tuple[Any, Model, Any]:
    """A measuring task, its model, and statistics over some samples."""
    found = tasks()[request.param]
    model = ql.read(found.model)
    given = [list(sample) for sample in found.samples("calib", 64)]
    return found, model, ql.calibrate(model, given, runner="litert")


@needs_shared
def test_tasks_are_integers_from_end_to_end(task: tuple[Any, Model, Any]) -> None:
    _, model, statistics = task
    recipe = INTEGER.replace(input_type="INT8", output_type="INT8")
    left = {p.type for p in ql.plan(model, recipe, statistics).operators if p.mode == "FLOAT32"}
    assert left <= {"CAST"}  # of booleans, of which none is quantized
    content = ql.quantize(model, recipe, statistics).to_bytes()
    assert violations(content, model.to_bytes()) == []
    for resolver in RESOLVERS:
        if resolver != "reference" or not unknown_to_reference(content):
            interpreter(content, resolver)


@needs_shared
def test_tasks_keep_their_accuracy(task: tuple[Any, Model, Any]) -> None:
    found, model, statistics = task
    made = ql.quantize(model, INTEGER, statistics)
    rows, errors = [list(sample) for sample in found.samples("eval", 100)], []
    runners = LiteRTRunner(model), LiteRTRunner(made, resolver="reference")
    for row in rows:
        a, b = (list(runner.run(row).values()) for runner in runners)
        errors += [(x.ravel(), y.ravel()) for x, y in zip(a, b, strict=True) if x.dtype.kind == "f"]
    pooled = [np.concatenate(side) for side in zip(*errors, strict=True)]
    # Of MNIST, where the TensorFlow converter's own integer LSTM has 41.3 dB over all samples.
    assert sqnr_db(*pooled) >= 39.0

"""Recurrent kernels agree with LiteRT to rounding."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidValue
from quantlib.operators import Call, kernel
from quantlib.operators.recurrent import floating
from quantlib.tflite import Table, read
from tests.support.examples import examples
from tests.support.shared import SHARED, needs_shared
from tests.support.single import assert_close, litert, ours

TANH = 4
# Each step rounds sums of up to 12 products in another order, and tanh has a few units of error; both pass through
# at most 5 steps.
STEPS = 24
# Layer normalization divides by the spread of as few as two sums, however small it is by chance.
NORMED = 10 * STEPS


class Drawn:
    """Random operands of small magnitude: gates neither all open nor all shut."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        return (0.6 * self.rng.standard_normal(shape)).astype(np.float32)


def cell(new, n_in, units, outs, *, cifg=False, peephole=False, projection=0, diagonal=False):
    """The 17 operands of an LSTM cell, from the input weights to the projection's bias."""
    inputs = [new(units, n_in) for _ in range(4)]
    recurrent = [new(units) if diagonal else new(units, outs) for _ in range(4)]
    peep = [new(units) if peephole else None for _ in range(3)]
    bias = [new(units) for _ in range(4)]
    projected = [new(outs, units) if projection else None, new(outs) if projection > 1 else None]
    if cifg:
        inputs[0] = recurrent[0] = peep[0] = bias[0] = None
    return [*inputs, *recurrent, *peep, *bias, *projected]


SHAPES = st.tuples(*[st.integers(1, 4)] * 4)  # time, batch, input, units
FLAGS = st.booleans()
ACTIVATIONS = st.sampled_from([TANH, TANH, 1, 3])


@st.composite
def lstms(draw):
    """Operands without the input and the state, their shapes, and options."""
    t, b, n, units = draw(SHAPES)
    projection = draw(st.integers(0, 2))
    outs = draw(st.integers(1, 4)) if projection else units
    new = Drawn(draw(st.integers(0, 2**16)))
    cifg, norm = draw(FLAGS), draw(FLAGS)
    weights = cell(new, n, units, outs, cifg=cifg, peephole=draw(FLAGS), projection=projection)
    coefficients = [new(units) if norm else None for _ in range(4)]
    if cifg:
        coefficients[0] = None
    options = {
        "fused_activation_function": draw(ACTIVATIONS),
        "cell_clip": draw(st.sampled_from([0.0, 0.0, 0.3])),
        "proj_clip": draw(st.sampled_from([0.0, 0.2])) if projection else 0.0,
    }
    return new, (t, b, n, units, outs), weights, coefficients if norm or draw(FLAGS) else [], options


def state(*shape):
    return np.zeros(shape, np.float32)


def absent(operands):
    return [i for i, operand in enumerate(operands) if operand is not None]


@given(made=lstms(), time_major=FLAGS)
@examples(60)
def test_sequence_lstm(made, time_major):
    new, (t, b, n, units, outs), weights, norm, options = made
    steps = NORMED if any(c is not None for c in norm) else STEPS
    x = new(t, b, n) if time_major else new(b, t, n)
    table = Table("UnidirectionalSequenceLSTMOptions", time_major=time_major, **options)

    def operands(x):
        return [x, *weights, state(b, outs), state(b, units), *norm]

    given_ = operands(x)
    constants = [i for i in absent(given_) if i not in (0, 18, 19)]
    expected = litert(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", given_, table, constants=constants, variables=(18, 19), version=1
    )
    assert_close(expected[0], ours("UNIDIRECTIONAL_SEQUENCE_LSTM", given_, table)[0], steps)
    # The same in two parts, the second with the state that the first left behind.
    parts = np.split(x, [t // 2], 0 if time_major else 1)
    carried = operands(x)
    found = [ours("UNIDIRECTIONAL_SEQUENCE_LSTM", [part, *carried[1:]], table)[0] for part in parts]
    assert_close(expected[0], np.concatenate(found, 0 if time_major else 1), steps)


@given(made=lstms())
@examples()
def test_lstm_is_one_step(made):
    new, (t, b, n, units, outs), weights, norm, options = made
    steps = NORMED if any(c is not None for c in norm) else STEPS
    given_ = [new(b, n), *weights, state(b, outs), state(b, units), *norm]
    table = Table("LSTMOptions", **options)
    constants = [i for i in absent(given_) if i not in (0, 18, 19)]
    expected = litert("LSTM", given_, table, constants=constants, variables=(18, 19), version=1)
    assert_close(expected[0], ours("LSTM", given_, table)[0], steps)
    x = new(t, b, n)
    whole = Table("UnidirectionalSequenceLSTMOptions", time_major=True, **options)
    sequence = [x, *weights, state(b, outs), state(b, units), *norm]
    expected = litert(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", sequence, whole, constants=constants, variables=(18, 19), version=1
    )
    carried = [*weights, state(b, outs), state(b, units), *norm]
    assert_close(expected[0], np.stack([ours("LSTM", [step, *carried], table)[0] for step in x]), steps)


@given(shape=SHAPES, seed=st.integers(0, 99))
@examples()
def test_basic_lstm(shape, seed):
    _, b, n, units = shape
    new = Drawn(seed)
    given_ = [new(b, n), state(b, units), new(4 * units, n + units), new(4 * units), state(b, units)]
    table, types = Table("LSTMOptions", fused_activation_function=TANH, kernel_type=1), ("FLOAT32",) * 4
    expected = litert("LSTM", given_, table, types, constants=(2, 3), variables=(1, 4), version=2)
    found = ours("LSTM", given_, table, types)
    for one, other in zip(expected, found, strict=True):
        assert_close(one, other, STEPS)
    np.testing.assert_array_equal(given_[1], found[0])
    np.testing.assert_array_equal(given_[4], found[1])


@given(shape=SHAPES, seed=st.integers(0, 99), merge=FLAGS, time_major=FLAGS, auxiliary=st.integers(0, 2), cifg=FLAGS)
@examples(60)
def test_bidirectional_lstm(shape, seed, merge, time_major, auxiliary, cifg):
    t, b, n, units = shape
    if merge and not time_major:
        b = 1  # LiteRT finds the state of the second sample of a batch in the wrong place
    new = Drawn(seed)
    x = (t, b) if time_major else (b, t)
    states = [state(b, units) for _ in range(4)]
    seconds = [None] * 8
    if auxiliary == 2:
        seconds = [None if cifg and i % 4 == 0 else new(units, n) for i in range(8)]
    both = [cell(new, n, units, units, cifg=cifg, peephole=seed % 2) for _ in range(2)]
    given_ = [new(*x, n), *both[0], *both[1], *states, new(*x, n) if auxiliary else None, *seconds]
    assert len(given_) == 48
    table = Table(
        "BidirectionalSequenceLSTMOptions",
        fused_activation_function=TANH,
        merge_outputs=merge,
        time_major=time_major,
    )
    types = ("FLOAT32",) * (1 if merge else 2)
    variables = range(35, 39)
    constants = [i for i in absent(given_) if i not in (0, 39, *variables)]
    expected = litert(
        "BIDIRECTIONAL_SEQUENCE_LSTM", given_, table, types, constants=constants, variables=variables, version=1
    )
    found = ours("BIDIRECTIONAL_SEQUENCE_LSTM", given_, table, types)
    for one, other in zip(expected, found, strict=True):
        assert_close(one, other, STEPS)
    out = found[0] if time_major else found[0].swapaxes(0, 1)
    np.testing.assert_array_equal(states[0], out[-1, :, :units])
    back = found[-1] if time_major else found[-1].swapaxes(0, 1)
    np.testing.assert_array_equal(states[2], back[0, :, -units:])


@given(shape=SHAPES, seed=st.integers(0, 99), activation=ACTIVATIONS, time_major=FLAGS)
@examples()
def test_rnn(shape, seed, activation, time_major):
    t, b, n, units = shape
    new = Drawn(seed)
    weights = [new(units, n), new(units, units), new(units)]
    x = new(t, b, n) if time_major else new(b, t, n)
    table = Table("SequenceRNNOptions", time_major=time_major, fused_activation_function=activation)
    given_ = [x, *weights, state(b, units)]
    expected = litert("UNIDIRECTIONAL_SEQUENCE_RNN", given_, table, constants=(1, 2, 3), variables=(4,), version=1)[0]
    assert_close(expected, ours("UNIDIRECTIONAL_SEQUENCE_RNN", given_, table)[0], STEPS, given_)
    hidden = state(b, units)
    single = Table("RNNOptions", fused_activation_function=activation)
    steps = x if time_major else x.swapaxes(0, 1)
    found = np.stack([ours("RNN", [step, *weights, hidden], single)[0] for step in steps])
    assert_close(expected if time_major else expected.swapaxes(0, 1), found, STEPS, given_)
    one = [np.ascontiguousarray(steps[0]), *weights, state(b, units)]
    assert_close(litert("RNN", one, single, constants=(1, 2, 3), variables=(4,), version=1)[0], found[0], STEPS, one)


@given(shape=SHAPES, seed=st.integers(0, 99), merge=FLAGS, time_major=FLAGS, auxiliary=st.integers(0, 2))
@examples()
def test_bidirectional_rnn(shape, seed, merge, time_major, auxiliary):
    t, b, n, units = shape
    if not time_major and auxiliary == 1:
        auxiliary = 0  # LiteRT feeds the backward cell with the first input then
    new = Drawn(seed)
    x = (t, b) if time_major else (b, t)
    both = [[new(units, n), new(units, units), new(units), state(b, units)] for _ in range(2)]
    second = [new(*x, n) if auxiliary else None, *[new(units, n) if auxiliary == 2 else None for _ in range(2)]]
    given_ = [new(*x, n), *both[0], *both[1], *second]
    table = Table(
        "BidirectionalSequenceRNNOptions", fused_activation_function=TANH, merge_outputs=merge, time_major=time_major
    )
    types = ("FLOAT32",) * (1 if merge else 2)
    constants = [i for i in absent(given_) if i not in (0, 4, 8, 9)]
    expected = litert(
        "BIDIRECTIONAL_SEQUENCE_RNN", given_, table, types, constants=constants, variables=(4, 8), version=1
    )
    found = ours("BIDIRECTIONAL_SEQUENCE_RNN", given_, table, types)
    for one, other in zip(expected, found, strict=True):
        assert_close(one, other, STEPS, given_)


@given(
    shape=SHAPES, seed=st.integers(0, 99), rank=st.integers(1, 3), activation=st.sampled_from([0, 1, 3]), biased=FLAGS
)
@examples()
def test_svdf(shape, seed, rank, activation, biased):
    memory, b, n, units = shape
    new = Drawn(seed)
    filters = units * rank
    table = Table("SVDFOptions", rank=rank, fused_activation_function=activation)
    weights = [new(filters, n), new(filters, memory), new(units) if biased else None]
    held = state(b, filters * memory)
    given_ = [new(b, n), *weights, held]
    constants = [i for i in absent(given_) if i not in (0, 4)]
    expected = litert("SVDF", given_, table, constants=constants, variables=(4,), version=1)[0]
    assert_close(expected, ours("SVDF", given_, table)[0], STEPS, given_)
    # Later steps: the sum over what the memory holds.
    xs = [given_[0]]
    for _ in range(memory + 1):
        xs.append(new(b, n))
        found = ours("SVDF", [xs[-1], *weights, held], Table("SVDFOptions", rank=rank))[0]
    kept = np.stack(xs[-memory:], 1).astype(np.float64) @ weights[0].T
    sums = np.einsum("bmf,fm->bf", kept, weights[1]).reshape(b, units, rank).sum(-1)
    np.testing.assert_allclose(found, sums + (weights[2] if biased else 0), rtol=0, atol=1e-6)


def test_a_diagonal_recurrence_is_that_matrix():
    new = Drawn(0)
    weights = cell(new, 3, 4, 4, peephole=True, diagonal=True)
    full = [*weights]
    full[4:8] = [np.diag(w) for w in weights[4:8]]
    table = Table("UnidirectionalSequenceLSTMOptions", fused_activation_function=TANH, time_major=True)
    x = new(5, 2, 3)
    found = [
        ours("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *w, state(2, 4), state(2, 4)], table)[0] for w in (weights, full)
    ]
    assert_close(*found, STEPS)


def test_gates_saturate_without_a_warning():
    new = Drawn(0)
    weights = [w if w is None else 1e4 * w for w in cell(new, 3, 4, 4)]
    table = Table("UnidirectionalSequenceLSTMOptions", fused_activation_function=TANH)
    out = ours("UNIDIRECTIONAL_SEQUENCE_LSTM", [new(2, 5, 3), *weights, state(2, 4), state(2, 4)], table)[0]
    assert np.isfinite(out).all()


def lstm_with(**changed):
    new = Drawn(0)
    operands = dict(enumerate([new(1, 2, 3), *cell(new, 3, 4, 4), state(1, 4), state(1, 4)]))
    operands.update({int(k[1:]): v for k, v in changed.items()})
    call = Call(tuple(operands.values()), Table("UnidirectionalSequenceLSTMOptions", fused_activation_function=TANH))
    return lambda: kernel("UNIDIRECTIONAL_SEQUENCE_LSTM")(call)


READ_ONLY = np.broadcast_to(np.float32(0), (1, 4))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lstm_with(_0=np.zeros((1, 2, 3), np.int8)), "float32 sequence"),
        (lstm_with(_2=None), "may lack"),
        (lstm_with(_2=np.zeros((4, 3), np.int8)), "float32 is required"),
        (lstm_with(_2=state(3, 3)), "4 rows"),
        (lstm_with(_18=None), "operand 18"),
        (lstm_with(_18=state(2, 4)), "1 x 4"),
        (lstm_with(_19=READ_ONLY), "variable"),
        (lambda: floating.rnn(state(2, 1, 3), state(4, 3), state(4, 5), state(4), state(1, 4)), "don't fit"),
        (lambda: floating.svdf(state(1, 3), state(4, 3), state(4, 2), None, state(1, 8), rank=3), "rank 3"),
        (lambda: floating.basic_lstm(state(1, 3), state(1, 2), state(8, 4), state(8), state(1, 2)), "2 units"),
    ],
)
def test_what_does_not_fit_is_refused(run, message):
    with pytest.raises(InvalidValue, match=message):
        run()


@needs_shared
@pytest.mark.filterwarnings("ignore:Warning. Enabling .experimental_preserve")
@pytest.mark.parametrize("name", ["mnist_lstm_float", "recommendation_rnn_float"])
def test_real_weights(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(SHARED / "tools"), *sys.path])
    tasks = pytest.importorskip("tasks", reason="the tools beside the shared models aren't here")
    litert_module = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    task = tasks.TASKS[name]
    model = read(str(task.model))
    made = litert_module.Interpreter(model_path=str(task.model), experimental_preserve_all_tensors=True)
    made.allocate_tensors()
    lstms = [o for o in model.subgraphs[0].operators if model.operator_name(o) == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert lstms
    for sample in task.samples(limit=4):
        made.reset_all_variables()
        for detail, value in zip(made.get_input_details(), sample, strict=True):
            made.set_tensor(detail["index"], value)
        made.invoke()
        for operator in lstms:
            given_ = [None if i < 0 else made.get_tensor(i) for i in operator.inputs.tolist()]
            given_[18:20] = [np.zeros_like(held) for held in given_[18:20]]
            expected = made.get_tensor(operator.outputs.tolist()[0])
            assert_close(expected, ours("UNIDIRECTIONAL_SEQUENCE_LSTM", given_, operator.builtin_options)[0], 8)

"""Every operator that channels are followed through: a dead channel removed leaves the outputs as they were.

A channel whose filter and bias are zero, and which stays zero up to the layer that sums over it, adds nothing. Its
norm is the least there is, so it is what goes.
"""

import itertools

import numpy as np
import pytest

import quantlib as ql
from quantlib.passes import prune_channels
from tests.support.carriers import CARRIERS, LAYERS, conv, integers, made, network
from tests.support.litert import RESOLVERS, run
from tests.support.network import Network
from tests.support.single import assert_close


@pytest.fixture(scope="module", params=CARRIERS)
def pruned(request):
    model, dead = network(request.param)
    return model, prune_channels(model, len(dead) / 8, first_last=True, only=_makers(model)), dead


def _makers(model):
    """Selectors of the layers with dead channels."""
    return [f"^{n}$" for n in LAYERS if any(t.name == n for t in model.tensors())]


def test_exactly_the_dead_channels_go(pruned):
    model, edited, dead = pruned
    for name in LAYERS:
        if any(t.name == f"{name}/kernel" for t in model.tensors()):
            before, after = (m.tensor(f"{name}/kernel").numpy() for m in (model, edited.model))
            expected = np.delete(before, dead, 0)
            if name in ("gate", "one", "two"):
                expected = np.delete(expected, dead, 3)
            np.testing.assert_array_equal(after, expected)
            bias = edited.model.tensor(f"{name}/bias").numpy()
            np.testing.assert_array_equal(bias, np.delete(model.tensor(f"{name}/bias").numpy(), dead))
    assert edited.totals["bytes_after"] < edited.totals["bytes_before"]


@pytest.mark.parametrize("name", ["ADD", "CONCATENATION of rows", "PACK, UNPACK"])
def test_layers_that_meet_lose_the_same_channels(name):
    """Though each alone would lose others."""
    least = iter([(0, 3), (2, 5)])
    net = Network()
    net.input("x", (1, 4, 4, 3))
    x = made(net, next(least))
    x = CARRIERS[name](net, x, next(least))
    model = net.done(conv(net, "last", x, integers((4, 1, 1, 8), 19), integers((4,), 20)))
    edited = prune_channels(model, 0.25, first_last=True, only=_makers(model))
    gone = []
    for layer in ("made", "other"):
        before, after = (m.tensor(f"{layer}/bias").numpy().tolist() for m in (model, edited.model))
        options = [d for d in itertools.combinations(range(8), 2) if np.delete(before, d).tolist() == after]
        kernels = (m.tensor(f"{layer}/kernel").numpy() for m in (model, edited.model))
        before, after = kernels
        gone.append([d for d in options if np.array_equal(np.delete(before, d, 0), after)])
    assert len(gone[0]) == len(gone[1]) == 1
    assert gone[0] == gone[1]


@pytest.mark.parametrize(("name", "together"), [("SPLIT", (1, 5)), ("DEPTH_TO_SPACE", (1, 3, 5, 7))])
def test_what_is_split_evenly_loses_the_same_of_each_part(name, together):
    """One dead channel is the least; its fellows in the other parts go with it."""
    net = Network()
    net.input("x", (1, 4, 4, 3))
    x = CARRIERS[name](net, made(net, (1,)), ())
    model = net.done(conv(net, "last", x, integers((4, 1, 1, net.shape(x)[3]), 19), integers((4,), 20)))
    edited = prune_channels(model, len(together) / 8, first_last=True, only="made")
    expected = np.delete(model.tensor("made/kernel").numpy(), together, 0)
    np.testing.assert_array_equal(edited.model.tensor("made/kernel").numpy(), expected)


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_outputs_stay(pruned, resolver):
    model, edited, _ = pruned
    for before, after in zip(run(model, resolver), run(edited.model, resolver), strict=True):
        assert np.abs(before).max() > 0
        assert_close(before, after, 32)


def test_numpy_says_the_same(pruned):
    model, edited, _ = pruned
    samples = {"x": np.random.default_rng(5).standard_normal((2, 4, 4, 3)).astype(np.float32)}
    before, after = (ql.run(m, samples) for m in (model, edited.model))
    for name in before:
        assert_close(before[name], after[name], 32)


def test_the_file_says_the_shapes_that_the_runtime_finds(pruned):
    """A stale shape would do in LiteRT, which computes most anew, but not where others plan by the file."""
    _, edited, _ = pruned
    seen = {}
    runner = ql.runners.NumpyRunner(edited.model)
    runner.run({"x": np.ones((1, 4, 4, 3), np.float32)}, tap=lambda g, t, v: seen.setdefault((g, t), v.shape))
    assert len(seen) > 2
    assert seen == {key: edited.model.tensor(key).shape for key in seen}


@pytest.mark.parametrize("name", ["flatten", "flatten, free batch", "flatten, free columns"])
def test_a_reshape_says_the_same_in_its_options_and_its_operand(name):
    """LiteRT reads the operand alone; others read the options."""
    model, dead = network(name)
    edited = prune_channels(model, len(dead) / 8, first_last=True, only="made").model
    (options, to), (old, _) = (
        (o.builtin_options, m.tensor((0, int(o.inputs[1]))).numpy().tolist())
        for m in (edited, model)
        for o in m.subgraphs[0].operators
        if m.operator_name(o) == "RESHAPE"
    )
    assert options.new_shape.tolist() == to
    assert (to != old.new_shape.tolist()) == (name != "flatten, free columns")  # -1 stands for what is left


def test_every_rule_has_a_network():
    """Operators that are followed and not built above are variants of one rule each, listed here."""
    from quantlib.passes.channels.rules import RULES

    built = {model.operator_name(o) for model, _ in map(network, CARRIERS) for o in model.subgraphs[0].operators}
    variants = {
        *(
            "ADD_N",
            "ATAN2",
            "CAST",
            "CEIL",
            "COS",
            "DEQUANTIZE",
            "ELU",
            "EQUAL",
            "EXP",
            "FAKE_QUANT",
            "FLOOR",
            "FLOOR_DIV",
        ),
        *("FLOOR_MOD", "GELU", "GREATER", "GREATER_EQUAL", "L2_POOL_2D", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND"),
        *("LOGICAL_NOT", "LOGICAL_OR", "NOT_EQUAL", "PADV2", "POW", "QUANTIZE", "REDUCE_MIN", "REDUCE_PROD"),
        *("RELU_0_TO_1", "ROUND", "RSQRT", "SELECT_V2", "SIGN", "SIN", "SQRT", "ZEROS_LIKE"),
    }
    assert set(RULES) == built & set(RULES) | variants
    assert not variants & built

"""Which tensors share a scale, what scale that is, and where a QUANTIZE is better than a wrong one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.numerics import Affine
from quantlib.recipes import Plan
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.planned import decibels, names, operator, planned, run, samples, step, valid

Array = npt.NDArray[Any]
CONCATENATION = Table("ConcatenationOptions", axis=1)


def written(plan: Plan, name: str, at: int = 0) -> Affine:
    found = operator(plan, name).outputs[at]
    assert found is not None
    return found


def read(plan: Plan, name: str, at: int = 0) -> Affine:
    found = operator(plan, name).inputs[at]
    assert found is not None
    return found


def made(model: Model, plan: Plan) -> Model:
    return valid(ql.quantize(model, plan), model)


def between(lo: float, hi: float, *shape: int) -> Array:
    """Samples that fill a range, its ends included."""
    values = np.random.default_rng(0).uniform(lo, hi, (8, *shape)).astype(np.float32)
    values[0].reshape(-1)[:2] = lo, hi
    return values


# ---- moving ------------------------------------------------------------------------------------------------


def test_what_is_only_moved_keeps_its_scale() -> None:
    net = Network()
    x = net.convolution("conv", net.input("x", (1, 4, 4, 4)), gaussian((4, 1, 1, 4), 1))
    options = Table("Pool2DOptions", stride_w=2, stride_h=2, filter_width=2, filter_height=2)
    pooled = net.op("MAX_POOL_2D", [x], "pooled", (1, 2, 2, 4), options)
    order, shape = net.constant("order", np.array([0, 3, 1, 2], "i4")), net.constant("shape", np.array([1, 16], "i4"))
    turned = net.op("TRANSPOSE", [pooled, order], "turned", (1, 4, 2, 2), Table("TransposeOptions"))
    flat = net.op("RESHAPE", [turned, shape], "flat", (1, 16), Table("ReshapeOptions", new_shape=[1, 16]))
    model = net.done(net.fully_connected("y", flat, gaussian((3, 16), 2)), x)
    plan = planned(model, samples(net))
    whole = written(plan, "conv")
    assert all(written(plan, name) == read(plan, name) == whole for name in ("pooled", "turned", "flat"))
    assert read(plan, "y") == whole
    assert [operator(plan, n).source for n in ("conv", "pooled", "turned", "flat")] == ["minmax", *["as conv"] * 3]
    assert names(made(model, plan)).count("QUANTIZE") == 1  # of the input


def test_parts_of_a_tensor_have_its_scale_and_so_has_another_reader() -> None:
    net = Network()
    x = net.fully_connected("whole", net.input("x", (1, 8)), gaussian((8, 8), 1))
    axis = net.constant("axis", np.array(1, "i4"))
    halves = [net.graph.add_tensor(f"half{i}", "FLOAT32", (1, 4)) for i in range(2)]
    net.graph.append(net.draft.operator("SPLIT", [axis, x], halves, Table("SplitOptions", num_splits=2)))
    y = net.op("MUL", halves, "y", (1, 4), Table("MulOptions"))
    model = net.done(y, net.fully_connected("z", x, gaussian((2, 8), 2)))
    plan = planned(model, samples(net))
    whole = written(plan, "whole")
    assert [written(plan, "half0", i) for i in range(2)] == [whole] * 2
    assert [read(plan, "y", i) for i in range(2)] == [read(plan, "z"), whole] == [whole] * 2
    assert names(made(model, plan)).count("QUANTIZE") == 1


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
def test_a_fixed_scale_moves_along(mode: str) -> None:
    net = Network()
    gate = net.op("LOGISTIC", [net.input("x", (1, 8))], "gate", (1, 8))
    shape = net.constant("shape", np.array([2, 4], "i4"))
    folded = net.op("RESHAPE", [gate, shape], "folded", (2, 4), Table("ReshapeOptions", new_shape=[2, 4]))
    model = net.done(net.op("ADD", [folded, net.constant("k", gaussian((4,), 1))], "y", (2, 4), Table("AddOptions")))
    plan = planned(model, samples(net), mode)
    expected = {"int8": (1 / 256, -128), "int16x8": (1 / 32768, 0), "uint8": (1 / 256, 0)}[mode]
    for name in ("gate", "folded"):
        affine = written(plan, name)
        assert (float(affine.scale[0]), int(affine.zero_point[0])) == expected
    assert operator(plan, "gate").source == "required by LOGISTIC"
    made(model, plan)


# ---- constants in the place of activations -----------------------------------------------------------------


def with_constant(name: str, constant: Array) -> tuple[Network, Model]:
    """x, 8 wide and read by a layer too, beside a constant in an operator of one scale."""
    net = Network()
    x, k = net.input("x", (1, 8)), net.constant("k", constant)
    whole = net.op("ADD", [x, net.constant("zero", np.zeros(1, "f4"))], "whole", (1, 8), Table("AddOptions"))
    if name.startswith("SELECT"):
        bound = net.constant("bound", np.zeros(8, "f4"))
        condition = net.op("GREATER", [x, bound], "above", (1, 8), Table("GreaterOptions"), type="BOOL")
        part = net.op(name, [condition, whole, k], "part", (1, 8), Table(row_options(name)))
    else:
        part = net.op(name, [whole, k], "part", (1, 8), Table(row_options(name)))
    return net, net.done(part, net.fully_connected("layer", whole, gaussian((4, 8), 1)))


def row_options(name: str) -> str:
    return {"SELECT": "SelectOptions", "SELECT_V2": "SelectV2Options"}.get(name, "MaximumMinimumOptions")


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize("name", ["MINIMUM", "MAXIMUM", "SELECT", "SELECT_V2"])
def test_others_keep_the_range_that_a_constant_cuts(name: str, mode: str) -> None:
    """The TensorFlow converter lets the layer see values cut at 0.5 (or -0.5) as well."""
    edge = -0.5 if name == "MAXIMUM" else 0.5
    _, model = with_constant(name, np.full((1, 8), edge, "f4"))
    data = {"x": between(-4, 4, 1, 8)}
    plan = planned(model, data, mode)
    whole, part = written(plan, "whole"), written(plan, "part")
    assert read(plan, "layer") == whole
    assert read(plan, "part", 1 if name.startswith("SELECT") else 0) == part
    assert (part != whole) == (mode != "int16x8")  # whose greatest magnitude is the same
    small = made(model, plan)
    floor = {"int8": 30, "uint8": 30, "int16x8": 35}[mode]  # what 8-bit weights and 255 levels leave
    assert min(decibels(model, small, data)) > floor


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_a_constant_beyond_the_outputs_range_is_cut_harmlessly(mode: str) -> None:
    _, model = with_constant("MINIMUM", np.full((1, 8), 1000, "f4"))
    data = {"x": between(-4, 4, 1, 8)}
    plan = planned(model, data, mode)
    assert float(written(plan, "part").scale[0]) < 0.04
    assert min(decibels(model, made(model, plan), data)) > 30


def test_a_table_covers_rows_that_calibration_never_read() -> None:
    net = Network()
    ids = net.input("ids", (1, 2), "INT32")
    table = net.constant("table", np.array([[1, -1], [2, -2], [50, -70]], "f4"))
    rows = net.op("GATHER", [table, ids], "rows", (1, 2, 2), Table("GatherOptions"))
    model = net.done(net.op("ABS", [rows], "y", (1, 2, 2), Table("AbsOptions")))
    plan = planned(model, {"ids": np.tile(np.array([0, 1], "i4"), (8, 1, 1))}, tails="keep")
    affine = written(plan, "rows")
    assert float(affine.scale[0]) * (127 - int(affine.zero_point[0])) >= 49.7
    assert operator(plan, "rows").source == "all of table"


# ---- joins -------------------------------------------------------------------------------------------------


def join(
    first: str, second: str, *, also: bool = False, scales: tuple[float, float] = (1, 1)
) -> tuple[Network, Model]:
    """Two operators of one input that are joined; `also` lets another layer read the first."""
    net = Network()
    x = net.input("x", (1, 8))
    made_by = {"FULLY_CONNECTED": lambda n, s: net.fully_connected(n, x, gaussian((8, 8), 1, s), np.zeros(8, "f4"))}
    parts = [
        made_by[kind](name, s) if kind in made_by else net.op(kind, [x], name, (1, 8), softmax(kind))
        for kind, name, s in ((first, "a", scales[0]), (second, "b", scales[1]))
    ]
    joined = net.op("CONCATENATION", parts, "joined", (1, 16), CONCATENATION)
    outputs = [net.op("MUL", [joined, joined], "y", (1, 16), Table("MulOptions"))]
    if also:
        outputs.append(net.fully_connected("other", parts[0], gaussian((4, 8), 3)))
    return net, net.done(*outputs)


def softmax(kind: str) -> Table | None:
    return Table("SoftmaxOptions", beta=1.0) if kind == "SOFTMAX" else None


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
def test_what_only_a_join_reads_is_written_in_its_scale(mode: str) -> None:
    net, model = join("FULLY_CONNECTED", "FULLY_CONNECTED", scales=(0.5, 1))
    plan = planned(model, samples(net), mode)
    assert written(plan, "a") == written(plan, "b") == written(plan, "joined") == read(plan, "joined", 1)
    assert operator(plan, "a").source == "as joined"
    assert names(made(model, plan)).count("QUANTIZE") == 1


def test_what_others_read_too_keeps_its_own_scale_and_is_requantized() -> None:
    net, model = join("FULLY_CONNECTED", "FULLY_CONNECTED", also=True, scales=(0.1, 1))
    plan = planned(model, samples(net))
    assert read(plan, "other") == written(plan, "a")
    assert step(plan, "a") < 0.2 * step(plan, "joined")
    assert read(plan, "joined", 0) == read(plan, "joined", 1) == written(plan, "joined") == written(plan, "b")
    assert names(made(model, plan)) == [
        "QUANTIZE", *["FULLY_CONNECTED"] * 2, "QUANTIZE", "CONCATENATION", "MUL", "FULLY_CONNECTED",
        *["DEQUANTIZE"] * 2,
    ]  # fmt: skip


def test_nearly_the_same_range_is_not_requantized() -> None:
    net, model = join("FULLY_CONNECTED", "FULLY_CONNECTED", also=True, scales=(0.98, 1))
    plan = planned(model, samples(net))
    assert read(plan, "other") == written(plan, "a") == written(plan, "joined")
    assert names(made(model, plan)).count("QUANTIZE") == 1


@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize("second", ["LOGISTIC", "SOFTMAX"])
def test_joined_outputs_of_one_fixed_scale_keep_it(second: str, mode: str) -> None:
    _, model = join("LOGISTIC", second)
    plan = planned(model, {"x": between(-8, 8, 1, 8)}, mode)
    assert written(plan, "a") == written(plan, "b") == written(plan, "joined")
    assert names(made(model, plan)).count("QUANTIZE") == 1


def test_joined_outputs_of_different_fixed_scales_are_requantized() -> None:
    _, model = join("LOGISTIC", "TANH")
    plan = planned(model, {"x": between(-8, 8, 1, 8)})
    assert written(plan, "a") != written(plan, "b")
    assert read(plan, "joined", 0) == read(plan, "joined", 1) == written(plan, "joined")
    small = made(model, plan)
    assert names(small).count("QUANTIZE") in (2, 3)
    assert min(decibels(model, small, {"x": between(-8, 8, 1, 8)})) > 30


def test_a_join_of_a_fixed_and_a_wide_operand_has_the_wide_scale() -> None:
    net, model = join("LOGISTIC", "FULLY_CONNECTED", scales=(1, 3))
    plan = planned(model, samples(net), tails="keep")
    assert float(written(plan, "a").scale[0]) == 1 / 256
    assert step(plan, "joined") > 5 / 256
    assert written(plan, "b") == written(plan, "joined")


def test_a_tensor_twice_in_one_join() -> None:
    net = Network()
    x = net.fully_connected("x2", net.input("x", (1, 8)), gaussian((8, 8), 1))
    model = net.done(net.op("CONCATENATION", [x, x], "y", (1, 16), CONCATENATION))
    plan = planned(model, samples(net))
    assert written(plan, "x2") == read(plan, "y", 0) == read(plan, "y", 1) == written(plan, "y")
    made(model, plan)


# ---- values beyond which readers see no difference -----------------------------------------------------------

USEFUL = {
    "RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0),
    "LOGISTIC": (-6.3, 6.3), "TANH": (-3.2, 3.2), "HARD_SWISH": (-3.0, np.inf),
}  # fmt: skip


def clipping(name: str, *, twice: str = "", also: str = "", end: bool = False) -> tuple[Network, Model]:
    """A layer whose output one activation reads (behind `twice`); `also` another operator, or nobody."""
    net = Network()
    shape = (1, 4, 4, 2)
    wide = net.convolution("wide", net.input("x", shape), gaussian((2, 1, 1, 2), 1, 20))
    read = wide
    if twice:
        options = Table("Pool2DOptions", stride_w=1, stride_h=1, filter_width=2, filter_height=2, padding=0)
        read = net.op(twice, [wide], "between", shape, options)
    y = net.op(name, [read], "y", shape, Table("HardSwishOptions") if name == "HARD_SWISH" else None)
    outputs = [y, *([wide] if end else [])]
    if also:
        outputs.append(net.op(also, [wide], "also", shape, Table("AbsOptions") if also == "ABS" else None))
    return net, net.done(*outputs)


def reach(affine: Affine) -> tuple[float, float]:
    """Least and greatest value that it has integers for."""
    return tuple(float(affine.scale[0]) * (q - int(affine.zero_point[0])) for q in (affine.qmin, affine.qmax))  # type: ignore[return-value]  # of two


@pytest.mark.parametrize("through", ["", "MAX_POOL_2D"])
@pytest.mark.parametrize("name", USEFUL)
def test_a_range_ends_where_its_reader_sees_no_more(name: str, through: str) -> None:
    net, model = clipping(name, twice=through)
    data = samples(net)
    plan = planned(model, data)
    lo, hi = reach(written(plan, "wide"))
    least, most = USEFUL[name]
    assert lo == pytest.approx(least, abs=2 * step(plan, "wide"))
    assert hi == pytest.approx(most, abs=2 * step(plan, "wide")) if np.isfinite(most) else hi > 20
    assert "is of use" in operator(plan, "wide").source
    assert min(decibels(model, made(model, plan), data)) > 25  # the input's 255 levels, 20 times as wide behind them


@pytest.mark.parametrize("name", USEFUL)
@pytest.mark.parametrize("blocked", [{"twice": "AVERAGE_POOL_2D"}, {"also": "ABS"}, {"end": True}], ids=str)
def test_a_range_is_whole_where_somebody_sees_all(name: str, blocked: dict[str, Any]) -> None:
    net, model = clipping(name, **blocked)
    plan = planned(model, samples(net))
    lo, hi = reach(written(plan, "wide"))
    assert (lo < -20, hi > 20, operator(plan, "wide").source) == (True, True, "minmax")


@pytest.mark.parametrize("changes", [{"int16": ("^y$",)}, {"skip": ("^y$",)}], ids=str)
def test_a_reader_of_another_type_sees_all(changes: dict[str, Any]) -> None:
    net, model = clipping("TANH")
    plan = planned(model, samples(net), **changes)
    assert reach(written(plan, "wide"))[1] > 20


def test_two_readers_together_decide() -> None:
    net, model = clipping("RELU6", also="TANH")
    plan = planned(model, samples(net))
    assert reach(written(plan, "wide")) == pytest.approx((-3.2, 6), abs=2 * step(plan, "wide"))


def test_places_of_the_largest_see_all() -> None:
    """Of values that RELU6 cuts alike, TOPK_V2 has to find the greatest."""
    net = Network()
    wide = net.fully_connected("wide", net.input("x", (1, 8)), gaussian((8, 8), 1, 20))
    top = [net.graph.add_tensor("top", "FLOAT32", (1, 3)), net.graph.add_tensor("where", "INT32", (1, 3))]
    count = net.constant("count", np.array(3, "i4"))
    net.graph.append(net.draft.operator("TOPK_V2", [wide, count], top, Table("TopKV2Options")))
    model = net.done(net.op("RELU6", [top[0]], "y", (1, 3)), top[1])
    data = samples(net)
    plan = planned(model, data)
    assert reach(written(plan, "wide"))[1] > 20
    small = made(model, plan)
    for i in range(8):
        sample = {"x": data["x"][i]}
        assert np.array_equal(run(model, sample)[1][0, :1], run(small, sample)[1][0, :1])


@pytest.mark.parametrize(("name", "bound"), [("LOGISTIC", 11.1), ("TANH", 5.9), ("RELU6", 6.0)])
def test_16_bits_see_more(name: str, bound: float) -> None:
    net, model = clipping(name)
    plan = planned(model, samples(net), "int16x8")
    assert reach(written(plan, "wide"))[1] == pytest.approx(bound, rel=1e-3)


# ---- scales that kernels refuse ------------------------------------------------------------------------------


def cancelling(name: str, size: float) -> tuple[Network, Model, dict[str, Array]]:
    """Operators whose output is next to nothing against their operands."""
    net = Network()
    x = net.input("x", (1, 1, 1, 8))
    nearly = np.tile(np.array([1, -1], "f4"), 4) * (1 + np.arange(8, dtype="f4") * 1e-6)
    shape = (1, 1, 1, 8)
    data = {"x": np.repeat(gaussian((8, 1, 1, 1, 1), 1, size), 8, -1)}
    if name == "CONV_2D":
        y = net.convolution("y", x, np.tile(nearly, (3, 1)).reshape(3, 1, 1, 8))
        net.graph.tensors[net.graph.operators[0].inputs[2]] = net.graph.tensors[
            net.constant("nothing", np.zeros(3, "f4"))
        ]
    elif name == "FULLY_CONNECTED":
        y = net.fully_connected("y", x, np.tile(nearly, (3, 1)), np.zeros(3, "f4"), keep_num_dims=True)
    elif name == "BATCH_MATMUL":
        y = net.op(name, [x, net.constant("k", nearly.reshape(8, 1))], "y", (1, 1, 1, 1), Table("BatchMatMulOptions"))
    elif name == "HARD_SWISH":
        data["x"] = np.where(data["x"] < 0, -3 + 1e-6, -1000 * size).astype("f4")
        y = net.op(name, [x], "y", shape, Table("HardSwishOptions"))
    else:
        other = net.input("other", shape)
        data["other"] = data["x"] * np.float32(-1.000001 if name == "ADD" else 1.000001)
        y = net.op(name, [x, other], "y", shape, Table("AddOptions") if name == "ADD" else None)
    return net, net.done(y), data


@pytest.mark.parametrize("size", [1.0, 1e6])
@pytest.mark.parametrize("mode", ["int8", "int16x8", "uint8"])
@pytest.mark.parametrize(
    "name", ["ADD", "SQUARED_DIFFERENCE", "HARD_SWISH", "CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"]
)
def test_a_scale_too_small_for_the_kernel_is_raised(name: str, mode: str, size: float) -> None:
    """LiteRT refuses such files, or ends the process: multipliers of 1 and more, or of 256 in XNNPACK."""
    _, model, data = cancelling(name, size)
    plan = planned(model, data, mode)
    found = operator(plan, "y")
    if not found.is_integer:
        assert found.reason.startswith("LiteRT has no ")
        return
    if mode != "int16x8" or name == "ADD":
        assert f"times as wide, as the kernel of {name} needs" in found.source
    small = made(model, plan)
    for resolver in ("default", "builtin", "reference"):
        (y,) = run(small, {k: v[0] for k, v in data.items()}, resolver)
        assert np.abs(y).max() <= 4 * max(float(a.scale[0]) for a in found.inputs if a is not None)

"""Integer kernels of pools, reductions, movement, resizing and requantization, against LiteRT's reference kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine, PerAxis
from quantlib.operators.quantization.integer import quantize_divided
from quantlib.runners import LiteRTRunner, NumpyRunner
from quantlib.tflite import Model, Table
from tests.conformance.judge import End, assert_equal, indices, int8, operator, uint8

KINDS = ("INT8", "UINT8", "INT16")
SHAPE = (2, 7, 6, 3)


def end(kind: str, shape: tuple[int, ...], scale: float, point: int = 0, **fields: Any) -> End:
    return End(kind, shape, scale, {"INT8": point, "UINT8": point + 128, "INT16": 0}[kind], **fields)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("activation", [0, 1, 2, 3])
def test_pools(name: str, kind: str, padding: int, activation: int) -> None:
    scale = 0.05 if kind != "INT16" else 0.0005
    options = Table(
        "Pool2DOptions", padding=padding, stride_w=2, stride_h=1, filter_width=2, filter_height=3,
        fused_activation_function=activation,
    )  # fmt: skip
    rows, columns = (7, 3) if padding == 0 else (5, 3)
    assert_equal(operator(name, [end(kind, SHAPE, scale, 3)], end(kind, (2, rows, columns, 3), scale, 3), options))


AXES = ([1, 2], [3], [0], [-1, -2, -3], [0, 1, 2, 3])
QUOTIENTS = ((0.05, 0.05), (0.05, 0.0371), (0.05, 2.0), (0.05, 0.0001), (0.4375, 0.25))


def reduction(name: str, kind: str, axes: list[int], keep: bool, scales: tuple[float, float]) -> Model:
    over = {a % 4 for a in axes}
    shape = tuple(1 if i in over else n for i, n in enumerate(SHAPE) if keep or i not in over)
    ends = [end(kind, SHAPE, scales[0], -7), indices(axes)]
    return operator(name, ends, end(kind, shape, scales[1], 11), Table("ReducerOptions", keep_dims=keep))


@pytest.mark.parametrize("scales", QUOTIENTS)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("keep", [True, False])
class TestReductions:
    @pytest.mark.parametrize("kind", KINDS)
    def test_mean(self, kind: str, axes: list[int], keep: bool, scales: tuple[float, float]) -> None:
        assert_equal(reduction("MEAN", kind, axes, keep, scales))

    def test_sum_of_uint8(self, axes: list[int], keep: bool, scales: tuple[float, float]) -> None:
        assert_equal(reduction("SUM", "UINT8", axes, keep, scales))

    def test_sum_of_signed(self, axes: list[int], keep: bool, scales: tuple[float, float]) -> None:
        """LiteRT's reference kernel reads signed integers as UINT8: ours must be what it computes of those."""
        x = np.random.default_rng(0).integers(-128, 128, SHAPE)
        (unsigned,) = _theirs(reduction("SUM", "UINT8", axes, keep, scales), (x + 128).astype(np.uint8))
        (ours,) = NumpyRunner(reduction("SUM", "INT8", axes, keep, scales)).run([x.astype(np.int8)]).values()
        np.testing.assert_array_equal(ours, unsigned.astype(int) - 128)
        # the zero points of INT16 are 0, those of the others -7 and 11
        wide = NumpyRunner(reduction("SUM", "INT16", axes, keep, scales)).run([(x + 7).astype(np.int16)])["y"]
        assert wide.dtype == np.int16
        np.testing.assert_array_equal(np.clip(wide.astype(int) + 11, -128, 127), ours)


def _theirs(model: Model, x: Any) -> list[Any]:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    return list(LiteRTRunner(model, resolver="reference").run([x]).values())


@pytest.mark.parametrize("count", [1, 2, 3, 49, 64, 1000])
def test_means_of_many(count: int) -> None:
    ends = [int8((20, count), 0.1, 5), indices([1])]
    assert_equal(operator("MEAN", ends, int8((20,), 0.07, -3), Table("ReducerOptions")))


@pytest.mark.parametrize("kind", KINDS)
def test_pad(kind: str) -> None:
    paddings = indices([[0, 1], [2, 0]])
    options = Table("PadOptions")
    assert_equal(operator("PAD", [end(kind, (3, 4), 0.1, 7), paddings], end(kind, (4, 6), 0.1, 7), options))
    value = end(kind, (), 0.1, 7, values=np.array(33, kind.lower()))
    ends = [end(kind, (3, 4), 0.1, 7), paddings, value]
    assert_equal(operator("PADV2", ends, end(kind, (4, 6), 0.1, 7), Table("PadV2Options")))


def test_a_padding_value_of_another_scale() -> None:
    ends = [int8((3,), 0.1), indices([[1, 1]]), int8((), 0.2, values=np.array(3, np.int8))]
    with pytest.raises(InvalidValue, match=r"^PADV2 \(subgraph 0, operator 0\): PADV2 with a value of another scale"):
        NumpyRunner(operator("PADV2", ends, int8((5,), 0.1), Table("PadV2Options")))


def test_concatenation_of_other_scales() -> None:
    ends = [uint8((2, 200), 0.1, 128), uint8((2, 300), 0.0371, 7), uint8((2, 256), 0.1, 127), uint8((2, 256), 3.0, 0)]
    options = Table("ConcatenationOptions", axis=1)
    assert_equal(operator("CONCATENATION", ends, uint8((2, 1012), 0.1, 128), options))
    ends = [uint8((2, 256), 0.25, 7), uint8((2, 256), 0.5, 7)]  # ties
    assert_equal(operator("CONCATENATION", ends, uint8((2, 512), 0.5, 8), options))
    made = operator("CONCATENATION", [int8((2, 2), 0.1), int8((2, 2), 0.2)], int8((2, 4), 0.1), options)
    with pytest.raises(NotFound, match="it computes on INT8 values"):
        NumpyRunner(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("fields", [{}, {"align_corners": True}, {"half_pixel_centers": True}])
def test_resizing(name: str, kind: str, fields: Any) -> None:
    table = "ResizeBilinearOptions" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    ends = [end(kind, SHAPE, 0.1, 7), indices([11, 5])]
    assert_equal(operator(name, ends, end(kind, (2, 11, 5, 3), 0.1, 7), Table(table, **fields)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "inputs", "shape", "options"),
    [
        ("RESHAPE", [indices([7, 36])], (7, 36), Table("ReshapeOptions", new_shape=[7, 36])),
        ("TRANSPOSE", [indices([0, 3, 1, 2])], (2, 3, 7, 6), Table("TransposeOptions")),
        ("SLICE", [indices([0, 1, 2, 0]), indices([2, 3, 3, 3])], (2, 3, 3, 3), Table("SliceOptions")),
        ("REVERSE_V2", [indices([1])], SHAPE, Table("ReverseV2Options")),
    ],
)
@pytest.mark.parametrize("other", [0.1, 0.3])
def test_movement(name: str, inputs: list[End], shape: Any, options: Table, kind: str, other: float) -> None:
    """Elements are copied, whatever the scales are."""
    assert_equal(operator(name, [end(kind, SHAPE, 0.1, 7), *inputs], end(kind, shape, other, 7), options))


@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM"])
def test_choices(name: str) -> None:
    options = Table("MaximumMinimumOptions")
    assert_equal(operator(name, [int8(SHAPE, 0.1, 3), int8(SHAPE, 0.2, 5)], int8(SHAPE, 0.1, 3), options))


PAIRS = [(a, b) for a in ("INT8", "UINT8") for b in KINDS] + [("INT16", "INT8"), ("INT16", "INT16")]


@pytest.mark.parametrize(("before", "after"), PAIRS)
@pytest.mark.parametrize("scales", [(0.1, 0.1), (0.25, 0.5), (0.5, 0.25), (0.0371, 0.9), (1.0, 0.001)])
def test_requantize(before: str, after: str, scales: tuple[float, float]) -> None:
    count = 65536 if before == "INT16" else 256
    limits = np.iinfo(before.lower())
    values = np.arange(limits.min, limits.max + 1).astype(before.lower())[None]
    ends = [end(before, (1, count), scales[0], -5)], end(after, (1, count), scales[1], 12)
    assert_equal(operator("QUANTIZE", *ends, Table("QuantizeOptions")), [[values]])


@pytest.mark.parametrize("after", ["INT8", "INT16"])
def test_requantize_int32(after: str) -> None:
    ends = [End("INT32", (1, 500), 0.0001, 3)], end(after, (1, 500), 10.0, 4)
    values = np.random.default_rng(0).integers(-(2**24), 2**24, (1, 500)).astype(np.int32)
    assert_equal(operator("QUANTIZE", *ends, Table("QuantizeOptions")), [[values]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 0.0371, 1 / 3, 0.25])
def test_quantize(kind: str, scale: float) -> None:
    rng = np.random.default_rng(0)
    steps = rng.integers(-40000, 40000, 40000) / 2 if kind == "INT16" else rng.integers(-600, 600, 40000) / 2
    x = (steps * np.float32(scale)).astype(np.float32)  # near ties, where a product with 1 / scale rounds otherwise
    x[:4] = 0, -0.0, 1e7, -1e7  # beyond 2**31 steps LiteRT casts to int32, which C leaves undefined
    ends = [End("FLOAT32", (1, 40000))], end(kind, (1, 40000), scale, 5)
    assert_equal(operator("QUANTIZE", *ends, Table("QuantizeOptions")), [[x[None]]])


def test_quantize_by_channel() -> None:
    x = np.array([[0.25, 0.3], [-1, 1e30]], np.float32)
    affine = Affine("INT8", [0.5, 0.1], [1, 2], PerAxis(1))
    assert quantize_divided(x, affine).tolist() == [[2, 5], [-1, 127]]


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("depth", [1, 3, 64, 3000])
@pytest.mark.parametrize("point", [0, -128, 90])
def test_l2_normalization(kind: str, depth: int, point: int) -> None:
    x, y = end(kind, (40, depth), 0.1, point), end(kind, (40, depth), 1 / 128)
    made = operator("L2_NORMALIZATION", [x], y, Table("L2NormOptions"))
    rng, offset = np.random.default_rng(2), 128 * (kind == "UINT8")
    wide = rng.integers(-128, 128, (40, depth))
    near = (point + rng.integers(-2, 3, (40, depth))).clip(-128, 127)
    given = [(v + offset).astype(kind.lower()) for v in (wide, near, np.full((40, depth), point))]
    assert_equal(made, [[v] for v in given])


def test_l2_normalization_to_other_scales() -> None:
    made = operator("L2_NORMALIZATION", [int8((2, 3), 0.1)], int8((2, 3), 0.1), Table("L2NormOptions"))
    with pytest.raises(InvalidValue, match=r"an output of INT8 with scale 0\.1.* 1/128 and 0 are required"):
        NumpyRunner(made)


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
@pytest.mark.parametrize("axes", [[1], [0, 2], [-1], [0, 1, 2]])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("scales", [(0.05, 0.05), (0.9, 0.02), (0.01, 3.0)])
def test_product(kind: str, axes: list[int], keep: bool, scales: tuple[float, float]) -> None:
    shape = (2, 3, 5)
    over = {a % 3 for a in axes}
    out = tuple(1 if i in over else n for i, n in enumerate(shape) if keep or i not in over)
    before, after = (s / 100 if kind == "INT16" else s for s in scales)
    ends = [end(kind, shape, before, -7), indices(axes)]
    assert_equal(operator("REDUCE_PROD", ends, end(kind, out, after, 11), Table("ReducerOptions", keep_dims=keep)))

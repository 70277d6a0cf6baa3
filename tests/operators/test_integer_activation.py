"""Integer kernels of activations, against LiteRT's reference kernels: all values, all scales that matter."""

from __future__ import annotations

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model, Table
from tests.conformance.judge import End, assert_equal, operator

BYTES = {"INT8": np.arange(-128, 128).astype(np.int8), "UINT8": np.arange(256).astype(np.uint8)}
ALL16 = np.arange(-32768, 32768).astype(np.int16)
RECTIFIED = ("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1")
SCALES = (0.004, 0.0235, 0.05, 0.125, 0.37)
SHARES = {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)}


def unary(name: str, kind: str, before: tuple[float, int], after: tuple[float, int]) -> Model:
    shape = (1, 65536 if kind == "INT16" else 256)
    return operator(name, [End(kind, shape, *before)], End(kind, shape, *after))


def judge(name: str, kind: str, before: tuple[float, int], after: tuple[float, int]) -> None:
    values = ALL16 if kind == "INT16" else BYTES[kind]
    assert_equal(unary(name, kind, before, after), [[values[None]]])


@pytest.mark.parametrize("name", RECTIFIED)
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("scale", SCALES)
def test_rectified(name: str, kind: str, scale: float) -> None:
    offset = 128 if kind == "UINT8" else 0
    for other, point in ((scale, -128), (0.0123, 17), (0.25, -100)):
        judge(name, kind, (scale, 9 + offset), (other, point + offset))


@pytest.mark.parametrize("name", ["RELU", "RELU6"])
@pytest.mark.parametrize("scale", [*SCALES, 0.017, 0.0187, 0.0213, 0.0229, 0.0257, 0.0273, 0.0291])
def test_rectified_int16(name: str, scale: float) -> None:
    judge(name, "INT16", (scale / 100, 0), (0.0003, 0))


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("scale", SCALES)
class TestBytes:
    def test_logistic(self, scale: float, kind: str) -> None:
        for point in (-128, 0, 77):
            judge("LOGISTIC", kind, (scale, point + 128 * (kind == "UINT8")), SHARES[kind])

    def test_tanh(self, scale: float, kind: str) -> None:
        offset = 128 * (kind == "UINT8")
        judge("TANH", kind, (scale, 5 + offset), (1 / 128, offset))
        judge("TANH", kind, (scale, 5 + offset), (0.01, 3 + offset))

    def test_hard_swish(self, scale: float, kind: str) -> None:
        offset = 128 * (kind == "UINT8")
        for other, point in ((scale, -100), (0.013, 5), (0.5, 0)):
            judge("HARD_SWISH", kind, (scale, -3 + offset), (other, point + offset))
            judge("HARD_SWISH", kind, (scale, -128 + offset), (other, point + offset))


@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("scale", [2**-12, 2**-11, 2**-10, 2**-14, 3.1e-4, 1e-3, 1e-5, 7e-3])
def test_int16(name: str, scale: float) -> None:
    judge(name, "INT16", (scale, 0), SHARES["INT16"])


def test_hard_swish_with_a_small_output_scale() -> None:
    with pytest.raises(InvalidValue, match=r"^HARD_SWISH \(subgraph 0, operator 0\): HARD_SWISH from a scale of 0.5"):
        NumpyRunner(unary("HARD_SWISH", "INT8", (0.5, 0), (0.003, 0)))


@pytest.mark.parametrize("name", ["LOGISTIC", "SOFTMAX"])
def test_other_outputs_are_refused(name: str) -> None:
    options = Table("SoftmaxOptions", beta=1.0) if name == "SOFTMAX" else None
    end = End("INT8", (1, 4), 0.1)
    with pytest.raises(InvalidValue, match=rf"^{name} \(subgraph 0, operator 0\): an output of INT8 with scale 0.1"):
        NumpyRunner(operator(name, [end], End("INT8", (1, 4), 0.1, -128), options))


class TestSoftmax:
    def model(self, kind: str, to: str, scale: float, beta: float, depth: int = 17) -> Model:
        x = End(kind, (50, depth), scale, 0 if kind == "INT16" else 3)
        y_scale, point = SHARES[to]
        y = End(to, (50, depth), y_scale, -32768 if (kind, to) == ("INT8", "INT16") else point)
        if (kind, to) == ("INT8", "INT16"):
            y = End(to, (50, depth), 1 / 65536, -32768)
        return operator("SOFTMAX", [x], y, Table("SoftmaxOptions", beta=beta))

    @pytest.mark.parametrize("kinds", [("INT8", "INT8"), ("UINT8", "UINT8"), ("INT8", "INT16"), ("INT16", "INT16")])
    @pytest.mark.parametrize("beta", [1.0, 0.3, 4.0])
    @pytest.mark.parametrize("scale", SCALES)
    def test_random(self, scale: float, beta: float, kinds: tuple[str, str]) -> None:
        factor = 1 / 100 if kinds[0] == "INT16" else 1
        made = self.model(*kinds, scale * factor, beta)
        rng = np.random.default_rng(1)
        dtype = kinds[0].lower()
        limits = np.iinfo(dtype)
        near = rng.normal(0, limits.max / 20, (50, 17)).clip(limits.min, limits.max).astype(dtype)
        wide = rng.integers(limits.min, limits.max + 1, (50, 17)).astype(dtype)
        assert_equal(made, [[near], [wide], [np.full((50, 17), 5, dtype)]])

    @pytest.mark.parametrize("scale", [1e-6, 1e-3, 40.0, 3e8])
    def test_extreme_scales(self, scale: float) -> None:
        assert_equal(self.model("INT8", "INT8", scale, 1.0))

    def test_one_and_many_elements(self) -> None:
        assert_equal(self.model("INT8", "INT8", 0.1, 1.0, depth=1))
        assert_equal(self.model("INT8", "INT8", 0.1, 1.0, depth=1001))


KINDS = pytest.mark.parametrize("kind", ["INT8", "UINT8"])


class TestTables:
    @pytest.mark.parametrize("scale", SCALES)
    def test_elu(self, scale: float) -> None:
        for point in (-100, 0, 77):
            for after in ((scale, point), (0.02, -77), (0.3, 5)):
                made = unary("ELU", "INT8", (scale, point), after)
                assert_equal(made, [[BYTES["INT8"][None]]], resolver="builtin")  # the only one that has it

    @pytest.mark.parametrize("approximate", [False, True])
    @pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
    @pytest.mark.parametrize("scale", [*SCALES, 0.0113, 0.0251])
    def test_gelu(self, scale: float, kind: str, approximate: bool) -> None:
        words = kind == "INT16"
        values = ALL16 if words else BYTES[kind]
        offset = 128 * (kind == "UINT8")
        for before, after in (((scale, 3), (scale, -90)), ((scale, 0), (0.02, -120))):
            ends = [(s / 100, 0) if words else (s, z + offset) for s, z in (before, after)]
            x, y = (End(kind, (1, values.size), *end) for end in ends)
            made = operator("GELU", [x], y, Table("GeluOptions", approximate=approximate))
            assert_equal(made, [[values[None]]])

    @pytest.mark.parametrize("alpha", [0.2, 0.01, 1.5, 0.0])
    @pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
    @pytest.mark.parametrize("scale", [0.004, 0.05, 0.37])
    def test_leaky_relu(self, scale: float, kind: str, alpha: float) -> None:
        words = kind == "INT16"
        values = ALL16 if words else BYTES[kind]
        offset = 128 * (kind == "UINT8")
        for before, after in (((scale, 0), (scale, 0)), ((scale, -9), (0.0123, 17)), ((scale, 3), (0.4, -128))):
            ends = [(s, 0) if words else (s, z + offset) for s, z in (before, after)]
            x, y = (End(kind, (1, values.size), *end) for end in ends)
            made = operator("LEAKY_RELU", [x], y, Table("LeakyReluOptions", alpha=alpha))
            assert_equal(made, [[values[None]]])

    @KINDS
    @pytest.mark.parametrize("scale", [0.004, 0.05, 0.37])
    def test_prelu(self, scale: float, kind: str) -> None:
        offset = 128 * (kind == "UINT8")
        for before, slopes, after in (((scale, 0), (0.01, 0), (scale, 0)), ((scale, -9), (0.3, 7), (0.012, 17))):
            ends = [(s, z + offset) for s, z in (before, slopes, after)]
            x, alpha, y = (
                End(kind, shape, *end) for end, shape in zip(ends, ((256, 256), (1, 256), (256, 256)), strict=True)
            )
            made = operator("PRELU", [x, alpha], y)
            assert_equal(made, [[np.repeat(BYTES[kind][:, None], 256, 1), BYTES[kind][None]]])

    def test_prelu_of_too_many_slopes(self) -> None:
        end = End("INT8", (1, 4), 0.1)
        runner = NumpyRunner(operator("PRELU", [end, End("INT8", (2, 4), 0.1)], End("INT8", (2, 4), 0.1)))
        with pytest.raises(InvalidValue, match=r"PRELU of \(1, 4\) with slopes \(2, 4\): they must"):
            runner.run([np.zeros((1, 4), np.int8), np.zeros((2, 4), np.int8)])


class TestLogSoftmax:
    def model(self, kind: str, scale: float, depth: int) -> Model:
        point = 255 if kind == "UINT8" else 127
        return operator("LOG_SOFTMAX", [End(kind, (50, depth), scale, 3)], End(kind, (50, depth), 16 / 256, point))

    @KINDS
    @pytest.mark.parametrize("scale", [*SCALES, 1e-6, 1.0, 5.0, 40.0])
    @pytest.mark.parametrize("depth", [1, 17, 300])
    def test_random(self, depth: int, scale: float, kind: str) -> None:
        rng = np.random.default_rng(1)
        limits = np.iinfo(kind.lower())
        near = rng.normal(0, 6, (50, depth)).clip(-60, 60) + (limits.min + limits.max + 1) // 2
        wide = rng.integers(limits.min, limits.max + 1, (50, depth))
        assert_equal(self.model(kind, scale, depth), [[v.astype(limits.dtype)] for v in (near, wide)])

    def test_other_outputs_are_refused(self) -> None:
        end = End("INT8", (1, 4), 0.1)
        with pytest.raises(InvalidValue, match=r"^LOG_SOFTMAX \(subgraph 0, operator 0\): an output of INT8 with"):
            NumpyRunner(operator("LOG_SOFTMAX", [end], End("INT8", (1, 4), 0.1, 127)))

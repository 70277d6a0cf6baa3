"""Test vectors say all: another implementation computes every operator from them alone, with the same integers."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation.vectors import record_samples
from quantlib.operators import RUNTIMES
from quantlib.tflite import Model, Table
from tests.conformance.judge import End, indices, operator, samples
from tests.evaluation.golden_folder import assert_replayed, write
from tests.support import networks_integer, replay
from tests.support.shared import SHARED, needs_shared

KWS = SHARED / "models" / "mlperf_kws_dscnn_int8.tflite"


def quantized(mode: str = "int8") -> Model:
    model = ql.read(ql.demo.MODEL)
    return ql.quantize(model, mode, ql.calibrate(model, ql.demo.CALIBRATION))


def test_the_replay_knows_nothing_of_quantlib() -> None:
    modules = sorted(Path(replay.__file__).parent.glob("replay*.py"))
    assert len(modules) == 6
    for module in modules:
        nodes = list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))
        names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "replay" for n in nodes if isinstance(n, ast.ImportFrom)}
        allowed = {"__future__", "json", "operator", "collections", "pathlib", "typing", "numpy"}
        others = {name.split(".")[0] for name in names} - allowed
        assert all(name.startswith("replay") for name in others), module


@pytest.mark.parametrize("mode", ["int8", "uint8", "int16x8", "int8-int4"])
def test_the_demo_model(mode: str, tmp_path: Path) -> None:
    found = write(quantized(mode), ql.demo.SAMPLES, tmp_path, 3)
    formulas = {
        *("quantize", "convolution", "depthwise_convolution", "max_pool", "add", "mean", "fully_connected"),
        "dequantize",
    }
    assert_replayed(found, formulas | {"softmax_int16" if mode == "int16x8" else "softmax"})


@needs_shared
def test_the_kws_model(tmp_path: Path) -> None:
    model = ql.read(KWS)
    rng = np.random.default_rng(0)
    found = write(model, rng.integers(-128, 128, (2, 49, 10, 1), dtype=np.int8), tmp_path, 2)
    assert_replayed(
        found, {"convolution", "depthwise_convolution", "average_pool", "copy", "fully_connected", "softmax"}
    )
    index = replay.read(tmp_path / "vectors")
    assert len(index["operators"]) == 13
    assert all(record["arithmetic"] for record in index["operators"])
    assert sum(count for count, _ in found.values()) == 2 * (5 * 8000 + 4 * 8000 + 64 + 64 + 12 + 12)


@needs_shared
def test_the_outputs_are_what_litert_computes(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed (the extra 'litert')")
    model = ql.read(KWS)
    data = np.random.default_rng(1).integers(-128, 128, (1, 49, 10, 1), dtype=np.int8)
    ql.golden(model, data, tmp_path / "vectors")
    seen: dict[int, np.ndarray] = {}
    runner = ql.runners.LiteRTRunner(model, resolver="reference")
    runner.run([data], tap=lambda g, i, values: seen.update({i: values.copy()}))
    for record in replay.read(tmp_path / "vectors")["operators"]:
        output = record["outputs"][0]
        with np.load(tmp_path / "vectors" / record["file"]) as arrays:
            np.testing.assert_array_equal(arrays["output_0"][0], seen[output["tensor"]])


KINDS = ("INT8", "UINT8", "INT16")


def end(kind: str, shape: tuple[int, ...], scale: float, point: int = 0, **fields: Any) -> End:
    scale = scale / 128 if kind == "INT16" else scale
    return End(kind, shape, scale, {"INT8": point, "UINT8": point + 128, "INT16": 0}[kind], **fields)


def unary(name: str, options: Table, scale: float, out: tuple[float, int]) -> Callable[[str], Model]:
    def make(kind: str) -> Model:
        return operator(name, [end(kind, (3, 40), scale, 5)], end(kind, (3, 40), *out), options)

    return make


def binary(name: str, options: Table, scale: float) -> Callable[[str], Model]:
    def make(kind: str) -> Model:
        given = [end(kind, (4, 5, 6), 0.04, 7), end(kind, (5, 1), 0.11, -3)]
        return operator(name, given, end(kind, (4, 5, 6), scale, 9), options)

    return make


def pool(kind: str) -> Model:
    options = Table("Pool2DOptions", padding=0, stride_w=2, stride_h=1, filter_width=2, filter_height=3)
    return operator("AVERAGE_POOL_2D", [end(kind, (2, 7, 6, 3), 0.05, 3)], end(kind, (2, 7, 3, 3), 0.05, 3), options)


def convolution(kind: str) -> Model:
    """Two groups, a stride, a dilation, a bias and a ReLU6."""
    rng = np.random.default_rng(2)
    filters = rng.integers(-127, 128, (6, 3, 3, 2)).astype(np.int8)
    weights = End("INT8", filters.shape, np.float32(0.01) * (1 + np.arange(6, dtype=np.float32)), values=filters)
    if kind == "UINT8":
        weights = End("UINT8", filters.shape, 0.01, 120, values=(filters.astype(int) + 128).astype(np.uint8))
    bias = rng.integers(-3000, 3000, 6).astype(np.int64 if kind == "INT16" else np.int32)
    x = end(kind, (1, 9, 8, 4), 0.05, -9)
    given = [x, weights, End("INT64" if kind == "INT16" else "INT32", (6,), 0.0005, values=bias)]
    options = Table(
        "Conv2DOptions", padding=0, stride_w=1, stride_h=2, dilation_w_factor=2, dilation_h_factor=1,
        fused_activation_function=3,
    )  # fmt: skip
    return operator("CONV_2D", given, end(kind, (1, 5, 8, 6), 0.04, -100), options)


def transposed(kind: str) -> Model:
    filters = np.random.default_rng(3).integers(-127, 128, (3, 3, 2, 4)).astype(np.int8)
    weights = End("INT8", filters.shape, np.float32([0.02, 0.03, 0.04]), values=filters)
    if kind == "UINT8":
        weights = End("UINT8", filters.shape, 0.02, 120, values=(filters.astype(int) + 128).astype(np.uint8))
    options = Table("TransposeConvOptions", padding=0, stride_w=2, stride_h=2)
    given = [indices([1, 7, 8, 3]), weights, end(kind, (1, 4, 4, 4), 0.05, 4)]
    return operator("TRANSPOSE_CONV", given, end(kind, (1, 7, 8, 3), 0.7, 11), options)


def matmul(kind: str) -> Model:
    given = [end(kind, (2, 3, 5), 0.05, 4), end(kind, (2, 4, 5), 0.03, 0)]
    return operator("BATCH_MATMUL", given, end(kind, (2, 3, 4), 0.3, -5), Table("BatchMatMulOptions", adj_y=True))


def mean(kind: str) -> Model:
    given = [end(kind, (2, 7, 6, 3), 0.05, -7), indices([1, -2])]
    return operator("MEAN", given, end(kind, (2, 3), 0.0371, 11), Table("ReducerOptions"))


def padded(kind: str) -> Model:
    given = [end(kind, (3, 4), 0.1, 7), indices([[0, 1], [2, 0]])]
    return operator("PAD", given, end(kind, (4, 6), 0.1, 7), Table("PadOptions"))


CASES: dict[str, tuple[str, Callable[[str], Model], tuple[str, ...]]] = {
    "sub": ("subtract", binary("SUB", Table("SubOptions"), 0.09), KINDS),
    "add relu": ("add", binary("ADD", Table("AddOptions", fused_activation_function=1), 0.09), KINDS),
    "mul": ("multiply", binary("MUL", Table("MulOptions"), 0.05), KINDS),
    "logistic": ("table", unary("LOGISTIC", Table("AddOptions"), 0.05, (1 / 256, -128)), ("INT8", "UINT8")),
    "tanh": ("table", unary("TANH", Table("AddOptions"), 0.05, (1 / 128, 0)), ("INT8", "UINT8")),
    "relu6": ("table", unary("RELU6", Table("AddOptions"), 0.1, (0.05, -128)), KINDS[:2]),
    "leaky": ("table", unary("LEAKY_RELU", Table("LeakyReluOptions", alpha=0.2), 0.1, (0.05, 3)), KINDS[:2]),
    "hard swish": ("table", unary("HARD_SWISH", Table("HardSwishOptions"), 0.05, (0.05, 3)), ("INT8", "UINT8")),
    "elu": ("table", unary("ELU", Table("AddOptions"), 0.05, (0.05, 3)), ("INT8",)),
    "prelu": ("prelu", binary("PRELU", Table("AddOptions"), 0.09), ("INT8", "UINT8")),
    "average pool": ("average_pool", pool, KINDS),
    "convolution": ("convolution", convolution, KINDS),
    "transposed": ("transposed_convolution", transposed, KINDS),
    "matmul": ("batch_matmul", matmul, ("INT8", "INT16")),
    "mean": ("mean", mean, KINDS),
    "pad": ("pad", padded, KINDS),
    "requantize": ("requantize", unary("QUANTIZE", Table("AddOptions"), 0.05, (0.07, 20)), KINDS),
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, case in CASES.items() for kind in case[2]])
def test_single_operators(name: str, kind: str, tmp_path: Path) -> None:
    formula, make, _ = CASES[name]
    model = make(kind)
    assert_replayed(write(model, samples(model, 2), tmp_path, 2), {formula})


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_said_of_another_runtime_holds(runtime: str, tmp_path: Path) -> None:
    found = write(quantized(), ql.demo.SAMPLES, tmp_path, 2, runtime)
    assert_replayed(found, FORMULAS_OF_THE_DEMO[runtime])


#: With XNNPACK, LiteRT's own kernels compute SOFTMAX.
FORMULAS_OF_THE_DEMO = {
    runtime: {"convolution", "depthwise_convolution", "max_pool", "fully_connected", "dequantize", *others}
    for runtime, others in {
        "reference": ("quantize", "add", "mean", "softmax"),
        "builtin": ("quantize_vectors", "add_vectors", "mean", "softmax_float"),
        "xnnpack": ("quantize_even", "weighted_sum", "sum_even", "softmax_float"),
    }.items()
}


def test_a_record_says_whose_kernel_computes(tmp_path: Path) -> None:
    write(quantized(), ql.demo.SAMPLES, tmp_path, 1, "xnnpack")
    records = replay.read(tmp_path / "vectors")["operators"]
    found = {r["type"]: (r["arithmetic"]["runtime"], r["arithmetic"]["multipliers"]) for r in records}
    assert {name: runtime for name, (runtime, _) in found.items() if runtime != "xnnpack"} == {
        "SOFTMAX": "builtin", "MAX_POOL_2D": "builtin", "DEQUANTIZE": "builtin",
    }  # fmt: skip
    (output,) = found["CONV_2D"][1]
    assert output["rounding"] == "float32"
    np.testing.assert_array_equal(np.float32(output["real"]), output["real"])


#: Files of others, as many types of operators as there are.
FILES = (
    *("mlperf_ic_resnet8_int8", "mlperf_vww_mobilenet_96_int8", "mlperf_ad_toycar_int8", "mnist_lstm_int8"),
    *("mobilenet_v1_0.25_224_qat_uint8", "mobilenet_v2_1.0_224_ptq_uint8io", "mlperf_ad_toycar_dynamic"),
)


@needs_shared
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", FILES)
def test_every_operator_of_a_file(name: str, runtime: str, tmp_path: Path) -> None:
    model = ql.read(SHARED / "models" / f"{name}.tflite")
    found = write(model, samples(model, 1), tmp_path, 1, runtime)
    assert "" not in {formula for _, formula in found}
    assert_replayed(found, {formula for _, formula in found})


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("mode", ["dynamic", "int16x8"])
def test_other_modes(mode: str, runtime: str, tmp_path: Path) -> None:
    found = write(quantized(mode), ql.demo.SAMPLES, tmp_path, 2, runtime)
    assert {key: wrong for key, (_, wrong) in found.items() if wrong} == {}
    assert {formula for _, formula in found} & {"hybrid_convolution", "softmax_int16"}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("make", [networks_integer.lstm, networks_integer.lstm_normalized, networks_integer.svdf])
def test_recurrent_operators_and_their_states(make: Callable[[], Model], runtime: str, tmp_path: Path) -> None:
    model = make()
    found = write(model, samples(model, 2), tmp_path, 2, runtime)
    assert_replayed(found, {formula for _, formula in found})
    assert {"lstm", "svdf"} & {formula for _, formula in found}


def test_a_state_is_kept_as_it_was_and_as_it_became(tmp_path: Path) -> None:
    model = networks_integer.svdf()
    write(model, samples(model, 2), tmp_path, 2)
    (record,) = (r for r in replay.read(tmp_path / "vectors")["operators"] if r["type"] == "SVDF")
    assert [entry["before"] for entry in record["inputs"]] == [None, None, None, None, "input_4_before"]
    with np.load(tmp_path / "vectors" / record["file"]) as arrays:
        before, after = arrays["input_4_before"], arrays["input_4"]
    assert before.shape == after.shape
    assert not before.any()  # each sample begins anew
    assert after.any(axis=(1, 2)).all()


def test_a_state_of_a_loop_is_what_its_last_turn_found(tmp_path: Path) -> None:
    class Twice(ql.runners.NumpyRunner):
        def run(self, inputs: Any, *, tap: Any = None, keep_state: bool = False) -> Any:
            super().run(inputs, tap=tap)
            return super().run(inputs, tap=tap, keep_state=True)

    model = networks_integer.svdf()
    given, states = samples(model, 1), {}
    spool = record_samples(Twice(model), given, 1, str(tmp_path))
    ql.runners.NumpyRunner(model).run(given[0], tap=lambda g, i, values: states.update({i: values.copy()}))
    found = 0
    for index, state in states.items():
        trace = spool.trace(0, index, before=True)
        if trace is not None:
            np.testing.assert_array_equal(trace.values()[0], state)
            found += 1
    assert found


def test_a_square_root_has_a_table_from_its_zero_point_on(tmp_path: Path) -> None:
    model = operator("SQRT", [End("INT8", (1, 100), 0.1, -28)], End("INT8", (1, 100), 0.05, -28), Table("AddOptions"))
    ql.golden(model, np.arange(-28, 72, dtype=np.int8)[None], tmp_path / "vectors")
    assert_replayed(replay.replay(tmp_path / "vectors"), {"table"})
    (record,) = replay.read(tmp_path / "vectors")["operators"]
    assert record["arithmetic"]["settings"] == {"first": -28}


def test_a_wrong_integer_is_seen(tmp_path: Path) -> None:
    ql.golden(convolution("INT8"), samples(convolution("INT8"), 1), tmp_path / "vectors")
    (path,) = (tmp_path / "vectors" / "operators").iterdir()
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["multiplier_output_mantissa"] = changed["multiplier_output_mantissa"] + 1
    changed["output_0"] = changed["output_0"] ^ np.int8(1)
    np.savez(path, **changed)
    ((count, wrong),) = replay.replay(tmp_path / "vectors").values()
    assert count == wrong

"""Whole quantized models: every integer tensor in NumPy equals that of LiteRT's reference kernels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib.numerics import Affine, quantize
from quantlib.runners import NumpyRunner
from quantlib.tflite import read
from tests.conformance.judge import assert_equal, samples
from tests.conformance.table import FILE, MODES, rows
from tests.runners.accuracy import BIG as SLOW
from tests.runners.accuracy import tasks
from tests.support.shared import SHARED, needs_shared

pytestmark = needs_shared

#: Files whose operators all have kernels in NumPy.
RUN = (
    "hello_world_int8",
    "mlperf_ad_toycar_dynamic",
    "mlperf_ad_toycar_int8",
    "mlperf_ic_resnet8_int8",
    "mlperf_kws_dscnn_dynamic",
    "mlperf_kws_dscnn_int8",
    "mlperf_vww_mobilenet_96_int8",
    "mnist_conv_fc_a8w8_int8",
    "mnist_lstm_int8",
    "mobilenet_v1_0.25_224_qat_uint8",
    "dtln_1_dynamic",
)
#: A network that is there without its metadata, too.
TWICE = frozenset({"mobilenet_v1_0.25_224_float_metadata"})
#: Those that take LiteRT's reference kernels seconds.
BIG = ("mnv3_portrait_seg_ptq_uint8io", "mobilenet_v2_1.0_224_ptq_uint8io", "ssd_mobilenet_v1_coco_qat_uint8")


def path_of(name: str) -> Path:
    return SHARED / "models" / f"{name}.tflite"


def floating(name: str) -> str:
    """The float file that a quantized one was made from."""
    return name.replace("_a8w8", "").replace("_int8", "_float").replace("_dynamic", "_float")


@pytest.mark.parametrize("name", RUN)
def test_random_samples(name: str) -> None:
    assert_equal(read(path_of(name)))


@pytest.mark.parametrize("name", BIG)
def test_a_sample_of_a_big_model(name: str) -> None:
    model = read(path_of(name))
    assert_equal(model, samples(model, 1))


@pytest.mark.parametrize("runtime", ["builtin", "xnnpack"])
@pytest.mark.parametrize("name", [*RUN, *BIG])
def test_other_runtimes(name: str, runtime: str) -> None:
    """Every tensor of a sample with LiteRT's own kernels, the outputs with its default interpreter."""
    for row in rows(name, FILE, 1, runtime):
        assert not row.fails, row.line()
        # outputs are all that XNNPACK shows; those of a detector are floats, and equal
        equal = runtime == "xnnpack" and row.tensors and row.own == math.inf
        assert row.integers or equal or name.endswith("_dynamic")


@pytest.mark.parametrize("name", [name for name in RUN if floating(name) in tasks()])
def test_real_samples(name: str) -> None:
    model = read(path_of(name))
    port = NumpyRunner(model).interface.inputs[0]
    meaning = model.tensor((0, port.index)).quantization
    given: list[Any] = tasks()[floating(name)].samples("eval", 2)
    if meaning is not None:
        affine = Affine(port.type, meaning.scale, meaning.zero_point)
        given = [tuple(quantize(x.astype(np.float32), affine) for x in sample) for sample in given]
    assert_equal(model, given)


@pytest.mark.filterwarnings("ignore::UserWarning")  # ranges from few samples are what's wanted
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW | TWICE else n for n in tasks()]
)
def test_what_recipes_make(name: str, mode: str) -> None:
    for row in rows(name, mode, 1):
        assert not row.fails, row.line()
        assert row.integers or mode == "dynamic"


def test_all_quantized_files_are_judged() -> None:
    found = {
        p.stem
        for p in (SHARED / "models").glob("*.tflite")
        if p.stem.endswith(("int8", "uint8", "uint8io", "_dynamic"))
    }
    assert found == {*RUN, *BIG}

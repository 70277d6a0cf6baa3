"""`retype` of inputs and outputs: every pair of types, exact after the affine map, in every resolver."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.numerics import Affine, dequantize, quantize, round_half_away
from quantlib.passes import retype, tidy
from quantlib.runners import affine_of
from quantlib.tflite import METADATA, Draft, Model, Quantization, quantization_table
from tests.support.litert import RESOLVERS, interpreter
from tests.support.models import branches
from tests.support.network import Network, served
from tests.support.networks import example
from tests.support.planned import names, planned, samples
from tests.support.shared import MODELS, name_of, needs_shared

Array = npt.NDArray[Any]
TYPES = ("FLOAT32", "INT8", "UINT8", "INT16")
PAIRS = list(product(TYPES, TYPES))
MODES = {"int8": "INT8", "int16x8": "INT16", "uint8": "UINT8"}


def forms(model: Model, side: str) -> list[Affine | None]:
    return [affine_of(model.tensor((0, int(t)))) for t in getattr(model.subgraphs[0], side)]


def mapped(values: Array, old: Affine | None, new: Affine | None) -> Array:
    """The same numbers in another form."""
    real = values if old is None else dequantize(values, old)
    return real if new is None else quantize(real, new, rounding=round_half_away)


def answers(model: Model, feeds: list[list[Array]], resolver: str) -> list[list[Array]]:
    made = interpreter(model.to_bytes(), resolver)
    found = []
    for feed in feeds:
        for detail, values in zip(made.get_input_details(), feed, strict=True):
            made.set_tensor(detail["index"], values)
        made.reset_all_variables()
        made.invoke()
        found.append([made.get_tensor(d["index"]) for d in made.get_output_details()])
    return found


def feeds_of(model: Model, count: int = 2) -> list[list[Array]]:
    """Any integers that the inputs can hold, or floats."""
    rng = np.random.default_rng(0)
    fed = []
    for _ in range(count):
        sample = []
        for t, form in zip(model.subgraphs[0].inputs, forms(model, "inputs"), strict=True):
            shape = model.tensor((0, int(t))).shape
            if form is None:
                sample.append(rng.standard_normal(shape).astype(np.float32))
            else:
                values = rng.integers(form.qmin, form.qmax + 1, shape)
                sample.append(values.astype(form.type.storage))
        fed.append(sample)
    return fed


def difference(before: Model, after: Model, resolver: str) -> int:
    """Steps of the original's outputs by which the changed model's differ, once mapped to each other."""
    feeds = feeds_of(before)
    old, new = ((forms(m, "inputs"), forms(m, "outputs")) for m in (before, after))
    changed = [[mapped(*each) for each in zip(feed, old[0], new[0], strict=True)] for feed in feeds]
    worst = 0
    for one, other in zip(answers(before, feeds, resolver), answers(after, changed, resolver), strict=True):
        for a, b, was, now in zip(one, other, old[1], new[1], strict=True):
            worst = max(worst, int(np.abs(mapped(b, now, was).astype(np.int64) - a.astype(np.int64)).max()))
    return worst


def classifier(mode: str, **ends: str) -> Model:
    """A quantized network whose signature has other names than its tensors."""
    net, model = served()
    kinds = {f"{side}_type": ends.get(side, MODES[mode]) for side in ("input", "output")}
    return ql.quantize(model, planned(model, samples(net), mode, **kinds))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("first", "last"), PAIRS)
def test_every_pair_of_types_is_exact(mode: str, first: str, last: str) -> None:
    model = classifier(mode)
    edited = retype(model, input_type=first, output_type=last.lower())
    graph = edited.model.subgraphs[0]
    ends = [edited.model.tensor((0, int(v[0]))) for v in (graph.inputs, graph.outputs)]
    assert [t.type for t in ends] == [first, last]
    assert [t.name for t in ends] == ["image", "scores"]
    entry = edited.model.root.signature_defs[0]
    assert [(e.name, e.tensor_index) for e in (*entry.inputs, *entry.outputs)] == [
        ("pixels", ends[0].index), ("points", ends[1].index),
    ]  # fmt: skip
    narrowed = mode == "int16x8" and {first, last} & {"INT8", "UINT8"}
    for resolver in RESOLVERS:
        if narrowed:  # 8 bits don't say what 16 did: as far as the ends tell
            answers(edited.model, feeds_of(edited.model), resolver)
        else:
            assert difference(model, edited.model, resolver) == 0


@pytest.mark.parametrize("mode", ["int8", "uint8"])
@pytest.mark.parametrize(("first", "last"), PAIRS)
def test_there_and_back_is_the_model_that_it_was(mode: str, first: str, last: str) -> None:
    model = classifier(mode)
    there = retype(model, input_type=first, output_type=last).model
    back = tidy(retype(there, input_type=MODES[mode], output_type=MODES[mode]).model).model
    assert names(back) == names(model)
    assert forms(back, "inputs") == forms(model, "inputs")
    assert forms(back, "outputs") == forms(model, "outputs")


@pytest.mark.parametrize("kind", TYPES[1:])
def test_float_ends_beside_quantize_are_stripped_or_converted(kind: str) -> None:
    model = classifier("int8", input="FLOAT32", output="FLOAT32")
    assert names(model)[0], names(model)[-1] == ("QUANTIZE", "DEQUANTIZE")
    edited = retype(model, input_type=kind, output_type=kind)
    inner = ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert names(edited.model) == (inner if kind == "INT8" else ["QUANTIZE", *inner, "QUANTIZE"])
    word = "stripped" if kind == "INT8" else "converted"
    assert [str(line) for line in edited.done] == [
        f"input image: FLOAT32 -> {kind}: QUANTIZE {word}",
        f"output scores: FLOAT32 -> {kind}: DEQUANTIZE {word}",
    ]
    for resolver in RESOLVERS:
        assert difference(edited.model, model, resolver) == 0


def test_the_same_type_is_left_and_said() -> None:
    model = classifier("int8")
    edited = retype(model, input_type="INT8", output_type="INT8")
    assert edited.model is model
    assert [str(line) for line in edited.kept] == ["input image: is INT8 already", "output scores: is INT8 already"]


def test_from_16_bits_to_uint8_goes_by_way_of_int8() -> None:
    model = retype(classifier("uint8"), input_type="INT16").model
    assert names(model)[:3] == ["QUANTIZE", "QUANTIZE", "CONV_2D"]
    assert [model.tensor((0, int(o.outputs[0]))).type for o in model.subgraphs[0].operators[:2]] == ["INT8", "UINT8"]


def test_16_bits_hold_every_value_of_8() -> None:
    model = classifier("int8")
    (old,), (new,) = (forms(m, "inputs") for m in (model, retype(model, input_type="INT16").model))
    assert old is not None
    assert new is not None
    every = np.arange(-128, 128, dtype=np.int8)
    np.testing.assert_array_equal(dequantize(every, old), dequantize(mapped(every, old, new), new))


def read_within(kind: str) -> Model:
    """An INT8 tensor that is an output and is read within, and an input that INT8 and float operators read."""
    net = Network()
    x = net.input("x", (1, 8))
    table = quantization_table(Quantization(np.float32(0.05), np.int64(3)))

    def scaled(name: str, of: int, operator: str = "QUANTIZE") -> int:
        y = net.op(operator, [of], name, (1, 8), type="INT8")
        net.graph.tensors[y] = net.graph.tensors[y].replace(quantization=table)
        return y

    q = scaled("q", x)
    y = scaled("y", q, "RELU")
    z = net.op("DEQUANTIZE", [y], "z", (1, 8), version=2)
    sine = net.op("SIN", [x], "sine", (1, 8))
    return net.done(y, z, sine) if kind == "both" else net.done(z, sine)


@pytest.mark.parametrize("kind", ["both", "one"])
@pytest.mark.parametrize(("first", "last"), PAIRS)
def test_what_others_read_stays_as_they_read_it(kind: str, first: str, last: str) -> None:
    model = read_within(kind)
    ends = {"y": last, "z": last} if kind == "both" else {"z": last}
    edited = retype(model, input_type=first, output_type=ends)
    made = edited.model
    assert made.tensor("z").type == last
    start = retype(model, input_type="INT8").model if first != "FLOAT32" else model
    for resolver in RESOLVERS:
        feeds = feeds_of(start)
        old, new = (forms(m, "inputs")[0] for m in (start, made))
        expected = answers(start, feeds, resolver)
        found = answers(made, [[mapped(f[0], old, new)] for f in feeds], resolver)
        for one, other in zip(expected, found, strict=True):
            for a, b, was, now in zip(one, other, forms(start, "outputs"), forms(made, "outputs"), strict=True):
                real = dequantize(a, was) if was is not None else a
                again = dequantize(b, now) if now is not None else b
                np.testing.assert_allclose(real, again, rtol=0, atol=1e-6)


def clipped() -> Model:
    """An INT8 input that is brought to another scale, and an output that is."""
    net = Network()

    def scaled(of: int, name: str, scale: float, operator: str = "QUANTIZE") -> int:
        y = net.op(operator, [of], name, (1, 64), type="INT8")
        return given(y, scale)

    def given(t: int, scale: float) -> int:
        table = quantization_table(Quantization(np.float32(scale), np.int64(3)))
        net.graph.tensors[t] = net.graph.tensors[t].replace(quantization=table)
        return t

    inner = scaled(given(net.input("x", (1, 64), "INT8"), 0.05), "inner", 0.031)
    return net.done(scaled(scaled(inner, "relu", 0.02, "RELU"), "y", 0.013))


@pytest.mark.parametrize(("first", "last"), PAIRS)
def test_a_rescale_beside_an_end_stays(first: str, last: str) -> None:
    model = clipped()
    edited = retype(model, input_type=first, output_type=last)
    for resolver in RESOLVERS:
        assert difference(model, edited.model, resolver) == 0


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_16_bits_become_8_within_a_step(side: str, kind: str) -> None:
    model = classifier("int16x8")
    edited = retype(model, **{f"{side}_type": kind})
    (wide,), (narrow,) = (forms(m, f"{side}s") for m in (model, edited.model))
    assert wide is not None
    assert narrow is not None
    assert float(narrow.scale[0]) == 256 * float(wide.scale[0])
    (feed,) = feeds_of(model, 1)
    fed = [mapped(feed[0], wide, narrow)] if side == "input" else feed
    on_grid = [mapped(fed[0], narrow, wide)] if side == "input" else feed
    for resolver in RESOLVERS:
        (a,), (b,) = (answers(m, [f], resolver)[0] for m, f in ((model, on_grid), (edited.model, fed)))
        if side == "input":
            np.testing.assert_array_equal(a, b)
        else:
            assert np.abs(dequantize(a, wide) - dequantize(b, narrow)).max() <= float(narrow.scale[0])


def test_signatures_of_their_own_subgraphs() -> None:
    model = ql.quantize(example("two_signatures").model, "float16")
    with pytest.raises(InvalidValue, match="FLOAT32 without QUANTIZE beside it"):
        retype(model, input_type="int8")


def test_an_end_of_a_float_model_gets_the_scale_that_training_used() -> None:
    net = Network()
    model = net.done(net.op("SIN", [net.input("x", (1, 8))], "y", (1, 8)))
    edited = retype(model, input_type="uint8", input_stats=(127.5, 127.5))
    assert names(edited.model) == ["DEQUANTIZE", "SIN"]
    (form,) = forms(edited.model, "inputs")
    assert form == Affine(ql.numerics.element_type("UINT8"), np.float32([1 / 127.5]), [128])
    signed = retype(model, input_type="int8", input_stats=(127.5, 127.5))
    values = np.arange(8, dtype=np.int8).reshape(1, 8)
    (one,) = answers(signed.model, [[values]], "default")
    (other,) = answers(edited.model, [[(values.astype(int) + 128).astype(np.uint8)]], "default")
    np.testing.assert_array_equal(one[0], other[0])


def statistics(model: Model, raw: bytes) -> Model:
    draft = Draft(model)
    draft.set_metadata(METADATA, raw)
    return draft.done()


@needs_shared
def test_metadata_follows_the_type() -> None:
    path = next(p for p in MODELS if name_of(p) == "mobilenet_v1_0.25_224_qat_uint8.tflite")
    model = ql.read(path)
    changed = retype(model, input_type="int8", output_type="float32").model
    raw, made = (m.data(next(e.buffer for e in m.root.metadata if e.name == METADATA)) for m in (model, changed))
    a, b = raw.numpy().tobytes(), made.numpy().tobytes()
    assert len(a) == len(b)
    old, new = (np.frombuffer(x[: len(x) // 4 * 4], "<f4") for x in (a, b))
    places = np.flatnonzero(old.view("i4") != new.view("i4"))
    assert sorted(zip(old[places].tolist(), new[places].tolist(), strict=True)) == [(0.0, -128.0), (255.0, 127.0)]
    assert changed.trailing == model.trailing
    assert interpreter(changed.to_bytes()) is not None


def string_input() -> Model:
    net = Network()
    net.input("text", (1,), "STRING")
    x = net.input("x", (1, 4))
    return net.done(net.op("RELU", [x], "y", (1, 4)))


def through() -> Model:
    net = Network()
    return net.done(net.input("x", (1, 4)))


@pytest.mark.parametrize(
    ("model", "wish", "error", "message"),
    [
        (lambda: classifier("int8"), {}, InvalidValue, "nothing to retype"),
        (lambda: classifier("int8"), {"input_type": "int4"}, InvalidValue, "type 'int4': an end has one of FLOAT32"),
        (
            lambda: classifier("int8"),
            {"input_type": {"picture": "int8"}},
            NotFound,
            "no input 'picture'; the model has",
        ),
        (string_input, {"input_type": {"text": "int8"}}, InvalidValue, "STRING values have no scale"),
        (through, {"input_type": "int8"}, InvalidValue, "an input and an output at once"),
        (string_input, {"output_type": "int8"}, InvalidValue, "quantize the model with calibration data"),
        (string_input, {"input_type": {"x": "int8"}, "input_stats": (0, 0)}, InvalidValue, "standard deviation 0"),
        (string_input, {"input_type": {"x": "int8"}, "input_stats": (256, 1)}, InvalidValue, "mean 256"),
    ],
)
def test_what_cannot_be_is_said(model: Any, wish: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        retype(model(), **wish)


def test_an_end_per_channel_is_refused() -> None:
    net = Network()
    x = net.input("x", (1, 4), "INT8")
    table = quantization_table(Quantization(np.ones(4, "f4"), np.zeros(4, int), 1))
    net.graph.tensors[x] = net.graph.tensors[x].replace(quantization=table)
    model = net.done(net.op("DEQUANTIZE", [x], "y", (1, 4), version=5))
    with pytest.raises(InvalidValue, match="4 scales; one is required"):
        retype(model, input_type="float32")


def test_by_name_or_alias_and_the_others_stay() -> None:
    model = classifier("int8")
    for name in ("pixels", "image"):
        edited = retype(model, input_type={name: "float32"})
        assert [f is None for f in (*forms(edited.model, "inputs"), *forms(edited.model, "outputs"))] == [True, False]


_SMALL = [p for p in MODELS if "int8" in p.name and p.stat().st_size < 400_000]


@pytest.mark.parametrize("path", _SMALL or [pytest.param(Path(), marks=needs_shared)], ids=name_of if _SMALL else str)
def test_converters_files_are_exact(path: Path) -> None:
    model = ql.read(path)
    for first, last in (("FLOAT32", "UINT8"), ("UINT8", "INT16"), ("INT16", "FLOAT32")):
        assert difference(model, retype(model, input_type=first, output_type=last).model, "reference") == 0


def test_what_another_subgraph_runs_keeps_its_ends() -> None:
    """IF hands its branch what it has, whether that has a signature of its own or not."""
    model = branches()
    edited = retype(model, input_type="uint8", input_stats=(127.5, 127.5))
    assert edited.model.tensor((0, 1)).type == "UINT8"
    assert "another subgraph runs this one" in str(edited.kept[-1])
    assert edited.model.subgraphs[1] == model.subgraphs[1]
    for resolver in RESOLVERS:
        interpreter(edited.model.to_bytes(), resolver)


def test_mean_and_deviation_that_nobody_asks_for_are_refused() -> None:
    small = ql.quantize(ql.read(ql.demo.MODEL), ql.recipes.int8(input_type="INT8", default_ranges=(-1.0, 1.0)))
    for options in ({"input_type": "uint8"}, {"output_type": "int8"}, {"activations": "int16"}, {"batch": 2}):
        with pytest.raises(InvalidValue, match="input_stats says nothing"):
            retype(small, input_stats=(127.5, 127.5), **options)

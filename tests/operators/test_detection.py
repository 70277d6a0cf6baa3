"""The detectors' last operator agrees with LiteRT, on drawn boxes and on those of a real network."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from quantlib.errors import InvalidModel, InvalidValue
from quantlib.operators import Call, family, kernel
from quantlib.operators.detection.floating import Detector, decode_boxes, suppress
from quantlib.tflite import Draft, Table, decode_flexbuffer, read
from tests.support.examples import examples
from tests.support.litert import interpreter
from tests.support.shared import SHARED, needs_shared

NAME = "TFLite_Detection_PostProcess"
CUSTOM = 32


def litert(boxes, scores, anchors, attributes):
    draft = Draft()
    graph = draft.graphs[0]
    arrays = boxes, scores, anchors
    inputs = [graph.add_tensor(f"input{i}", "FLOAT32", a.shape) for i, a in enumerate(arrays)]
    outputs = [graph.add_tensor(f"output{i}", "FLOAT32", ()) for i in range(4)]
    graph.inputs, graph.outputs = inputs, outputs
    code = draft.coded(Table("OperatorCode", builtin_code=CUSTOM, custom_code=NAME), 1)
    raw = np.frombuffer(bytes(flexbuffers.Dumps(attributes)), np.uint8)
    graph.append(Table("Operator", opcode_index=code, inputs=inputs, outputs=outputs, custom_options=raw))
    made = interpreter(draft.done().to_bytes(), "reference")
    for detail, array in zip(made.get_input_details(), arrays, strict=True):
        made.set_tensor(detail["index"], array)
    made.invoke()
    return [made.get_tensor(d["index"]) for d in made.get_output_details()]


def ours(boxes, scores, anchors, attributes):
    decoded = decode_flexbuffer(bytes(flexbuffers.Dumps(attributes)))
    return kernel(NAME)(Call((boxes, scores, anchors), Table("AddOptions"), ("FLOAT32",) * 4, decoded))


ATTRIBUTES = {
    "max_detections": 5,
    "max_classes_per_detection": 1,
    "nms_score_threshold": 0.25,
    "nms_iou_threshold": 0.5,
    "num_classes": 3,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def drawn(seed, count, classes, width=4):
    rng = np.random.default_rng(seed)
    anchors = rng.uniform(0.1, 0.9, (count, 4)).astype(np.float32)
    boxes = rng.standard_normal((1, count, width)).astype(np.float32)
    return boxes, rng.uniform(0, 1, (1, count, classes)).astype(np.float32), anchors


def same(expected, found, room, classes, most):
    """Equal up to what LiteRT leaves unwritten behind the kept boxes."""
    assert expected[3].tolist() == found[3].tolist()
    assert [a.shape for a in found] == [(1, room, 4), (1, room), (1, room), (1,)]
    for one, other in zip(expected[:3], found[:3], strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        rows = int(found[3][0]) * classes
        blocks = [a[0].reshape(-1, most, *a.shape[2:])[:, :classes].reshape(-1, *a.shape[2:]) for a in (one, other)]
        # Corners are computed in float64 with libm's exp and rounded twice: half a unit each of what is below 4.
        np.testing.assert_allclose(blocks[1][:rows], blocks[0][:rows], rtol=0, atol=4 * np.finfo(np.float32).eps)
        assert not other[0].reshape(-1, most, *other.shape[2:])[int(found[3][0]) :].any()


@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 40),
    classes=st.integers(1, 5),
    background=st.booleans(),
    most=st.integers(1, 6),
    width=st.integers(4, 6),
    iou=st.sampled_from([0.1, 0.5, 0.6, 1.0]),
    least=st.sampled_from([1e-8, 0.3, 0.9, 2.0]),
)
@examples(100)
def test_best_classes_first(seed, count, classes, background, most, width, iou, least):
    given_ = drawn(seed, count, classes + background, width)
    attributes = {
        **ATTRIBUTES,
        "num_classes": classes,
        "max_classes_per_detection": most,
        "nms_iou_threshold": iou,
        "nms_score_threshold": least,
    }
    found = ours(*given_, attributes)
    same(litert(*given_, attributes), found, 5 * most, min(most, classes), most)


@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 40),
    classes=st.integers(1, 5),
    background=st.booleans(),
    per_class=st.sampled_from([None, 1, 2, 100]),
    iou=st.sampled_from([0.1, 0.5, 1.0]),
    least=st.sampled_from([1e-8, 0.3, 2.0]),
    ties=st.booleans(),
)
@examples(100)
def test_class_by_class(seed, count, classes, background, per_class, iou, least, ties):
    boxes, scores, anchors = drawn(seed, count, classes + background)
    scores = np.round(scores * 4) / 4 if ties else scores
    attributes = {
        **ATTRIBUTES,
        "num_classes": classes,
        "use_regular_nms": True,
        "nms_iou_threshold": iou,
        "nms_score_threshold": least,
    }
    if per_class:
        attributes["detections_per_class"] = per_class
    found = ours(boxes, scores, anchors, attributes)
    same(litert(boxes, scores, anchors, attributes), found, 5, 1, 1)


def test_boxes_without_area_overlap_nothing():
    boxes = np.array([[0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1], [0.5, 0, 0.5, 1]], np.float32)
    scores = np.array([0.5, 0.9, 0.7, 0.6], np.float32)
    assert suppress(boxes, scores, 9, 0.0, 0.1).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, 2, 0.0, 0.1).tolist() == [1, 2]
    assert suppress(boxes, scores, 9, 0.65, 0.1).tolist() == [1, 2]
    assert suppress(boxes, scores, 9, 0.7, 0.1).tolist() == [1, 2]  # thresholds are float32, and included


def test_boxes_are_relative_to_their_anchors():
    encodings = np.array([[10, -5, 0, 5 * np.log(2)]], np.float32)
    anchors = np.array([[0.5, 0.25, 0.2, 0.1]], np.float32)
    found = decode_boxes(encodings, anchors, (10, 5, 5, 5))
    np.testing.assert_allclose(found, [[0.6, 0.05, 0.8, 0.25]], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nms_iou_threshold": 0.0}, "nms_iou_threshold 0.0"),
        ({"nms_iou_threshold": 1.5}, "nms_iou_threshold 1.5"),
        ({"num_classes": None}, "numbers are required"),
        ({"num_classes": 7}, "scores of 3 classes"),
        ({"num_classes": 1}, "scores of 3 classes"),
        ({"max_detections": 0}, "without classes or detections"),
        ({"h_scale": 0}, "none may be 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(InvalidValue, match=message):
        ours(*drawn(0, 4, 3), {**ATTRIBUTES, **changed})


def test_missing_options_are_named():
    with pytest.raises(InvalidValue, match="lack 'num_classes'"):
        Detector.of({})


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_operands_that_do_not_fit_are_refused(wrong):
    given_ = list(drawn(0, 4, 3))
    given_[wrong] = given_[wrong][..., :2, :]
    with pytest.raises(InvalidValue, match="required"):
        ours(*given_, ATTRIBUTES)
    given_[wrong] = drawn(0, 4, 3)[wrong].astype(np.float64)
    with pytest.raises(InvalidValue, match="float32 is required"):
        ours(*given_, ATTRIBUTES)


def test_the_family_is_known_by_the_custom_code():
    assert family(NAME) == "detection"


@needs_shared
@pytest.mark.filterwarnings("ignore:Warning. Enabling .experimental_preserve")
def test_boxes_of_a_real_detector(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(SHARED / "tools"), *sys.path])
    tasks = pytest.importorskip("tasks", reason="the tools beside the shared models aren't here")
    task = tasks.TASKS["ssd_mobilenet_v1_coco_float_reconstructed"]
    model = read(str(task.model))
    operator = next(o for o in model.subgraphs[0].operators if model.operator_name(o) == NAME)
    attributes = dict(decode_flexbuffer(operator.custom_options.tobytes()))
    litert_module = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    made = litert_module.Interpreter(model_path=str(task.model), experimental_preserve_all_tensors=True)
    made.allocate_tensors()
    for sample in task.samples(limit=4):
        made.set_tensor(made.get_input_details()[0]["index"], sample[0])
        made.invoke()
        given_ = [made.get_tensor(i) for i in operator.inputs.tolist()]
        expected = [made.get_tensor(i) for i in operator.outputs.tolist()]
        found = ours(*given_, attributes)
        assert found[3][0] == attributes["max_detections"]
        same(expected, found, attributes["max_detections"], 1, 1)
        regular = {**attributes, "use_regular_nms": True, "max_detections": 20}
        same(litert(*given_, regular), ours(*given_, regular), 20, 1, 1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 bytes"),
        (b"\x07\x04\x01", "without a map"),
        (b"\xff" * 8, "no FlexBuffer"),
        (bytes(flexbuffers.Dumps({"a": {"b": 1}}))[4:], "FlexBuffer"),
    ],
)
def test_bytes_that_are_no_options_are_refused(raw, message):
    with pytest.raises(InvalidModel, match=message):
        decode_flexbuffer(raw)


def test_nested_options_are_decoded_and_read_only():
    decoded = decode_flexbuffer(bytes(flexbuffers.Dumps({"a": [1, 2], "b": {"c": "d", "e": None}, "f": [1.5, "g"]})))
    assert decoded == {"a": (1, 2), "b": {"c": "d", "e": None}, "f": (1.5, "g")}
    with pytest.raises(TypeError):
        decoded["a"] = 1


def test_options_nested_too_deeply_are_refused():
    deep = {"a": 1}
    for _ in range(40):
        deep = {"a": deep}
    with pytest.raises(InvalidModel, match="deeper than 32"):
        decode_flexbuffer(bytes(flexbuffers.Dumps(deep)))


@given(seed=st.integers(0, 2**32))
@examples(300)
def test_damaged_options_end_in_a_named_error(seed):
    rng = np.random.default_rng(seed)
    raw = bytearray(flexbuffers.Dumps({**ATTRIBUTES, "list": [1, "x", {"y": [1.0, 2.0]}], "blob": b"123"}))
    for at in rng.integers(0, len(raw), rng.integers(1, 6)):
        raw[at] = rng.choice([0, 1, 255, rng.integers(0, 256)])
    try:
        decoded = decode_flexbuffer(bytes(raw))
    except InvalidModel as error:
        text = str(error)
        assert "\n" not in text
    else:
        assert len(repr(dict(decoded))) < 64 * len(raw)

"""`quantlib retype`: what is written and printed; bad requests in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.cli import main
from tests.support.network import Network, classifier, gaussian
from tests.support.planned import planned, samples


@pytest.fixture
def model(tmp_path: Path) -> str:
    net = Network()
    x = net.input("x", (1, 8))
    made = net.done(net.fully_connected("y", x, gaussian((4, 8))))
    path = tmp_path / "model.tflite"
    ql.quantize(made, planned(made, samples(net), "uint8", input_type="UINT8", output_type="UINT8")).write(path)
    return str(path)


@pytest.fixture
def floats(tmp_path: Path) -> str:
    path = tmp_path / "floats.tflite"
    classifier().write(path)
    return str(path)


def types(path: Path | str) -> list[str]:
    made = ql.read(path)
    graph = made.subgraphs[0]
    return [made.tensor((0, int(t))).type for t in (*graph.inputs, *graph.outputs)]


def test_types_of_all_ends_or_by_name(capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    words = ["retype", model, "-o", str(out)]
    assert main([*words, "--input-type", "int8", "--output-type", "float32"]) == 0
    assert types(out) == ["INT8", "FLOAT32"]
    assert "input x: UINT8 -> INT8: QUANTIZE inserted" in capsys.readouterr().out
    assert main([*words, "--input-type", "x=int16", "--json"]) == 0
    assert types(out) == ["INT16", "UINT8"]
    account = json.loads(capsys.readouterr().out)
    assert account["done"] == [{"where": "input x", "what": "UINT8 -> INT16: QUANTIZE inserted"}]


def test_activations_then_ends(model: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    assert main(["retype", model, "-o", str(out), "--activations", "int8", "--input-type", "uint8"]) == 0
    assert types(out) == ["UINT8", "INT8"]
    assert not {t.type for t in ql.read(out).tensors()} - {"UINT8", "INT8", "INT32"}


def test_activations_of_int16(capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    assert main(["retype", model, "-o", str(out), "--activations", "int16"]) == 0
    assert types(out) == ["INT16", "INT16"]
    assert "1 operator: on INT16" in capsys.readouterr().out
    assert main(["retype", model, "-o", str(out), "--activations", "int16", "--output-type", "float32"]) == 0
    assert types(out) == ["INT16", "FLOAT32"]


def test_batch_and_shape(floats: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    assert main(["retype", floats, "-o", str(out), "--batch", "4"]) == 0
    assert ql.read(out).tensor("image").shape == (4, 16, 16, 3)
    assert main(["retype", floats, "-o", str(out), "--shape", "image=2,16,16,3"]) == 0
    assert ql.read(out).tensor("dense").shape == (2, 10)
    assert main(["retype", floats, "-o", str(out), "--batch", "dynamic"]) == 0
    assert ql.read(out).tensor("dense").table.shape_signature.tolist() == [-1, 10]


def test_input_stats_and_weights(floats: str, tmp_path: Path) -> None:
    out = tmp_path / "out.tflite"
    assert main(["retype", floats, "-o", str(out), "--input-type", "uint8", "--input-stats", "127.5,127.5"]) == 0
    assert np.isclose(ql.read(out).tensor("image").quantization.scale[0], 1 / 127.5)
    assert main(["retype", floats, "-o", str(out), "--weights", "per-tensor"]) == 0
    assert out.read_bytes() == Path(floats).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "nothing to retype"),
        ("--input-type int7", "type 'int7': an end has one of FLOAT32, INT8, UINT8, INT16"),
        ("--input-type int8", "no scale for INT8 is known"),
        ("--input-type picture=int8", "no input 'picture'"),
        ("--input-stats 1", "two numbers with a comma"),
        ("--batch 0", "batch 0"),
        ("--batch -3", "batch -3"),
        ("--batch x", "batch 'x'"),
        ("--shape image=1,a,3", "NAME=N,N,... with whole numbers is required"),
        ("--shape image=1,2", "one like [1, 16, 16, 3]"),
        ("--batch dynamic --target edgetpu", "edgetpu takes no dimension that is known at run time only"),
        ("--batch 2 --target tpu", "no target 'tpu'"),
        ("--activations int8", "no UINT8 activations"),
        ("--activations float32", "activations 'float32'"),
        ("--weights int5", "weights 'int5'"),
    ],
)
def test_misuse_is_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], floats: str, tmp_path: Path, words: str, message: str
) -> None:
    out = tmp_path / "out.tflite"
    assert main(["retype", floats, "-o", str(out), *words.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_string_input_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    net = Network()
    text = net.input("text", (1,), "STRING")
    net.done(net.op("RESHAPE", [text], "y", (1,), type="STRING")).write(tmp_path / "text.tflite")
    path = str(tmp_path / "text.tflite")
    assert main(["retype", path, "-o", path, "--input-type", "int8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("quantlib retype: input text: STRING values have no scale; only FLOAT32, INT8, UINT8")
    assert error.count("\n") == 1

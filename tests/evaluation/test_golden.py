"""The folder of test vectors: what is in it, what its headers compile to, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound, QuantlibError, WriteFailed
from quantlib.evaluation import arithmetics
from quantlib.evaluation import golden as golden_function
from quantlib.evaluation.c_headers import COMMON, header
from quantlib.evaluation.vectors import Vectors
from quantlib.tflite import Draft, Model, Table
from tests.conformance.judge import End, int8, operator
from tests.support import models
from tests.support.network import Network, gaussian
from tests.support.replay import FORMULAS

COMPILER = shutil.which("cc")
NAMES = re.compile(r"`(\w+)`")
ROUNDINGS = ("double", "upward", "int64", "float64", "float32", "bits8")


@pytest.fixture(scope="module")
def small() -> Model:
    model = ql.read(ql.demo.MODEL)
    return ql.quantize(model, "int8", ql.calibrate(model, ql.demo.CALIBRATION))


def index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "index.json").read_text(encoding="utf-8"))


def test_the_index_says_what_is_in_the_arrays(small: Model, tmp_path: Path) -> None:
    found = ql.golden(small, ql.demo.SAMPLES, tmp_path / "v", samples=2)
    assert str(found).startswith(f"{tmp_path / 'v'}: 13 operators, 2 samples, runtime reference, ")
    known = index(tmp_path / "v")
    assert known["model"] == {"sha256": small.sha256, "bytes": small.source.size}
    assert known["runtime"]["name"] == "reference"
    assert (len(known["operators"]), known["samples"]) == (13, 2)
    assert found.bytes == sum(p.stat().st_size for p in (tmp_path / "v").rglob("*") if p.is_file())
    for record in known["operators"]:
        assert record["samples"] == [0, 1]
        with np.load(tmp_path / "v" / record["file"]) as arrays:
            assert_record(small, record, dict(arrays))


def assert_record(model: Model, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for operand in (*record["inputs"], *record["outputs"]):
        tensor = model.tensor((record["subgraph"], operand["tensor"]))
        array = arrays[operand["array"]]
        assert (operand["name"], operand["type"], tuple(operand["shape"])) == (tensor.name, tensor.type, tensor.shape)
        assert array.shape == tensor.shape if operand["constant"] else array.shape == (2, *tensor.shape)
        if operand["constant"]:
            np.testing.assert_array_equal(array, tensor.numpy())
        if tensor.quantization is not None:
            np.testing.assert_array_equal(np.float32(operand["scale"]), tensor.quantization.scale)
            np.testing.assert_array_equal(arrays[f"{operand['array']}_scale"], tensor.quantization.scale)
            np.testing.assert_array_equal(operand["zero_point"], arrays[f"{operand['array']}_zero_point"])
    for m in record["arithmetic"]["multipliers"]:
        for part in ("real", "mantissa", "shift"):
            np.testing.assert_array_equal(m[part], arrays[f"multiplier_{m['role']}_{part}"])
    assert set(record["arithmetic"]["tables"]) <= set(arrays)


def test_what_one_operator_writes_the_next_one_reads(small: Model, tmp_path: Path) -> None:
    ql.golden(small, ql.demo.SAMPLES, tmp_path / "v", samples=3)
    written: dict[int, np.ndarray] = {}
    for record in index(tmp_path / "v")["operators"]:
        with np.load(tmp_path / "v" / record["file"]) as arrays:
            for operand in record["inputs"]:
                if operand["tensor"] in written:
                    np.testing.assert_array_equal(arrays[operand["array"]], written[operand["tensor"]])
            written[record["outputs"][0]["tensor"]] = arrays["output_0"]
    given = np.load(ql.demo.SAMPLES)["image"][:3]
    (result,) = ql.run(small, {"image": given}).values()
    np.testing.assert_array_equal(list(written.values())[-1][:, 0], result)
    with np.load(tmp_path / "v" / index(tmp_path / "v")["operators"][0]["file"]) as arrays:
        np.testing.assert_array_equal(arrays["input_0"][:, 0], given)


def test_the_same_input_gives_the_same_bytes(small: Model, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ql.golden(small, ql.demo.SAMPLES, tmp_path / name, headers=True)
    files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "ab"]
    assert files[0] == files[1]
    assert len(files[0]) == 2 + 13 + 13 + 1


def test_the_readme_explains_every_formula_rounding_and_setting(small: Model, tmp_path: Path) -> None:
    ql.golden(small, ql.demo.SAMPLES, tmp_path / "v", samples=2)
    text = (tmp_path / "v" / "README.md").read_text(encoding="utf-8")
    assert "@" not in text
    assert small.sha256 in text
    assert "`reference`" in text
    headings = {name.strip() for line in re.findall(r"^### (.+)$", text, re.MULTILINE) for name in line.split(",")}
    assert headings == set(FORMULAS)
    assert set(re.findall(r"^`(\w+)`(?: \(|:)", text, re.MULTILINE)) >= {*ROUNDINGS}
    fields = {key for record in index(tmp_path / "v")["operators"] for key in record}
    operands = {key for record in index(tmp_path / "v")["operators"] for key in record["inputs"][0]}
    assert {*fields, *operands, "clamp", "multipliers", "settings", "tables"} - set(NAMES.findall(text)) == {
        "quantized_dimension"
    } - set(NAMES.findall(text))


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize("language", [["-std=c99"], ["-std=c11"], ["-x", "c++", "-std=c++11"]])
def test_headers_compile_without_a_warning(small: Model, tmp_path: Path, language: list[str]) -> None:
    ql.golden(small, ql.demo.SAMPLES, tmp_path / "v", headers=True)
    names = [record["header"] for record in index(tmp_path / "v")["operators"]]
    source = tmp_path / ("all.cc" if "c++" in language else "all.c")
    twice = [*names, *names]  # guards
    source.write_text("".join(f'#include "v/{name}"\n' for name in twice) + "int main(void) { return 0; }\n")
    words = [str(COMPILER), *language, "-fsyntax-only", "-Wall", "-Werror", "-pedantic", str(source)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
def test_c_reads_the_numbers_that_were_written(tmp_path: Path) -> None:
    arrays = {
        "a": np.array([-128, 127], np.int8),
        "b": np.array([-(2**31), 2**31 - 1], np.int32),
        "c": np.array([-(2**63), 2**63 - 1], np.int64),
        "d": np.array([0.1, np.inf, -np.inf, 1e-45, 3.0], np.float32),
        "e": np.array([0.1, 1e300], np.float64),
        "f": np.array([2**64 - 1], np.uint64),
        "g": np.zeros(0, np.int8),
    }
    record = {
        "subgraph": 0,
        "index": 1,
        "type": "A-B",
        "arithmetic": {"clamp": [-(2**31), 7], "settings": {"k": [[1]]}},
    }
    (tmp_path / "golden.h").write_text(COMMON)
    (tmp_path / "op.h").write_text(header(Vectors(record, arrays)))
    prints = "".join(
        f'for (int i = 0; i < OP_0_0001_A_B_{key.upper()}_SIZE; i++) printf("{form} ", {cast}op_0_0001_a_b_{key}[i]);'
        for key, form, cast in (
            *(("a", "%d", ""), ("b", "%d", ""), ("c", "%lld", "(long long)")),
            *(("d", "%.9g", ""), ("e", "%.17g", ""), ("f", "%llu", "(unsigned long long)")),
        )
    )
    source = tmp_path / "main.c"
    clamp = 'printf("%lld %d %d", (long long)OP_0_0001_A_B_CLAMP_0, OP_0_0001_A_B_CLAMP_1, OP_0_0001_A_B_K_0_0);'
    source.write_text(f'#include <stdio.h>\n#include "op.h"\nint main(void) {{ {prints} {clamp} return 0; }}\n')
    subprocess.run([str(COMPILER), "-std=c11", "-o", str(tmp_path / "main"), str(source)], check=True)
    words = subprocess.run([str(tmp_path / "main")], capture_output=True, text=True, check=True).stdout.split()
    assert words[:6] == ["-128", "127", str(-(2**31)), str(2**31 - 1), str(-(2**63)), str(2**63 - 1)]
    np.testing.assert_array_equal(np.float32(words[6:11]), arrays["d"])
    np.testing.assert_array_equal(np.float64(words[11:13]), arrays["e"])
    assert words[13:] == [str(2**64 - 1), str(-(2**31)), "7", "1"]


def test_a_folder_with_something_in_it_is_left_alone(small: Model, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(WriteFailed, match=r"a folder with something in it; choose another one, or empty it$"):
        ql.golden(small, ql.demo.SAMPLES, tmp_path)
    with pytest.raises(WriteFailed, match=r"mine: not a folder; choose another path$"):
        ql.golden(small, ql.demo.SAMPLES, tmp_path / "mine")
    with pytest.raises(WriteFailed, match="no such folder"):
        ql.golden(small, ql.demo.SAMPLES, tmp_path / "none" / "v")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(small: Model, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    ql.golden(small, ql.demo.SAMPLES, tmp_path / "v")
    assert (tmp_path / "v" / "README.md").is_file()


def test_a_failure_leaves_nothing(small: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(WriteFailed, match=r"No space left on device; choose another folder$"):
        ql.golden(small, ql.demo.SAMPLES, tmp_path / "v")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": 0}, InvalidValue, "0 samples; one or more are required"),
        ({"samples": 1000}, InvalidValue, "450 samples, and 1000 are asked for"),
        ({"runtime": "fast"}, NotFound, "no runtime 'fast'"),
        ({"signature": "other"}, NotFound, "other"),
    ],
)
def test_bad_requests(
    small: Model, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ql.golden(small, ql.demo.SAMPLES, tmp_path / "v", **options)
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_one_sample(tmp_path: Path) -> None:
    """What all samples have, 98 MB, waits in files, and is copied from there in pieces."""
    graph_input, count = (1, 16384), 3000
    model = operator("RELU", [int8(graph_input, 0.1)], int8(graph_input, 0.1, -128), Table("AddOptions"))
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        data = ([rng.integers(-128, 128, graph_input, dtype=np.int8)] for _ in range(count))
        ql.golden(model, data, tmp_path / "v", samples=count)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (record,) = index(tmp_path / "v")["operators"]
    with np.load(tmp_path / "v" / record["file"]) as arrays:
        assert arrays["output_0"].shape == (count, *graph_input)
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["README.md", "index.json", "operators"]
    assert most < 40 << 20


def test_data_that_is_not_there_is_named(small: Model, tmp_path: Path) -> None:
    with pytest.raises(QuantlibError, match=r"none\.npz") as found:
        ql.golden(small, tmp_path / "none.npz", tmp_path / "v")
    assert not isinstance(found.value, WriteFailed)
    assert list(tmp_path.iterdir()) == []


def test_shapes_that_change_are_named(tmp_path: Path) -> None:
    draft = Draft()
    graph = draft.graphs[0]
    parameters = {"quantization": models.parameters(0.1, 0, 0)}
    x = graph.add_tensor("x", "INT8", (1, 1), shape_signature=np.array([1, -1], np.int32), **parameters)
    y = graph.add_tensor("y", "INT8", (1, 1), shape_signature=np.array([1, -1], np.int32), **parameters)
    graph.append(draft.operator("RELU", [x], [y], None))
    graph.inputs, graph.outputs = [x], [y]
    data = [[np.zeros((1, n), np.int8)] for n in (2, 3)]
    with pytest.raises(InvalidValue, match=r"shapes \[1, 2\] and \[1, 3\] in different samples; ask for one sample"):
        ql.golden(draft.done(), data, tmp_path / "v", samples=2)
    ql.golden(draft.done(), data, tmp_path / "v")


def test_a_float_operator_has_its_inputs_and_outputs_alone(tmp_path: Path) -> None:
    net = Network()
    x = net.input("x", (1, 4))
    model = net.done(net.fully_connected("fc", x, gaussian((3, 4))))
    found = ql.golden(model, np.ones((1, 4), np.float32), tmp_path / "v")
    assert (found.described, found.others) == (0, (("FULLY_CONNECTED", 1),))
    assert str(found).endswith("0 with their arithmetic; inputs and outputs alone: FULLY_CONNECTED x1")
    (record,) = index(tmp_path / "v")["operators"]
    assert record["arithmetic"] is None
    assert record["reason"] == "not described for FLOAT32 FLOAT32 FLOAT32 FLOAT32 and runtime reference"
    with np.load(tmp_path / "v" / record["file"]) as arrays:
        assert set(arrays) == {"input_0", "input_1", "input_2", "output_0"}


def test_operators_on_constants_alone_are_listed(tmp_path: Path) -> None:
    model = ql.quantize(ql.read(ql.demo.MODEL), "float16")
    ql.golden(model, ql.demo.SAMPLES, tmp_path / "v")
    records = [r for r in index(tmp_path / "v")["operators"] if r["type"] == "DEQUANTIZE"]
    assert records
    for record in records:
        assert record["reason"] == "it reads constants alone"
        with np.load(tmp_path / "v" / record["file"]) as arrays:
            np.testing.assert_array_equal(arrays["output_0"], arrays["input_0"].astype(np.float32))


def test_effective_multipliers_come_by_place() -> None:
    filters = np.array([[[[1]]], [[[2]]]], np.int8)
    weights = End("INT8", (2, 1, 1, 1), np.float32([0.5, 0.25]), values=filters)
    options = Table("Conv2DOptions", stride_w=1, stride_h=1)
    model = operator("CONV_2D", [int8((1, 2, 2, 1), 0.5), weights], int8((1, 2, 2, 2), 1.0, 3), options)
    (found,) = arithmetics(model)[0, 0].multipliers
    np.testing.assert_array_equal(found.real, [0.25, 0.125])
    np.testing.assert_array_equal(found.mantissa, [1 << 30, 1 << 30])
    np.testing.assert_array_equal(found.shift, [-1, -2])
    assert golden_function is ql.golden


def test_a_broken_operator_hides_no_other() -> None:
    draft = Draft()
    graph = draft.graphs[0]
    x, y, z = (
        graph.add_tensor(name, "INT8", (1, 4), quantization=models.parameters(scale, 0, 0))
        for name, scale in (("x", 0.5), ("y", 0.25), ("z", np.nan))
    )
    for ends in ((x, y), (y, z)):
        graph.append(draft.operator("RELU", [ends[0]], [ends[1]], None))
    graph.inputs, graph.outputs = [x], [z]
    assert list(arithmetics(draft.done())) == [(0, 0)]

"""`quantlib quantize` and `quantlib plan` where activations become integers: every flag, every mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from tests.support.command import run
from tests.support.litert import RESOLVERS
from tests.support.litert import run as run_litert
from tests.support.models import branches, dense
from tests.support.network import Network, gaussian
from tests.support.presets import INTEGER_PRESETS
from tests.support.shared import SHARED, needs_shared

DEMO, DATA = str(ql.demo.MODEL), str(ql.demo.CALIBRATION)


@pytest.fixture(scope="module")
def statistics() -> ql.Statistics:
    return ql.calibrate(ql.read(DEMO), DATA)


@pytest.fixture(scope="module")
def stats(tmp_path_factory: pytest.TempPathFactory, statistics: ql.Statistics) -> Path:
    """Those as a file."""
    path = tmp_path_factory.mktemp("stats") / "stats.npz"
    statistics.save(path)
    return path


# ---- what it writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", INTEGER_PRESETS)
def test_it_writes_what_the_api_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stats: Path, statistics: ql.Statistics, recipe: str
) -> None:
    out = tmp_path / "small.tflite"
    status, text, error = run(capsys, "quantize", DEMO, "-o", out, "--recipe", recipe, "--stats", stats)
    assert (status, error) == (0, "")
    assert out.read_bytes() == ql.quantize(ql.read(DEMO), recipe, statistics).to_bytes()
    kind = {"int16x8": "INT16", "uint8": "UINT8"}.get(recipe, "INT8")
    assert text == (
        f"{out}: 196,416 -> {out.stat().st_size:,} bytes ({out.stat().st_size / 196_416:.3f}); "
        f"operators: 11 to {kind}, 0 left float (quantlib plan says why)\n"
    )


FLAGS: list[tuple[str, dict[str, Any]]] = [
    ("--range minmax", {"range": "minmax"}),
    ("--range percentile", {"range": "percentile"}),
    ("--range percentile --percentile 99", {"range": "percentile", "percentile": 99.0}),
    ("--percentile 99", {"range": "percentile", "percentile": 99.0}),
    ("--range entropy", {"range": "entropy"}),
    ("--weight-range mse --recipe int8-int4", {"weight_range": "mse", "weights": "INT4"}),
    ("--symmetric-activations", {"symmetric_activations": True}),
    ("--input-type int8", {"input_type": "INT8"}),
    ("--input-type UINT8", {"input_type": "UINT8"}),
    ("--output-type int16", {"output_type": "INT16"}),
    ("--input-stats 0,250", {"input_stats": (0.0, 250.0)}),
    ("--input-stats 3.5,250", {"input_stats": (3.5, 250.0)}),
    ("--per-tensor CONV_2D --per-tensor FULLY_CONNECTED", {"per_tensor_types": ("CONV_2D", "FULLY_CONNECTED")}),
    ("--granularity tensor", {"granularity": "tensor"}),
    ("--int16 ^logits$", {"int16": ("^logits$",)}),
    ("--int16-type SOFTMAX", {"int16_types": ("SOFTMAX",)}),
    ("--rounding nearest", {"rounding": "nearest"}),
    ("--skip ^conv1$", {"skip": ("^conv1$",)}),
    ("--only-type CONV_2D", {"only_types": ("CONV_2D",)}),
]


@pytest.mark.parametrize(("words", "changes"), FLAGS, ids=[words for words, _ in FLAGS])
def test_every_flag_is_a_field_and_changes_the_file(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stats: Path,
    statistics: ql.Statistics,
    words: str,
    changes: dict[str, Any],
) -> None:
    model, out = ql.read(DEMO), tmp_path / "o"
    recipe = ql.recipes.int8(**changes)
    status, _, error = run(capsys, "quantize", DEMO, "-o", out, "--stats", stats, "--recipe", "int8", *words.split())
    assert (status, error) == (0, "")
    assert out.read_bytes() == ql.quantize(model, recipe, statistics).to_bytes()
    assert out.read_bytes() != ql.quantize(model, ql.recipes.int8(weights=recipe.weights), statistics).to_bytes()


def test_tails_reach_the_recipe(capsys: pytest.CaptureFixture[str], stats: Path) -> None:
    assert run(capsys, "plan", DEMO, "--recipe", "int8", "--stats", stats, "--tails", "keep")[0] == 0
    assert "tails is 'cut'" in run(capsys, "plan", DEMO, "--recipe", "int8", "--stats", stats, "--tails", "cut")[2]


@pytest.mark.parametrize("options", ["", "--jobs 1", "--runner numpy"])
def test_data_calibrates_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stats: Path, options: str
) -> None:
    for name, source in (("a", ("--stats", str(stats))), ("b", ("--data", DATA, *options.split()))):
        assert run(capsys, "quantize", DEMO, "-o", tmp_path / name, "--recipe", "int8", *source)[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_runner_the_signature_and_warnings_of_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    branches().write(tmp_path / "b.tflite")
    np.save(tmp_path / "x.npy", gaussian((4, 4)))
    words = ("plan", tmp_path / "b.tflite", "--recipe", "int8", "--data", tmp_path / "x.npy")
    status, _, error = run(capsys, *words)
    assert status == 2
    assert "name one" in error
    status, text, error = run(capsys, *words, "--signature", "then", "--runner", "litert")
    assert status == 0
    assert "to INT8" in text
    assert any("4 samples are few" in line for line in error.splitlines())
    assert all(line.startswith("quantlib plan: warning: ") for line in error.splitlines())


def test_the_model_is_read_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def counted(path: str) -> ql.Model:
        opened.append(path)
        return ql.read(path)

    for command in ("quantize", "calibrate"):
        monkeypatch.setattr(sys.modules[f"quantlib.cli.{command}"], "read", counted)
    run(capsys, "quantize", DEMO, "-o", tmp_path / "o", "--recipe", "int8", "--data", DATA)
    assert opened == [DEMO]


def test_default_ranges_need_no_data_and_warn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o"
    words = ("quantize", DEMO, "-o", out, "--recipe", "int8", "--default-ranges", "-6,6")
    status, _, error = run(capsys, *words, "--strict")
    assert status == 0
    assert error == (
        "quantlib quantize: warning: activations that nothing else is known of have the range -6..6: for trials of "
        "speed only\n"
    )
    recipe = ql.recipes.int8(default_ranges=(-6, 6))
    assert out.read_bytes() == ql.quantize(ql.read(DEMO), recipe).to_bytes()


# ---- the plan --------------------------------------------------------------------------------------------


def test_the_plan_has_a_line_for_each_operator_then_notes_then_totals(
    capsys: pytest.CaptureFixture[str], stats: Path
) -> None:
    words = ("--recipe", "int8", "--stats", stats, "--skip", "^logits$", "--default-ranges", "0,1")
    status, text, error = run(capsys, "plan", DEMO, *words)
    assert (status, error) == (0, "")
    lines = text.splitlines()
    assert len(lines) == 13
    assert lines[0].startswith(
        "CONV_2D                  conv1: INT8[0.003922, -128] INT8[16 scales] INT32[16 scales] ->"
    )
    assert lines[9] == "FULLY_CONNECTED          logits: FLOAT32: skipped by the recipe"
    assert lines[11].startswith("note: activations that nothing else is known of")
    assert lines[12].startswith("10 to INT8 (98.0 % of 193,520 bytes), 1 left float; constants 193,520 -> ")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], stats: Path) -> None:
    words = ("--recipe", "int8", "--stats", stats, "--input-type", "int8", "--json")
    plan = json.loads(run(capsys, "plan", DEMO, *words)[1])
    assert (plan["mode"], plan["constants"], plan["notes"]) == ("int8", [], [])
    assert plan["totals"]["quantized"] == len(plan["operators"]) == 11
    dense = plan["operators"][8]
    assert (dense["name"], dense["type"], dense["mode"]) == ("dense", "FULLY_CONNECTED", "INT8")
    assert [None if a is None else a["type"] for a in dense["inputs"]] == ["INT8", "INT8", "INT32"]
    assert (dense["inputs"][1]["axis"], len(dense["inputs"][1]["scale"])) == (0, 96)
    (end,) = plan["ends"]
    assert (end["tensor"], end["type"], end["zero_point"]) == (0, "INT8", [-128])
    done = json.loads(run(capsys, "quantize", DEMO, "-o", tmp_path / "o", *words)[1])
    assert done == {
        "output": str(tmp_path / "o"),
        "bytes_before": 196_416,
        "bytes_after": (tmp_path / "o").stat().st_size,
        **plan,
    }


# ---- strict ----------------------------------------------------------------------------------------------


def with_cosine() -> ql.Model:
    """A product, and COS, of which LiteRT has no integer kernel."""
    net = Network()
    x = net.fully_connected("fc", net.input("x", (1, 8)), gaussian((8, 8)))
    return net.done(net.op("COS", [x], "wave", (1, 8)))


def test_strict_lists_what_stays_float(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "m.tflite", tmp_path / "o"
    with_cosine().write(path)
    words = (path, "--recipe", "int8", "--default-ranges", "-4,4", "--strict")
    for command in (("plan",), ("quantize", "-o", out)):
        status, text, error = run(capsys, *command, *words)
        assert status == 1
        first, second = error.splitlines()
        assert first == f"quantlib {command[0]}: 1 operator would stay float:"
        assert second.startswith("COS wave: ")
        assert "kernel" in second
        assert bool(text) == (command == ("plan",))
        assert not out.exists()
    assert run(capsys, "quantize", "-o", out, *words, "--skip-type", "COS")[0] == 0


def test_a_recipe_that_changes_nothing_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network()
    net.done(net.op("COS", [net.input("x", (1, 8))], "wave", (1, 8))).write(tmp_path / "m.tflite")
    words = (tmp_path / "m.tflite", "-o", tmp_path / "o", "--recipe", "int8", "--default-ranges", "-4,4")
    status, text, error = run(capsys, "quantize", *words)
    assert status == 0
    assert "operators: none changed, 1 left float" in text
    (left,) = ql.plan(ql.read(tmp_path / "m.tflite"), ql.recipes.int8(default_ranges=(-4, 4))).leftovers
    assert left.reason
    assert f"warning: nothing was quantized: {left.reason}; " in error


# ---- tuning ----------------------------------------------------------------------------------------------


def test_tune_keeps_the_best_that_it_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (DEMO, "--recipe", "int8", "--data", DATA, "--tune", "--input-type", "int8")
    status, text, error = run(capsys, "quantize", *words, "-o", tmp_path / "o")
    assert (status, error) == (0, "")
    tuned = ql.tune(ql.read(DEMO), ql.recipes.int8(input_type="INT8"), DATA)
    assert text.startswith(f"{tuned}\n{tmp_path / 'o'}: ")
    assert (tmp_path / "o").read_bytes() == ql.quantize(ql.read(DEMO), tuned.recipe, tuned.statistics).to_bytes()
    shown = json.loads(run(capsys, "plan", *words, "--json")[1])
    assert shown["tuned"] == json.loads(json.dumps(tuned.to_dict()))
    assert run(capsys, "plan", *words)[1].startswith(f"{tuned}\nCONV_2D ")


def test_tune_on_statistics_that_are_there(capsys: pytest.CaptureFixture[str], stats: Path) -> None:
    words = (DEMO, "--recipe", "int8", "--data", ql.demo.SAMPLES, "--stats", stats, "--tune")
    assert "450 samples held back" in run(capsys, "plan", *words)[1]


# ---- mistakes --------------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path: Path, stats: Path) -> Path:
    """A folder of statistics that don't belong to the model, and of what are none."""
    (tmp_path / "stats.npz").write_bytes(stats.read_bytes())
    with pytest.warns(ql.errors.CalibrationWarning):
        ql.calibrate(dense(), np.ones((12, 32), np.float32)).save(tmp_path / "other.npz")
    ql.calibrate(ql.read(DEMO), DATA, observer="minmax").save(tmp_path / "minmax.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "one.npz", image=np.load(DATA)["image"][:1])
    (tmp_path / "range.toml").write_text('recipe = "int8"\nrange = "kl"\n')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--recipe int8", "nothing is known of any; calibrate the model and give the statistics (--stats or --data)"),
        ("--recipe int8 --input-type int8", "no range of tensor 'image'"),
        ("--recipe int8 --stats {bad}/other.npz", "the statistics are of a model with SHA-256"),
        ("--recipe int8 --stats {bad}/text.npz", "text.npz: no archive"),
        ("--recipe int8 --stats {bad}/none.npz", "none.npz: No such file"),
        ("--recipe int8 --stats {bad}/stats.npz --data {data}", "either has the ranges"),
        ("--recipe int8 --data {bad}/none.npz", "no such file"),
        ("--recipe int8 --data {data} --signature encode", "there is no signature 'encode'"),
        ("--recipe int8 --data {data} --sequence --jobs 2", "depends on the order"),
        ("--recipe int8 --stats {bad}/stats.npz --runner numpy", "--runner says nothing beside a missing --data"),
        ("--recipe int8 --stats {bad}/stats.npz --jobs 2", "--jobs says nothing beside a missing --data"),
        ("--recipe dynamic --data {data}", "--data says nothing beside mode 'dynamic'"),
        ("--recipe float16 --stats {bad}/stats.npz", "--stats says nothing beside mode 'float16'"),
        ("--recipe dynamic --tune", "--tune says nothing beside mode 'dynamic'"),
        ("--recipe dynamic --input-type int8", "input_type says nothing to mode 'dynamic'"),
        ("--recipe dynamic --range percentile", "one of minmax, mse"),
        ("--recipe int8 --tune", "--data missing"),
        ("--recipe int8 --stats {bad}/stats.npz --tune", "--data missing"),
        ("--recipe int8 --data {bad}/one.npz --tune", "the data has one sample"),
        ("--recipe int8 --stats {bad}/minmax.npz --range entropy", "range 'entropy' needs a histogram"),
        ("--recipe int8 --stats {bad}/minmax.npz --range percentile", "range 'percentile' needs a histogram"),
        ("--recipe int8 --stats {bad}/minmax.npz --range mse", "range 'mse' needs a histogram"),
        ("--recipe int8 --stats {bad}/stats.npz --range kl", "invalid choice: 'kl'"),
        ("--recipe {bad}/range.toml --stats {bad}/stats.npz", "range is 'kl'"),
        ("--recipe int8 --stats {bad}/stats.npz --percentile 0", "percentile is 0.0; a number above 0"),
        ("--recipe int8 --stats {bad}/stats.npz --percentile 101", "percentile is 101.0; a number above 0"),
        ("--recipe int8 --stats {bad}/stats.npz --percentile half", "invalid float value: 'half'"),
        ("--recipe int8 --stats {bad}/stats.npz --range mse --percentile 99", "says nothing beside --range mse"),
        ("--recipe int8 --stats {bad}/stats.npz --weight-range entropy", "weight_range is 'entropy'"),
        ("--recipe int8 --stats {bad}/stats.npz --rounding up", "rounding is 'up'"),
        ("--recipe int8 --stats {bad}/stats.npz --input-type int4", "input_type is 'INT4'; one of FLOAT32, INT8"),
        ("--recipe int8 --stats {bad}/stats.npz --output-type int32", "output_type is 'INT32'"),
        ("--recipe int8 --stats {bad}/stats.npz --input-stats 1", "--input-stats: '1': two numbers with a comma"),
        ("--recipe int8 --stats {bad}/stats.npz --input-stats 1,2,3", "'1,2,3': two numbers with a comma"),
        ("--recipe int8 --stats {bad}/stats.npz --input-stats a,b", "'a,b': two numbers with a comma"),
        ("--recipe int8 --stats {bad}/stats.npz --input-stats 127.5,0", "standard deviation 0.0; more than 0"),
        ("--recipe int8 --stats {bad}/stats.npz --input-stats nan,1", "two finite numbers"),
        ("--recipe int8 --default-ranges 3,1", "the first less than the second is required"),
        ("--recipe int8 --default-ranges=-inf,1", "default_ranges is (-inf, 1.0); two finite numbers"),
        ("--recipe int8 --default-ranges -1", "'-1': two numbers with a comma between"),
        ("--recipe uint8 --stats {bad}/stats.npz --symmetric-activations", "UINT8 has no negative integers"),
        ("--recipe int16x8 --stats {bad}/stats.npz --int16 logits", "int16 selects operators of mode 'int8'"),
        (
            "--recipe int8 --stats {bad}/stats.npz --int16 nosuch",
            "int16 'nosuch' matches no operator or constant with float values",
        ),
        ("--recipe int8 --stats {bad}/stats.npz --int16-type LSTM", "int16_types 'LSTM' matches no operator type"),
        (
            "--recipe int8 --stats {bad}/stats.npz --per-tensor LSTM",
            "per_tensor_types 'LSTM' matches no operator type",
        ),
        ("--recipe int8 --stats {bad}/stats.npz --asymmetric", "kernels require zero point 0"),
        ("--recipe int8 --stats {bad}/stats.npz --granularity block", "has kernels with blocks"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(
    bad: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    given = [w.format(bad=bad, data=DATA) for w in words.split()]
    for command in (["plan"], ["quantize", "-o", str(bad / "o")]):
        status, out, error = run(capsys, *command, DEMO, *given)
        assert (status, out) == (2, "")
        assert message in error
        assert error.count("\n") == 1
    assert not (bad / "o").exists()


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantlib.api.calibrate", lambda *a, **k: pytest.fail("it calibrated"))
    status, _, error = run(
        capsys, "quantize", DEMO, "-o", tmp_path / "none" / "o", "--recipe", "int8", "--data", DATA
    )
    assert status == 2
    assert "no such folder" in error


# ---- MLPerf Tiny -----------------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("name", ["ad_toycar", "ic_resnet8", "kws_dscnn", "vww_mobilenet_96"])
def test_mlperf_tiny_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path, out = SHARED / "models" / f"mlperf_{name}_float.tflite", tmp_path / "o.tflite"
    shape = ql.read(path).tensor((0, int(ql.read(path).subgraphs[0].inputs[0]))).shape
    np.save(tmp_path / "calib.npy", np.abs(gaussian((12, *shape[1:]))))
    line = f"quantize {path} -o {out} --recipe int8 --data {tmp_path}/calib.npy --input-type int8 --output-type int8"
    status, text, _ = run(capsys, *line.split(), "--strict")
    assert status == 0
    assert "0 left float" in text
    status, text, _ = run(capsys, "check", out, "--target", "tflite-micro")
    assert status == 0, text
    for resolver in RESOLVERS:
        assert [y.dtype for y in run_litert(out.read_bytes(), resolver)] == [np.int8]

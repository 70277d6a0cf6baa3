"""`quantlib compare`: what it prints and writes, its exit status, one line for each mistake."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.cli import main
from quantlib.evaluation import load, report
from tests.support import command

DEMO, LABELS = str(ql.demo.MODEL), str(ql.demo.LABELS)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    ql.quantize(ql.read(DEMO), "float16").write(tmp_path / "half.tflite")
    return tmp_path / "half.tflite"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", image=np.load(ql.demo.SAMPLES)["image"][:6])
    return tmp_path / "data.npz"


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    return command.run(capsys, "compare", *words)


def test_it_prints_what_the_api_finds(capsys: pytest.CaptureFixture[str], small: Path, data: Path) -> None:
    status, text, error = run(capsys, DEMO, small, "--data", data, "--runner", "numpy")
    assert (status, error) == (0, "")
    assert text == f"{ql.compare(ql.read(DEMO), ql.read(small), data, runner='numpy')}\n"
    assert text.startswith("6 samples, run by numpy, matched by signature\n")


def test_json(capsys: pytest.CaptureFixture[str], small: Path, data: Path) -> None:
    status, text, _ = run(capsys, DEMO, small, "--data", data, "--runner", "numpy", "--layers", "--json")
    found = ql.compare(ql.read(DEMO), ql.read(small), data, runner="numpy", layers=True)
    assert status == 0
    assert json.loads(text) == json.loads(json.dumps(found.to_dict()))


def test_all_files_at_once(capsys: pytest.CaptureFixture[str], small: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="Jinja is not installed (the extra 'report')")
    out, page, nodes = (tmp_path / name for name in ("c.json", "page.html", "nodes.json"))
    words = ("--runner", "numpy", "-o", out, "--html", page, "--node-data", nodes)
    assert run(capsys, DEMO, small, "--data", data, *words)[0] == 0
    assert load(out).layers
    assert page.read_text(encoding="utf-8") == report(load(out))
    assert json.loads(nodes.read_text(encoding="utf-8"))["SQNR in the graph, dB"]["results"]


def test_labels(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    words = (DEMO, small, "--data", ql.demo.SAMPLES, "--labels", LABELS, "--runner", "numpy")
    assert "accuracy over 450 labels: top-1 A " in run(capsys, *words)[1]


def test_latency_states_its_threads(capsys: pytest.CaptureFixture[str], small: Path, data: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    text = run(capsys, DEMO, small, "--data", data, "--latency", "--threads", "2")[1]
    assert "LiteRT, 2 threads" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "absent.npz"), "absent.npz: no such file"),
        (("--data", "{data}", "--labels", "absent"), "absent: no such file"),
        (("--data", "{data}", "--labels", LABELS), "450 labels for 6 samples"),
        (("--data", "{data}", "--signature", "other"), "there is no signature 'other'"),
        (("--data", "{data}", "--threads", "2"), "--threads says nothing without --latency"),
        (("--data", "{data}", "--html", "absent/page.html"), "absent: no such folder"),
        (("--data", "{data}", "-o", "."), ".: not a regular file"),
        ((), "--data"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], small: Path, data: Path, words: tuple[str, ...], message: str
) -> None:
    status, text, error = run(capsys, DEMO, small, "--runner", "numpy", *(w.format(data=data) for w in words))
    assert (status, text) == (2, "")
    assert message in error
    assert len(error.splitlines()) == 1


def test_without_jinja_it_says_so_before_the_work(
    capsys: pytest.CaptureFixture[str], small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    status, _, error = run(capsys, DEMO, small, "--data", "absent.npz", "--html", tmp_path / "page.html")
    assert status == 2
    assert "tflite-quantlib[report]" in error


def test_inspect_shows_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", DEMO, "--operators", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 48378
    assert found["multiply_accumulates"] == sum(o["macs"] for o in found["operators"]) == 736704
    assert found["peak_activation_bytes"] == 4 * 8 * 8 * (16 + 48)
    assert main(["inspect", DEMO]) == 0
    assert "multiply_accumulates   736,704" in capsys.readouterr().out

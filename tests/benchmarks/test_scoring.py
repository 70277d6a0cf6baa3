"""Tasks are quantized and scored, and what was scored before isn't again."""

import json

import pytest

import quantlib as ql
from benchmarks import scoring
from benchmarks.score_all import Remembered
from benchmarks.scoring import Lab, Outcome, operators_of, side_by_side
from tests.support.shared import needs_shared


def test_float_operators_are_counted():
    model = ql.read(ql.demo.MODEL)
    count = len(model.subgraphs[0].operators)
    assert operators_of(model) == (count, count)
    statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    assert operators_of(ql.quantize(model, "int8", statistics)) == (0, count)
    last = ql.quantize(model, ql.recipes.int8(skip_types=("SOFTMAX",)), statistics)
    assert operators_of(last) == (1, count)


def test_an_outcome_reads_what_the_scorer_prints():
    one = Outcome(
        "a", score={"sqnr_db": 9.0, "sqnr_outputs": [9.5, -1.0], "map": [4.0, 2.0], "map_float": [5.0, 3.0]}
    )
    assert (one.sqnr, one.worst, one.figures, one.float_figures) == (9.0, -1.0, (4.0, 2.0), (5.0, 3.0))
    plain = Outcome("a", score={"sqnr_db": 9.0, "top1": 50.0, "top1_float": 51.0})
    assert (plain.worst, plain.figures, plain.float_figures) == (9.0, (50.0,), (51.0,))
    assert Outcome("a", "broken").sqnr != Outcome("a", "broken").sqnr


def test_results_come_in_the_order_of_the_tasks():
    assert list(side_by_side(str.upper, ["c", "a", "b"], 3)) == ["C", "A", "B"]


def test_the_float_model_runs_once():
    asked = []

    class Runner:
        it = "interpreter"

        def __call__(self, sample, names):
            asked.append(sample)
            return [sample]

    reference = Remembered(Runner())
    for _ in range(2):
        reference.rewound()
        assert [reference(x, None) for x in (1, 2)] == [[1], [2]]
    assert (asked, reference.it) == ([1, 2], "interpreter")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab without the shared folder, whose scorer knows the demo alone and breaks down at the second file."""
    lab = Lab.__new__(Lab)
    lab.kept, lab.limit, lab.calls = tmp_path, None, []

    def score(task, candidates):
        lab.calls.append(len(candidates))
        good = [p for p in candidates[:1] if b"broken" not in p.read_bytes()]
        return [json.dumps({"sqnr_db": float(p.stat().st_size)}) for p in good], "aborted"

    monkeypatch.setattr(lab, "_score", score)
    return lab


def test_equal_files_are_scored_once_and_failures_again(lab, tmp_path):
    paths = [tmp_path / name for name in "abcd"]
    for path, text in zip(paths, (b"one", b"broken", b"one", b"longer"), strict=True):
        path.write_bytes(text)
    expected = [{"sqnr_db": 3.0}, {"error": "aborted"}, {"sqnr_db": 3.0}, {"sqnr_db": 6.0}]
    assert list(lab._scores("task", paths).values()) == expected
    lab.calls.clear()
    assert list(lab._scores("task", paths).values()) == expected
    assert lab.calls == [1]


def test_a_missing_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "SCORER", tmp_path / "score.py")
    with pytest.raises(ql.errors.NotFound, match="QUANTLIB_SHARED"):
        Lab(tmp_path)


@needs_shared
def test_a_task_is_scored(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert isn't installed")
    lab = Lab(tmp_path, limit=5)
    first, second = lab.outcomes("hello_world_float", [ql.recipes.int8(), ql.recipes.dynamic()])
    assert not first.failure
    assert first.sqnr > 20
    assert (first.floats, first.operators, second.floats) == (0, 3, 3)
    assert len(list((tmp_path / "scores").iterdir())) == 2
    assert lab.statistics("hello_world_float").samples == 64
    assert "5 evaluation samples" in lab.conditions()

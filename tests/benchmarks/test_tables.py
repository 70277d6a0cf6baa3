"""What the measuring programs say of figures, and where they write it."""

import math

import pytest

from benchmarks import accuracy, defaults, pages, static
from benchmarks.accuracy import rows, shortfalls, verdict
from benchmarks.facts import facts
from benchmarks.figures import Peer
from benchmarks.measure import Result
from benchmarks.scoring import Outcome

TASK = "classifier"


def outcome(task=TASK, sqnr=20.0, size=0.3, top1=90.0, samples=1000, nbytes=1_000_000, **score):
    score = {"sqnr_db": sqnr, "size_ratio": size, "top1": top1, "top1_float": 90.0, "samples": samples, **score}
    return Outcome(task, "", score, floats=1, operators=12, float_bytes=nbytes)


def peers(task=TASK, **fields):
    return {"int8": {task: Peer(**{"sqnr": 20.0, "worst": 20.0, "size": 0.3, **fields})}}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (outcome(), []),
        (outcome(sqnr=19.71), []),
        (outcome(sqnr=19.69), ["SQNR 19.7 dB; 20.0 is the best peer's"]),
        (outcome(size=0.3001), ["size 0.3001; 0.3000 is the best peer's"]),
        (outcome(size=0.3001, nbytes=100_000), []),
        (outcome(top1=89.01), []),
        (outcome(top1=88.99), ["88.99 %; 90.00 is the float model's"]),
        (outcome(top1=88.0, samples=100), []),
        (outcome(top1=87.9, samples=100), ["87.90 %; 90.00 is the float model's"]),
        (Outcome(TASK, "status 134"), ["fails: status 134"]),
    ],
)
def test_what_falls_short_is_said(result, expected):
    assert shortfalls("int8", result, peers()) == expected


def test_a_task_may_have_another_measure():
    task = "mobilenet_v1_0.25_224_float"
    assert shortfalls("int8", outcome(task, top1=52.1), peers(task, figures=(52.1,))) == []
    assert shortfalls("int8", outcome(task, top1=52.0), peers(task, figures=(52.1,))) != []
    task = "mnv3_portrait_seg_float"
    assert shortfalls("int8", outcome(task, top1=37.8), peers(task, figures=(40.0,), twin=(37.8,))) == []
    assert shortfalls("int16x8", outcome(task, top1=37.0), peers(task, twin=(37.8,))) != []


def test_figures_count_in_modes_with_integer_activations_alone():
    assert shortfalls("dynamic", outcome(top1=10.0), peers()) == []


def test_without_a_peer_nothing_is_compared_with_it():
    assert shortfalls("int8", outcome(sqnr=1.0, size=0.9), {}) == []
    assert shortfalls("int8", outcome(sqnr=1.0, size=0.9), {"int8": {TASK: Peer()}}) == []


def test_all_precisions_of_a_detector_are_compared():
    score = {"map": [43.0, 20.0], "map_float": [43.0, 25.6], "samples": 100, "sqnr_db": 9.0, "size_ratio": 0.2}
    assert len(shortfalls("int8", Outcome(TASK, "", score), {})) == 1


def test_the_table_of_a_mode_has_a_row_for_each_task():
    found = rows("int8", [outcome(sqnr_outputs=[20.0, 3.0]), Outcome("other", "status 134")], peers()).splitlines()
    assert found[2] == f"| {TASK} | 20.0 (3.0) | 90.0 | 90.0 | 0.3000 | 1/12 | +0.0 | 20.0 |  | 0.3000 |  |"
    assert found[3].startswith("| other | status 134 |")
    assert len({line.count("|") for line in found}) == 1
    assert len({line.count("|") for line in rows("dynamic", [outcome()], {}).splitlines()}) == 1


def test_the_verdict_counts_and_lists():
    text = verdict({"int8": [outcome(sqnr=25.0), outcome("second", sqnr=10.0)]}, peers())
    assert "a higher SQNR than the best peer's on 1 of 1 tasks" in text
    assert "1 more tasks have no peer" in text
    assert "  - " not in text
    assert f"  - {TASK}: SQNR 9.0 dB" in verdict({"int8": [outcome(sqnr=9.0)]}, peers())


def test_ways_are_compared_task_by_task():
    found = {"a": {"x": 10.0, "y": 20.0, "z": math.nan}, "b": {"x": 12.0, "y": 19.96, "z": 1.0}}
    text = defaults.summary(found, {"b": "a"}).splitlines()[-1]
    assert text == "| b | +0.98 | +0.98 | 1 | 0 |  | +2.0 x |"
    text = defaults.summary({"a": {"x": 10.0, "y": 20.0}, "b": {"x": 10.05, "y": 19.05}}, {"b": "a"}).splitlines()[-1]
    assert text == "| b | -0.45 | -0.45 | 0 | 1 | -0.9 y |  |"
    assert defaults.by_task(found, {"one": "a"}).splitlines()[-1] == "| z | fails |"


def test_every_way_is_a_recipe_of_its_own():
    recipes = defaults.ways()
    assert len(set(recipes.values())) >= len(recipes) - 2  # the default of ranges and rounding may stand there twice
    assert {"int8 per channel, minmax", "int8 per tensor, mse", "int16x8 nearest"} <= set(recipes)


def test_the_pages_have_a_place_for_every_part():
    figures = {way: {TASK: 1.0} for way in defaults.ways()}
    parts = defaults.parts(figures, "conditions")
    parts["accuracy.md"] = dict.fromkeys(("conditions", "verdict", *accuracy.MODES), "x")
    for page, contents in parts.items():
        text = (pages.EXPLANATION / page).read_text(encoding="utf-8")
        made = pages.filled(text, contents)
        assert pages.filled(made, contents) == made
        assert made.count("<!-- measured: ") == len(contents) == made.count("<!-- measured until here -->")


def test_parts_go_between_their_marks():
    text = "a\n<!-- measured: one -->\nold\n<!-- measured until here -->\nb\n"
    made = pages.filled(text, {"one": "new \\1"})
    assert made == "a\n<!-- measured: one -->\n\nnew \\1\n\n<!-- measured until here -->\nb\n"
    with pytest.raises(ValueError, match="no place for 'two'"):
        pages.filled(text, {"two": ""})


def test_long_lines_of_prose_are_broken():
    row = f"| {'x' * 200} |"
    made = pages.wrapped(f"short\n  - {'word ' * 40}\n{row}").splitlines()
    assert made[0] == "short"
    assert made[1].startswith("  - word")
    assert made[2].startswith("    word")
    assert made[-1] == row
    assert max(map(len, made[:-1])) <= 118


def test_static_results_become_tables():
    results = {"cp": Result([1.0], [0.5], 1 << 20, 1 << 20, 5), "quantlib int8": Result([6.0], [5.0], 1, 1, 2)}
    fact = {"first": 0.2, "next": 0.1, "cpu": 0.1}
    part = {
        "large": {"mib": 64, "jobs": facts(results, "cp")},
        "small": {"shell": {}, "within": {"quantlib": fact, "litert-quantizer": fact}},
    }
    text = "\n".join(static.markdown(part))
    assert "| quantlib int8 | 6.000 | 6.000 | 5.000 | 6.00 |" in text
    assert "| quantlib | 0.200 | 0.100 | 0.100 | 1.00 |" in text
    within = {"quantlib": fact, "litert-quantizer": {"failure": "no such file"}}
    text = "\n".join(static.markdown({"small": {"shell": {}, "within": within}}))
    assert "| quantlib | 0.200 | 0.100 | 0.100 |  |" in text
    assert "| litert-quantizer | no such file |" in text


@pytest.mark.parametrize("main", [accuracy.main, defaults.main])
def test_a_part_of_the_tasks_makes_no_page(main, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["name", "--docs", "--limit", "5"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "--docs writes whole tables" in capsys.readouterr().err

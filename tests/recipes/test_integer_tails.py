"""Joins of pixels and scores: float or INT16 at the end of a model, a note elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import quantlib as ql
from quantlib.tflite import Model, Table
from tests.support.network import Network, gaussian
from tests.support.planned import decibels, names, operator, planned, samples, valid

Array = npt.NDArray[Any]
WHY = "ranges of what CONCATENATION joins differ"


def detector(*, behind: str = "", pixels: float = 300.0, heads: int = 1) -> tuple[Model, dict[str, Array]]:
    """Boxes of a few hundred pixels beside scores of 0 to 1, decoded by anchors; `behind` reads the join."""
    net = Network()
    feature = net.convolution("feature", net.input("x", (1, 4, 4, 3)), gaussian((6, 3, 3, 3), 1, 0.3))
    boxes = net.convolution("boxes", feature, gaussian((4, 1, 1, 6), 2, 0.2))
    scaled = net.op("MUL", [boxes, net.constant("size", np.full(4, pixels / 8, "f4"))], "scaled", (1, 4, 4, 4),
                    Table("MulOptions"))  # fmt: skip
    anchors = np.linspace(0, pixels, 64, dtype="f4").reshape(1, 4, 4, 4)
    decoded = net.op("ADD", [scaled, net.constant("anchors", anchors)], "decoded", (1, 4, 4, 4), Table("AddOptions"))
    scores = net.op(
        "LOGISTIC", [net.convolution("classes", feature, gaussian((2, 1, 1, 6), 3))], "scores", (1, 4, 4, 2)
    )
    joined = net.op("CONCATENATION", [decoded, scores], "joined", (1, 4, 4, 6), Table("ConcatenationOptions", axis=3))
    y = joined
    if behind == "RESHAPE":
        shape = net.constant("shape", np.array([1, 16, 6], "i4"))
        y = net.op("RESHAPE", [joined, shape], "y", (1, 16, 6), Table("ReshapeOptions", new_shape=[1, 16, 6]))
    elif behind == "CONV_2D":
        y = net.convolution("y", joined, gaussian((3, 1, 1, 6), 4))
    elif behind:
        y = net.op(behind, [joined], "y", (1, 4, 4, 6))
    return net.done(y), samples(net)


@pytest.mark.parametrize("behind", ["", "RESHAPE", "SIN"])
@pytest.mark.parametrize(("tails", "kind", "least"), [("float", "FLOAT32", 25.0), ("int16", "INT16", 25.0)])
def test_the_end_of_a_detector_is_spared(behind: str, tails: str, kind: str, least: float) -> None:
    model, data = detector(behind=behind)
    plan = planned(model, data, **({} if tails == "float" else {"tails": tails}))
    spared = ["scaled", "decoded", "scores", "joined", *(["y"] if behind == "RESHAPE" else [])]
    for name in spared:
        found = operator(plan, name)
        assert found.mode == kind, name
        assert WHY in found.reason + "".join(found.notes)
    assert [operator(plan, n).mode for n in ("feature", "boxes", "classes")] == ["INT8"] * 3
    made = valid(ql.quantize(model, plan), model)
    if behind == "SIN":
        return  # of 300 pixels, it says nothing
    (whole,) = decibels(model, made, data)
    assert whole > least
    scores = scores_apart(model, made, data)
    assert scores > least
    kept = ql.quantize(model, planned(model, data, tails="keep"))
    assert scores_apart(model, kept, data) < 10  # what one scale for all would leave


def scores_apart(model: Model, made: Model, data: dict[str, Array]) -> float:
    from quantlib.numerics import sqnr_db
    from quantlib.runners import NumpyRunner
    from tests.support.planned import run

    given = [{"x": x} for x in data["x"]]
    wanted = np.stack([next(iter(NumpyRunner(model).run(g).values())) for g in given])
    return float(sqnr_db(wanted[..., 4:], np.stack([run(made, g)[0] for g in given])[..., 4:]))


def test_the_plan_counts_how_much_ranges_differ() -> None:
    model, data = detector()
    reason = operator(planned(model, data), "joined").reason
    ratio = int(reason.split("differ ")[1].split(" times")[0].replace(",", ""))
    assert 250 <= ratio <= 800
    assert reason.endswith("too many for one scale")


def test_keep_does_not_look() -> None:
    model, data = detector()
    plan = planned(model, data, tails="keep")
    assert not plan.leftovers
    assert not any(WHY in note for p in plan.operators for note in p.notes)


@pytest.mark.parametrize("tails", ["float", "int16"])
def test_in_the_middle_of_a_network_it_is_only_said(tails: str) -> None:
    model, data = detector(behind="CONV_2D")
    plan = planned(model, data, tails=tails)
    joined = operator(plan, "joined")
    assert joined.mode == "INT8"
    assert any(WHY in note and "the narrowest keeps few levels; another mode" in note for note in joined.notes)
    valid(ql.quantize(model, plan), model)


@pytest.mark.parametrize(("output", "mode"), [("INT8", "INT8"), ("UINT8", "INT8"), ("INT16", "FLOAT32")])
def test_8_bit_outputs_leave_no_choice(output: str, mode: str) -> None:
    model, data = detector()
    plan = planned(model, data, output_type=output)
    joined = operator(plan, "joined")
    assert joined.mode == mode
    if mode == "INT8":
        assert any(f"keeps few levels, since outputs are {output}" in note for note in joined.notes)
    valid(ql.quantize(model, plan), model)


@pytest.mark.parametrize("pixels", [1.0, 10.0])
def test_alike_ranges_are_no_matter(pixels: float) -> None:
    model, data = detector(pixels=pixels)
    plan = planned(model, data)
    assert not plan.leftovers
    assert not any(WHY in text for p in plan.operators for text in (*p.notes, p.reason))


def test_16_bits_have_levels_enough() -> None:
    model, data = detector()
    plan = planned(model, data, "int16x8")
    assert {p.mode for p in plan.operators} == {"INT16"}


def test_what_was_always_0_does_not_count() -> None:
    net = Network()
    x = net.input("x", (1, 8))
    dead = net.op("MUL", [x, net.constant("zero", np.zeros(1, "f4"))], "dead", (1, 8), Table("MulOptions"))
    wide = net.op("MUL", [x, net.constant("wide", np.full(1, 300, "f4"))], "big", (1, 8), Table("MulOptions"))
    joined = net.op("CONCATENATION", [dead, wide], "joined", (1, 16), Table("ConcatenationOptions", axis=1))
    model = net.done(joined)
    plan = planned(model, samples(net))
    assert not plan.leftovers
    assert names(ql.quantize(model, plan)).count("CONCATENATION") == 1


def test_what_others_read_too_stays_integer() -> None:
    """Only what works for the tail alone is spared."""
    net = Network()
    x = net.input("x", (1, 8))
    big = net.op("MUL", [x, net.constant("wide", np.full(1, 300, "f4"))], "big", (1, 8), Table("MulOptions"))
    small = net.op("LOGISTIC", [x], "small", (1, 8))
    joined = net.op("CONCATENATION", [big, small], "joined", (1, 16), Table("ConcatenationOptions", axis=1))
    model = net.done(joined, net.fully_connected("y", big, gaussian((4, 8), 1)))
    plan = planned(model, samples(net))
    assert {p.name: p.mode for p in plan.operators} == {
        "big": "INT8", "small": "FLOAT32", "joined": "FLOAT32", "y": "INT8",
    }  # fmt: skip
    valid(ql.quantize(model, plan), model)

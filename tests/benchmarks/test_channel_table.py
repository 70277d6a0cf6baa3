"""What the table of removed channels says of a model."""

import numpy as np
import pytest

from benchmarks.prune_channels import HEADS, dead_filters, row
from benchmarks.prune_channels import Case as Removed
from benchmarks.scoring import Outcome
from quantlib.passes import prune_channels
from tests.support.network import Network, gaussian


def model(dead=()):
    net = Network()
    x = net.convolution("first", net.input("x", (1, 4, 4, 3)), gaussian((4, 1, 1, 3), 1))
    filters = gaussian((8, 1, 1, 4), 2)
    filters[list(dead)] *= 1e-9
    x = net.convolution("made", x, filters)
    return net.done(net.convolution("last", x, gaussian((2, 1, 1, 8), 3)))


@pytest.mark.parametrize("dead", [(), (3,), (0, 5, 7)])
def test_dead_filters_are_counted(dead):
    assert dead_filters(model(dead)) == len(dead)


def test_dead_filters_go_first_and_are_counted_off():
    edited = prune_channels(model((0, 5, 7)), 0.25)
    assert dead_filters(edited.model) == 1


@pytest.mark.parametrize(("sqnr", "text"), [(318.9, "no difference"), (12.34, "12.3")])
def test_a_line_has_every_figure(sqnr, text):
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    before = model((1,))
    edited = prune_channels(before, 0.25)
    case = Removed("global", 0.25, edited.model, 14, 12)
    outcome = Outcome("task", "", {"sqnr_db": sqnr, "top1": 80.0, "top1_float": 90.0}, float_bytes=1)
    line = dict(zip(HEADS, row("task", case, outcome, before, [np.ones((1, 4, 4, 3), np.float32)]), strict=True))
    assert line["removed"] == "25 %, global"
    assert (line["channels"], line["dead filters left"]) == ("2 of 14", "0")
    assert line["multiply-accumulates"] == f"{16 * (4 * 3 + 6 * 4 + 2 * 6):,}"
    assert line["bytes"] == f"{len(edited.model.to_bytes()):,}"
    assert (line["figure %"], line["SQNR dB"]) == ("80.0", text)
    assert " -> " in line["median ms"]

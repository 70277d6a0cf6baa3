"""The HTML page and the data for Model Explorer."""

from __future__ import annotations

import math
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib.evaluation import Comparison, node_data, report
from tests.support.shared import SHARED, needs_shared

from .built import RANGES, dense, dense_int8, samples

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def compared() -> Comparison:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    narrow = {**RANGES, "hidden": (0.0, 1.0)}
    labels = [0] * 20
    return ql.compare(dense(), dense_int8(narrow), samples(), layers=True, labels=labels, latency=True)


@pytest.fixture
def jinja() -> None:
    pytest.importorskip("jinja2", reason="Jinja is not installed (the extra 'report')")


class Page(HTMLParser):
    """Tags that are open at the end or closed in the wrong place, and everything that a page refers to."""

    EMPTY = frozenset({"meta", "link", "br", "rect", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


@pytest.mark.usefixtures("jinja")
def test_the_page_is_whole_and_refers_to_nothing(compared: Comparison) -> None:
    text = report(compared)
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert page.links == ["data:,"]
    assert "script" not in page.tags
    assert not re.search(r"https?://|@import|url\(", text)


@pytest.mark.usefixtures("jinja")
def test_the_page_says_what_the_comparison_says(compared: Comparison) -> None:
    text = report(compared, "A title")
    assert "<title>A title</title>" in text
    assert f"{compared.outputs[0].sqnr_db:.1f}" in text
    assert compared.layers is not None
    for layer in compared.layers:
        assert layer.tensor in text
    assert text.count('class="hot"') == sum(layer.flagged for layer in compared.layers) > 0
    drawn = sum((x.histogram is not None) + (x.weights is not None) for x in compared.layers)
    assert text.count("<svg") == 1 + drawn
    assert "top-1 accuracy" in text
    assert "median ms" in text


def test_the_line_along_the_graph_is_in_order_and_broken_where_nothing_is_known(compared: Comparison) -> None:
    import dataclasses

    from quantlib.evaluation.report import along

    assert compared.layers is not None
    one = compared.layers[0]
    figures = ((2, 60.0, 0.0), (0, 0.0, None), (1, math.inf, 30.0))
    made = [dataclasses.replace(one, index=i, sqnr_db=db, layer_sqnr_db=alone) for i, db, alone in figures]
    text = along(made)
    assert 'class="edge" d="M0.0 72L160.0 0L320.0 0"' in text
    assert 'class="alone" d="M160.0 36L320.0 72"' in text
    assert along(made[:1]) == ""


@pytest.mark.usefixtures("jinja")
def test_names_can_not_break_the_page(compared: Comparison) -> None:
    import dataclasses

    assert compared.layers is not None
    odd = dataclasses.replace(compared.layers[0], tensor="<script>alert(1)</script>")
    text = report(dataclasses.replace(compared, layers=(odd,)))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.usefixtures("jinja")
def test_a_comparison_without_layers_has_a_page(compared: Comparison) -> None:
    import dataclasses

    text = report(dataclasses.replace(compared, layers=None, latency=None, accuracy=None))
    assert "Histograms" not in text
    assert Page(text).wrong == []


def test_without_jinja_the_extra_is_named(compared: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ql.errors.MissingExtra, match=r"tflite-quantlib\[report\]"):
        report(compared)


def test_node_data_is_what_model_explorer_reads(compared: Comparison) -> None:
    data = node_data(compared)
    assert compared.layers is not None
    share = data["error share, %"]
    assert share["results"].keys() == {layer.name_b for layer in compared.layers}
    worst = compared.layers[0]
    assert share["results"][worst.name_b] == {"value": pytest.approx(100 * (worst.share or 0), abs=1e-6)}
    for figure in data.values():
        assert figure.keys() == {"results", "gradient"}
        assert [stop["stop"] for stop in figure["gradient"]] == [0, 0.5, 1]
        assert all(np.isfinite(result["value"]) for result in figure["results"].values())
    assert data["error share, %"]["gradient"][-1] == {**data["SQNR alone, dB"]["gradient"][0], "stop": 1.0}


def test_node_data_needs_layers(compared: Comparison) -> None:
    import dataclasses

    with pytest.raises(ql.errors.InvalidValue, match="layers=True"):
        node_data(dataclasses.replace(compared, layers=None))


def mobilenet() -> Comparison:
    names = (f"mobilenet_v2_1.0_224_{kind}.tflite" for kind in ("float_reconstructed", "ptq_uint8io"))
    a, b = (ql.read(SHARED / "models" / name) for name in names)
    data = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    return ql.compare(a, b, data, layers=True)


@needs_shared
@pytest.mark.usefixtures("jinja")
def test_the_page_of_mobilenet_v2_is_below_2_mb() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    assert 100_000 < len(report(mobilenet()).encode()) < 2_000_000


@pytest.mark.usefixtures("jinja")
def test_a_browser_shows_the_page_without_errors(compared: Comparison, tmp_path: Path) -> None:
    """Offline, at two widths: nothing on the console, nothing asked for, nothing wider than the window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (the extra 'test')")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here; install one, such as Debian's package chromium")
    (tmp_path / "page.html").write_text(report(compared), encoding="utf-8")
    said: list[str] = []
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for width in (1280, 400):
            page = chromium.new_context(viewport={"width": width, "height": 900}, offline=True).new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: said.append(request.url))
            page.goto((tmp_path / "page.html").as_uri())
            shot = page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
            assert shot.startswith(b"\x89PNG")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(OVERLAPS) == []
        chromium.close()
    assert [url for url in said if url != (tmp_path / "page.html").as_uri() and not url.startswith("data:")] == []


#: Texts that lie on one another: boxes of cells, headings and captions are compared in pairs.
OVERLAPS = """() => {
  const found = [...document.querySelectorAll('h1, h2, h3, p, th, td, figcaption, svg, .row > span')]
    .map(e => [e, e.getBoundingClientRect()]);
  const wrong = [];
  for (const [a, p] of found) for (const [b, q] of found) {
    if (a === b || a.contains(b) || b.contains(a)) continue;
    const x = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const y = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (x > 1 && y > 1) wrong.push(a.textContent + ' | ' + b.textContent);
  }
  return wrong;
}"""

"""A comparison as one self-contained HTML page: no scripts, nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import ModuleType

from quantlib.errors import MissingExtra

from .screen import decibels, percent, rare
from .values import Comparison, Histogram, LayerError

#: Layers that are drawn, at most: the page must stay light for a model of thousands.
_DRAWN = 200
_WIDTH, _HEIGHT = 320, 72
#: Decibels at the upper end of a drawing.
_HIGHEST = 60.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """One histogram.

    Attributes
    ----------
    svg : str
    values, grid : str
        What stands below it: the range of the values, and that of the grid.
    """

    svg: str
    values: str
    grid: str


def report(comparison: Comparison, title: str = "") -> str:
    """Make an HTML page of a comparison.

    Parameters
    ----------
    comparison : Comparison
        With layers, for tables and histograms of layers.
    title : str
        Heading; the names of the files otherwise.

    Returns
    -------
    str
        The page, which refers to nothing outside itself.

    Raises
    ------
    MissingExtra
        If Jinja isn't installed.
    """
    jinja2 = require_report()
    text = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters.update(decibels=decibels, percent=percent, rare=rare, number=_number, count="{:,}".format)
    layers = comparison.layers or ()
    most = max((max(t.bytes_a, t.bytes_b) for t in comparison.operators), default=0)
    page: str = environment.from_string(text).render(
        c=comparison,
        title=title or _title(comparison),
        costs=_costs(comparison),
        layers=layers,
        widest=max((layer.share or 0.0 for layer in layers), default=0.0) or 1.0,
        drawn=[(layer, _drawings(layer)) for layer in layers[:_DRAWN]],
        most=most or 1,
        along=along(layers),
    )
    return page


def require_report() -> ModuleType:
    """Jinja, which the page is made with.

    Raises
    ------
    MissingExtra
        If it isn't installed.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingExtra("jinja2 is not installed; pip install 'tflite-quantlib[report]'") from None
    return jinja2


def _title(c: Comparison) -> str:
    names = [model.path.replace("\\", "/").rpartition("/")[2] or which for which, model in (("A", c.a), ("B", c.b))]
    return f"{names[0]} and {names[1]}"


def _costs(c: Comparison) -> list[tuple[str, int, int]]:
    names = ("bytes", "operators", "parameters", "multiply_accumulates", "peak_activation_bytes")
    return [(name.replace("_", " "), getattr(c.a, name), getattr(c.b, name)) for name in names]


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def along(layers: Sequence[LayerError]) -> str:
    """Draw the SQNR of layers in the order of B's operators, both views, from 0 to `_HIGHEST` decibels.

    Parameters
    ----------
    layers : sequence of LayerError

    Returns
    -------
    str
        The drawing, as SVG; empty for fewer than two layers.
    """
    if len(layers) < 2:
        return ""
    ordered = sorted(layers, key=lambda layer: layer.index)
    views: dict[str, list[float | None]] = {
        "alone": [layer.layer_sqnr_db for layer in ordered],
        "edge": [layer.sqnr_db for layer in ordered],
    }
    drawn = "".join(f'<path class="{name}" d="{_line(values)}"/>' for name, values in views.items())
    grid = "".join(f"M0 {_level(db):g}H{_WIDTH}" for db in (20, 40))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="SQNR by operator">'
        f'<path class="grid" d="{grid}"/>{drawn}</svg>'
    )


def _line(values: Sequence[float | None]) -> str:
    """A path through values at equal distances; broken where there is none."""
    found, pen = [], "M"
    for i, value in enumerate(values):
        if value is None or math.isnan(value):
            pen = "M"
            continue
        found.append(f"{pen}{i / (len(values) - 1) * _WIDTH:.1f} {_level(value):g}")
        pen = "L"
    return "".join(found)


def _level(decibels: float) -> float:
    return round(_HEIGHT * (1 - min(max(decibels, 0.0), _HIGHEST) / _HIGHEST), 1)


def _drawings(layer: LayerError) -> dict[str, Drawing]:
    found = {}
    if layer.histogram is not None:
        scale = "" if layer.scale is None else f", scale {layer.scale:.4g}"
        found["activations"] = draw(layer.histogram, layer.low, layer.high, f"{layer.type}{scale}")
    if layer.weights is not None:
        w = layer.weights
        several = f", {w.scales} scales, the widest" if w.scales > 1 else ""
        found["weights"] = draw(w.histogram, w.low, w.high, f"{w.type}{several}")
    return found


def draw(histogram: Histogram, low: float | None, high: float | None, kind: str) -> Drawing:
    """Draw a histogram with the range of its grid; heights are logarithms of counts.

    Parameters
    ----------
    histogram : Histogram
    low, high : float or None
        Ends of the grid; None where there is none.
    kind : str
        Type and scale, in words.

    Returns
    -------
    Drawing
    """
    ends = [v for v in (histogram.low, histogram.high, low, high) if v is not None]
    left, right = min(ends), max(ends)
    wide = right - left or 1.0

    def x(value: float) -> float:
        return round((value - left) / wide * _WIDTH, 1)

    highest = math.log1p(max(histogram.counts, default=0)) or 1.0
    step = (histogram.high - histogram.low) / len(histogram.counts)
    path = []
    for i, count in enumerate(histogram.counts):
        if count:
            start = x(histogram.low + i * step)
            width = max(x(histogram.low + (i + 1) * step) - start, 0.7)
            height = math.log1p(count) / highest * (_HEIGHT - 6)
            path.append(f"M{start:g} {_HEIGHT}v{-height:.1f}h{width:.1f}V{_HEIGHT}z")
    band, grid = "", f"{kind}, no grid"
    if low is not None and high is not None:
        a, b = x(low), x(high)
        band = (
            f'<rect class="band" x="{a:g}" y="0" width="{max(b - a, 1):g}" height="{_HEIGHT}"/>'
            f'<path class="edge" d="M{a:g} 0V{_HEIGHT}M{b:g} 0V{_HEIGHT}"/>'
        )
        grid = f"{kind}, grid {low:.4g} to {high:.4g}"
    svg = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="histogram">'
        f'{band}<path class="bars" d="{"".join(path)}"/></svg>'
    )
    return Drawing(svg, f"values {histogram.low:.4g} to {histogram.high:.4g}", grid)

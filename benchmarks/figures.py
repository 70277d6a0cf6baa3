"""The peers' figures on the shared tasks, read from the page of tables that stands with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Name of the page; it is searched for below the shared folder.
PAGE = "peers-measured.md"
_CELL = re.compile(
    r"(?P<sqnr>-?\d+\.\d+)(?: \((?P<worst>-?\d+\.\d+)\))?(?:, (?P<first>\d+\.\d+)(?: / (?P<second>\d+\.\d+))?)?"
)


@dataclass(frozen=True)
class Peer:
    """The best that a peer does with one task in one mode.

    Attributes
    ----------
    sqnr, worst : float or None
        Over all outputs, and of the worst one, in dB; None where no peer gives a model that runs.
    figures : tuple of float
        Top-1, person IoU or mean average precisions, in percent.
    size : float or None
        Size over that of the float file.
    floats : str
        Operators that read or write float activations, of all.
    twin : tuple of float
        Figures of the quantized file that somebody else made of the same network.
    """

    sqnr: float | None = None
    worst: float | None = None
    figures: tuple[float, ...] = ()
    size: float | None = None
    floats: str = ""
    twin: tuple[float, ...] = ()


def found(folder: Path) -> dict[str, dict[str, Peer]]:
    """Figures by mode and task of the page somewhere below a folder; none where there is no page."""
    page = next(iter(sorted(folder.rglob(PAGE))), None)
    return {} if page is None else read(page.read_text(encoding="utf-8"))


def read(text: str) -> dict[str, dict[str, Peer]]:
    """Figures by mode and task."""
    tables = dict(_tables(text))
    best = tables.get("Best peer", [])
    modes = [name for name in (best[0] if best else ()) if name not in ("model", "float")]
    return {mode: {row["model"]: _peer(row, mode, tables.get(mode, [])) for row in best} for mode in modes}


def _peer(row: Mapping[str, str], mode: str, others: list[dict[str, str]]) -> Peer:
    more = next((other for other in others if other["model"] == row["model"]), {})
    sqnr, worst, figures = _cell(row[mode])
    size = more.get("size", "")
    return Peer(
        sqnr,
        worst,
        figures,
        float(size) if size else None,
        more.get("float ops", ""),
        _cell(more.get("twin", ""))[2],
    )


def _cell(text: str) -> tuple[float | None, float | None, tuple[float, ...]]:
    """SQNR, that of the worst output, and other figures of a cell such as ``7.5 (7.4), 40.1 / 24.5``."""
    match = _CELL.match(text)
    if match is None:
        return None, None, ()
    sqnr = float(match["sqnr"])
    figures = tuple(float(match[name]) for name in ("first", "second") if match[name])
    return sqnr, float(match["worst"]) if match["worst"] else sqnr, figures


def _tables(text: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Name of each section, up to a colon or ``weights``, and the rows of its table by column."""
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        rows = [[cell.strip() for cell in line.strip(" |").split("|")] for line in lines if line.startswith("|")]
        if len(rows) > 2:
            yield re.split(r":| weights", title)[0], [dict(zip(rows[0], row, strict=False)) for row in rows[2:]]

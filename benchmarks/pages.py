"""Tables in Markdown, and the places in the documentation that hold them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: Longest line of prose.
_WIDTH = 118
EXPLANATION = Path(__file__).parents[1] / "docs" / "explanation"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Lay a table out; the first `left` columns are texts, the others numbers."""
    marks = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))


def decibels(value: float) -> str:
    """A figure in dB; empty for NaN."""
    return "" if value != value else f"{value:.1f}"


def percents(figures: Iterable[float]) -> str:
    """Figures in percent."""
    return " / ".join(f"{figure:.1f}" for figure in figures)


def wrapped(text: str) -> str:
    """Prose and lists in lines that aren't long; rows of tables as they are."""
    lines = []
    for line in text.splitlines():
        body = line.lstrip(" -")
        first = line[: len(line) - len(body)]
        long = len(line) > _WIDTH and not line.startswith("|")
        more = textwrap.wrap(body, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first))
        lines += more if long else [line]
    return "\n".join(lines)


def filled(text: str, parts: Mapping[str, str]) -> str:
    """Put parts of a page between their marks, ``<!-- measured: NAME -->`` and ``<!-- measured until here -->``.

    Raises
    ------
    ValueError
        If a part has no place.
    """
    for name, part in parts.items():
        place = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- measured until here -->)", re.DOTALL)
        found = place.search(text)
        if found is None:
            raise ValueError(f"there is no place for {name!r}; write <!-- measured: {name} --> where it shall stand")
        text = f"{text[: found.start()]}{found[1]}\n{wrapped(part.strip())}\n\n{found[2]}{text[found.end() :]}"
    return text


def fill(path: Path, parts: Mapping[str, str]) -> None:
    """Put parts into a page."""
    path.write_text(filled(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


def publish(parts: Mapping[str, str], path: Path | None = None) -> None:
    """Print parts, and put them into a page where one is given."""
    print("\n\n".join(parts.values()))
    if path:
        fill(path, parts)

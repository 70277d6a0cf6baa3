"""Joins of values whose ranges differ so much that one 8-bit scale can't serve them: boxes in pixels beside scores.

With one scale for 0..300 and 0..1, every score becomes 0 or 1. Where the join is at the end of a model, it and the
arithmetic before it cost next to nothing, and stay float (or INT16); elsewhere the plan says what is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from quantlib.operators import row

from .choices import Choice, operands, results
from .graph import Graph
from .measured import Measured

#: From this ratio of ranges on, the narrowest operand has less than 16 of 256 levels.
_SPREAD = 16.0
_JOINS = ("CONCATENATION", "PACK")


def spare_tails(graph: Graph, choices: list[Choice], measured: Measured) -> tuple[list[Choice], dict[int, str]]:
    """Let joins of very different ranges keep float or become INT16 where they end a model.

    Parameters
    ----------
    graph : Graph
    choices : list of Choice
    measured : Measured

    Returns
    -------
    choices : list of Choice
    notes : dict of int to str
        What to say of joins that stay as they were.
    """
    recipe = measured.recipe
    changed, notes = list(choices), {}
    for o, choice in enumerate(choices):
        ratio = _spread(graph, o, choice, measured)
        if ratio <= _SPREAD or recipe.tails == "keep" or not changed[o].is_integer:
            continue
        why = f"ranges of what {graph.names[o]} joins differ {ratio:,.0f} times"
        after = _reached(o, partial(_ahead, graph))
        if not _ends_there(graph, changed, after):
            notes[o] = f"{why}: the narrowest keeps few levels; another mode for it (int16, skip) would help"
        elif recipe.output_type not in ("FLOAT32", "INT16"):
            notes[o] = f"{why}: the narrowest keeps few levels, since outputs are {recipe.output_type}"
        else:
            before = _reached(o, partial(_behind, graph, {o, *after}))
            for i in {o, *after, *before}:
                changed[i] = _spared(graph, i, changed[i], f"{why}, too many for one scale", recipe.tails)
    return changed, notes


def _spared(graph: Graph, o: int, choice: Choice, why: str, tails: str) -> Choice:
    integer = graph.integer(o)
    if not choice.is_integer:
        return choice
    if tails == "int16" and integer is not None and "INT16" in integer.types:
        return Choice("INT16", why)
    return Choice("FLOAT32", why)


def _spread(graph: Graph, o: int, choice: Choice, measured: Measured) -> float:
    """How many times wider the widest operand of a join is than the narrowest."""
    if graph.names[o] not in _JOINS or choice.mode not in ("INT8", "UINT8"):
        return 1.0
    widths = []
    for t in operands(graph, o):
        found = measured.range_of(graph, t, choice.mode) if t >= 0 and graph.origin(t) is None else None
        if found is not None and not found.source.startswith("always 0"):
            widths.append(max(abs(found.lo), abs(found.hi)))
    return max(widths) / min(widths) if widths and min(widths) > 0 else 1.0


def _reached(o: int, step: Callable[[int], Iterator[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [o]
    while waiting:
        for n in step(waiting.pop()):
            if n not in found:
                found.add(n)
                waiting.append(n)
    return found


def _ahead(graph: Graph, o: int) -> Iterator[int]:
    """Operators that read what one makes; none beyond those that do more than move values."""
    if graph.moves(o):
        for t in results(graph, o):
            yield from (u.operator for u in graph.uses.get(t, ()))


def _ends_there(graph: Graph, choices: list[Choice], after: set[int]) -> bool:
    """Whether what a join makes only goes to outputs and to operators that are float anyway."""
    return all(graph.moves(i) or not choices[i].is_integer for i in after)


def _behind(graph: Graph, tail: set[int], o: int) -> Iterator[int]:
    """Operators without weights that work for the tail alone."""
    for _, t in graph.data(o):
        maker = graph.producers.get(t)
        if maker is None or any(w.static for w in row(graph.names[maker]).weights):
            continue
        readers = {u.operator for t in results(graph, maker) for u in graph.uses.get(t, ())}
        if readers <= {o, *tail} and not graph.ends.intersection(results(graph, maker)):
            yield maker

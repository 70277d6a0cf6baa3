"""Statistics on one screen, and as values for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ._bins import HALF
from .mistakes import findings, tail_ratio
from .states import HistogramState, MinMaxState
from .statistics import Key, Statistics

_ROWS = 18
_NAME = 39

#: An end counts as saturated only if it is that part of the greatest magnitude or more: nearer to zero, one bin
#: holds whatever is small.
_FAR = 1 / 8


def end_share(state: MinMaxState) -> float | None:
    """Part of the values other than zero that share the bin of an extreme: much where a tensor saturates.

    None without a histogram, or values. Ends near zero are left out.
    """
    if not isinstance(state, HistogramState) or state.exponent is None:
        return None
    largest = max(-state.min, state.max)
    ends = [end for end in (state.min, state.max) if abs(end) >= _FAR * largest]
    inside = [int(state.counts[HALF + math.floor(math.ldexp(end, -state.exponent))]) for end in ends]
    return max(inside) / (state.count - state.zeros)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def table(statistics: Statistics) -> str:
    """Lines for a screen: the widest, the most skewed and the most saturated tensors take turns."""
    tensors = statistics.tensors
    lines = [
        f"{_counted(statistics.samples, 'sample')}, {_counted(len(tensors), 'tensor')}, "
        f"observer {statistics.observer}, model {statistics.model[:12]}"
    ]
    shown = _ranked(statistics)[:_ROWS]
    if shown:
        lines.append(f"{'tensor':{_NAME}} {'min':>11} {'max':>11} {'zeros':>7} {'max/p99.9':>9} {'at ends':>8}")
    lines += [_row(statistics.names[key], tensors[key]) for key in shown]
    if len(tensors) > len(shown):
        lines.append(f"and {len(tensors) - len(shown):,} more")
    found = findings(statistics)
    lines += [f"! {_short(f.name)}{': ' if f.name else ''}{f.message.partition(';')[0]}" for f in found[:4]]
    if len(found) > 4:
        lines.append(f"! and {len(found) - 4:,} findings more")
    return "\n".join(lines)


def _ranked(statistics: Statistics) -> list[Key]:
    """Keys of all tensors: in turn the widest, the most skewed and the most saturated of those left."""
    tensors = statistics.tensors
    figures: tuple[Callable[[MinMaxState], float], ...] = (
        lambda state: max(-state.min, state.max),
        lambda state: tail_ratio(state) or 0.0,
        lambda state: end_share(state) or 0.0,
    )
    ranks = [sorted(tensors, key=lambda key: (-figure(tensors[key]), key)) for figure in figures]
    return list(dict.fromkeys(key for turn in zip(*ranks, strict=True) for key in turn))


def _short(name: str) -> str:
    """The name on one line, without its middle if it is long: layers differ at one end or the other."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    half = (_NAME - 3) // 2
    return name if len(name) <= _NAME else f"{name[:half]}...{name[-half:]}"


def _row(name: str, state: MinMaxState) -> str:
    name = _short(name)
    if state.count == 0:
        return f"{name:{_NAME}} {'never written' if not state.seen else 'no finite value':>23}"
    ratio, share = tail_ratio(state), end_share(state)
    return (
        f"{name:{_NAME}} {state.range[0]:11.4g} {state.range[1]:11.4g} {state.zeros / state.count:7.1%} "
        f"{'-' if ratio is None else f'{ratio:.1f}':>9} {'-' if share is None else f'{share:.1%}':>8}"
    )


def to_dict(statistics: Statistics) -> dict[str, Any]:
    """Figures as numbers, text, lists and None."""
    return {
        "model": statistics.model,
        "samples": statistics.samples,
        "observer": statistics.observer,
        "quantlib": statistics.version,
        "tensors": [_figures(key, statistics.names[key], state) for key, state in statistics.tensors.items()],
        "findings": [{"kind": f.kind, "name": f.name, "message": f.message} for f in findings(statistics)],
    }


def _figures(key: Key, name: str, state: MinMaxState) -> dict[str, Any]:
    some = state.count > 0
    return {
        "subgraph": key[0],
        "index": key[1],
        "name": name,
        "min": state.min if some else None,
        "max": state.max if some else None,
        "range": list(state.range) if some else None,
        "mean": state.mean if some else None,
        "count": state.count,
        "zeros": state.zeros,
        "nonfinite": state.nonfinite,
        "max_over_p99_9": tail_ratio(state),
        "at_ends": end_share(state),
    }

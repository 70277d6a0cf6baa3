"""``python -m benchmarks.accuracy``: SQNR, accuracy and size of every mode on real tasks, beside the best peer's.

Quantizes each float model of the shared folder and scores it; see `benchmarks.scoring`. Prints the tables of
docs/explanation/accuracy.md, or with ``--docs`` writes them there; with ``--check`` says what falls short.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import quantlib as ql

from . import figures
from .figures import Peer
from .pages import EXPLANATION, decibels, percents, publish, table
from .scoring import SHARED, Lab, Outcome, opened, side_by_side, table_parser

MODES = ("int8", "int16x8", "dynamic", "weight-only", "float16")
#: Decibels that a model may have less than the best peer's.
MARGIN = 0.3
#: Bytes of a float file from which on sizes are compared.
SMALL = 100_000
#: Percent, or samples where they are more, that a figure may be below the float model's.
POINTS, SAMPLES = 1.0, 2
#: Tasks whose figures are compared with others than the float model's, and with whose: their weights alone lose more
#: than a point at 8 bits.
INSTEAD: Mapping[str, str] = {
    "mobilenet_v1_0.25_224_float": "best peer",
    "mobilenet_v1_0.25_224_float_metadata": "best peer",
    "mnv3_portrait_seg_float": "twin",
}
#: The peers' figures are rounded to this.
_ROUNDED = 0.05
#: Modes whose figures are held against the float model's.
STATIC = ("int8", "int16x8")


def shortfalls(mode: str, outcome: Outcome, peers: Mapping[str, Mapping[str, Peer]]) -> list[str]:
    """What of a result falls short of the best peer's, or of the float model's; empty where nothing does."""
    if outcome.failure:
        return [f"fails: {outcome.failure}"]
    found, peer = [], peers.get(mode, {}).get(outcome.task, Peer())
    if peer.sqnr is not None and outcome.sqnr < peer.sqnr - MARGIN:
        found.append(f"SQNR {outcome.sqnr:.1f} dB; {peer.sqnr:.1f} is the best peer's")
    if peer.size is not None and outcome.float_bytes > SMALL and outcome.size > peer.size:
        found.append(f"size {outcome.size:.4f}; {peer.size:.4f} is the best peer's")
    if mode in STATIC:
        found += _figures(outcome, peer, peers)
    return found


def _figures(outcome: Outcome, peer: Peer, peers: Mapping[str, Mapping[str, Peer]]) -> list[str]:
    whose = INSTEAD.get(outcome.task, "float model")
    twin = peers.get("int8", {}).get(outcome.task, Peer()).twin
    wanted = {"float model": outcome.float_figures, "best peer": peer.figures, "twin": twin}[whose]
    allowed = (
        max(POINTS, 100 * SAMPLES / max(outcome.score.get("samples", 1), 1)) if whose == "float model" else _ROUNDED
    )
    return [
        f"{ours:.2f} %; {theirs:.2f} is the {whose}'s"
        for ours, theirs in zip(outcome.figures, wanted, strict=False)
        if ours < theirs - allowed
    ]


def rows(mode: str, outcomes: Sequence[Outcome], peers: Mapping[str, Mapping[str, Peer]]) -> str:
    """The table of one mode; in modes with integer activations with the operators that are left float."""
    static = ql.recipes.by_name(mode).activations
    lines = []
    for outcome in outcomes:
        peer = peers.get(mode, {}).get(outcome.task, Peer())
        ours: tuple[str, ...] = (outcome.failure, *[""] * 4)
        if not outcome.failure:
            ours = (
                _sqnr(outcome.sqnr, outcome.worst),
                percents(outcome.figures),
                percents(outcome.float_figures),
                f"{outcome.size:.4f}",
                f"{outcome.floats}/{outcome.operators}",
            )
        more = "" if peer.sqnr is None or outcome.failure else f"{outcome.sqnr - peer.sqnr:+.1f}"
        theirs = _theirs(peer) if peers.get(mode) else ("",) * 4
        lines.append((outcome.task, *ours[: 5 if static else 4], more, *theirs[: 4 if static else 3]))
    heads = ["task", "SQNR dB", "figure %", "float's %", "size", *(["float operators"] if static else [])]
    heads += ["dB over the peer", "peer: SQNR dB", "figure %", "size", *(["float operators"] if static else [])]
    return table(heads, lines)


def _theirs(peer: Peer) -> tuple[str, str, str, str]:
    """SQNR, figures, size and float operators of the best peer."""
    if peer.sqnr is None:
        return ("none that runs", "", "", "")
    size = "" if peer.size is None else f"{peer.size:.4f}"
    return (_sqnr(peer.sqnr, peer.worst), percents(peer.figures), size, peer.floats)


def _sqnr(sqnr: float, worst: float | None) -> str:
    """SQNR over all outputs, and in brackets that of the worst."""
    return decibels(sqnr) + ("" if worst is None or f"{worst:.1f}" == f"{sqnr:.1f}" else f" ({worst:.1f})")


def measured(lab: Lab, tasks: Sequence[str], modes: Sequence[str], jobs: int) -> dict[str, list[Outcome]]:
    """Outcomes by mode."""

    def task(name: str) -> list[Outcome]:
        found = lab.outcomes(name, [ql.recipes.by_name(mode) for mode in modes])
        for mode, outcome in zip(modes, found, strict=True):
            print(f"{name}: {mode}: {outcome.failure or f'{outcome.sqnr:.2f} dB'}", file=sys.stderr, flush=True)
        return found

    by_task = list(side_by_side(task, tasks, jobs))
    return {mode: [outcomes[i] for outcomes in by_task] for i, mode in enumerate(modes)}


def verdict(found: Mapping[str, Sequence[Outcome]], peers: Mapping[str, Mapping[str, Peer]]) -> str:
    """How many tasks are better and worse than the best peer, and what falls short."""
    lines = []
    for mode, outcomes in found.items():
        gains = [o.sqnr - p.sqnr for o in outcomes if (p := peers.get(mode, {}).get(o.task)) and p.sqnr is not None]
        better, worse = sum(g > 0 for g in gains), sum(g < -MARGIN for g in gains)
        alone = sum(not o.failure for o in outcomes) - sum(g == g for g in gains)
        lines.append(
            f"- `{mode}`: a higher SQNR than the best peer's on {better} of {len(gains)} tasks, lower by more than "
            f"{MARGIN} dB on {worse}; {alone} more tasks have no peer that runs."
        )
        lines += [f"  - {o.task}: {text}" for o in outcomes for text in shortfalls(mode, o, peers)]
    return "\n".join(lines)


def main() -> int:
    parser = table_parser("accuracy", __doc__)
    parser.add_argument("--modes", nargs="*", choices=list(ql.recipes.PRESETS), default=list(MODES))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="tasks at once")
    parser.add_argument(
        "--peers", type=Path, default=SHARED, help=f"folder somewhere below which {figures.PAGE} stands"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if something falls short")
    options = parser.parse_args()
    lab = opened(parser, options, part=options.modes != list(MODES))
    peers = figures.found(options.peers)
    found = measured(lab, options.names or list(lab.tasks), options.modes, options.jobs)
    parts = {"conditions": lab.conditions(), "verdict": verdict(found, peers)}
    parts |= {mode: rows(mode, outcomes, peers) for mode, outcomes in found.items()}
    publish(parts, EXPLANATION / "accuracy.md" if options.docs else None)
    missed = [text for mode, outcomes in found.items() for o in outcomes for text in shortfalls(mode, o, peers)]
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())

"""`Edited`: a changed model, and the account of what was changed and what was left alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantlib.frozen import Frozen
from quantlib.tflite import Model, file_pieces, plan_layout

#: Lines of each kind that are printed; `to_dict` has all.
_SHOWN = 12
#: Level of what ``zip`` and app stores pack files with.
_LEVEL = 6
#: Files from this size on are packed only where that is asked for; it takes some seconds for each 64 MiB.
_LARGE = 1 << 26


@dataclass(frozen=True, slots=True)
class Line:
    """What was done, or not done, at one place.

    Attributes
    ----------
    where : str
        A tensor or an operator, by name.
    what : str
        What was done to it, or why nothing was.
    figures : mapping of str to number or str
        What was measured there.
    """

    where: str
    what: str
    figures: Mapping[str, float | int | str] = field(default_factory=Frozen)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"where": self.where, "what": self.what, **self.figures}


@dataclass(frozen=True, slots=True, repr=False)
class Edited:
    """What an edit gave.

    Attributes
    ----------
    model : Model
        The changed model.
    verb : str
        Which edit it was, such as ``prune``.
    done : tuple of Line
        What was changed.
    kept : tuple of Line
        What was left alone, each with its reason.
    totals : mapping of str to number
        Figures of the whole.
    notes : tuple of str
        What else there is to say.
    """

    model: Model
    verb: str
    done: tuple[Line, ...] = ()
    kept: tuple[Line, ...] = ()
    totals: Mapping[str, float | int] = field(default_factory=Frozen)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", Frozen(self.totals))

    def __repr__(self) -> str:
        return f"<Edited by {self.verb}: {len(self.done)} changed, {len(self.kept)} left alone>"

    def __str__(self) -> str:
        totals = ", ".join(f"{name} {_number(value)}" for name, value in self.totals.items())
        lines = [f"{self.verb}: {len(self.done)} changed, {len(self.kept)} left alone{'; ' * bool(totals)}{totals}"]
        for title, part in (("changed", self.done), ("left alone", self.kept)):
            if part:
                lines += [f"{title}:", *(f"  {line}" for line in part[:_SHOWN])]
            if len(part) > _SHOWN:
                lines.append(f"  and {len(part) - _SHOWN} more")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the model as plain values."""
        return {
            "verb": self.verb,
            "totals": dict(self.totals),
            **({"notes": list(self.notes)} if self.notes else {}),
            "done": [line.to_dict() for line in self.done],
            "kept": [line.to_dict() for line in self.kept],
        }


def _number(value: float | int) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def deflated_size(model: Model) -> int:
    """Bytes of a model's file after deflate: what zeros and repeated values save in a package or on the wire.

    Parameters
    ----------
    model : Model

    Returns
    -------
    int
        Of a zlib stream at level 6. The file is packed piece by piece and never whole in memory.
    """
    packer, count = zlib.compressobj(_LEVEL), 0
    for piece in file_pieces(model):
        count += len(packer.compress(np.ascontiguousarray(piece).data))
    return count + len(packer.flush())


def deflated_totals(before: Model, after: Model, asked: bool | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """What two models take after deflate, for `Edited.totals`.

    Parameters
    ----------
    before, after : Model
    asked : bool or None
        None for files of less than 64 MiB only, since packing takes far longer than any edit.

    Returns
    -------
    totals : dict of str to int
        ``deflated_before`` and ``deflated``; empty where they are left out.
    notes : tuple of str
        That they are left out for the size of the file, and how to get them.
    """
    if asked is None:
        size = max(plan_layout(model).size for model in (before, after))
        asked = size < _LARGE
        if not asked:
            return {}, (f"{size:,} bytes weren't deflated to see their size then; deflated=True (--deflated) does",)
    if not asked:
        return {}, ()
    found = deflated_size(before)
    return {"deflated_before": found, "deflated": found if after is before else deflated_size(after)}, ()

"""`Edited`: a changed model, and the account of what was changed and what was left alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from quantlib.tflite import Model

#: Lines of each kind that are printed; `to_dict` has all.
_SHOWN = 12
#: Level of what ``zip`` and app stores pack files with.
_LEVEL = 6


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
    figures: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"where": self.where, "what": self.what, **self.figures}


@dataclass(frozen=True, slots=True)
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
    """

    model: Model
    verb: str
    done: tuple[Line, ...] = ()
    kept: tuple[Line, ...] = ()
    totals: Mapping[str, float | int] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        object.__setattr__(self, "totals", MappingProxyType(dict(self.totals)))

    def __str__(self) -> str:
        totals = ", ".join(f"{name} {_number(value)}" for name, value in self.totals.items())
        lines = [f"{self.verb}: {len(self.done)} changed, {len(self.kept)} left alone{'; ' * bool(totals)}{totals}"]
        for title, part in (("changed", self.done), ("left alone", self.kept)):
            if part:
                lines += [f"{title}:", *(f"  {line}" for line in part[:_SHOWN])]
            if len(part) > _SHOWN:
                lines.append(f"  and {len(part) - _SHOWN} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the model as plain values."""
        return {
            "verb": self.verb,
            "totals": dict(self.totals),
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
        Of a zlib stream at level 6.
    """
    packer, count, raw = zlib.compressobj(_LEVEL), 0, memoryview(model.to_bytes())
    for start in range(0, len(raw), 1 << 20):
        count += len(packer.compress(raw[start : start + (1 << 20)]))
    return count + len(packer.flush())

"""Presets by what they ask for."""

from __future__ import annotations

from quantlib.recipes import PRESETS, by_name

#: Those for weights alone, and those with integer activations, which need statistics.
WEIGHT_PRESETS = tuple(name for name in PRESETS if not by_name(name).activations)
INTEGER_PRESETS = tuple(name for name in PRESETS if by_name(name).activations)

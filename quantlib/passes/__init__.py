"""Passes: each takes a `Model` and gives a `Model`."""

from __future__ import annotations

from .weights import apply_weights

__all__ = ["apply_weights"]

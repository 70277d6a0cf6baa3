"""Pruning of single weights, in blocks or by themselves."""

from .edit import prune

__all__ = ["prune"]

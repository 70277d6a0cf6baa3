"""Pruning of whole channels: what is carried where, which are cut, and what their means leave in biases."""

from .edit import prune_channels

__all__ = ["prune_channels"]

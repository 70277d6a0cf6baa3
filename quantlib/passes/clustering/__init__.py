"""Clustering: constants with few different values."""

from .edit import cluster

__all__ = ["cluster"]

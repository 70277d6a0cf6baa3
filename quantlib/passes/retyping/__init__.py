"""Retyping: other types and shapes of a finished model."""

from .edit import retype

__all__ = ["retype"]

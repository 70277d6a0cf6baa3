"""Tidying: what nothing needs is taken out."""

from .edit import tidy

__all__ = ["tidy"]

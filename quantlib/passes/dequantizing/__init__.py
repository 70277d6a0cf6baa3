"""Dequantizing: real values where integers were stored."""

from .edit import dequantize

__all__ = ["dequantize"]

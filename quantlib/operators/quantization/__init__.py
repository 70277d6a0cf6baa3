"""Operators between float and integer types."""

"""Operators on single elements: arithmetic, comparisons, logic, choice, conversion."""

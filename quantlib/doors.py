"""Doors that import what they show when it is first used: a room costs its visitors what they use of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def late(package: str, files: Mapping[str, Collection[str]]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package.

    Parameters
    ----------
    package : str
        Its name.
    files : mapping of str to collection of str
        Files of the package, and what it shows of each.

    Returns
    -------
    callable
        Gives what a name stands for, and leaves it in the package.

    Examples
    --------
    >>> late("quantlib.passes", {"pruning": ["prune"]})("prune").__name__
    'prune'
    """
    homes = {name: file for file, names in files.items() for name in names}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{homes[name]}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    return find

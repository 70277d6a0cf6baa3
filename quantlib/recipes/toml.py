"""Recipes from TOML."""

from __future__ import annotations

import os
import sys
from typing import Any

from quantlib.errors import InvalidRecipe, NotFound

from .recipe import MODES, SEVERAL, Recipe, check_known


def from_toml(text: str, where: str = "recipe") -> Recipe:
    """Make a recipe from TOML.

    Parameters
    ----------
    text : str
        The fields of `Recipe` by name; or ``recipe = "NAME"`` and what differs from that preset.
    where : str
        Names the text in an error.

    Raises
    ------
    InvalidRecipe
        If it isn't TOML, or has an unknown key or value.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    from .presets import by_name

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"{where}: not TOML: {error}; see the reference of recipes") from None
    try:
        base = by_name(values.pop("recipe")) if "recipe" in values else None
        check_known(values)
        _check_kinds(values)
        if base is not None:
            return base.replace(**values)
        if "mode" not in values:
            raise InvalidRecipe(f"neither 'recipe' nor 'mode' is set; give one of {', '.join(MODES)} as mode")
        return Recipe(**values)
    except (InvalidRecipe, NotFound) as error:
        raise InvalidRecipe(f"{where}: {error}") from None


def load(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a TOML file.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidRecipe
        As `from_toml`.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise NotFound(f"{os.fspath(path)}: {error.strerror}; give a preset's name or a TOML file") from None
    except UnicodeDecodeError:
        raise InvalidRecipe(f"{os.fspath(path)}: not UTF-8 text; a TOML file is required") from None
    return from_toml(text, os.fspath(path))


def _check_kinds(values: dict[str, Any]) -> None:
    """TOML has types of its own: refuse what would be taken for something else."""
    for key, value in values.items():
        text_list = isinstance(value, list) and all(isinstance(v, str) for v in value)
        right = {
            "block_size": isinstance(value, int),
            "min_elements": isinstance(value, int),
            "percentile": isinstance(value, (int, float)) and not isinstance(value, bool),
            "input_stats": isinstance(value, list),
            "default_ranges": isinstance(value, list),
            **dict.fromkeys(("symmetric", "symmetric_activations"), isinstance(value, bool)),
            **dict.fromkeys(SEVERAL, text_list or isinstance(value, str)),
        }.get(key, isinstance(value, str))
        if not right:
            raise InvalidRecipe(
                f"{key} is {value!r}; a value of another type is required, see the reference of recipes"
            )

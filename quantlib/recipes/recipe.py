"""`Recipe`: what is wanted of a quantization; loads from TOML and saves to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from quantlib.errors import InvalidRecipe, NotFound, WriteFailed

MODES = ("float16", "dynamic", "weight-only")
GRANULARITIES = ("channel", "tensor", "block")
RANGES = ("minmax", "mse")
_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"float16": ("FLOAT16",), "dynamic": ("INT8", "INT4"), "weight-only": ("INT8", "INT4")}
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is wanted; how it is done in one model is a `Plan`.

    Attributes
    ----------
    mode : str
        ``float16`` (constants as float16 behind DEQUANTIZE), ``dynamic`` (integer weights in the kernels that
        take them with float activations) or ``weight-only`` (integer weights behind DEQUANTIZE).
    weights : str
        Element type of the weights: FLOAT16, INT8 or INT4.
    granularity : str
        ``channel``, ``tensor`` or ``block``: which elements share a scale, where the kernel lets one choose.
    block_size : int
        Elements of a block; only with granularity ``block``.
    symmetric : bool
        Zero point 0; kernels of mode ``dynamic`` take nothing else.
    range : str
        ``minmax``, or ``mse``: weights are clipped where that makes their mean square error least.
    min_elements : int or None
        Smaller constants stay as they are. None leaves it to the operator: 16, but 1,024 for recurrent operators
        (whose errors add up over time); float16 takes all. The TensorFlow converter's rule is 1,024 for all.
    only, skip : tuple of str
        Regular expressions, searched in the name of an operator (that of its first output) and of the constant.
        With `only`, nothing else is quantized; `skip` wins.
    only_types, skip_types : tuple of str
        The same by operator type, such as CONV_2D.

    Raises
    ------
    InvalidRecipe
        If a value isn't one of those above, or they contradict one another.

    Examples
    --------
    >>> Recipe("weight-only", weights="INT4").weights
    'INT4'
    """

    mode: str
    weights: str = "INT8"
    granularity: str = "channel"
    block_size: int = 0
    symmetric: bool = True
    range: str = "minmax"
    min_elements: int | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    only_types: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("only", "skip", "only_types", "skip_types"):
            value = getattr(self, name)
            strings = (
                (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (None,)
            )
            if not all(isinstance(v, str) for v in strings):
                raise InvalidRecipe(f"{name} is {value!r}; a text or several are required")
            object.__setattr__(self, name, strings)
        _one_of("mode", self.mode, MODES)
        _one_of("weights", self.weights, _TYPES[self.mode])
        _one_of("granularity", self.granularity, GRANULARITIES)
        _one_of("range", self.range, RANGES)
        _numbers(self)
        if self.mode == "float16" and (self.granularity, self.range, self.symmetric) != ("channel", "minmax", True):
            raise InvalidRecipe(
                "granularity, range and symmetric say nothing to mode 'float16', which has no scales; leave them out"
            )
        if not self.symmetric and self.mode != "weight-only":
            raise InvalidRecipe(
                f"symmetric = false with mode {self.mode!r}: its kernels require zero point 0; use weight-only"
            )
        if self.granularity == "block" and (self.mode, self.weights) != ("dynamic", "INT4"):
            raise InvalidRecipe(
                f"granularity 'block' with mode {self.mode!r} and weights {self.weights}: only mode dynamic with "
                "INT4 has kernels with blocks"
            )
        if self.block_size % 32:
            raise InvalidRecipe(f"block_size is {self.block_size}; XNNPACK requires a multiple of 32")
        if (self.block_size > 0) != (self.granularity == "block"):
            raise InvalidRecipe(
                f"granularity {self.granularity!r} with block_size {self.block_size}: a block size goes with blocks, "
                "and blocks need one (32, 64, 128 or 256)"
            )

    def replace(self, **changes: Any) -> Recipe:
        """Return a recipe with some fields changed."""
        _known(changes)
        return replace(self, **changes)

    def to_toml(self) -> str:
        """Return the recipe as TOML."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items() if value is not None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe to a TOML file.

        Raises
        ------
        WriteFailed
            If the file can't be written.
        """
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.to_toml())
        except OSError as error:
            raise WriteFailed(f"{os.fspath(path)}: {error.strerror}; choose another path") from error

    def __str__(self) -> str:
        shown = [f"{f.name} {getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(shown)


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
        _known(values)
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


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidRecipe(f"{name} is {value!r}; one of {', '.join(allowed)} is required")


def _numbers(recipe: Recipe) -> None:
    for name in ("block_size", "min_elements"):
        value = getattr(recipe, name)
        if name == "min_elements" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidRecipe(f"{name} is {value!r}; a whole number of 0 or more is required")


def _known(values: dict[str, Any]) -> None:
    names = [f.name for f in fields(Recipe)]
    for key in values:
        if key not in names:
            raise InvalidRecipe(f"unknown key {key!r}; known are recipe, {', '.join(names)}")


def _check_kinds(values: dict[str, Any]) -> None:
    """TOML has types of its own: refuse what would be taken for something else."""
    for key, value in values.items():
        text_list = isinstance(value, list) and all(isinstance(v, str) for v in value)
        right = {
            "block_size": isinstance(value, int),
            "min_elements": isinstance(value, int),
            "symmetric": isinstance(value, bool),
            "only": text_list or isinstance(value, str),
            "skip": text_list or isinstance(value, str),
            "only_types": text_list or isinstance(value, str),
            "skip_types": text_list or isinstance(value, str),
        }.get(key, isinstance(value, str))
        if not right:
            raise InvalidRecipe(
                f"{key} is {value!r}; a value of another type is required, see the reference of recipes"
            )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, str):
        import json

        # a JSON string is a TOML basic string, but for DEL
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)

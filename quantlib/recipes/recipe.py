"""`Recipe`: what is wanted of a quantization; loads from TOML and saves to it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.calibration import RANGES, Percentile, RangeChooser
from quantlib.errors import InvalidRecipe, InvalidValue, WriteFailed

#: Modes in which activations are integers too, and the type that these have.
ACTIVATIONS: Mapping[str, str] = MappingProxyType({"int8": "INT8", "int16x8": "INT16", "uint8": "UINT8"})
MODES = ("float16", "dynamic", "weight-only", *ACTIVATIONS)
GRANULARITIES = ("channel", "tensor", "block")
WEIGHT_RANGES = ("minmax", "mse")
#: Element types of inputs and outputs.
INTERFACES = ("FLOAT32", "INT8", "UINT8", "INT16")
_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "float16": ("FLOAT16",),
        "dynamic": ("INT8", "INT4"),
        "weight-only": ("INT8", "INT4"),
        "int8": ("INT8", "INT4"),
        "int16x8": ("INT8", "INT4"),
        "uint8": ("UINT8",),
    }
)
#: Fields that hold several texts, and fields that say nothing to modes without integer activations.
SEVERAL = ("only", "skip", "only_types", "skip_types", "per_tensor_types", "int16", "int16_types")
_STATIC_ONLY = (
    "weight_range", "percentile", "symmetric_activations", "input_type", "output_type", "input_stats",
    "default_ranges", "int16", "int16_types", "tails", "rounding", "recurrent",
)  # fmt: skip
ROUNDINGS = ("nearest", "balanced")
#: What to do with outputs at whose end values of very different ranges are joined.
TAILS = ("float", "int16", "keep")
RECURRENT = ("float", "integer")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is wanted; how it is done in one model is a `Plan`.

    Attributes
    ----------
    mode : str
        ``float16`` (constants as float16 behind DEQUANTIZE), ``dynamic`` (integer weights in the kernels that
        take them with float activations) or ``weight-only`` (integer weights behind DEQUANTIZE); ``int8``,
        ``int16x8`` or ``uint8`` (activations too, whose ranges come from calibration).
    weights : str
        Element type of the weights: FLOAT16, INT8, INT4, or UINT8 (with mode ``uint8`` alone).
    granularity : str
        ``channel``, ``tensor`` or ``block``: which elements share a scale, where the kernel lets one choose.
    block_size : int
        Elements of a block; only with granularity ``block``.
    symmetric : bool
        Zero point 0; kernels of mode ``dynamic`` take nothing else.
    range : str or RangeChooser or None
        How the range of an activation is chosen from the statistics: ``minmax``, ``percentile``, ``entropy``,
        ``mse``, ``blend`` or ``headroom`` (see `quantlib.ranges`). In modes without integer activations that of a
        weight: ``minmax`` or ``mse``. None chooses ``headroom`` for 16-bit activations, ``blend`` for 8-bit ones that
        have a histogram, and ``minmax`` for all else. But for ``minmax``, none cuts off the greatest of what SOFTMAX
        reads.
    weight_range : str
        The same for weights, in modes with integer activations: ``minmax``, or ``mse``, which clips them where that
        makes their mean square error least.
    percentile : float
        Percent of the values that ``percentile`` keeps.
    symmetric_activations : bool
        Activations with zero point 0; mode ``int16x8`` has no others.
    input_type, output_type : str
        Element type of the model's inputs and outputs: FLOAT32, INT8, UINT8 or INT16.
    input_stats : (float, float) or None
        Mean and standard deviation of the training images: the input's scale becomes ``1 / std``, its zero point
        ``mean`` (of UINT8; 128 less for INT8), as ``mean_values`` and ``std_dev_values`` of the old converter.
    default_ranges : (float, float) or None
        Range of every activation that no other source has one for: for trials of speed.
    per_tensor_types : tuple of str
        Operator types whose weights have one scale for the tensor.
    int16, int16_types : tuple of str
        Regular expressions and operator types, as `only` and `only_types`: operators that get INT16 activations in
        a model of mode ``int8``.
    tails : str
        Where an output joins values of very different ranges: ``float`` (or ``int16``) lets it have that type,
        ``keep`` doesn't look.
    rounding : str or None
        ``nearest``, or ``balanced``: some weights are rounded the other way so that errors cancel within each output
        channel (`quantlib.numerics.quantize_balanced`). None is ``balanced`` in modes with integer activations.
    recurrent : str
        ``float``, or ``integer``: LSTM become INT8 too, in mode ``int8``. That costs accuracy, since their errors
        add up over steps.
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
    range: str | RangeChooser | None = None
    weight_range: str = "minmax"
    percentile: float = 99.99
    symmetric_activations: bool = False
    input_type: str = "FLOAT32"
    output_type: str = "FLOAT32"
    input_stats: tuple[float, float] | None = None
    default_ranges: tuple[float, float] | None = None
    per_tensor_types: tuple[str, ...] = ()
    int16: tuple[str, ...] = ()
    int16_types: tuple[str, ...] = ()
    tails: str = "float"
    rounding: str | None = None
    recurrent: str = "float"
    min_elements: int | None = None
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    only_types: tuple[str, ...] = ()
    skip_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in SEVERAL:
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
        _range(self)
        _numbers(self)
        _static(self)
        if self.mode == "float16" and (self.granularity, self.range or "minmax", self.symmetric) != (
            "channel",
            "minmax",
            True,
        ):
            raise InvalidRecipe(
                "granularity, range and symmetric say nothing to mode 'float16', which has no scales; leave them out"
            )
        if not self.symmetric and self.mode not in ("weight-only", "uint8"):
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

    @property
    def activations(self) -> str:
        """Element type of integer activations; empty for modes without."""
        return ACTIVATIONS.get(self.mode, "")

    @property
    def chooser(self) -> RangeChooser:
        """What chooses the ranges of activations."""
        return self.chooser_of(str(self.range or "minmax"))

    def chooser_of(self, name: str) -> RangeChooser:
        """What chooses ranges under a name."""
        return Percentile(self.percentile) if name == "percentile" else RANGES[name]()

    @property
    def balanced(self) -> bool:
        """Whether weights are rounded so that errors cancel."""
        return self.rounding == "balanced" or (self.rounding is None and bool(self.activations))

    def replace(self, **changes: Any) -> Recipe:
        """Return a recipe with some fields changed."""
        check_known(changes)
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


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidRecipe(f"{name} is {value!r}; one of {', '.join(allowed)} is required")


def _range(recipe: Recipe) -> None:
    """Take a chooser apart into its name and what else it says; check both."""
    chooser = recipe.range
    if chooser is not None and not isinstance(chooser, str):
        name = str(getattr(chooser, "name", ""))
        if name not in RANGES or not isinstance(chooser, RANGES[name]):
            raise InvalidRecipe(f"range is {chooser!r}; one of {', '.join(RANGES)}, or one of quantlib.ranges")
        object.__setattr__(recipe, "range", name)
        if isinstance(chooser, Percentile):
            object.__setattr__(recipe, "percentile", chooser.p)
    if recipe.range is not None:
        _one_of("range", recipe.range, tuple(RANGES) if recipe.activations else WEIGHT_RANGES)
    try:
        Percentile(recipe.percentile)
    except (InvalidValue, TypeError) as error:
        raise InvalidRecipe(str(error)) from None


def _static(recipe: Recipe) -> None:
    """Check the fields that speak of integer activations."""
    if not recipe.activations:
        for f in fields(recipe):
            if f.name in _STATIC_ONLY and getattr(recipe, f.name) != f.default:
                raise InvalidRecipe(
                    f"{f.name} says nothing to mode {recipe.mode!r}, whose activations stay float; leave it out, or "
                    f"take one of {', '.join(ACTIVATIONS)}"
                )
        return
    _one_of("weight_range", recipe.weight_range, WEIGHT_RANGES)
    _one_of("tails", recipe.tails, TAILS)
    _one_of("recurrent", recipe.recurrent, RECURRENT)
    if recipe.rounding is not None:
        _one_of("rounding", recipe.rounding, ROUNDINGS)
    _one_of("input_type", recipe.input_type, INTERFACES)
    _one_of("output_type", recipe.output_type, INTERFACES)
    if recipe.symmetric_activations and recipe.mode == "uint8":
        raise InvalidRecipe("symmetric_activations with mode 'uint8': UINT8 has no negative integers; take int8")
    for name, what in (("input_stats", "mean and standard deviation"), ("default_ranges", "least and greatest")):
        object.__setattr__(recipe, name, _pair(name, getattr(recipe, name), what))
    if recipe.input_stats is not None:
        _check_input_stats(recipe.mode, *recipe.input_stats)
    if recipe.default_ranges is not None and not recipe.default_ranges[0] < recipe.default_ranges[1]:
        raise InvalidRecipe(f"default_ranges is {recipe.default_ranges}; the first less than the second is required")
    if (recipe.int16 or recipe.int16_types) and recipe.mode != "int8":
        raise InvalidRecipe(f"int16 selects operators of mode 'int8', and the mode is {recipe.mode!r}; leave it out")


def _check_input_stats(mode: str, mean: float, deviation: float) -> None:
    if deviation <= 0:
        raise InvalidRecipe(f"input_stats has standard deviation {deviation}; more than 0 is required")
    if mode == "int16x8":
        raise InvalidRecipe(
            "input_stats with mode 'int16x8', whose zero points are all 0; leave it out, or take int8"
        )
    if not 0 <= mean <= 255:
        raise InvalidRecipe(f"input_stats has mean {mean}; one of 0 to 255 is required, as a zero point of UINT8")


def _pair(name: str, value: object, what: str) -> tuple[float, float] | None:
    if value is None:
        return None
    numbers = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else ()
    good = len(numbers) == 2 and all(isinstance(v, Real) and math.isfinite(v) for v in numbers)
    if not good:
        raise InvalidRecipe(f"{name} is {value!r}; two finite numbers, {what}, are required")
    return float(numbers[0]), float(numbers[1])


def _numbers(recipe: Recipe) -> None:
    for name in ("block_size", "min_elements"):
        value = getattr(recipe, name)
        if name == "min_elements" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
            raise InvalidRecipe(f"{name} is {value!r}; a whole number of 0 or more is required")
        object.__setattr__(recipe, name, int(value))
    for name in ("symmetric", "symmetric_activations"):
        value = getattr(recipe, name)
        if not isinstance(value, (bool, np.bool_)):
            raise InvalidRecipe(f"{name} is {value!r}; True or False is required")
        object.__setattr__(recipe, name, bool(value))


def check_known(values: dict[str, Any]) -> None:
    """Refuse fields that recipes don't have."""
    names = [f.name for f in fields(Recipe)]
    for key in values:
        if key not in names:
            raise InvalidRecipe(f"unknown key {key!r}; known are recipe, {', '.join(names)}")


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

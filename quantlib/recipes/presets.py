"""The recipes that have a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from quantlib.errors import NotFound

from .recipe import Recipe


def float16(**changes: Any) -> Recipe:
    """Constants as float16 behind DEQUANTIZE: half the size, no loss to speak of, what GPU delegates expect."""
    return Recipe("float16", weights="FLOAT16").replace(**changes)


def dynamic(**changes: Any) -> Recipe:
    """Weights as int8, activations quantized at run time: a quarter of the size, integer products, no data."""
    return Recipe("dynamic").replace(**changes)


def dynamic_int4(**changes: Any) -> Recipe:
    """Weights as int4 where kernels take them, else as int8."""
    return Recipe("dynamic", weights="INT4").replace(**changes)


def weight_only(**changes: Any) -> Recipe:
    """Weights as int8 behind DEQUANTIZE: a quarter of the size, computation in float."""
    return Recipe("weight-only").replace(**changes)


def weight_only_int4(**changes: Any) -> Recipe:
    """Weights as int4 behind DEQUANTIZE: an eighth of the size, computation in float."""
    return Recipe("weight-only", weights="INT4").replace(**changes)


def int8(**changes: Any) -> Recipe:
    """Weights and activations as int8, with ranges from calibration: what accelerators and microcontrollers run."""
    return Recipe("int8").replace(**changes)


def int8_int4(**changes: Any) -> Recipe:
    """Activations as int8, weights as int4 where kernels take them."""
    return Recipe("int8", weights="INT4").replace(**changes)


def int16x8(**changes: Any) -> Recipe:
    """Activations as int16, weights as int8: for what int8 activations lose too much of."""
    return Recipe("int16x8").replace(**changes)


def uint8(**changes: Any) -> Recipe:
    """Weights and activations as uint8 with one scale a tensor, as old accelerators want them."""
    return Recipe("uint8", weights="UINT8", granularity="tensor", symmetric=False).replace(**changes)


PRESETS: Mapping[str, Callable[..., Recipe]] = MappingProxyType(
    {
        "float16": float16,
        "dynamic": dynamic,
        "dynamic-int4": dynamic_int4,
        "weight-only": weight_only,
        "weight-only-int4": weight_only_int4,
        "int8": int8,
        "int8-int4": int8_int4,
        "int16x8": int16x8,
        "uint8": uint8,
    }
)


def by_name(name: str) -> Recipe:
    """Return a preset.

    Raises
    ------
    NotFound
        If there is none of that name.
    """
    if name not in PRESETS:
        raise NotFound(f"there is no recipe {name!r}; known are {', '.join(PRESETS)}, or give a .toml file")
    return PRESETS[name]()

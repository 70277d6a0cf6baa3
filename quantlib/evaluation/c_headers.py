"""Test vectors as C headers: aligned constant arrays, and macros for single numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.runners import Array

from .vectors import Vectors

#: Values on a line.
_LINE = 12

_C_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "uint8_t",
        "float16": "float",
        "float32": "float",
        "float64": "double",
        **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    }
)

#: What all headers include.
COMMON = """\
/* Common to the headers of this folder. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <math.h>
#include <stdint.h>

/* Arrays stand at multiples of 16 bytes. */
#if defined(__cplusplus)
#define GOLDEN_ALIGNED alignas(16)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define GOLDEN_ALIGNED _Alignas(16)
#elif defined(__GNUC__)
#define GOLDEN_ALIGNED __attribute__((aligned(16)))
#else
#define GOLDEN_ALIGNED
#endif

#endif /* GOLDEN_H */
"""


def header(vectors: Vectors) -> str:
    """Make the header of one operator.

    Parameters
    ----------
    vectors : Vectors

    Returns
    -------
    str
        Its arrays by their names behind ``op_<subgraph>_<index>_<type>_``, in the order of the last axis; shapes,
        clamp and settings as macros.

    Examples
    --------
    >>> record = {"subgraph": 0, "index": 3, "type": "ADD", "arithmetic": {"clamp": [-5, 127], "settings": {}}}
    >>> print(header(Vectors(record, {"input_0": np.array([[1, -2]], np.int8)})))
    /* ADD, subgraph 0, operator 3. */
    #ifndef GOLDEN_OP_0_0003_ADD_H
    #define GOLDEN_OP_0_0003_ADD_H
    <BLANKLINE>
    #include "golden.h"
    <BLANKLINE>
    #define OP_0_0003_ADD_CLAMP_0 (-5)
    #define OP_0_0003_ADD_CLAMP_1 (127)
    <BLANKLINE>
    /* input_0: 1 x 2 */
    #define OP_0_0003_ADD_INPUT_0_SIZE (2)
    GOLDEN_ALIGNED static const int8_t op_0_0003_add_input_0[2] = {
        1, -2,
    };
    <BLANKLINE>
    #endif /* GOLDEN_OP_0_0003_ADD_H */
    <BLANKLINE>
    """
    name, record = f"op_{vectors.name}", vectors.record
    guard = f"GOLDEN_{name.upper()}_H"
    found = record["arithmetic"] or {}
    numbers = {"clamp": found.get("clamp"), **found.get("settings", {})}
    macros = [f"#define {name.upper()}_{key.upper()} ({_integer(value)})" for key, value in _flat(numbers)]
    return "\n".join(
        [
            f"/* {record['type']}, subgraph {record['subgraph']}, operator {record['index']}. */",
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            '#include "golden.h"',
            "",
            *([*macros, ""] if macros else []),
            *(line for key, array in vectors.arrays.items() for line in _array(name, key, array)),
            f"#endif /* {guard} */",
            "",
        ]
    )


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Integers by name, those of lists with their places behind it."""
    for name, value in values.items():
        if isinstance(value, (bool, int)):
            yield name, int(value)
        elif isinstance(value, list):
            yield from _flat({f"{name}_{i}": v for i, v in enumerate(value)})


def _array(operator: str, key: str, array: Array) -> Iterator[str]:
    shape = " x ".join(map(str, array.shape)) or "one number"
    yield f"/* {key}: {shape} */"
    yield f"#define {operator.upper()}_{key.upper()}_SIZE ({array.size})"
    if array.size:  # C has no arrays of no elements
        kind = _C_TYPES[array.dtype.name]
        yield f"GOLDEN_ALIGNED static const {kind} {operator.lower()}_{key}[{array.size}] = {{"
        words = _words(array.reshape(-1))
        for start in range(0, len(words), _LINE):
            yield "    " + ", ".join(words[start : start + _LINE]) + ","
        yield "};"
    yield ""


def _words(flat: Array) -> list[str]:
    if flat.dtype.kind == "f":
        return [_float(v, "f" if flat.dtype.itemsize < 8 else "") for v in flat.astype(np.float64).tolist()]
    if flat.dtype.name == "uint64":
        return [f"{v}ULL" for v in flat.tolist()]
    return [_integer(int(v)) for v in flat.tolist()]


def _integer(value: int) -> str:
    """A constant of C; the least number of 64 bits has no literal of its own."""
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    return str(value) if -(1 << 31) < value < 1 << 31 else f"{value}LL"


def _float(value: float, suffix: str) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = format(value, ".9g" if suffix else ".17g")
    return text + ("" if "." in text or "e" in text else ".0") + suffix

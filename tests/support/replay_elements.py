"""Sums, activations, pools, reductions, movements of test vectors, computed anew."""

from __future__ import annotations

import operator as compared
from collections.abc import Callable
from typing import Any

import numpy as np

from .replay_numbers import (
    Operator,
    half_away,
    high,
    int64,
    inverse_root,
    reciprocal,
    round_shift,
    twice,
    wrapped,
    zeros,
)
from .replay_products import each_tap


def add(op: Operator, sign: int = 1) -> np.ndarray:
    bits = op.settings["left_shift"]
    one, other = (op.scaled(op.centered(k) << bits, f"input_{k}") for k in (0, 1))
    return op.stored(op.scaled(one + sign * other))


def subtract(op: Operator) -> np.ndarray:
    return add(op, -1)


def add_vectors(op: Operator) -> np.ndarray:
    settings, plain = op.settings, add(op)
    total = 0
    for k in (0, 1):
        found = op.multiplier(f"input_{k}")
        mantissa, shift = found["mantissa"][0], found["shift"][0]
        room = settings["left_shift"] + (0 if settings["cut"] else shift)
        x = op.centered(k)
        part = high(wrapped(x << room if room >= 0 else x >> -room), mantissa)
        total = total + (part >> -shift if settings["cut"] else part)
    vectors = op.stored(op.scaled(total)).reshape(-1, settings["length"])
    place = np.arange(settings["length"]) < settings["length"] // settings["lanes"] * settings["lanes"]
    return np.where(place, vectors, plain.reshape(vectors.shape)).reshape(plain.shape)


def weighted_sum(op: Operator) -> np.ndarray:
    right = op.settings["right_shift"]
    total = sum(op.centered(k) * weight for k, weight in enumerate(op.settings["weights"]))
    return op.stored((total + 2 ** (right - 1)) >> right)


def shifted_sum(op: Operator) -> np.ndarray:
    one, other = (round_shift(op.input(k), n) for k, n in enumerate(op.settings["right_shifts"]))
    return op.stored(np.clip(one - other if op.settings["subtract"] else one + other, -32768, 32767))


def multiply(op: Operator) -> np.ndarray:
    return op.stored(op.scaled(op.centered(0) * op.centered(1)))


def divide(op: Operator) -> np.ndarray:
    found = op.multiplier("output")
    a, b = np.broadcast_arrays(op.centered(0), op.centered(1))
    out = np.empty(a.shape, np.int64)
    for place in np.ndindex(*a.shape):
        x, y = int(a[place]), int(b[place])
        x, y = (-x, -y) if y < 0 else (x, y)
        room = 31 - (~x if x < 0 else x).bit_length()
        value = int(high(int(high(x << room, reciprocal(y << zeros(y)))), found["mantissa"][0]))
        bits = 31 - zeros(y) + room - found["shift"][0]
        mask = int(wrapped((1 << bits % 64) - 1))
        threshold = (mask >> 1) + (value < 0)
        out[place] = (value >> bits % 32) + ((value & mask) > threshold)
    return op.stored(out)


def squared_difference(op: Operator) -> np.ndarray:
    bits = op.settings["left_shift"]
    one, other = (op.scaled(op.centered(k) << bits, f"input_{k}") for k in (0, 1))
    return op.stored(op.scaled((one - other) ** 2))


def compare(op: Operator) -> np.ndarray:
    bits = op.settings["left_shift"]
    one, other = (op.scaled(op.centered(k) << bits, f"input_{k}") for k in (0, 1))
    short = {
        "EQUAL": "eq",
        "GREATER": "gt",
        "GREATER_EQUAL": "ge",
        "LESS": "lt",
        "LESS_EQUAL": "le",
        "NOT_EQUAL": "ne",
    }
    return getattr(compared, short[op.settings["operation"]])(one, other)


def maximum(op: Operator) -> np.ndarray:
    return np.maximum(op.input(0), op.input(1))


def minimum(op: Operator) -> np.ndarray:
    return np.minimum(op.input(0), op.input(1))


def select(op: Operator) -> np.ndarray:
    condition, a, b = (op.input(i) for i in range(3))
    if condition.ndim == 1 < a.ndim and op.record["type"] == "SELECT":
        condition = condition.reshape(-1, *(1,) * (a.ndim - 1))
    return np.where(condition, a, b)


def average_pool(op: Operator) -> np.ndarray:
    x, shape = op.input(0), op.expected.shape
    sums, counts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for _, _, where, values in each_tap({**op.settings, "dilation": [1, 1]}, x, shape[1:3]):
        sums[where] += values
        counts[where] += 1
    size = (np.abs(sums) + counts // 2) // counts
    return op.clamped(np.where(sums >= 0, size, -size))


def max_pool(op: Operator) -> np.ndarray:
    x, shape = op.input(0), op.expected.shape
    out = np.full(shape, -(2**31), np.int64)
    for _, _, where, values in each_tap({**op.settings, "dilation": [1, 1]}, x, shape[1:3]):
        out[where] = np.maximum(out[where], values)
    return op.clamped(out)


def over(op: Operator, function: Callable[..., np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.asarray(function(x, axis=tuple(op.settings["axes"]), keepdims=op.settings["keep_dims"]))


def mean(op: Operator) -> np.ndarray:
    return op.stored(op.scaled(over(op, np.sum, op.input(0)) - op.settings["count"] * op.zero(0)))


def mean_over_pixels(op: Operator) -> np.ndarray:
    return op.clamped(op.scaled(over(op, np.sum, op.input(0))) + op.settings["offset"])


def in_float(op: Operator) -> np.ndarray:
    real = np.float32(op.multiplier("output")["real"][0])
    return over(op, np.sum, op.input(0)).astype(np.float32) * real + op.arrays["offset"][0]


def sum_even(op: Operator) -> np.ndarray:
    return op.clamped(np.rint(in_float(op)).astype(np.int64))


def sum_float(op: Operator) -> np.ndarray:
    return op.stored(half_away(in_float(op)))


def greatest(op: Operator) -> np.ndarray:
    return over(op, np.max, op.input(0))


def least(op: Operator) -> np.ndarray:
    return over(op, np.min, op.input(0))


def first_greatest(op: Operator) -> np.ndarray:
    return op.input(0).argmax(op.settings["axis"])


def first_least(op: Operator) -> np.ndarray:
    return op.input(0).argmin(op.settings["axis"])


def product(op: Operator) -> np.ndarray:
    axes, x = op.settings["axes"], op.centered(0)
    kept = [a for a in range(x.ndim) if a not in axes]
    # the order of the axes is that in which elements are multiplied
    rows = x.transpose(*kept, *axes).reshape(-1, op.settings["count"])
    found = op.multiplier("output")
    mantissa, shift = (np.int64(found[part][0]) for part in ("mantissa", "shift"))
    total = rows[:, 0]
    for i in range(1, rows.shape[1]):
        total = int64(total * rows[:, i], mantissa, shift)
    return op.stored(int64(total, mantissa, shift)).reshape(op.expected.shape)


def l2_normalize(op: Operator) -> np.ndarray:
    x, bits = op.centered(0), op.settings["bits"]
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        mantissa, shift = inverse_root(int((x[place] ** 2).sum()))
        first = op.settings["shifts_first"]
        out[place] = twice(x[place] << (bits if first else 0), mantissa, shift + (0 if first else bits))
    return op.stored(out)


def copy(op: Operator) -> np.ndarray:
    return op.input(0).reshape(op.expected.shape)


def move(op: Operator) -> list[np.ndarray]:
    flat = np.concatenate([op.input(i).reshape(-1) for i in op.settings["inputs"]])
    found = []
    for k in range(len(op.record["outputs"])):
        places = op.arrays[f"places_{k}"]
        found.append(np.where(places < 0, op.settings.get("value", 0), flat[places]).astype(flat.dtype))
    return found


def gather(op: Operator) -> np.ndarray:
    x, indices, batch, axis = op.input(0), op.input(1), op.settings["batch_dims"], op.settings["axis"]
    out = np.empty(op.expected.shape, x.dtype)
    for place in np.ndindex(*x.shape[:batch]):
        out[place] = np.take(x[place], indices[place], axis=axis - batch)
    return out


def concatenation(op: Operator) -> np.ndarray:
    parts = [op.input(i) for i in range(len(op.record["inputs"]))]
    parts = [op.table(f"table_{i}")[x] if f"table_{i}" in op.arrays else x for i, x in enumerate(parts)]
    return np.concatenate(parts, op.settings["axis"])


def pad(op: Operator) -> np.ndarray:
    return np.pad(op.input(0), op.settings["padding"], constant_values=op.settings["value"])


def corners(op: Operator) -> tuple[list[list[np.ndarray]], np.ndarray, np.ndarray]:
    x = op.input(0)
    rows, columns = ([op.arrays[f"{axis}_{end}"] for end in ("lower", "upper")] for axis in ("rows", "columns"))
    found = [[x[:, r][:, :, c] for c in columns] for r in rows]
    return found, op.arrays["rows_weight"].reshape(-1, 1, 1), op.arrays["columns_weight"].reshape(-1, 1)


def bilinear(op: Operator) -> np.ndarray:
    x, v, u = corners(op)
    one = 2 ** op.settings["bits"]
    left, right = (x[0][c] * (one - v) + x[1][c] * v for c in (0, 1))
    return round_shift(left * (one - u) + right * u, 2 * op.settings["bits"])


def bilinear_upward(op: Operator) -> np.ndarray:
    x, v, u = corners(op)
    bits = op.settings["bits"]
    one = 2**bits
    top, bottom = (x[r][0] * (one - u) + x[r][1] * u for r in (0, 1))
    return (top * (one - v) + bottom * v + 2 ** (2 * bits - 1)) >> (2 * bits)


def bilinear_float(op: Operator) -> np.ndarray:
    x, v, u = corners(op)
    total: Any = np.float32(0)
    for c, across in ((0, 1 - u), (1, u)):
        for r, down in ((0, 1 - v), (1, v)):
            total = total + x[r][c].astype(np.float32) * down * across
    return (total + np.float32(0.5)).astype(np.int64)


def bilinear_weights(op: Operator) -> np.ndarray:
    x, v, u = corners(op)
    total: Any = np.float32(0)
    for r, down in ((0, 1 - v), (1, v)):
        for c, across in ((0, 1 - u), (1, u)):
            total = total + x[r][c].astype(np.float32) * (down * across)
    return (total + np.float32(0.5)).astype(np.int64)


def out_scale(op: Operator) -> np.float32:
    return np.float32(op.record["outputs"][0]["scale"][0])


def quantize(op: Operator) -> np.ndarray:
    return op.stored(half_away((op.input(0) / out_scale(op)).astype(np.float32)))


def quantize_even(op: Operator) -> np.ndarray:
    return op.stored(np.rint(op.input(0) * (np.float32(1) / out_scale(op))).astype(np.int64))


def quantize_vectors(op: Operator) -> np.ndarray:
    x, scale = op.input(0).reshape(-1), np.float64(out_scale(op))
    whole = x.size - x.size % op.settings["lanes"]
    steps = half_away(x.astype(np.float64) / scale)
    steps[:whole] = np.rint(x[:whole] * np.float32(1 / scale))
    return op.stored(steps).reshape(op.expected.shape)


def requantize(op: Operator) -> np.ndarray:
    return op.stored(op.scaled(op.centered(0)))


def dequantize(op: Operator) -> np.ndarray:
    return op.scale(0)[0] * op.centered(0).astype(np.float32)


FORMULAS: dict[str, Callable[[Operator], Any]] = {
    "sum": mean,
    **{
        function.__name__: function
        for function in (
            add,
            add_vectors,
            average_pool,
            bilinear,
            bilinear_float,
            bilinear_upward,
            bilinear_weights,
            compare,
            concatenation,
            copy,
            dequantize,
            divide,
            first_greatest,
            first_least,
            gather,
            greatest,
            l2_normalize,
            least,
            max_pool,
            maximum,
            mean,
            mean_over_pixels,
            minimum,
            move,
            multiply,
            pad,
            product,
            quantize,
            quantize_even,
            quantize_vectors,
            requantize,
            select,
            shifted_sum,
            squared_difference,
            subtract,
            sum_even,
            sum_float,
            weighted_sum,
        )
    },
}

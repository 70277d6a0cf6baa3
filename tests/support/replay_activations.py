"""Activations of test vectors, computed anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .replay_numbers import (
    Operator,
    half_away,
    high,
    logarithm,
    reciprocal,
    round_shift,
    scaled,
    twice,
    wrapped,
    zeros,
)


def either(op: Operator, x: np.ndarray, below: np.ndarray) -> np.ndarray:
    down = op.multiplier("below")
    size = {**down, **{k: [abs(v) for v in down[k]] for k in ("real", "mantissa")}}
    lower = scaled(below, size, down["rounding"])
    return op.stored(np.where(x >= 0, op.scaled(x), -lower if down["real"][0] < 0 else lower))


def leaky_relu(op: Operator) -> np.ndarray:
    return either(op, op.centered(0), op.centered(0))


def prelu(op: Operator) -> np.ndarray:
    return either(op, op.centered(0), op.centered(0) * op.centered(1))


def softmax(op: Operator) -> np.ndarray:
    x, exps = op.input(0), op.table("exponentials")
    most, bits = op.settings["largest_difference"], op.settings["output_bits"]
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        d = x[place].max() - x[place]
        total = int(np.where(d <= most, round_shift(exps[d], 12), 0).sum())
        lead = zeros(total)
        right = 12 - lead + 31 - bits
        shares = round_shift(high(reciprocal(total << lead), exps[d]), right)
        out[place] = op.clamped(np.where(d <= most, shares, 0) + op.arithmetic["clamp"][0])
    return out


def softmax_float(op: Operator) -> np.ndarray:
    x, table = op.input(0), op.arrays["exponentials"]
    scale = np.float32(op.record["outputs"][0]["scale"][0])
    exps = table[x.max(-1, keepdims=True) - x]
    total = np.zeros((*x.shape[:-1], 1), np.float32)
    for k in range(x.shape[-1]):
        total += exps[..., k : k + 1]
    shares = exps * (np.float32(1) / (total * scale))
    if op.record["outputs"][0]["type"] == "UINT8":
        return op.clamped(np.floor(shares + np.float32(0.5)).astype(np.int64))
    return op.stored(half_away(shares))


def log_softmax(op: Operator) -> np.ndarray:
    x, raw, exps = op.input(0), op.table("differences"), op.table("exponentials")
    most, last = op.settings["largest_difference"], op.arithmetic["clamp"][1]
    reverse = op.multiplier("reverse")
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        d = x[place].max() - x[place]
        log = logarithm(int(np.where(d <= most, round_shift(exps[d], 12), 0).sum()))
        limit = -int(twice(np.int64(log - 2**31), reverse["mantissa"][0], reverse["shift"][0]))
        steps = op.clamped(round_shift(raw[d] - log, 22) + last)
        out[place] = np.where(d < min(most + 1, limit), steps, op.arithmetic["clamp"][0])
    return out


def log_softmax_float(op: Operator) -> np.ndarray:
    x, table = op.input(0), op.arrays["exponentials"]
    step, target = op.scale(0)[0], np.float32(1 / 16)
    most = x.max(-1, keepdims=True)
    exps, total = table[most - x], np.zeros((*x.shape[:-1], 1), np.float32)
    for k in range(x.shape[-1]):
        total += exps[..., k : k + 1]
    offset = (step * most.astype(np.float32) + np.log(total.astype(np.float64)).astype(np.float32)) / target
    steps = np.rint(x.astype(np.float32) * (step / target) - offset).astype(np.int64)
    return op.clamped(steps + op.arithmetic["clamp"][1])


def between(entries: np.ndarray, v: np.ndarray) -> np.ndarray:
    i = 256 + (v >> 7)
    slope = (entries[i + 1] - entries[i]).astype(np.int16).astype(np.int64)
    return entries[i] + ((slope * (v & 127) + 64) >> 7)


def interpolated(op: Operator) -> np.ndarray:
    return between(op.table("table"), op.input(0))


def softmax_int16(op: Operator) -> np.ndarray:
    x = op.input(0)
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        below = op.scaled(x[place] - x[place].max(), "difference") + 32767
        e = between(op.table("exponentials"), np.maximum(-32768, below))
        lead = zeros(int(e.sum()))
        s = ((int(e.sum()) << (lead - 1)) + 2**13) >> 14
        f = between(op.table("reciprocals"), np.int64(min(32767, s - 2**15 - 2**16)))
        out[place] = op.clamped((e * f + 2 ** (30 - lead)) >> (31 - lead))
    return out


def sigmoid(op: Operator, bits: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    right = op.settings["right_shift"]
    z = (wrapped(op.input(0) * op.settings["factor"]) + (2**right >> 1)) >> right
    size, entries = np.abs(z), op.table("sigmoid")
    i = np.minimum(size >> bits, 254)
    value = (entries[i] << bits) + (size & (2**bits - 1)) * (entries[i + 1] - entries[i])
    return z, np.where(size >> bits >= 255, last, value)


def logistic_int16(op: Operator) -> np.ndarray:
    z, value = sigmoid(op, 9, 32767 << 10)
    return np.where(z >= 0, value + 2**9, 2**25 - value + 2**9 - 1) >> 10


def tanh_int16(op: Operator) -> np.ndarray:
    z, value = sigmoid(op, 8, 65535 << 8)
    return np.where(z >= 0, value - 2**23 + 2**7, -value + 2**23 + 2**7 - 1) >> 8


def table(op: Operator) -> np.ndarray:
    return op.table("table")[op.input(0) - op.settings["first"]]


FORMULAS: dict[str, Callable[[Operator], Any]] = {
    function.__name__: function
    for function in (
        interpolated,
        leaky_relu,
        log_softmax,
        log_softmax_float,
        logistic_int16,
        prelu,
        softmax,
        softmax_float,
        softmax_int16,
        table,
        tanh_int16,
    )
}

"""Compute the operators of a folder of test vectors anew, as its README says: with NumPy and plain integers alone.

Nothing of quantlib is imported here, so that what it gives is another implementation's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

INT32 = 1 << 32


def read(folder: Path) -> dict[str, Any]:
    """The index of a folder."""
    return json.loads((folder / "index.json").read_text(encoding="utf-8"))


class Operator:
    """One record and its arrays, at one sample."""

    def __init__(self, folder: Path, record: dict[str, Any], sample: int) -> None:
        self.record, self.sample = record, sample
        self.arithmetic = record["arithmetic"]
        self.settings = self.arithmetic["settings"]
        with np.load(folder / record["file"]) as arrays:
            self.arrays = dict(arrays)

    def operand(self, entry: dict[str, Any] | None) -> np.ndarray | None:
        """Values of one operand, as int64 where they are integers."""
        if entry is None:
            return None
        array = self.arrays[entry["array"]]
        value = array if entry["constant"] else array[self.sample]
        return value.astype(np.int64) if value.dtype.kind in "iu" else value

    def input(self, index: int) -> Any:
        entries = self.record["inputs"]
        return self.operand(entries[index]) if index < len(entries) else None

    def zero(self, index: int) -> int:
        """Zero point of an input; of one with several scales, which are symmetric, 0."""
        points = self.record["inputs"][index]["zero_point"]
        return points[0] if len(points) == 1 else 0

    @property
    def expected(self) -> np.ndarray:
        return self.operand(self.record["outputs"][0])

    @property
    def zero_out(self) -> int:
        return self.record["outputs"][0]["zero_point"][0]

    def clamped(self, value: int) -> int:
        low, high = self.arithmetic["clamp"]
        return min(max(value, low), high)

    def scaled(self, x: int, role: str = "output", channel: int = 0) -> int:
        found = next(m for m in self.arithmetic["multipliers"] if m["role"] == role)
        channel = channel if len(found["mantissa"]) > 1 else 0
        mantissa, shift, real = (found[part][channel] for part in ("mantissa", "shift", "real"))
        if found["rounding"] == "double":
            return double(wrapped(x), mantissa, shift)
        if found["rounding"] == "int64":
            reduced = min((mantissa + 2**15) >> 16, 32767)
            return (x * reduced + 2 ** (14 - shift)) >> (15 - shift)
        if found["rounding"] == "float64":
            return half_away(float(x) * real)
        raise ValueError(found["rounding"])


def wrapped(x: int) -> int:
    """What 32 bits keep of an integer."""
    return (x + INT32 // 2) % INT32 - INT32 // 2


def half_away(x: float) -> int:
    """The nearest integer, halves away from zero."""
    size = math.floor(abs(x))
    return int(math.copysign(size + (abs(x) - size >= 0.5), x))


def high(a: int, b: int) -> int:
    return min((a * b + 2**30) >> 31, 2**31 - 1)


def round_shift(x: int, n: int) -> int:
    size = (abs(x) + (2**n >> 1)) >> n
    return size if x >= 0 else -size


def double(x: int, mantissa: int, shift: int) -> int:
    left, right = max(shift, 0), max(-shift, 0)
    product = high(wrapped(x << left), mantissa)
    return (product + (2**right >> 1) - (1 if product < 0 and right > 0 else 0)) >> right


def taps(at: int, axis: int, length: int, settings: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Taps of the window at a place of one axis, and what they read, where that lies inside."""
    start = at * settings["stride"][axis] - settings["padding"][axis][0]
    for tap in range(settings["kernel"][axis]):
        place = start + tap * settings["dilation"][axis]
        if 0 <= place < length:
            yield tap, place


def each_window(op: Operator, x: np.ndarray, out: np.ndarray) -> Iterator[tuple[tuple[int, int, int], list[Any]]]:
    """Places of the output, and the (row tap, column tap, values of all channels) of the window there."""
    for n, i, j in np.ndindex(*out.shape[:3]):
        rows = list(taps(i, 0, x.shape[1], op.settings))
        columns = list(taps(j, 1, x.shape[2], op.settings))
        yield (n, i, j), [(a, b, x[n, r, c]) for a, r in rows for b, c in columns]


def finish(op: Operator, sums: np.ndarray, x: int = 0) -> np.ndarray:
    """Sums of output channels, with the bias, to the output."""
    bias = op.input(x + 2 if x == 0 else 3)
    out = np.empty_like(sums)
    for place in np.ndindex(*sums.shape):
        channel = place[-1]
        total = int(sums[place]) + (0 if bias is None else int(bias[channel]))
        out[place] = op.clamped(op.scaled(total, channel=channel) + op.zero_out)
    return out


def convolution(op: Operator) -> np.ndarray:
    x, w = op.input(0) - op.zero(0), op.input(1) - op.zero(1)
    sums = np.zeros_like(op.expected)
    outputs, depth = len(w), w.shape[3]
    each = outputs // (x.shape[3] // depth)
    for place, window in each_window(op, x, sums):
        for a, b, values in window:
            for group in range(outputs // each):
                part = values[group * depth : (group + 1) * depth]
                which = slice(group * each, (group + 1) * each)
                sums[(*place, which)] += (w[which, a, b] * part).sum(axis=1)
    return finish(op, sums)


def depthwise_convolution(op: Operator) -> np.ndarray:
    x, w = op.input(0) - op.zero(0), op.input(1) - op.zero(1)
    sums = np.zeros_like(op.expected)
    outputs = w.shape[3]
    reads = [o // (outputs // x.shape[3]) for o in range(outputs)]
    for place, window in each_window(op, x, sums):
        for a, b, values in window:
            sums[place] += w[0, a, b] * values[reads]
    return finish(op, sums)


def transposed_convolution(op: Operator) -> np.ndarray:
    x, w = op.input(2) - op.zero(2), op.input(1) - op.zero(1)
    sums = np.zeros_like(op.expected)
    (up, _), (left, _) = op.settings["padding"]
    down, right = op.settings["stride"]
    for n, i, j in np.ndindex(*x.shape[:3]):
        for a, b in np.ndindex(*w.shape[1:3]):
            r, c = i * down + a - up, j * right + b - left
            if 0 <= r < sums.shape[1] and 0 <= c < sums.shape[2]:
                sums[n, r, c] += (w[:, a, b] * x[n, i, j]).sum(axis=1)
    return finish(op, sums, 2)


def fully_connected(op: Operator) -> np.ndarray:
    w = op.input(1) - op.zero(1)
    rows = (op.input(0) - op.zero(0)).reshape(-1, w.shape[1])
    sums = np.array([[(row * unit).sum() for unit in w] for row in rows])
    return finish(op, sums).reshape(op.expected.shape)


def batch_matmul(op: Operator) -> np.ndarray:
    a, b = op.input(0) - op.zero(0), op.input(1) - op.zero(1)
    a = a.swapaxes(-1, -2) if op.settings["adj_x"] else a
    b = b.swapaxes(-1, -2) if op.settings["adj_y"] else b
    return each(op, lambda s: op.scaled(s), a @ b)


def each(op: Operator, function: Callable[..., int], *arrays: np.ndarray) -> np.ndarray:
    """A function of integers at every place, the output's zero point added."""
    spread = np.broadcast_arrays(*arrays)
    out = np.empty(spread[0].shape, np.int64)
    for place in np.ndindex(*out.shape):
        out[place] = op.clamped(function(*(int(a[place]) for a in spread)) + op.zero_out)
    return out


def add(op: Operator, sign: int = 1) -> np.ndarray:
    bits = op.settings["left_shift"]

    def total(a: int, b: int) -> int:
        one, other = (op.scaled(v << bits, f"input_{k}") for k, v in enumerate((a, b)))
        return op.scaled(one + sign * other)

    return each(op, total, op.input(0) - op.zero(0), op.input(1) - op.zero(1))


def subtract(op: Operator) -> np.ndarray:
    return add(op, -1)


def multiply(op: Operator) -> np.ndarray:
    return each(op, lambda a, b: op.scaled(a * b), op.input(0) - op.zero(0), op.input(1) - op.zero(1))


def prelu(op: Operator) -> np.ndarray:
    def step(x: int, slope: int) -> int:
        return op.scaled(x) if x >= 0 else op.scaled(x * slope, "below")

    return each(op, step, op.input(0) - op.zero(0), op.input(1) - op.zero(1))


def pool(op: Operator, of_channel: Callable[[np.ndarray], int]) -> np.ndarray:
    out = np.zeros_like(op.expected)
    for place, window in each_window(op, op.input(0), out):
        values = np.array([values for _, _, values in window])
        out[place] = [op.clamped(of_channel(values[:, c])) for c in range(values.shape[1])]
    return out


def average_pool(op: Operator) -> np.ndarray:
    def mean(values: np.ndarray) -> int:
        total, count = int(values.sum()), len(values)
        size = (abs(total) + count // 2) // count
        return size if total >= 0 else -size

    return pool(op, mean)


def max_pool(op: Operator) -> np.ndarray:
    return pool(op, lambda values: int(values.max()))


def mean(op: Operator) -> np.ndarray:
    axes, count = tuple(op.settings["axes"]), op.settings["count"]
    sums = op.input(0).sum(axis=axes, keepdims=op.settings["keep_dims"])
    return each(op, lambda s: op.scaled(s - count * op.zero(0)), sums)


def reciprocal(m: int) -> int:
    half = m >> 1
    y = 1515870810 + high(half, -1010580540)
    for _ in range(3):
        y = y + (high(y, 2**29 - high(half, y)) << 2)
    return min(y << 1, 2**31 - 1)


def softmax(op: Operator) -> np.ndarray:
    x, exps = op.input(0), [int(v) for v in op.arrays["exponentials"]]
    most, bits = op.settings["largest_difference"], op.settings["output_bits"]
    least = op.arithmetic["clamp"][0]
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        differences = [int(x[place].max() - v) for v in x[place]]
        total = sum(round_shift(exps[d], 12) for d in differences if d <= most)
        zeros = 32 - total.bit_length()
        factor = reciprocal(total << zeros)
        right = 12 - zeros + 31 - bits
        shares = [round_shift(high(factor, exps[d]), right) if d <= most else 0 for d in differences]
        out[place] = [op.clamped(share + least) for share in shares]
    return out


def between(entries: list[int], v: int) -> int:
    i = 256 + (v >> 7)
    return entries[i] + (((entries[i + 1] - entries[i]) * (v & 127) + 64) >> 7)


def softmax_int16(op: Operator) -> np.ndarray:
    x = op.input(0)
    exps, reciprocals = ([int(v) for v in op.arrays[name]] for name in ("exponentials", "reciprocals"))
    out = np.empty_like(x)
    for place in np.ndindex(*x.shape[:-1]):
        below = [op.scaled(int(v - x[place].max()), "difference") + 32767 for v in x[place]]
        e = [between(exps, max(-32768, v)) for v in below]
        zeros = 32 - sum(e).bit_length()
        s = ((sum(e) << (zeros - 1)) + 2**13) >> 14
        f = between(reciprocals, min(32767, s - 2**15 - 2**16))
        out[place] = [op.clamped((v * f + 2 ** (30 - zeros)) >> (31 - zeros)) for v in e]
    return out


def table(op: Operator) -> np.ndarray:
    values = op.arrays["table"].astype(np.int64)
    return values[op.input(0) - op.settings["first"]]


def copy(op: Operator) -> np.ndarray:
    return op.input(0).reshape(op.expected.shape)


def concatenation(op: Operator) -> np.ndarray:
    return np.concatenate([op.input(i) for i in range(len(op.record["inputs"]))], op.settings["axis"])


def pad(op: Operator) -> np.ndarray:
    return np.pad(op.input(0), op.settings["padding"], constant_values=op.settings["value"])


def quantize(op: Operator) -> np.ndarray:
    scale = np.float32(op.record["outputs"][0]["scale"][0])
    steps = (op.input(0) / scale).astype(np.float32)
    out = np.empty(steps.shape, np.int64)
    for place in np.ndindex(*out.shape):
        out[place] = op.clamped(half_away(float(steps[place])) + op.zero_out)
    return out


def requantize(op: Operator) -> np.ndarray:
    return each(op, op.scaled, op.input(0) - op.zero(0))


def dequantize(op: Operator) -> np.ndarray:
    scale = np.float32(op.record["inputs"][0]["scale"][0])
    return scale * (op.input(0) - op.zero(0)).astype(np.float32)


FORMULAS: dict[str, Callable[[Operator], np.ndarray]] = {
    "sum": mean,
    **{
        function.__name__: function
        for function in (
            *(add, average_pool, batch_matmul, concatenation, convolution, copy, depthwise_convolution, dequantize),
            *(fully_connected, max_pool, mean, multiply, pad, prelu, quantize, requantize, softmax, softmax_int16),
            *(subtract, table, transposed_convolution),
        )
    },
}


def replay(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Elements computed, and how many differ, by type and formula; an operator without arithmetic has formula "".

    Every sample of every operator that has vectors.
    """
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for record in read(folder)["operators"]:
        if record["file"] is None:
            continue
        if record["arithmetic"] is None:
            found[record["type"], ""] = (0, 0)
            continue
        key = (record["type"], record["arithmetic"]["formula"])
        for sample in range(len(record["samples"])):
            op = Operator(folder, record, sample)
            result, expected = FORMULAS[key[1]](op), op.expected
            if result.shape != expected.shape:
                raise ValueError(f"{key}: shape {result.shape}, not {expected.shape}")
            count, wrong = found.get(key, (0, 0))
            found[key] = (count + expected.size, wrong + int((result != expected).sum()))
    return found

"""Roundings of integers as the README of test vectors states them, on arrays of int64, and one operator's record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

MOST = 2**31 - 1


class Operator:
    """One record and its arrays, at one sample."""

    def __init__(self, folder: Path, record: dict[str, Any], sample: int) -> None:
        self.record, self.sample = record, sample
        self.arithmetic = record["arithmetic"]
        self.settings = self.arithmetic["settings"]
        with np.load(folder / record["file"]) as arrays:
            self.arrays = dict(arrays)

    def operand(self, entry: dict[str, Any] | None) -> Any:
        """Values of one operand, as int64 where they are integers."""
        if entry is None:
            return None
        array = self.arrays[entry["array"]]
        return wide(array if entry["constant"] else array[self.sample])

    def input(self, index: int) -> Any:
        entries = self.record["inputs"]
        return self.operand(entries[index]) if index < len(entries) else None

    def before(self, index: int) -> Any:
        """What the operator found in a state."""
        return wide(self.arrays[self.record["inputs"][index]["before"]][self.sample])

    def scale(self, index: int) -> np.ndarray:
        return np.float32(self.record["inputs"][index]["scale"])

    def zero(self, index: int) -> int:
        """Zero point of an input; of one with several scales, which are symmetric, 0."""
        points = self.record["inputs"][index]["zero_point"]
        return points[0] if len(points) == 1 else 0

    def centered(self, index: int) -> np.ndarray:
        return self.input(index) - self.zero(index)

    def table(self, name: str) -> np.ndarray:
        return wide(self.arrays[name])

    @property
    def expected(self) -> np.ndarray:
        return self.operand(self.record["outputs"][0])

    @property
    def zero_out(self) -> int:
        return self.record["outputs"][0]["zero_point"][0]

    def clamped(self, value: np.ndarray) -> np.ndarray:
        return np.clip(value, *self.arithmetic["clamp"])

    def stored(self, steps: np.ndarray) -> np.ndarray:
        return self.clamped(steps + self.zero_out)

    def multiplier(self, role: str) -> dict[str, Any] | None:
        return next((m for m in self.arithmetic["multipliers"] if m["role"] == role), None)

    def scaled(self, x: np.ndarray, role: str = "output") -> np.ndarray:
        """Multiplied and rounded; what vectors leave, in another way."""
        found = self.multiplier(role)
        if found is None:
            raise ValueError(f"no multiplier {role}")
        out, lanes = scaled(x, found, found["rounding"]), self.settings.get("lanes")
        out = out.reshape(x.shape)  # one number times a list of one is a list
        if role != "output" or "rest" not in self.settings:
            return out
        rest = scaled(x, found, self.settings["rest"])
        place = np.arange(x.size).reshape(x.shape) if self.settings["flat"] else np.arange(x.shape[-1])
        length = x.size if self.settings["flat"] else x.shape[-1]
        return np.where(place < length - length % lanes, out, rest)


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def scaled(x: np.ndarray, multiplier: dict[str, Any], rounding: str) -> np.ndarray:
    real = np.array(multiplier["real"])
    mantissa, shift = (np.array(multiplier[part], np.int64) for part in ("mantissa", "shift"))
    if rounding in ("double", "upward"):
        return twice(wrapped(x), mantissa, shift, upward=rounding == "upward")
    if rounding == "int64":
        return int64(x, mantissa, shift)
    if rounding == "float64":
        return half_away(x.astype(np.float64) * real)
    if rounding == "float32":
        return np.rint(x.astype(np.float32) * real.astype(np.float32)).astype(np.int64)
    if rounding == "bits8":
        return (x * np.rint(np.float32(256) * real.astype(np.float32)).astype(np.int64) + 128) >> 8
    raise ValueError(rounding)


def wrapped(x: np.ndarray) -> np.ndarray:
    """What 32 bits keep of integers."""
    return (x + 2**31) % 2**32 - 2**31


def half_away(x: Any) -> np.ndarray:
    """The nearest integers, halves away from zero."""
    size = np.floor(np.abs(x))
    return (np.sign(x) * (size + (np.abs(x) - size >= 0.5))).astype(np.int64)


def high(a: Any, b: Any) -> Any:
    return np.minimum((a * b + 2**30) >> 31, MOST)


def saturated(x: Any, bits: int = 32) -> Any:
    return np.clip(x, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def round_shift(x: Any, n: Any) -> Any:
    size = (np.abs(x) + (np.int64(1) << n >> 1)) >> n
    return np.where(x >= 0, size, -size)


def twice(x: Any, mantissa: Any, shift: Any, *, upward: bool = False) -> Any:
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    product = high(wrapped(x << left), mantissa)
    less = 0 if upward else (product < 0) & (right > 0)
    return (product + (np.int64(1) << right >> 1) - less) >> right


def int64(x: Any, mantissa: Any, shift: Any) -> Any:
    reduced = np.minimum((mantissa + 2**15) >> 16, 32767)
    return wrapped((x * reduced + (np.int64(1) << (14 - shift))) >> (15 - shift))


def reciprocal(m: int) -> int:
    half = m >> 1
    y = 1515870810 + int(high(half, -1010580540))
    for _ in range(3):
        y = y + (int(high(y, 2**29 - int(high(half, y)))) << 2)
    return min(y << 1, MOST)


def zeros(x: int) -> int:
    """Leading zero bits in 32."""
    return 32 - int(x).bit_length()


def inverse_root(x: int) -> tuple[int, int]:
    """Mantissa and shift of a multiplier by 1 / sqrt(x)."""
    if x <= 1:
        return MOST, 0
    right = 11
    if x >= 2**29:
        x, right = x >> 2, right + 1
    pairs = (zeros(x) - 1) // 2 - 1
    right -= pairs
    half = int(round_shift(np.int64((x << 2 * pairs) >> 1), 1))
    y = 2**28
    for _ in range(5):
        cube = int(saturated(int(high(int(high(y, y)), y)) << 6))
        y = int(saturated((int(high(2**28 + 2**27, y)) - int(high(half, cube))) << 3))
    return int(high(y, 1518500250)) << max(-right, 0), -max(right, 0)


def logarithm(x: int) -> int:
    """Natural logarithm of a number of 12 integer bits, with 5."""
    lead = zeros(x)

    def power(bits: int) -> int:
        return int(saturated((12 - bits) << 25))

    first = int(saturated(int(high(int(saturated(x << (lead - 1))), 1518500250)) << 1))
    room = zeros(int(high(x, 1518500250))) - 1
    second = int(saturated(x << room))
    z = max(int(saturated(power(lead) + 2**23)), int(saturated(power(room) - 2**23)))
    r = min(first, second)
    p, q = (r + 1805811301) >> 1, 2 * (r - 1805811301)
    square = int(high(q, q))
    top = int(high(q, r)) + int(high(int(high(q, square)), 117049297))
    bottom = int(high(p, 1057819769 + q + int(high(127690142, square)))) + int(high(638450708, q))
    inverse = one_over_one_plus(bottom)
    fraction = int(high(int(round_shift(np.int64(top), 6)), inverse))
    return int(saturated((int(high(z, 1488522236)) + fraction) << 1))


def one_over_one_plus(x: int) -> int:
    return reciprocal(x + 2**31)

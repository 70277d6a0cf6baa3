"""Products of test vectors, computed anew: of integers with integers, and of floats with integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .replay_numbers import Operator, half_away


def reads(
    axis: int, count: int, length: int, settings: dict[str, Any]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each tap of a window along one axis: the outputs for which it lies inside, and what they read there."""
    for tap in range(settings["kernel"][axis]):
        at = tap * settings["dilation"][axis] - settings["padding"][axis][0]
        places = np.arange(count) * settings["stride"][axis] + at
        inside = (places >= 0) & (places < length)
        yield tap, np.flatnonzero(inside), places[inside]


def each_tap(
    settings: dict[str, Any], x: np.ndarray, counts: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[Any, ...], np.ndarray]]:
    """Taps of a window: row tap, column tap, the outputs that it adds to, and what they read."""
    for a, i, rows in reads(0, counts[0], x.shape[1], settings):
        for b, j, columns in reads(1, counts[1], x.shape[2], settings):
            batch = np.arange(len(x))
            yield a, b, np.ix_(batch, i, j), x[np.ix_(batch, rows, columns)]


def convolved(settings: dict[str, Any], x: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    sums = np.zeros(shape, np.int64)
    outputs, depth = len(w), w.shape[3]
    each = outputs // (x.shape[3] // depth)
    for a, b, where, values in each_tap(settings, x, shape[1:3]):
        parts = [
            values[..., g * depth : (g + 1) * depth] @ w[g * each : (g + 1) * each, a, b].T
            for g in range(outputs // each)
        ]
        sums[where] += np.concatenate(parts, -1)
    return sums


def depthwise(settings: dict[str, Any], x: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    sums = np.zeros(shape, np.int64)
    outputs = w.shape[3]
    which = np.arange(outputs) // (outputs // x.shape[3])
    for a, b, where, values in each_tap(settings, x, shape[1:3]):
        sums[where] += w[0, a, b] * values[..., which]
    return sums


def transposed(settings: dict[str, Any], x: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    sums = np.zeros(shape, np.int64)
    (up, _), (left, _) = settings["padding"]
    down, right = settings["stride"]
    for n, i, j in np.ndindex(*x.shape[:3]):
        for a, b in np.ndindex(*w.shape[1:3]):
            r, c = i * down + a - up, j * right + b - left
            if 0 <= r < shape[1] and 0 <= c < shape[2]:
                sums[n, r, c] += (w[:, a, b] * x[n, i, j]).sum(axis=1)
    return sums


def dense(settings: dict[str, Any], x: np.ndarray, w: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (x.reshape(-1, w.shape[1]) @ w.T).reshape(shape)


#: How sums are made, and where the activations and the bias stand.
SUMS: dict[str, tuple[Callable[..., np.ndarray], int, int]] = {
    "convolution": (convolved, 0, 2),
    "depthwise_convolution": (depthwise, 0, 2),
    "transposed_convolution": (transposed, 2, 3),
    "fully_connected": (dense, 0, 2),
}


def integers(name: str) -> Callable[[Operator], np.ndarray]:
    add, at, place = SUMS[name]

    def compute(op: Operator) -> np.ndarray:
        sums = add(op.settings, op.centered(at), op.centered(1), op.expected.shape)
        bias = op.input(place)
        return op.stored(op.scaled(sums if bias is None else sums + bias))

    return compute


def batch_matmul(op: Operator) -> np.ndarray:
    a, b = matrices(op, op.centered(0), op.centered(1))
    return op.stored(op.scaled(a @ b))


def matrices(op: Operator, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turned = [m.swapaxes(-1, -2) if op.settings[f"adj_{n}"] else m for n, m in (("x", a), ("y", b))]
    return turned[0], turned[1]


def rows_of(x: np.ndarray, quantization: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of floats as integers, with a scale and a zero point for each row."""
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    one, empty = np.float32(1), low == high
    if quantization == "symmetric":
        most = np.where(empty, one, np.maximum(-low, high))
        q = np.clip(by_eights(x * (np.float32(127) / most)), -127, 127)
        return q, np.where(empty, one, most / np.float32(127)), np.zeros(low.shape, np.int64)
    if quantization == "asymmetric":
        exact = np.where(empty, 1.0, (high - low).astype(np.float64) / 255)
        below, above = low / exact, high / exact
        point = np.where(128 + np.abs(below) < 127 + np.abs(above), -128 - below, 127 - above)
        zero = np.where(empty, 0, np.clip(half_away(point), -128, 127))
        scale = exact.astype(np.float32)
        q = by_eights(x * (1 / scale.astype(np.float64)).astype(np.float32))
        return np.clip(q + zero.astype(np.float32), -128, 127).astype(np.int64), scale, zero
    inverse = np.where(empty, one, np.float32(255) / np.where(empty, one, high - low)).astype(np.float32)
    below, above = low * inverse, high * inverse
    first = np.float32(-128) + below + (np.float32(127) + above) > 0
    zero = np.rint(np.clip(np.where(first, np.float32(-128) - below, np.float32(127) - above), -128, 127))
    q = np.clip(np.rint(x * inverse) + zero, -128, 127)
    return q.astype(np.int64), one / inverse, zero.astype(np.int64)


def by_eights(x: np.ndarray) -> np.ndarray:
    """Eight values at a time by adding a half, what remains of a row exactly."""
    out = np.trunc(x + np.where(x < 0, np.float32(-0.5), np.float32(0.5)))
    whole = x.shape[1] - x.shape[1] % 8
    out[:, whole:] = half_away(x[:, whole:])
    return out


def activated(x: np.ndarray, activation: int) -> np.ndarray:
    low, high = {1: (0, np.inf), 2: (-1, 1), 3: (0, 6)}.get(activation, (-np.inf, np.inf))
    return np.clip(x, np.float32(low), np.float32(high))


def finished(op: Operator, sums: np.ndarray, rows: np.ndarray, channels: Any, bias: Any) -> np.ndarray:
    out = sums.astype(np.float32)
    scaling = op.settings["scaling"]
    if scaling == "together":
        out = out * (rows * channels)
    else:
        first, second = (channels, rows) if scaling == "channel_first" else (rows, channels)
        out = out * first * second
    return activated(out if bias is None else out + bias, op.settings["activation"])


def hybrid(name: str) -> Callable[[Operator], np.ndarray]:
    add, at, place = SUMS[name]

    def compute(op: Operator) -> np.ndarray:
        x, w = op.input(at), op.input(1)
        lines = x.reshape(-1, w.shape[1]) if name == "fully_connected" else x.reshape(len(x), -1)
        q, scale, zero = rows_of(lines, op.settings["quantization"])
        sums = add(op.settings, (q - zero).astype(np.int64).reshape(x.shape), w, op.expected.shape)
        rows = scale.reshape(-1, *(1,) * (sums.ndim - 1))
        if name == "fully_connected":
            sums, rows = sums.reshape(len(lines), -1), scale
        out = finished(op, sums, rows, op.scale(1), op.input(place))
        return out.reshape(op.expected.shape)

    return compute


def hybrid_blocks(op: Operator) -> np.ndarray:
    x, w, scales = op.input(0), op.input(1), op.arrays["block_scales"]
    even = op.settings["quantization"] == "even"
    q, scale, zero = rows_of(x.reshape(-1, w.shape[1]), op.settings["quantization"])
    q, width = q.astype(np.int64), w.shape[1] // scales.shape[1]
    out, offsets = np.zeros((len(q), len(w)), np.float32), np.zeros(len(w), np.float32)
    for i in range(scales.shape[1]):
        part = slice(i * width, (i + 1) * width)
        values = q[:, part] - zero if even else q[:, part]
        out += (values @ w[:, part].T).astype(np.float32) * scales[:, i]
        offsets += scales[:, i] * w[:, part].sum(1).astype(np.float32)
    if not even:
        out -= zero.astype(np.float32) * offsets
    out *= scale
    bias = op.input(2)
    return activated(out if bias is None else out + bias, op.settings["activation"]).reshape(op.expected.shape)


def hybrid_batch_matmul(op: Operator) -> np.ndarray:
    a, b = matrices(op, op.input(0), op.input(1))
    wide = (*a.shape[:-1], 1)
    q, scale, zero = rows_of(np.ascontiguousarray(a).reshape(-1, a.shape[-1]), op.settings["quantization"])
    q, scale, zero = q.astype(np.int64).reshape(a.shape), scale.reshape(wide), zero.reshape(wide)
    if op.settings["quantization"] == "even":
        return ((q - zero) @ b).astype(np.float32) * scale * op.scale(1)
    columns = b.sum(-2, keepdims=True).astype(np.float32)
    sums = (q @ b).astype(np.float32) - zero.astype(np.float32) * columns
    return sums * (scale * op.scale(1)[0])


FORMULAS: dict[str, Callable[[Operator], Any]] = {
    **{name: integers(name) for name in SUMS},
    **{f"hybrid_{name}": hybrid(name) for name in SUMS},
    **{f.__name__: f for f in (batch_matmul, hybrid_batch_matmul, hybrid_blocks)},
}

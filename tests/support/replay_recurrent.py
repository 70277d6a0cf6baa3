"""Recurrent operators of test vectors, computed anew, with the states that they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .replay_numbers import Operator, high, inverse_root, round_shift, saturated, twice

GATES = ("input", "forget", "cell", "output")


def svdf(op: Operator) -> dict[str, np.ndarray]:
    x, feature, time, bias, rank = op.centered(0), op.input(1), op.input(2), op.input(3), op.settings["rank"]
    filters, memory = time.shape
    history = op.before(4).reshape(len(x), filters, memory)
    newest = saturated(op.scaled(x @ feature.T, "state"), 16)
    history = np.concatenate([history[..., 1:], newest[..., None]], -1)
    total = (history * time).sum(-1).reshape(len(x), -1, rank).sum(-1)
    out = op.stored(op.scaled(total if bias is None else total + bias))
    return {"output_0": out, "input_4": history.reshape(op.before(4).shape)}


def towards_zero(a: Any, b: int) -> Any:
    return np.sign(a) * (np.abs(a) // b)


def normalized(op: Operator, name: str, place: int, values: np.ndarray) -> np.ndarray:
    count, guard = values.shape[-1], op.settings[f"{name}_variance_guard"]
    out = np.empty_like(values)
    for row, x in enumerate(values):
        mean = int(towards_zero(int(x.sum()) * 1024, count))
        variance = int((x**2).sum()) * (2**20 // count) - mean**2
        spread = int(towards_zero(variance, 2**20))
        inverse = inverse_root(guard if spread < 1 else spread)
        y = twice(1024 * x - mean, *inverse) * op.input(20 + place) + op.input(12 + place)
        y = (y + 2**31) % 2**32 - 2**31
        y = towards_zero(np.where(y > 0, y + 512, y - 512), 1024)
        found = op.multiplier(f"{name}_norm")
        out[row] = saturated(twice(y, found["mantissa"][0], found["shift"][0] + 12), 16)
    return out


def peephole(op: Operator, name: str, place: int, cell: np.ndarray) -> np.ndarray:
    found = op.multiplier(f"{name}_peephole")
    mantissa, shift = found["mantissa"][0], found["shift"][0]
    products = cell * op.input({0: 9, 1: 10, 3: 11}[place])
    out, right = twice(products, mantissa, shift), max(-shift, 0)
    if right:
        lanes = op.settings["peephole_lanes"]
        upward = (high(products, mantissa) + 2 ** (right - 1)) >> right
        out = np.where(np.arange(cell.shape[1]) < cell.shape[1] // lanes * lanes, upward, out)
    return out


def gate(op: Operator, place: int, x: np.ndarray, last: np.ndarray, cell: np.ndarray) -> np.ndarray:
    name = GATES[place]
    norm = op.multiplier(f"{name}_norm") is not None
    sums = x @ op.input(1 + place).T
    if not norm and op.input(12 + place) is not None:
        sums = sums + op.input(12 + place)
    values = saturated(op.scaled(sums, f"{name}_x"), 16)
    values = saturated(values + op.scaled(last @ op.input(5 + place).T, f"{name}_state"), 16)
    if op.multiplier(f"{name}_peephole") is not None:
        values = saturated(values + peephole(op, name, place, cell), 16)
    return normalized(op, name, place, values) if norm else values


def step(op: Operator, x: np.ndarray, output: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    settings, last = op.settings, output - op.zero(18)
    sigmoid, tanh, of_cell = (op.table(name) for name in ("sigmoid", "tanh_gate", "tanh_cell"))
    forget = sigmoid[gate(op, 1, x, last, cell) + 32768]
    coupled = op.multiplier("input_x") is None
    entering = 32767 - forget if coupled else sigmoid[gate(op, 0, x, last, cell) + 32768]
    update = tanh[gate(op, 2, x, last, cell) + 32768]
    added = round_shift(entering * update, 30 + settings["cell_exponent"])
    cell = saturated(round_shift(forget * cell, 15) + added, 16)
    if settings["cell_clip"]:
        cell = np.clip(cell, -settings["cell_clip"], settings["cell_clip"])
    leaving = sigmoid[gate(op, 3, x, last, cell) + 32768]
    hidden, point = op.scaled(leaving * of_cell[cell + 32768], "hidden"), settings["hidden_zero_point"]
    if op.multiplier("projection") is None:
        return np.clip(hidden + point, -128, 127), cell
    below = np.clip(hidden - point, -128, 127) + point
    sums = below @ op.input(16).T
    bias = op.input(17)
    out = np.clip(op.scaled(sums if bias is None else sums + bias, "projection") + op.zero(18), -128, 127)
    if settings["projection_clip"]:
        out = np.clip(out, -settings["projection_clip"], settings["projection_clip"])
    return out, cell


def lstm(op: Operator) -> dict[str, np.ndarray]:
    x, output, cell = op.centered(0), op.before(18), op.before(19)
    first = op.settings["steps_first"]
    sequence = x[None] if x.ndim == 2 else x if first else x.swapaxes(0, 1)
    rows = sequence.shape[1]
    shapes = output.shape, cell.shape
    output, cell = output.reshape(rows, -1), cell.reshape(rows, -1)
    found = []
    for given in sequence:
        output, cell = step(op, given, output, cell)
        found.append(output)
    out = np.stack(found)
    out = out[0] if x.ndim == 2 else out if first else out.swapaxes(0, 1)
    return {"output_0": out, "input_18": output.reshape(shapes[0]), "input_19": cell.reshape(shapes[1])}


FORMULAS: dict[str, Callable[[Operator], Any]] = {"lstm": lstm, "svdf": svdf}

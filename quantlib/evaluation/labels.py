"""Accuracy of both models, where labels are given."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue, NotFound, QuantlibError
from quantlib.runners import Array, End

from .ports import Pairing
from .sums import TOP5_FROM, highest
from .values import Accuracy


class Judge:
    """Accuracy of the output that labels fit."""

    def __init__(self, labels: Any, pairing: Pairing) -> None:
        self.labels = load_labels(labels)
        self.pairing = pairing
        self.ends: tuple[End, End] | None = None
        self.count = self.classes = 0
        self.right = np.zeros((2, 2), np.int64)  # model, top-1 or top-5

    def add(self, number: int, first: dict[str, Array], second: dict[str, Array]) -> None:
        if number >= len(self.labels):
            raise InvalidValue(f"{len(self.labels)} labels, and more samples; one a sample is required")
        wanted = self.labels[number]
        if self.ends is None:
            self.ends = self._judged(first, wanted)
        for m, (end, outputs) in enumerate(zip(self.ends, (first, second), strict=True)):
            scores = end.decode(outputs[end.port.name])
            self.classes = scores.shape[-1]
            rows, each = scores.reshape(-1, self.classes), wanted.reshape(-1, 1)
            if each.max() >= self.classes or each.min() < 0:
                odd = int(each.max() if each.max() >= self.classes else each.min())
                raise InvalidValue(f"label {odd} where classes are 0 to {self.classes - 1}; number them as A does")
            self.right[m, 0] += np.count_nonzero(rows.argmax(-1) == each[:, 0])
            if self.classes >= TOP5_FROM:
                self.right[m, 1] += np.count_nonzero(highest(rows) == each)
        self.count += wanted.size

    def _judged(self, first: dict[str, Array], wanted: Array) -> tuple[End, End]:
        for a, b in self.pairing.outputs:
            shape = first[a.port.name].shape
            if len(shape) >= 2 and shape[-1] >= 2 and math.prod(shape[:-1]) == wanted.size:
                return a, b
        shapes = ", ".join(str(list(first[a.port.name].shape)) for a, _ in self.pairing.outputs)
        raise InvalidValue(
            f"{wanted.size} labels a sample fit no output of shape {shapes}; (..., classes) is required"
        )

    def done(self, samples: int) -> Accuracy:
        if len(self.labels) != samples or self.ends is None:
            raise InvalidValue(f"{len(self.labels)} labels for {samples} samples; one a sample is required")
        (a1, a5), (b1, b5) = (self.right / self.count).tolist()
        five = self.classes >= TOP5_FROM
        return Accuracy(self.ends[0].port.name, self.count, a1, b1, a5 if five else None, b5 if five else None)


def load_labels(labels: Any) -> Array:
    """Labels as an array of integers whose first axis counts samples.

    Parameters
    ----------
    labels : array, sequence of int, or path
        A path names an ``.npy``, an ``.npz`` with a single array, or a text file with a class number on each line.

    Returns
    -------
    ndarray of int64, shape (samples, ...)

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidValue
        If they aren't integers, or there are none.
    """
    where = f"{os.fspath(labels)}: " if isinstance(labels, (str, os.PathLike)) else ""
    array = _label_file(where, os.fspath(labels)) if where else np.asarray(labels)
    if array.dtype.kind not in "iu" or not array.ndim or not array.size:
        raise InvalidValue(
            f"{where}labels are {array.dtype} {list(array.shape)}; class numbers, one a sample, are required"
        )
    return array.astype(np.int64)


def _label_file(where: str, path: str) -> Array:
    try:
        with open(path, "rb") as file:
            start = file.read(6)
        if start[:2] != b"PK" and start != b"\x93NUMPY":
            with open(path, encoding="utf-8") as text:
                return np.array([int(line) for line in text.read().split()], np.int64)
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                raise InvalidValue(f"{where}{len(loaded.files)} arrays; one array of labels is required")
            found: Array = loaded[loaded.files[0]]
            return found
    except FileNotFoundError:
        raise NotFound(f"{where}no such file; give an .npy, an .npz, or a text file of class numbers") from None
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, QuantlibError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise InvalidValue(f"{where}no labels: {reason}; an .npy, an .npz, or a text file is required") from None

"""Test vectors for firmware, RTL and kernels: a folder that says what the right integers are, and why."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue, WriteFailed
from quantlib.operators import VERIFIED_WITH
from quantlib.runners import NumpyRunner
from quantlib.tflite import Model, require_models

from .c_headers import COMMON, header
from .vectors import Vectors, operator_vectors, record_samples

#: Version of the folder's form.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Golden:
    """What `golden` wrote.

    Attributes
    ----------
    folder : str
    runtime : str
        Whose integers they are.
    samples : int
    operators : int
        How many have vectors.
    described : int
        How many of them have their arithmetic, too, so that they can be replayed from the vectors alone.
    others : tuple of (str, int)
        Types of the others, and how many of each.
    bytes : int
        Of all files.
    """

    folder: str
    runtime: str
    samples: int
    operators: int
    described: int
    others: tuple[tuple[str, int], ...]
    bytes: int

    def __str__(self) -> str:
        head = (
            f"{self.folder}: {self.operators} operators, {self.samples} samples, runtime {self.runtime}, "
            f"{self.bytes:,} bytes"
        )
        if not self.others:
            return f"{head}\nall with their arithmetic"
        others = ", ".join(f"{name} x{count}" for name, count in self.others)
        return f"{head}\n{self.described} with their arithmetic; inputs and outputs alone: {others}"

    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary that JSON has."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "others": dict(self.others)}


def golden(
    model: Model,
    data: Any,
    folder: str | os.PathLike[str],
    *,
    runtime: str = "reference",
    signature: str | None = None,
    samples: int = 1,
    headers: bool = False,
    real: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Golden:
    """Write every operator's inputs, outputs and parameters: test vectors for firmware, RTL and kernels.

    Memory holds the tensors of one sample, and pieces of 32 MiB while files are written; those of the others wait in
    files beside the vectors, as large as these. C headers are made one by one, each as text in memory.

    Parameters
    ----------
    model : Model
        Mostly a quantized one.
    data : array, mapping, path, iterable or callable
        Samples, see `quantlib.calibrate`; the first ones are taken.
    folder : path
        Which isn't there yet, or is empty. Its ``README.md`` says how to read it: ``index.json`` has a record for
        each operator, ``operators/`` an ``.npz`` for each.
    runtime : str
        Whose integer arithmetic: one of `quantlib.operators.RUNTIMES`.
    signature : str, optional
        Which signature to run, where there are several.
    samples : int
        How many.
    headers : bool
        Write C headers, too.
    real : bool
        Samples are real numbers, as the float model takes them. Those of an input with a scale are quantized by that,
        half away from zero as LiteRT's QUANTIZE.
    progress : callable, optional
        Called with 1 after each sample.

    Returns
    -------
    Golden

    Raises
    ------
    WriteFailed
        If the folder is there and has something in it, or can't be written; nothing is left behind.
    InvalidValue
        If there are fewer samples, one doesn't fit, shapes change from one to the next, or with `real` a sample has a
        NaN for an input with a scale.
    NotFound
        If there is no such signature or runtime, or no kernel for an operator.

    Examples
    --------
    >>> import tempfile, quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> small = ql.quantize(model, "int8", ql.calibrate(model, ql.demo.CALIBRATION))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     found = golden(small, ql.demo.SAMPLES, f"{place}/vectors")
    >>> found.operators, found.described, found.others
    (13, 13, ())
    """
    require_models(model=model)
    if samples < 1:
        raise InvalidValue(f"{samples} samples; one or more are required")
    target = os.path.realpath(os.fspath(folder))
    _require_free(target)
    runner = NumpyRunner(model, signature, runtime=runtime)
    temporary = f"{target}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        os.mkdir(temporary)
        os.mkdir(os.path.join(temporary, "operators"))
        values = os.path.join(temporary, "values")
        os.mkdir(values)
        spool = record_samples(runner, data, samples, values, real=real, progress=progress)
        written = operator_vectors(model, runner, runtime, spool)
        records = [_write_operator(temporary, vectors, headers) for vectors in written]
        shutil.rmtree(values)
        _write_index(temporary, model, runner, runtime, samples, records)
        size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(temporary) for name in names)
        if os.path.isdir(target):
            os.rmdir(target)
        os.rename(temporary, target)
    except OSError as error:
        raise WriteFailed(f"{target}: {error.strerror or error}; choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
    present = [r for r in records if r["file"]]
    others = Counter(r["type"] for r in present if r["arithmetic"] is None)
    return Golden(
        os.fspath(folder),
        runtime,
        samples,
        len(present),
        len(present) - others.total(),
        tuple(others.most_common()),
        size,
    )


def _require_free(target: str) -> None:
    """Refuse a folder that has something in it, before the work rather than after it."""
    parent = os.path.dirname(target)
    if not os.path.isdir(parent):
        raise WriteFailed(f"{parent}: no such folder; make it, or write to one that exists")
    if os.path.isdir(target):
        with os.scandir(target) as entries:
            if any(entries):
                raise WriteFailed(f"{target}: a folder with something in it; choose another one, or empty it")
    elif os.path.lexists(target):
        raise WriteFailed(f"{target}: not a folder; choose another path")


def _write_operator(folder: str, vectors: Vectors, headers: bool) -> dict[str, Any]:
    """Write one operator's files; its record, with their names."""
    record = {**vectors.record, "file": None, "header": None}
    if not vectors.arrays:
        return record
    record["file"] = f"operators/{vectors.name}.npz"
    np.savez(os.path.join(folder, record["file"]), allow_pickle=False, **vectors.arrays)
    if headers:
        os.makedirs(os.path.join(folder, "include"), exist_ok=True)
        record["header"] = f"include/op_{vectors.name}.h"
        _write_text(folder, "include/golden.h", COMMON)
        _write_text(folder, record["header"], header(vectors))
    return record


def _write_index(
    folder: str, model: Model, runner: NumpyRunner, runtime: str, samples: int, records: list[dict[str, Any]]
) -> None:
    interface = runner.interface
    index = {
        "format": FORMAT,
        "model": {"sha256": model.sha256, "bytes": model.source.size},
        "runtime": {"name": runtime, "verified_with": VERIFIED_WITH},
        "samples": samples,
        "subgraph": interface.subgraph,
        "inputs": [port.index for port in interface.inputs],
        "outputs": [port.index for port in interface.outputs],
        "operators": records,
    }
    _write_text(folder, "index.json", json.dumps(index, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    text = files(__package__).joinpath("golden.md").read_text(encoding="utf-8")
    facts = {"runtime": runtime, "verified": VERIFIED_WITH, "samples": str(samples), "sha256": model.sha256}
    for name, value in facts.items():
        text = text.replace(f"@{name}@", value)
    _write_text(folder, "README.md", text)


def _write_text(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)

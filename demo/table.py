"""Calibrate the demo model, quantize it in every mode and print what it costs: size, SQNR and accuracy.

The accuracy is that of the 450 held-out digits, run by LiteRT (``pip install 'tflite-quantlib[litert]'``).
"""
# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.numerics import sqnr_db


def outputs(content: bytes, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run a model on samples, one at a time.

    Parameters
    ----------
    content : bytes
        The file.
    samples : ndarray of float32, shape (N, 8, 8, 1)

    Returns
    -------
    ndarray of float32, shape (N, 10)
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    source, result = (d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details()))
    rows = []
    for sample in samples:
        interpreter.set_tensor(source, sample[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result)[0])
    return np.stack(rows)


def main() -> int:
    """Print the table."""
    model = ql.read(ql.demo.MODEL)
    samples, labels = np.load(ql.demo.SAMPLES)["image"], np.load(ql.demo.LABELS)["labels"]
    before = model.to_bytes()
    reference = outputs(before, samples)
    statistics = ql.calibrate(model, ql.demo.CALIBRATION)
    print(f"{'mode':<18}{'bytes':>9}{'ratio':>8}{'SQNR dB':>9}{'accuracy %':>12}")
    for mode in ("float32", *ql.recipes.PRESETS):
        content = before if mode == "float32" else ql.quantize(model, mode, statistics).to_bytes()
        found = outputs(content, samples)
        right = 100 * float(np.mean(found.argmax(1) == labels))
        quality = sqnr_db(reference, found)
        print(f"{mode:<18}{len(content):>9,}{len(content) / len(before):>8.3f}{quality:>9.1f}{right:>12.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

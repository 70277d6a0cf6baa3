"""How near NumPy comes to LiteRT: the least SQNR over the float outputs of real models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np

from quantlib.errors import InvalidModel
from quantlib.numerics import sqnr_db
from quantlib.runners import Interface, LiteRTRunner, NumpyRunner
from quantlib.tflite import Model, read
from tests.runners.mediapipe import KERNELS
from tests.support.shared import SHARED

#: Decibels that every float output must reach.
LEAST = 80.0
#: Tasks that take long in LiteRT's reference kernels: one sample is enough.
BIG = frozenset(
    {
        "mobilenet_v2_1.0_224_float_reconstructed", "ssd_mobilenet_v1_coco_float_reconstructed",
        "deeplabv3_257_float_metadata", "mnv3_portrait_seg_float", "pose_hourglass_float", "hair_segmentation_float",
        "selfie_segmentation_fp16", "torchaudio_conformer_float", "face_landmark_float", "hand_landmark_float",
    }
)  # fmt: skip
#: Tasks with MediaPipe's operators, which only LiteRT's default resolver knows.
MEDIAPIPE = ("selfie_segmentation_fp16", "hair_segmentation_float")


@dataclass(frozen=True)
class Row:
    """What came out for one model and signature.

    `least` is in decibels, infinite where all floats are equal; `exact` counts integer and boolean outputs, all of
    which must be equal (`wrong` are not). `note` says why it wasn't run.
    """

    name: str
    signature: str
    least: float = np.inf
    floats: int = 0
    exact: int = 0
    wrong: int = 0
    note: str = ""


@cache
def tasks() -> dict[str, Any]:
    """The measuring tasks that stand beside the shared models; none where they are absent."""
    path = SHARED / "tools" / "tasks.py"
    spec = spec_from_file_location("quantlib_shared_tasks", path)
    if not path.exists() or spec is None or spec.loader is None:
        return {}
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return dict(module.TASKS)


def edge_files() -> list[Path]:
    return sorted((SHARED / "models" / "edge").glob("*.tflite"))


def signatures(model: Model) -> list[str | None]:
    """Signatures, one for each subgraph; None for a model that has none, or one."""
    found = {s.subgraph_index: s.signature_key or "" for s in model.root.signature_defs or ()}
    return [None] if len(found) < 2 else sorted(found.values())


def drawn(interface: Interface, seed: int = 0) -> list[Any]:
    """Make a sample by position: Gaussian floats, integers 0..9, booleans."""
    rng = np.random.default_rng(seed)
    arrays = []
    for port in interface.inputs:
        shape = [abs(n) for n in port.shape]
        if port.type == "FLOAT32":
            arrays.append(rng.standard_normal(shape).astype(np.float32))
        elif port.type == "BOOL":
            arrays.append(rng.random(shape) < 0.5)
        elif port.type == "STRING":
            arrays.append(np.full(shape, "text"))
        else:
            arrays.append(rng.integers(0, 10, shape).astype(port.type.lower()))
    return arrays


def decibels(reference: Any, other: Any) -> float:
    """SQNR; infinite where all is equal, and minus infinity where shape, type, or what is finite differs."""
    if reference.shape != other.shape or reference.dtype != other.dtype:
        return -np.inf
    if np.array_equal(reference, other, equal_nan=True):
        return np.inf
    value = float(sqnr_db(reference, other))
    return -np.inf if np.isnan(value) else value


def compare(name: str, model: Model, signature: str | None, samples: Any, resolver: str, **options: Any) -> Row:
    """Run samples, or drawn ones where there are none, in both."""
    ours = NumpyRunner(model, signature, kernels=KERNELS)
    theirs = LiteRTRunner(model, signature, resolver=resolver)
    least, floats, exact, wrong = np.inf, 0, 0, 0
    for sample in samples or [drawn(ours.interface, seed) for seed in range(2)]:
        x, y = ours.run(sample, **options), theirs.run(sample, **options)
        assert x.keys() == y.keys()
        for key, reference in y.items():
            if reference.dtype.kind == "f":
                floats += 1
                least = min(least, decibels(reference, x[key]))
            else:
                exact += 1
                wrong += x[key].dtype != reference.dtype or not np.array_equal(x[key], reference)
    return Row(name, signature or "", float(least), floats, exact, wrong)


def samples_of(name: str) -> list[Any]:
    """Samples of a task.

    The photos of the hair model are enlarged by repeating pixels, so that its pooling finds equal values, of which
    rounding decides which one's place it keeps. Noise makes them differ (without: 61 dB, the median error is 1e-6).
    """
    samples: list[Any] = tasks()[name].samples("eval", 1 if name in BIG else 2)
    if name != "hair_segmentation_float":
        return samples
    rng = np.random.default_rng(0)
    return [(x + rng.normal(0, 0.05, x.shape).astype(np.float32),) for (x,) in samples]


def of_task(name: str) -> Iterator[Row]:
    """One task: with its own samples for the first signature, with drawn ones for others."""
    task = tasks()[name]
    model = read(task.model)
    resolver = "default" if name in MEDIAPIPE else "reference"
    for i, signature in enumerate(signatures(model)):
        samples = samples_of(name) if i == 0 else None
        yield compare(name, model, signature, samples, resolver, keep_state=task.stateful)


def of_file(path: Path) -> Iterator[Row]:
    """One edge file; a note where LiteRT doesn't run it."""
    model, name = read(path), f"edge/{path.stem}"
    for signature in signatures(model):
        try:
            yield compare(name, model, signature, None, "reference")
        except InvalidModel as error:
            if "LiteRT" not in str(error):
                raise
            yield Row(name, signature or "", note="LiteRT doesn't run it")


def tensors(model: Model, signature: str | None, sample: Any, **options: Any) -> list[tuple[str, float]]:
    """Decibels of all tensors that both show; integer and boolean ones count as infinite where they are equal."""
    ours, theirs = NumpyRunner(model, signature), LiteRTRunner(model, signature, resolver="reference")
    g = ours.interface.subgraph
    mine: dict[int, Any] = {}

    def tap(subgraph: int, index: int, values: Any) -> None:
        if subgraph == g:
            assert index not in mine, f"tensor {index} is shown twice"
            mine[index] = values.copy()

    found = []

    def judge(subgraph: int, index: int, values: Any) -> None:
        found.append((str(model.tensor((subgraph, index))), decibels(values, mine[index])))

    ours.run(sample, tap=tap, **options)
    theirs.run(sample, tap=judge, **options)
    return found

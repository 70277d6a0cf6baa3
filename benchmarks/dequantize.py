"""``python -m benchmarks.dequantize``: quantized files given back in float32, beside what they were made from.

Dequantizes every quantized file of the shared folder, runs both in LiteRT, quantizes the result to int8 again with
the task's own calibration samples, and scores all of them; see `benchmarks.scoring`. Prints the tables of
docs/howto/dequantize.md, or with ``--docs`` writes them there.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

import quantlib as ql
from quantlib.numerics import dequantize, quantize, sqnr_db
from quantlib.passes import Edited
from quantlib.runners import affine_of, feed, make_runner
from quantlib.tflite import Draft, Model

from .pages import decibels, percents, publish, table
from .scoring import ROOT, SHARED, Lab, Outcome, opened, table_parser

PAGE = ROOT / "docs" / "howto" / "dequantize.md"
#: Every quantized file, and the task whose samples it takes; none where samples are drawn.
FILES: Mapping[str, str] = MappingProxyType(
    {
        "hello_world_int8": "hello_world_float",
        "mnist_conv_fc_a8w8_int8": "mnist_conv_fc_float",
        "mnist_lstm_int8": "mnist_lstm_float",
        "mlperf_ad_toycar_int8": "mlperf_ad_toycar_float",
        "mlperf_ic_resnet8_int8": "mlperf_ic_resnet8_float",
        "mlperf_vww_mobilenet_96_int8": "mlperf_vww_mobilenet_96_float",
        "mlperf_kws_dscnn_int8": "mlperf_kws_dscnn_float",
        "mobilenet_v1_0.25_224_qat_uint8": "mobilenet_v1_0.25_224_float",
        "mobilenet_v2_1.0_224_ptq_uint8io": "mobilenet_v2_1.0_224_float_reconstructed",
        "ssd_mobilenet_v1_coco_qat_uint8": "ssd_mobilenet_v1_coco_float_reconstructed",
        "mnv3_portrait_seg_ptq_uint8io": "mnv3_portrait_seg_float",
        "edge/partly_quantized_mnist": "mnist_conv_fc_float",
        "edge/two_signatures_a8w8": "",
        "mlperf_ad_toycar_dynamic": "mlperf_ad_toycar_float",
        "mlperf_kws_dscnn_dynamic": "mlperf_kws_dscnn_float",
        "dtln_1_dynamic": "dtln_1_float",
        "edge/mnist_quantized": "mnist_conv_fc_float",
        "edge/single_fc_bias_sub_channel_weight_only_sym_weight": "",
        "face_detection_short_range_fp16": "face_detection_short_range_fp16",
        "selfie_segmentation_fp16": "selfie_segmentation_fp16",
    }
)
#: Files whose weights were trained apart from those of the task's float model.
APART = frozenset({"mobilenet_v1_0.25_224_qat_uint8", "edge/partly_quantized_mnist", "edge/mnist_quantized"})
#: Samples whose outputs are compared; LiteRT's kernels that compute them.
COMPARED, RUNTIMES = 32, ("default", "builtin", "reference")
#: What chooses among boxes: two runs may differ by one box, so what it reads is compared instead.
_CHOOSES = "TFLite_Detection_PostProcess"

Answers = list[list[Any]]
#: Whether nothing but the rounding of activations stands between two models.
EQUAL = "equal"


class Side:
    """One model and signature in LiteRT, fed with real values and read as real values."""

    def __init__(self, model: Model, runtime: str = "builtin", key: str | None = None) -> None:
        self.runner = make_runner(model, "litert", key, runtime)
        found = self.runner.interface
        self.inputs, self.outputs = (
            [affine_of(model.tensor((found.subgraph, port.index))) for port in ports]
            for ports in (found.inputs, found.outputs)
        )
        self.shapes = [[abs(n) for n in port.shape] for port in found.inputs]

    def samples(self, data: Sequence[Any] | None) -> list[list[Any]]:
        """Samples as the inputs can hold them, so that their rounding isn't compared; Gaussian ones for None."""
        if data is None:
            rng = np.random.default_rng(0)
            data = [[rng.standard_normal(s).astype("f4") for s in self.shapes] for _ in range(COMPARED)]
        shaped = ([np.reshape(x, s) for x, s in zip(sample, self.shapes, strict=True)] for sample in data)
        return [[_real(_stored(x, a), a) for x, a in zip(given, self.inputs, strict=True)] for given in shaped]

    def answers(self, samples: Sequence[Sequence[Any]]) -> Answers:
        """Real outputs, sample by sample."""
        found = []
        for sample in samples:
            given = [_stored(x.reshape(s), a) for x, s, a in zip(sample, self.shapes, self.inputs, strict=True)]
            made = self.runner.run(feed(self.runner.interface, given)).values()
            found.append([_real(y, a) for y, a in zip(made, self.outputs, strict=True)])
        return found

    def allowed(self, answers: Answers) -> float:
        """SQNR that rounding to the steps of the outputs leaves at best; infinite for float outputs."""
        found = [np.inf]
        for k, affine in enumerate(self.outputs):
            if affine is not None:
                power = np.mean([np.square(sample[k], dtype="f8").mean() for sample in answers])
                found.append(10 * np.log10(power / (float(affine.scale[0]) ** 2 / 12)))
        return float(min(found))


def _stored(x: Any, affine: Any) -> Any:
    return x if affine is None else quantize(x, affine)


def _real(x: Any, affine: Any) -> Any:
    return x if affine is None else dequantize(x, affine)


def least(reference: Answers, other: Answers) -> float:
    """SQNR of the worst float output."""
    pairs = zip(
        *([np.stack(arrays) for arrays in zip(*found, strict=True)] for found in (reference, other)), strict=True
    )
    return min((float(sqnr_db(a, b.reshape(a.shape))) for a, b in pairs if a.dtype.kind == "f"), default=np.nan)


def unchosen(model: Model) -> Model:
    """The model up to where boxes are chosen."""
    draft = Draft(model)
    graph = draft.graphs[0]
    if model.operator_name(graph.operators[-1]) != _CHOOSES:
        return model
    graph.outputs = graph.operators[-1].inputs.tolist()[:2]
    graph.rearrange([], {len(graph.operators) - 1})
    draft.signatures = []
    return draft.done()


def keys(model: Model) -> list[str | None]:
    """Signatures, where there are several; None for the only one."""
    found = [str(s.signature_key) for s in model.root.signature_defs or ()]
    return [*found] if len(found) > 1 else [None]


def requantized(model: Model) -> Model | None:
    """The file's integers again, of its floats and the ranges that were kept; None where activations are float."""
    if all(t.quantization is None or t.is_constant for t in model.tensors()):
        return None
    mode = "uint8" if "UINT8" in {t.type for t in model.tensors() if t.is_constant} else "int8"
    recipe = ql.recipes.by_name(mode).replace(rounding="nearest")
    side = Side(model, key=keys(model)[0])
    for field, ends in (("input_type", side.inputs), ("output_type", side.outputs)):
        kinds = [a.type.name for a in ends if a is not None]
        if kinds and len(kinds) == len(ends):
            recipe = recipe.replace(**{field: kinds[0]})
    return ql.quantize(ql.dequantize(model, keep_ranges=True).model, recipe)


def recalibrated(lab: Lab, task: str, model: Model) -> list[Model]:
    """Quantized to int8, with the task's calibration samples: by the default rule for ranges, and by ``mse``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ql.errors.CalibrationWarning)
        found = ql.calibrate(model, lab.tasks[task].samples("calib"), runner="litert")
        return [ql.quantize(model, recipe, found) for recipe in (ql.recipes.int8(), ql.recipes.int8(range="mse"))]


@dataclass(frozen=True)
class Row:
    """What came out for one file.

    Attributes
    ----------
    file, task : str
    edited : Edited
    decibels : tuple of float
        SQNR of the float model against the file, by LiteRT's kernels; NaN where these lack an operator.
    allowed : float
        SQNR that the steps of the file's outputs leave at best.
    twins : tuple of float
        SQNR of the file, and of the float model, against the float model that the file was made from; NaN without.
    again : str
        What quantizing again with kept ranges gives.
    outcomes : tuple of Outcome
        Scores of the file, the float model, and int8 made of that in two ways; none without a task.
    """

    file: str
    task: str
    edited: Edited
    decibels: tuple[float, ...]
    allowed: float
    twins: tuple[float, float]
    again: str
    outcomes: tuple[Outcome, ...]


def measured(lab: Lab, file: str) -> Row:
    """Do all of it for one file."""
    model, task = ql.read(SHARED / "models" / f"{file}.tflite"), FILES[file]
    edited = ql.dequantize(model)
    data = lab.tasks[task].samples("eval", COMPARED) if task else None
    whole, made = unchosen(model), unchosen(edited.model)
    figures: dict[str, list[float]] = {runtime: [] for runtime in RUNTIMES}
    best, twins, again = np.inf, (np.nan, np.nan), EQUAL
    for key in keys(model):
        side = Side(whole, "default", key)
        samples = side.samples(data)
        theirs, ours = side.answers(samples), Side(made, "default", key).answers(samples)
        best = min(best, side.allowed(theirs))
        figures["default"].append(least(theirs, ours))
        for runtime in RUNTIMES[1:]:
            figures[runtime].append(_by(runtime, whole, made, samples, key))
        if task and task != file and file not in APART:
            twin = Side(unchosen(lab.model(task)), "default").answers(samples)
            twins = least(twin, theirs), least(twin, ours)
    found = requantized(model)
    again = "" if found is None else _again(whole, unchosen(found), data)
    outcomes: tuple[Outcome, ...] = ()
    if task:
        outcomes = tuple(lab.scored(task, [model, edited.model, *recalibrated(lab, task, edited.model)]))
    return Row(file, task, edited, tuple(min(v) for v in figures.values()), best, twins, again, outcomes)


def _by(runtime: str, whole: Model, made: Model, samples: Sequence[Sequence[Any]], key: str | None) -> float:
    """SQNR with some of LiteRT's kernels; NaN where these lack an operator."""
    few = samples[:4] if runtime == "reference" else samples
    try:
        return least(*(Side(m, runtime, key).answers(few) for m in (whole, made)))
    except ql.errors.InvalidModel:
        return float("nan")


def _again(model: Model, found: Model, data: Any) -> str:
    """Whether another model gives a file's own answers, bit for bit; by how many dB it doesn't."""
    worst = np.inf
    for key in keys(model):
        side = Side(model, key=key)
        samples = side.samples(data)
        theirs, ours = side.answers(samples), Side(found, key=key).answers(samples)
        if not all(
            np.array_equal(a, b) for x, y in zip(theirs, ours, strict=True) for a, b in zip(x, y, strict=True)
        ):
            worst = min(worst, least(theirs, ours))
    return EQUAL if worst == np.inf else f"{worst:.1f} dB"


def fidelity(rows: Sequence[Row]) -> str:
    """The table of what the float models compute."""
    heads = ["file", "operators removed", "activations given back", "SQNR dB", "LiteRT's own", "reference"]
    heads += ["output steps allow", "ranges kept, int8 again", "file to its float twin", "float model to that"]
    return table(
        heads,
        (
            (
                row.file,
                str(row.edited.totals["operators removed"]),
                str(row.edited.totals["activations given back"]),
                *map(decibels, row.decibels),
                "" if np.isinf(row.allowed) else decibels(row.allowed),
                row.again,
                *map(decibels, row.twins),
            )
            for row in rows
        ),
    )


def accuracy(rows: Sequence[Row]) -> str:
    """The table of figures: percent where the task has labels, else SQNR to the task's float model."""
    heads = (
        "file",
        "float twin",
        "the file",
        "dequantized",
        "int8 again",
        "by mse",
        "bytes of file",
        "bytes dequantized",
    )
    lines = []
    for row in rows:
        if not row.outcomes:
            continue
        twin = percents(row.outcomes[0].float_figures)
        cells = [percents(o.figures) or f"{decibels(o.sqnr)} dB" for o in row.outcomes]
        failures = [o.failure for o in row.outcomes if o.failure]
        if failures:
            raise ql.errors.InvalidModel(f"{row.file}: {failures[0]}")
        sizes = (row.edited.model.source.size, len(row.edited.model.to_bytes()))
        lines.append((row.file, twin, *cells, *(f"{size:,}" for size in sizes)))
    return table(heads, lines)


def main() -> int:
    parser = table_parser("dequantize", __doc__, of="files")
    options = parser.parse_args()
    lab = opened(parser, options)
    rows = []
    for file in options.names or FILES:
        rows.append(measured(lab, file))
        print(
            fidelity(rows[-1:]).splitlines()[-1], *accuracy(rows[-1:]).splitlines()[2:], file=sys.stderr, flush=True
        )
    parts = {"conditions": lab.conditions(), "fidelity": fidelity(rows), "accuracy": accuracy(rows)}
    publish(parts, PAGE if options.docs else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())

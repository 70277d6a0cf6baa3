"""``python -m benchmarks.retype``: what `retype` keeps of finished models, in LiteRT.

Every converter-made file with integer ends between all types of input and output; every integer of UINT8 files as
INT8. Prints the tables of docs/howto/retype.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

import quantlib as ql
from quantlib.numerics import Affine, dequantize, quantize, round_half_away
from quantlib.runners import affine_of

from .pages import table
from .scoring import SHARED

TYPES = ("FLOAT32", "INT8", "UINT8", "INT16")
#: UINT8 files and where their images are.
UNSIGNED: Mapping[str, str] = {
    "mobilenet_v1_0.25_224_qat_uint8": "imagenet_224.npz",
    "ssd_mobilenet_v1_coco_qat_uint8": "coco_det_300.npz",
}
Array = npt.NDArray[Any]
_Forms = list[Affine | None]


def interpreter(model: ql.Model, resolver: str, *, all_tensors: bool = False) -> Any:
    """Make LiteRT's interpreter ready."""
    import ai_edge_litert.interpreter as litert

    kinds = litert.OpResolverType
    kind = {
        "default": kinds.AUTO,
        "builtin": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": kinds.BUILTIN_REF,
    }[resolver]
    made = litert.Interpreter(
        model_content=model.to_bytes(),
        experimental_op_resolver_type=kind,
        experimental_preserve_all_tensors=all_tensors,
        num_threads=1,
    )
    made.allocate_tensors()
    return made


def answers(model: ql.Model, feeds: Sequence[Sequence[Array]], resolver: str) -> list[list[Array]]:
    """Outputs for each sample; state is reset before each."""
    made = interpreter(model, resolver)
    found = []
    for feed in feeds:
        for detail, values in zip(made.get_input_details(), feed, strict=True):
            made.set_tensor(detail["index"], values)
        made.reset_all_variables()
        made.invoke()
        found.append([made.get_tensor(d["index"]) for d in made.get_output_details()])
    return found


def mapped(values: Array, old: Affine | None, new: Affine | None) -> Array:
    """The same numbers in another form."""
    real = values if old is None else dequantize(values, old)
    return real if new is None else quantize(real, new, rounding=round_half_away)


def forms(model: ql.Model, side: str) -> _Forms:
    """What integers at each end mean; None for floats."""
    return [affine_of(model.tensor((0, int(t)))) for t in getattr(model.subgraphs[0], side)]


def ends(model: ql.Model, resolver: str, samples: int) -> tuple[int, int]:
    """Pairs of types with exactly the original's outputs, and the most steps that one differs by."""
    rng = np.random.default_rng(0)
    inputs, outputs = forms(model, "inputs"), forms(model, "outputs")
    shapes = [model.tensor((0, int(t))).shape for t in model.subgraphs[0].inputs]
    feeds = [
        [
            rng.integers(form.qmin, form.qmax + 1, shape).astype(form.type.storage)
            for form, shape in zip(inputs, shapes, strict=True)
            if form is not None
        ]
        for _ in range(samples)
    ]
    expected = answers(model, feeds, resolver)
    exact = worst = 0
    for first, last in product(TYPES, TYPES):
        made = ql.retype(model, input_type=first, output_type=last).model
        changed = [[mapped(*each) for each in zip(f, inputs, forms(made, "inputs"), strict=True)] for f in feeds]
        steps = 0
        for one, other in zip(expected, answers(made, changed, resolver), strict=True):
            for a, b, was, now in zip(one, other, outputs, forms(made, "outputs"), strict=True):
                steps = max(steps, int(np.abs(mapped(b, now, was).astype(int) - a.astype(int)).max()))
        exact, worst = exact + (steps == 0), max(worst, steps)
    return exact, worst


def with_integer_ends() -> Iterator[tuple[str, ql.Model]]:
    """Files of the shared folder all of whose ends hold integers with a scale."""
    for path in sorted((SHARED / "models").rglob("*.tflite")):
        model = ql.read(path)
        found = [*forms(model, "inputs"), *forms(model, "outputs")]
        if found and None not in found:
            yield path.relative_to(SHARED / "models").as_posix().removesuffix(".tflite"), model


def decoded(name: str, count: int) -> Array:
    """Images of the shared folder, which stores differences of pixels."""
    sys.path.insert(0, str(SHARED / "tools"))
    from tasks import images  # of the shared folder

    data = np.load(SHARED / "data" / name)
    return np.ascontiguousarray(images({"x": data["x_eval"][:count]}, "x"))


def integers(model: ql.Model, resolver: str, image: Array) -> dict[str, Array]:
    """Every tensor of bytes that is computed, by name."""
    made = interpreter(model, resolver, all_tensors=True)
    made.set_tensor(made.get_input_details()[0]["index"], image[None])
    made.invoke()
    found = {}
    for detail in made.get_tensor_details():
        if detail["dtype"] in (np.uint8, np.int8):
            try:
                found[detail["name"]] = made.get_tensor(detail["index"]).astype(np.int16)
            except ValueError:  # within the delegate, or a constant that is gone
                continue
    return found


def computed(model: ql.Model) -> set[str]:
    """Names of the tensors that operators write."""
    return {
        model.tensor((0, int(t))).name for operator in model.subgraphs[0].operators or () for t in operator.outputs
    }


def milliseconds(model: ql.Model, resolver: str, image: Array) -> float:
    """Median time of a run on one thread."""
    made = interpreter(model, resolver)
    made.set_tensor(made.get_input_details()[0]["index"], image[None])
    times = []
    for _ in range(15):
        start = time.perf_counter()
        made.invoke()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def signed(name: str, data: str, samples: int) -> Iterator[Sequence[str]]:
    """Rows for one UINT8 file."""
    model = ql.read(SHARED / "models" / f"{name}.tflite")
    made = ql.retype(model, activations="INT8").model
    images = decoded(data, samples)
    less = (images.astype(np.int16) - 128).astype(np.int8)
    for resolver in ("reference", "builtin", "default"):
        count = differ = 0
        for before, after in zip(images, less, strict=True):
            old, new = integers(model, resolver, before), integers(made, resolver, after)
            for tensor in computed(model) & old.keys() & new.keys():
                count += old[tensor].size
                differ += int((old[tensor] - 128 != new[tensor]).sum())
        speeds = [f"{milliseconds(*pair):.1f}" for pair in ((model, resolver, images[0]), (made, resolver, less[0]))]
        sizes = [f"{m.source.size if m is model else len(m.to_bytes()):,}" for m in (model, made)]
        yield (name, resolver, f"{count:,}", f"{differ:,}", *speeds, *sizes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retype", description=__doc__)
    parser.add_argument("--samples", type=int, default=4, metavar="N", help="samples of each file; 4 by default")
    options = parser.parse_args(arguments)
    if not SHARED.exists():
        print("the folder of models and data isn't here", file=sys.stderr)
        return 2
    rows = []
    for name, model in with_integer_ends():
        found = [ends(model, resolver, options.samples) for resolver in ("reference", "builtin", "default")]
        rows.append((name, *(f"{exact} of {len(TYPES) ** 2}" for exact, _ in found), str(max(w for _, w in found))))
    print(table(("file", "reference", "builtin", "default", "most steps"), rows), end="\n\n")
    heads = ("file", "resolver", "integers", "not less by 128", "ms uint8", "ms int8", "bytes uint8", "bytes int8")
    found_rows = [row for name, data in UNSIGNED.items() for row in signed(name, data, options.samples)]
    print(table(heads, found_rows, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

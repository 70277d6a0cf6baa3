"""``python -m benchmarks.layers``: find the layers that cost a portrait network most, and leave them float.

Compares the float network of the shared folder with the int8 file that a converter made of it, layer by layer; then
quantizes it with one selection of layers left float after another. Prints the tables of docs/howto/compare.md, or
with ``--docs`` writes them there.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import quantlib as ql

from .pages import decibels, fill, table
from .scoring import KEPT, SHARED, Lab

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "compare.md"
TASK, TWIN = "mnv3_portrait_seg_float", "mnv3_portrait_seg_ptq_uint8io"
#: Layers that are shown.
SHOWN = 6
#: What is left float: the text of the page, and the selectors.
SKIPPED = (
    ("nothing", ()),
    ("the second of the list", ("^model/re_lu_3/",)),
    ("the three that are flagged", ("^model/re_lu_[13]/", "^model/batch_normalization_19/")),
    ("all from the first layer to where the fall ends", ("^model/re_lu(_[1-3])?/", "^model/expanded_conv(_1)?/")),
)


def main() -> int:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--limit", type=int, default=16, help="samples (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="write the tables into the documentation")
    options = parser.parse_args()
    try:
        lab = Lab(KEPT)
    except ql.QuantlibError as error:
        print(f"benchmarks.layers: {error}", file=sys.stderr)
        return 2
    model, samples = lab.model(TASK), lab.tasks[TASK].samples("eval", options.limit)
    twin = ql.compare(model, ql.read(SHARED / "models" / f"{TWIN}.tflite"), samples, layers=True, runner="litert")
    layers = table(
        ["layer", "share", "alone dB", "in B dB", "RMSE/scale"],
        [
            (
                f"`{layer.tensor.split(';')[0]}`",
                f"{layer.share:.1%}",
                decibels(math.nan if layer.layer_sqnr_db is None else layer.layer_sqnr_db),
                decibels(layer.sqnr_db),
                "" if layer.rmse_over_scale is None else f"{layer.rmse_over_scale:.2f}",
            )
            for layer in (twin.layers or ())[:SHOWN]
        ],
    )
    rows, statistics = [], lab.statistics(TASK)
    for what, skip in SKIPPED:
        plan = ql.plan(model, ql.recipes.int8(skip=skip), statistics)
        found = ql.compare(model, ql.quantize(model, plan), samples, runner="litert")
        flags = " ".join(f"`--skip '{s}'`" for s in skip)
        kept, sqnr = plan.totals()["kept"], found.outputs[0].sqnr_db
        rows.append((what, flags, str(kept), decibels(sqnr), f"{found.b.bytes:,}"))
    skipped = table(["left float", "", "operators", "SQNR dB", "bytes"], rows, left=2)
    if options.docs:
        fill(PAGE, {"portrait layers": layers, "portrait skipped": skipped})
    else:
        print(layers, skipped, sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

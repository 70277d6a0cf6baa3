"""``python -m benchmarks``: quantlib, litert-quantizer and `cp`, by turns, in one run."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from .bench import Bench
from .report import markdown

MODES = ("dynamic", "weight-only", "float16")
#: MiB of weights.
SIZES = (64, 256, 1024)
#: What is measured beside sizes and modes.
PARTS = ("mobilenet", "imports", "calibration", "static", "integers")
RAM_DISK = Path("/dev/shm")
MOBILENET = "mobilenet_v2_1.0_224_float_reconstructed.tflite"
INTEGERS = "mobilenet_v2_1.0_224_ptq_uint8io.tflite"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder for results.md and .json")
    parser.add_argument("--cache", type=Path, help="folder that keeps the models made (OUT/models)")
    parser.add_argument("--work", type=Path, help="folder to measure in (a RAM disk where there is one)")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), metavar="MIB", help="multiples of 64")
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--peer-repetitions", type=int, metavar="N", help="of the peer at 1 GiB (3 at most)")
    parser.add_argument("--import-repetitions", type=int, default=21, metavar="N")
    parser.add_argument(
        "--peer-python",
        default=os.environ.get("QUANTLIB_PEER_PYTHON"),
        metavar="PATH",
        help="Python of an environment with litert-quantizer (QUANTLIB_PEER_PYTHON)",
    )
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument(
        "--mobilenet", type=Path, default=_shared(MOBILENET), help="MobileNet V2; one is made otherwise"
    )
    parser.add_argument("--integers", type=Path, default=_shared(INTEGERS), help="the same network with integers")
    parser.add_argument("--skip", nargs="*", choices=PARTS, default=[])
    parser.add_argument("--quick", action="store_true", help="64 MiB and 3 repetitions: does it all work?")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repetitions, options.import_repetitions = [64], 3, 5
    if any(size < 64 or size % 64 for size in options.sizes):
        parser.error("sizes are multiples of 64 MiB, the size of a layer")
    options.cache = options.cache or options.out / "models"
    options.work = options.work or (RAM_DISK if os.access(RAM_DISK, os.W_OK) else Path(tempfile.gettempdir()))
    return options


def _shared(name: str) -> Path:
    folder = os.environ.get("QUANTLIB_SHARED") or Path(__file__).parents[2] / "shared"
    return Path(folder) / "models" / name


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="quantlib-bench-", dir=options.work))
    try:
        bench = Bench(options, work)
        report: dict[str, Any] = {"conditions": bench.conditions(), "sizes": {}}
        for size in options.sizes if options.modes else ():
            report["sizes"][str(size)] = bench.size(size)
        for part in PARTS:
            if part not in options.skip:
                report[part] = getattr(bench, part)()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = markdown(report)
    (options.out / "results.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What is measured of litert-quantizer: ``python peer.py MODEL MODE OUT [DATA]``, in the environment that has it.

MODE is ``dynamic``, ``weight-only`` or ``float16``; or ``calibrate``, with DATA an .npy of samples and OUT ranges as
JSON; or ``static``, with DATA such samples or such ranges.
"""

from __future__ import annotations

import sys
from typing import Any

from litert_quantizer import qtyping, quantizer, recipe

#: The input of the models that are calibrated, by their signature.
_INPUT = "image"


def main(source: str, mode: str, target: str, data: str = "") -> None:
    """Quantize as its documentation shows, with 8-bit recipes and, for float16, its casting algorithm."""
    job = quantizer.Quantizer(source)
    if mode in ("calibrate", "static"):
        static(job, source, mode, target, data)
        return
    if mode == "float16":
        job.update_quantization_recipe(
            regex=".*",
            algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(
                    num_bits=16, dtype=qtyping.TensorDataType.FLOAT
                ),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
        )
    else:
        recipes = {"dynamic": recipe.dynamic_wi8_afp32, "weight-only": recipe.weight_only_wi8_afp32}
        job.load_quantization_recipe(recipes[mode]())
    job.quantize().export_model(target, overwrite=True)


def static(job: Any, source: str, mode: str, target: str, data: str) -> None:
    """Find ranges, or quantize with them."""
    from litert_quantizer.utils import calibration_utils

    job.load_quantization_recipe(recipe.static_wi8_ai8())
    if data.endswith(".json"):
        ranges, _ = calibration_utils.load_calibration_results(data)
    else:
        ranges = job.calibrate({"serving_default": samples(data)})
    if mode == "static":
        job.quantize(ranges).export_model(target, overwrite=True)
        return
    import json

    with open(target, "w", encoding="utf-8") as file:
        json.dump({"model_qsvs": ranges, "metadata": {}}, file, cls=calibration_utils.NumpyEncoder)


def samples(path: str) -> list[dict[str, Any]]:
    """Samples by the name of the input."""
    import numpy as np

    values = np.load(path)
    return [{_INPUT: value[None]} for value in values]


if __name__ == "__main__":
    main(*sys.argv[1:5])

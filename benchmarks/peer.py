"""What is measured of litert-quantizer: ``python peer.py MODEL MODE OUT``, in the environment that has it."""

from __future__ import annotations

import sys

from litert_quantizer import qtyping, quantizer, recipe


def main(source: str, mode: str, target: str) -> None:
    """Quantize as its documentation shows, with 8-bit recipes and, for float16, its casting algorithm."""
    job = quantizer.Quantizer(source)
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


if __name__ == "__main__":
    main(*sys.argv[1:4])

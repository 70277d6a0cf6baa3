"""Quantization mathematics on NumPy arrays: arrays in, arrays out.

This room knows no model and no file. It is public: unit tests of firmware, RTL and kernels may import it
alone.

==============  ===========================================================================================
element types   `ElementType`, `ELEMENT_TYPES`, `element_type`
granularity     `PerTensor`, `PerAxis`, `PerBlock`, `Granularity`, `channels`, `parameter_shape`,
                `as_channels`
affine          `Affine`, `quantize`, `quantize_balanced`, `dequantize`, `fake_quantize`, `retyped`
fake-quant      `nudged_range`, `fake_quantize_nudged`
ranges          `weight_range`, `absmax`, `mse_range`, `affine_from_range`
rounding        `round_half_even`, `round_half_away`, `Rounding`, `ROUNDINGS`
fixed point     `quantize_multiplier`, `real_multiplier`, `product_scales`, `saturating_rounding_doubling_high_mul`,
                `rounding_divide_by_pot`, `multiply_by_quantized_multiplier`,
                `multiply_by_quantized_multiplier_int64`, `MultiplierRounding`,
                `exp_on_negative_values`, `one_over_one_plus_x`, `one_minus_x_over_one_plus_x`, `reciprocal`,
                `inverse_sqrt_multiplier`, `log_of_one_or_more`, `leading_zeros`
packing         `pack`, `unpack`
floats          `to_float16`, `from_float16`, `to_bfloat16`, `from_bfloat16`
pruning         `magnitude_mask`, `pattern_mask`, `zeros_of`, `magnitudes`, `cutoffs`, `Cutoff`, `Scores`
refitting       `Gram`, `Refitted`, `Equations`, `refit_rows`, `refit_bias`, `assign_rows`, `saliencies`
clustering      `cluster_values`, `cluster_integers`, `Clusters`
metrics         `mse`, `sqnr_db`, `cosine`, `max_error_in_steps`
==============  ===========================================================================================

Examples
--------
>>> import numpy as np
>>> w = np.array([[0.5, -1.27, 0.0], [2.54, 0.01, -0.02]], np.float32)
>>> rows = PerAxis(0)
>>> affine = affine_from_range(*weight_range(w, rows), "INT8", granularity=rows, symmetric=True)
>>> quantize(w, affine)
array([[  50, -127,    0],
       [ 127,    0,   -1]], dtype=int8)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantlib.doors import late

from .affine import Affine
from .balance import quantize_balanced
from .fakequant import fake_quantize_nudged, nudged_range
from .fixedpoint import (
    MultiplierRounding,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    real_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from .floats import from_bfloat16, from_float16, to_bfloat16, to_float16
from .granularity import Granularity, PerAxis, PerBlock, PerTensor, as_channels, channels, parameter_shape
from .mapping import dequantize, fake_quantize, quantize
from .metrics import cosine, max_error_in_steps, mse, sqnr_db
from .packing import pack, unpack
from .parameters import affine_from_range
from .ranges import absmax, mse_range, weight_range
from .retyped import retyped
from .rounding import ROUNDINGS, Rounding, round_half_away, round_half_even
from .types import ELEMENT_TYPES, ElementType, element_type

if TYPE_CHECKING:
    from .assignment import assign_rows
    from .clustering import Clusters, cluster_values
    from .clustering_integers import cluster_integers
    from .fixedpoint_functions import (
        exp_on_negative_values,
        inverse_sqrt_multiplier,
        leading_zeros,
        log_of_one_or_more,
        one_minus_x_over_one_plus_x,
        one_over_one_plus_x,
        reciprocal,
    )
    from .products import product_scales
    from .pruning import Cutoff, Scores, cutoffs, magnitude_mask, magnitudes, pattern_mask, zeros_of
    from .refit import Equations, Gram, Refitted, refit_bias, refit_rows, saliencies

__all__ = [
    "ELEMENT_TYPES",
    "ROUNDINGS",
    "Affine",
    "Clusters",
    "Cutoff",
    "ElementType",
    "Equations",
    "Gram",
    "Granularity",
    "MultiplierRounding",
    "PerAxis",
    "PerBlock",
    "PerTensor",
    "Refitted",
    "Rounding",
    "Scores",
    "absmax",
    "affine_from_range",
    "as_channels",
    "assign_rows",
    "channels",
    "cluster_integers",
    "cluster_values",
    "cosine",
    "cutoffs",
    "dequantize",
    "element_type",
    "exp_on_negative_values",
    "fake_quantize",
    "fake_quantize_nudged",
    "from_bfloat16",
    "from_float16",
    "inverse_sqrt_multiplier",
    "leading_zeros",
    "log_of_one_or_more",
    "magnitude_mask",
    "magnitudes",
    "max_error_in_steps",
    "mse",
    "mse_range",
    "multiply_by_quantized_multiplier",
    "multiply_by_quantized_multiplier_int64",
    "nudged_range",
    "one_minus_x_over_one_plus_x",
    "one_over_one_plus_x",
    "pack",
    "parameter_shape",
    "pattern_mask",
    "product_scales",
    "quantize",
    "quantize_balanced",
    "quantize_multiplier",
    "real_multiplier",
    "reciprocal",
    "refit_bias",
    "refit_rows",
    "retyped",
    "round_half_away",
    "round_half_even",
    "rounding_divide_by_pot",
    "saliencies",
    "saturating_rounding_doubling_high_mul",
    "sqnr_db",
    "to_bfloat16",
    "to_float16",
    "unpack",
    "weight_range",
    "zeros_of",
]

#: What edits of finished models and integer kernels need, and quantizing doesn't.
__getattr__ = late(
    __name__,
    {
        "clustering": ("Clusters", "cluster_values"),
        "clustering_integers": ("cluster_integers",),
        "fixedpoint_functions": (
            "exp_on_negative_values",
            "inverse_sqrt_multiplier",
            "leading_zeros",
            "log_of_one_or_more",
            "one_minus_x_over_one_plus_x",
            "one_over_one_plus_x",
            "reciprocal",
        ),
        "products": ("product_scales",),
        "pruning": ("Cutoff", "Scores", "cutoffs", "magnitude_mask", "magnitudes", "pattern_mask", "zeros_of"),
        "assignment": ("assign_rows",),
        "refit": ("Equations", "Gram", "Refitted", "refit_bias", "refit_rows", "saliencies"),
    },
)

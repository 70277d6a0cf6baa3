"""Integer kernels as plain functions of arrays and parameters: for unit tests, without any model.

They compute as LiteRT's reference kernels do (runtime ``reference``). `FUNCTIONS` says which operator is made of
which; `OTHERS` which functions stand in their place for the runtimes ``builtin`` and ``xnnpack``. What scales and
shapes they are given together, a model's operators prepare with `quantlib.operators.integer_kernel`.

Each raises `InvalidValue` before it computes where an array is of another dtype than the kernel takes or than its
`Affine` says, parameters are no `Affine`, one that is divided by has a scale of 0, or operands don't broadcast.

Examples
--------
A dense layer of two units, from int8 to int8:

>>> import numpy as np
>>> from quantlib.numerics import Affine
>>> x, weights = np.array([[10, -20, 30]], np.int8), np.array([[1, 2, 3], [-4, 5, 6]], np.int8)
>>> of_x, of_weights, of_y = Affine("INT8", 0.5, 10), Affine("INT8", 0.25), Affine("INT8", 1.0, -3)
>>> real = multiplier_of_product(of_x, of_weights, of_y)
>>> requantize = floating_point(real, of_y, bias=np.array([100, 0], np.int32))
>>> fully_connected_integers(x, exact_weights(weights, reach(of_x)), requantize, zero_point=10)
array([[10, -7]], dtype=int8)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .activation.integer_builtin import (
    log_softmax_in_floats,
    logistic_by_scale,
    softmax_in_floats,
    tanh_by_scale,
)
from .activation.integer_rectified import leaky_relu_integers, leaky_relu_xnnpack, prelu_integers, rectify_integers
from .activation.integer_sigmoid import hard_swish_bytes, logistic_int16, tanh_int16
from .activation.integer_softmax import log_softmax_bytes, softmax_bytes, softmax_int16
from .convolution.integer import (
    convolve_hybrid,
    convolve_integers,
    depthwise_convolve_hybrid,
    depthwise_convolve_integers,
    transposed_convolve_hybrid,
    transposed_convolve_integers,
)
from .elementwise.integer import multiply_integers
from .elementwise.integer_builtin import add_vectors
from .elementwise.integer_pairs import compare_integers, divide_integers, squared_difference_integers
from .elementwise.integer_sums import add_integers, add_shifted
from .elementwise.integer_unary import (
    absolute_integers,
    logarithm_integers,
    rsqrt_bytes,
    rsqrt_int16,
    square_root_integers,
)
from .elementwise.integer_xnnpack import add_xnnpack, multiply_xnnpack
from .integer_hybrid import dynamic, quantize_groups_even, quantize_rows
from .integer_product import exact_weights, multiplier_of_product, reach
from .integer_real import elu_bytes, exponential_integers, gelu_integers, logistic_bytes, tanh_bytes
from .integer_requantize import (
    Requantizer,
    activation_range,
    fixed_point,
    floating_point,
    single_precision,
)
from .integer_table import all_values, interpolated, tabulated, tabulated_pairs
from .integer_unary import by_floats, by_steps
from .integer_vectors import in_vectors
from .integer_xnnpack import by_reference, float_range
from .matmul.integer import (
    batch_matmul_hybrid,
    batch_matmul_integers,
    fully_connected_blockwise,
    fully_connected_hybrid,
    fully_connected_integers,
)
from .movement._join import concatenate
from .movement._space import pad, space_to_batch
from .movement.integer import rescale_uint8
from .normalization.integer import l2_normalize_integers
from .pooling.floating import average_pool, max_pool
from .quantization.integer import (
    quantize_divided,
    quantize_even,
    quantize_in_vectors,
    requantize_integers,
    requantize_xnnpack,
)
from .recurrent.integer import svdf_integers
from .recurrent.integer_lstm import IntegerLstm, lstm_integers
from .reduction.integer import product_integers, sum_integers, sum_xnnpack
from .reduction.integer_builtin import mean_over_pixels, sum_in_floats
from .resize.floating import resize_bilinear, resize_bilinear_by_weights, resize_nearest_neighbor
from .resize.integer import resize_bilinear_xnnpack

#: Operators and the functions that compute them on integers. Hybrid ones take float activations, integer weights.
FUNCTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ABS": ("absolute_integers",),
        "ADD": ("add_integers", "add_shifted"),
        "AVERAGE_POOL_2D": ("average_pool", "activation_range"),
        "BATCH_MATMUL": ("batch_matmul_integers", "batch_matmul_hybrid"),
        "CONCATENATION": ("concatenate", "rescale_uint8"),
        "CONV_2D": ("convolve_integers", "convolve_hybrid"),
        "DEPTHWISE_CONV_2D": ("depthwise_convolve_integers", "depthwise_convolve_hybrid"),
        "DIV": ("divide_integers",),
        "ELU": ("elu_bytes",),
        "EXP": ("exponential_integers",),
        "FULLY_CONNECTED": ("fully_connected_integers", "fully_connected_hybrid", "fully_connected_blockwise"),
        "GELU": ("gelu_integers",),
        "HARD_SWISH": ("hard_swish_bytes",),
        "L2_NORMALIZATION": ("l2_normalize_integers",),
        "LEAKY_RELU": ("leaky_relu_integers",),
        "LOG": ("logarithm_integers",),
        "LOGISTIC": ("logistic_bytes", "logistic_int16"),
        "LOG_SOFTMAX": ("log_softmax_bytes",),
        "LSTM": ("lstm_integers",),
        "MAX_POOL_2D": ("max_pool", "activation_range"),
        "MEAN": ("sum_integers",),
        "MUL": ("multiply_integers",),
        "PAD": ("pad",),
        "PADV2": ("pad",),
        "PRELU": ("prelu_integers",),
        "QUANTIZE": ("quantize_divided", "requantize_integers"),
        "REDUCE_PROD": ("product_integers",),
        **dict.fromkeys(("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1"), ("rectify_integers",)),
        "RESIZE_BILINEAR": ("resize_bilinear",),
        "RESIZE_NEAREST_NEIGHBOR": ("resize_nearest_neighbor",),
        "RSQRT": ("rsqrt_bytes", "rsqrt_int16"),
        "SOFTMAX": ("softmax_bytes", "softmax_int16"),
        "SPACE_TO_BATCH_ND": ("space_to_batch",),
        "SQRT": ("square_root_integers",),
        "SQUARED_DIFFERENCE": ("squared_difference_integers",),
        "SUB": ("add_integers", "add_shifted"),
        "SUM": ("sum_integers",),
        "SVDF": ("svdf_integers",),
        "TANH": ("tanh_bytes", "tanh_int16"),
        "TRANSPOSE_CONV": ("transposed_convolve_integers", "transposed_convolve_hybrid"),
        "UNIDIRECTIONAL_SEQUENCE_LSTM": ("lstm_integers",),
        **dict.fromkeys(
            ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"), ("compare_integers",)
        ),
    }
)

#: Functions of other runtimes, where these compute in another way. Products take the same functions as in
#: `FUNCTIONS`, with another requantizer.
OTHERS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "builtin": MappingProxyType(
            {
                "ADD": ("add_vectors",),
                "CONV_2D": ("fixed_point",),
                "DEPTHWISE_CONV_2D": ("fixed_point", "in_vectors"),
                "FULLY_CONNECTED": ("fixed_point",),
                "LOGISTIC": ("logistic_by_scale",),
                "LOG_SOFTMAX": ("log_softmax_in_floats",),
                "MEAN": ("mean_over_pixels",),
                "QUANTIZE": ("quantize_in_vectors", "fixed_point", "in_vectors"),
                "RESIZE_BILINEAR": ("resize_bilinear_by_weights",),
                "SOFTMAX": ("softmax_in_floats",),
                "SUM": ("sum_in_floats",),
                "TANH": ("tanh_by_scale",),
                "TRANSPOSE_CONV": ("fixed_point", "in_vectors"),
            }
        ),
        "xnnpack": MappingProxyType(
            {
                "ADD": ("add_xnnpack",),
                "BATCH_MATMUL": ("single_precision", "dynamic"),
                "CONV_2D": ("single_precision", "dynamic"),
                "DEPTHWISE_CONV_2D": ("single_precision",),
                "ELU": ("by_reference",),
                "FULLY_CONNECTED": ("single_precision", "dynamic"),
                "LEAKY_RELU": ("leaky_relu_xnnpack",),
                "LOGISTIC": ("by_reference",),
                "MEAN": ("sum_xnnpack",),
                "MUL": ("multiply_xnnpack",),
                "QUANTIZE": ("quantize_even", "requantize_xnnpack"),
                "RESIZE_BILINEAR": ("resize_bilinear_xnnpack",),
                "SUB": ("add_xnnpack",),
                "SUM": ("sum_xnnpack",),
                "TANH": ("by_reference",),
                "TRANSPOSE_CONV": ("single_precision", "dynamic"),
            }
        ),
    }
)

__all__ = [
    "FUNCTIONS",
    "OTHERS",
    "IntegerLstm",
    "Requantizer",
    "absolute_integers",
    "activation_range",
    "add_integers",
    "add_shifted",
    "add_vectors",
    "add_xnnpack",
    "all_values",
    "average_pool",
    "batch_matmul_hybrid",
    "batch_matmul_integers",
    "by_floats",
    "by_reference",
    "by_steps",
    "compare_integers",
    "concatenate",
    "convolve_hybrid",
    "convolve_integers",
    "depthwise_convolve_hybrid",
    "depthwise_convolve_integers",
    "divide_integers",
    "dynamic",
    "elu_bytes",
    "exact_weights",
    "exponential_integers",
    "fixed_point",
    "float_range",
    "floating_point",
    "fully_connected_blockwise",
    "fully_connected_hybrid",
    "fully_connected_integers",
    "gelu_integers",
    "hard_swish_bytes",
    "in_vectors",
    "interpolated",
    "l2_normalize_integers",
    "leaky_relu_integers",
    "leaky_relu_xnnpack",
    "log_softmax_bytes",
    "log_softmax_in_floats",
    "logarithm_integers",
    "logistic_by_scale",
    "logistic_bytes",
    "logistic_int16",
    "lstm_integers",
    "max_pool",
    "mean_over_pixels",
    "multiplier_of_product",
    "multiply_integers",
    "multiply_xnnpack",
    "pad",
    "prelu_integers",
    "product_integers",
    "quantize_divided",
    "quantize_even",
    "quantize_groups_even",
    "quantize_in_vectors",
    "quantize_rows",
    "reach",
    "rectify_integers",
    "requantize_integers",
    "requantize_xnnpack",
    "rescale_uint8",
    "resize_bilinear",
    "resize_bilinear_by_weights",
    "resize_bilinear_xnnpack",
    "resize_nearest_neighbor",
    "rsqrt_bytes",
    "rsqrt_int16",
    "single_precision",
    "softmax_bytes",
    "softmax_in_floats",
    "softmax_int16",
    "space_to_batch",
    "square_root_integers",
    "squared_difference_integers",
    "sum_in_floats",
    "sum_integers",
    "sum_xnnpack",
    "svdf_integers",
    "tabulated",
    "tabulated_pairs",
    "tanh_by_scale",
    "tanh_bytes",
    "tanh_int16",
    "transposed_convolve_hybrid",
    "transposed_convolve_integers",
]

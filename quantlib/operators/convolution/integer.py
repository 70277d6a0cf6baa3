"""Integer kernels of convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..integer import IntegerKernel, accumulates_int64, constants_once, per_tensor, takes
from ..integer_hybrid import dynamic
from ..integer_product import (
    LARGEST_HYBRID,
    exact_weights,
    multiplier_of_product,
    reach,
    rounded_multiplier_of_product,
)
from ..integer_requantize import fixed_point
from ..integer_vectors import in_vectors
from ..integer_xnnpack import of_bytes, product_requantizer, xnnpack
from ..windows import PADDINGS
from .floating import spatial_options
from .integer_exact import convolve_integers, depthwise_convolve_integers, transposed_convolve_integers
from .integer_hybrid import convolve_hybrid, depthwise_convolve_hybrid, transposed_convolve_hybrid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from quantlib.numerics import MultiplierRounding
    from quantlib.tflite import Table

    from ..integer import QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..integer_vectors import InVectors
    from ..kernel import Array, Call, Kernel

__all__ = [
    "KERNELS",
    "convolve_hybrid",
    "convolve_integers",
    "depthwise_convolve_hybrid",
    "depthwise_convolve_integers",
    "transposed_convolve_hybrid",
    "transposed_convolve_integers",
]


@dataclass(frozen=True, slots=True)
class Form:
    """One of the convolutions: where its operands and axes stand. Its filters are operand 1.

    Attributes
    ----------
    integers, hybrid : callable
        Its functions, of arrays ``(x, filters, ...)``.
    channels : int
        Axis of the outputs in the file's filters.
    arranged : int
        That axis in the filters of the functions.
    x, bias : int
        Operands.
    single : bool
        Whether the hybrid kernel takes one scale for all outputs.
    vectors : bool
        Whether LiteRT's optimized kernel scales sums by vectors; else it is a product of matrices by ruy.
    """

    integers: Callable[..., Array]
    hybrid: Callable[..., Array]
    channels: int
    arranged: int
    x: int = 0
    bias: int = 2
    single: bool = False
    vectors: bool = True

    @property
    def transposed(self) -> bool:
        """Whether operand 0 is the shape of the result, and the activations stand behind the filters."""
        return self.x > 0

    @property
    def depthwise(self) -> bool:
        """Whether each output is of one channel."""
        return self.channels == -1

    def settings(self, options: Table) -> dict[str, Any]:
        """Strides, dilations, padding and activation."""
        return spatial_options(options, dilated=not self.transposed)

    def shape(self, call: Call) -> dict[str, Any]:
        """Shape of a transposed convolution's result, which is its first operand."""
        return {"shape": tuple(int(n) for n in call.operand(0))} if self.transposed else {}

    def optimized(self, operator: QuantizedOperator) -> bool:
        """Whether LiteRT's optimized kernel rounds otherwise: not of INT16 with 64-bit sums, or with zero points."""
        x, filters, output = operator.operand(self.x), operator.operand(1), operator.output
        if x.type != "INT16":
            return x.type == "INT8" or not self.depthwise  # a depthwise one of UINT8 rounds no other way
        points = x.zero_point, output.zero_point, *filters.parameters.zero_point.reshape(-1)
        return not accumulates_int64(operator, self.x, self.bias) and not any(points)

    def way(
        self, operator: QuantizedOperator, offsets: Array | None = None, *, grouped: bool = False
    ) -> Requantizer | InVectors:
        """From sums to the output, in LiteRT's optimized kernel by ruy, or by vectors.

        ruy rounds halves upwards. So do the vectors, of 8 channels or, of UINT8, of 16 values; what they leave is
        rounded as the reference kernel does (``Quantize`` in ``tflite/kernels/internal/optimized/optimized_ops.h``).
        For groups LiteRT has no other kernel than the reference one.
        """
        double = requantizer(operator, offsets, x=self.x, bias=self.bias)
        plain = grouped and not self.vectors
        if plain or operator.runtime != "builtin" or not self.optimized(operator):
            return double
        upward = requantizer(operator, offsets, x=self.x, bias=self.bias, rounding="upward")
        if not self.vectors:
            return upward
        flat = operator.output.type == "UINT8"
        return in_vectors(upward, double, 16 if flat else 8, flat=flat)

    def exact(self, filters: Array, largest: int, zero_point: int = 0) -> Array:
        """Filters as the functions take them."""
        exact = exact_weights(np.moveaxis(filters, self.channels, 0), largest, zero_point)
        return np.ascontiguousarray(np.moveaxis(exact, 0, self.arranged))


def multipliers(operator: QuantizedOperator, x_index: int = 0) -> Array:
    """Real multipliers of the output channels (``PopulateConvolutionQuantizationParams``, ``kernel_util.cc``)."""
    x, filters, output = operator.operand(x_index), operator.operand(1), operator.output
    if x.type == "UINT8":
        return np.atleast_1d(rounded_multiplier_of_product(*per_tensor(x, filters, output)))
    before, after = per_tensor(x, output)
    return multiplier_of_product(before, filters.parameters, after)


def requantizer(
    operator: QuantizedOperator,
    offsets: Array | None = None,
    *,
    x: int = 0,
    bias: int = 2,
    rounding: MultiplierRounding = "double",
) -> Requantizer:
    """From sums of a convolution to its output; `x` and `bias` say where these operands stand."""
    if operator.runtime == "xnnpack":
        return product_requantizer(operator, offsets, x=x, activation=operator.options.fused_activation_function)
    return fixed_point(
        multipliers(operator, x),
        operator.output.parameters,
        activation=operator.options.fused_activation_function,
        bias=offsets,
        wide=accumulates_int64(operator, x, bias),
        rounding=rounding,
    )


def _integers(form: Form) -> Callable[[QuantizedOperator], Kernel]:
    """Make the `prepare` of a kernel of integer activations."""

    def prepare(operator: QuantizedOperator) -> Kernel:
        x, filters = operator.operand(form.x), operator.operand(1)
        settings = form.settings(operator.options)
        del settings["activation"]  # is the requantizer's
        point = filters.zero_point if x.type == "UINT8" else 0
        largest, zero_point = reach(x.parameters), x.zero_point

        def made(stored: Array, offsets: Array | None) -> tuple[Array, tuple[Callable[[Array], Array], ...]]:
            way = form.way(operator, offsets)
            grouped = form.way(operator, offsets, grouped=True) if operator.runtime == "builtin" else way
            return form.exact(stored, largest, point), (way, grouped)

        ready = constants_once(operator, (1, form.bias), made)

        def run(call: Call) -> Sequence[Array]:
            exact, ways = ready(call)
            given = call.operand(form.x)
            requantize = ways[given.shape[-1] != exact.shape[-1]]
            more = {**settings, **form.shape(call)}
            return (form.integers(given, exact, requantize, zero_point=zero_point, **more),)

        return run

    return prepare


def _fits_xnnpack(operator: QuantizedOperator) -> bool:
    """Whether XNNPACK takes the sizes of a transposed convolution: strides within the kernel, or none padded."""
    shape, filters, options = operator.operand(0).value, operator.operand(1).value, operator.options
    if shape is None or filters is None or shape.shape != (4,):
        return False
    if PADDINGS[options.padding] == "SAME":
        return bool(filters.shape[1] >= options.stride_h and filters.shape[2] >= options.stride_w)
    return bool(shape[1] >= filters.shape[1] and shape[2] >= filters.shape[2])


def _taken_over(form: Form) -> Callable[[QuantizedOperator], bool]:
    """Whether XNNPACK computes a convolution: of bytes, by constants."""

    def serves(operator: QuantizedOperator) -> bool:
        filters, bias = operator.optional(1), operator.optional(form.bias)
        if not of_bytes(operator, (form.x,)) or filters is None or filters.value is None:
            return False
        if form.transposed and not _fits_xnnpack(operator):
            return False
        if bias is None:
            return form.transposed and filters.type == operator.output.type  # of a transposed one it may be left out
        return filters.type == operator.output.type and bias.type == "INT32" and bias.value is not None

    return serves


def _hybrid(form: Form) -> Callable[[QuantizedOperator], Kernel]:
    """Make the `prepare` of a kernel of float activations."""

    def prepare(operator: QuantizedOperator) -> Kernel:
        scales = operator.operand(1).parameters.scale.reshape(-1)
        settings = form.settings(operator.options)
        ready = constants_once(operator, (1,), lambda stored: form.exact(stored, LARGEST_HYBRID))

        def run(call: Call) -> Sequence[Array]:
            exact = ready(call)
            if scales.size not in (1, exact.shape[form.arranged]):
                raise InvalidValue(
                    f"{scales.size} scales for {exact.shape[form.arranged]} outputs; one each is required"
                )
            more = {**settings, **form.shape(call)}
            if operator.runtime == "xnnpack":
                return (_dynamic(form, call, exact, scales, more),)
            return (form.hybrid(call.operand(form.x), exact, scales, call.optional(form.bias), **more),)

        return run

    return prepare


def _dynamic(form: Form, call: Call, exact: Array, scales: Array, settings: dict[str, Any]) -> Array:
    """A convolution of floats as XNNPACK computes it; each sample is quantized over its own range."""
    x, bias, activation = call.operand(form.x), call.optional(form.bias), settings.pop("activation")

    def product(values: Array, finish: Callable[[Array], Array]) -> Array:
        return form.integers(values, exact, finish, zero_point=0, **settings)

    return dynamic(x, x.ndim - 1, product, scales, bias, activation=activation)


def _kernels(form: Form, weights: tuple[str, ...], wide: tuple[str, ...]) -> tuple[IntegerKernel, ...]:
    """Types that a convolution serves: activations of 8 bits, of 16 with `wide` weights, or floats."""

    def given(x: str, filters: tuple[str, ...], bias: tuple[str, ...]) -> Callable[[QuantizedOperator], bool]:
        operands = (("INT32",), filters, (x,), bias) if form.transposed else ((x,), filters, bias)
        return takes(*operands, to=(x,))

    floats = given("FLOAT32", weights, ("FLOAT32", ""))

    def is_hybrid(operator: QuantizedOperator) -> bool:
        affine = operator.operand(1).affine if floats(operator) else None
        return affine is not None and (form.single or affine.scale.size > 1)

    def is_dynamic(operator: QuantizedOperator) -> bool:
        """Whether XNNPACK computes it of floats: by INT8 constants, and not a depthwise one."""
        filters, bias = operator.operand(1), operator.optional(form.bias)
        if filters.type != "INT8" or filters.value is None or form.depthwise or not is_hybrid(operator):
            return False
        if form.transposed and not _fits_xnnpack(operator):
            return False
        return form.transposed if bias is None else bias.value is not None

    prepare = _integers(form)
    return (
        xnnpack(_taken_over(form), prepare),
        xnnpack(is_dynamic, _hybrid(form)),
        IntegerKernel(given("INT8", weights, ("INT32", "")), prepare),
        IntegerKernel(given("UINT8", ("UINT8",), ("INT32", "")), prepare),
        IntegerKernel(given("INT16", wide, ("INT64", "INT32", "")), prepare),
        IntegerKernel(is_hybrid, _hybrid(form)),
    )


_CONV = Form(convolve_integers, convolve_hybrid, 0, 0, single=True, vectors=False)
_DEPTHWISE = Form(depthwise_convolve_integers, depthwise_convolve_hybrid, -1, -1)
_TRANSPOSED = Form(transposed_convolve_integers, transposed_convolve_hybrid, 0, -2, x=2, bias=3)

#: Forms of the convolutions by operator.
FORMS: Mapping[str, Form] = MappingProxyType(
    {"CONV_2D": _CONV, "DEPTHWISE_CONV_2D": _DEPTHWISE, "TRANSPOSE_CONV": _TRANSPOSED}
)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "CONV_2D": _kernels(_CONV, ("INT8", "INT4"), ("INT8", "INT4")),
        # With INT16 activations LiteRT 2.3 reads INT4 weights as bytes (EvalQuantizedPerChannel16x8 in
        # tflite/kernels/depthwise_conv.cc), beyond their end.
        "DEPTHWISE_CONV_2D": _kernels(_DEPTHWISE, ("INT8", "INT4"), ("INT8",)),
        "TRANSPOSE_CONV": _kernels(_TRANSPOSED, ("INT8",), ("INT8",)),
    }
)

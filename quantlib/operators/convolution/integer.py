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
    centered,
    exact_weights,
    multiplier_of_product,
    reach,
    rounded_multiplier_of_product,
)
from ..integer_requantize import fixed_point, in_vectors
from ..integer_xnnpack import of_bytes, product_requantizer, xnnpack
from ..windows import PADDINGS
from .floating import spatial_options
from .floating_dense import convolve
from .floating_depthwise import depthwise_convolve
from .floating_transposed import transposed_convolve
from .integer_hybrid import convolve_hybrid, depthwise_convolve_hybrid, transposed_convolve_hybrid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from quantlib.numerics import MultiplierRounding
    from quantlib.tflite import Table

    from ..integer import QuantizedOperator
    from ..integer_requantize import Requantizer
    from ..kernel import Array, Call, Kernel
    from ..windows import PaddingName

__all__ = [
    "KERNELS",
    "convolve_hybrid",
    "convolve_integers",
    "depthwise_convolve_hybrid",
    "depthwise_convolve_integers",
    "transposed_convolve_hybrid",
    "transposed_convolve_integers",
]


def convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Convolution of integers.

    Parameters
    ----------
    x : ndarray
        int8, uint8 or int16, shape ``[batch, *spatial, channels]``. Padding has its zero point.
    filters : ndarray
        Shape ``[outputs, *kernel, channels / groups]``, less their zero point, in a float type in which sums are
        exact, see `exact_weights`.
    requantize : Requantizer
        From sums to the output; it has the bias.
    zero_point : int
        Of `x`.
    strides, dilations, padding
        As in `convolve`.

    Returns
    -------
    ndarray
        Dtype of `requantize`, shape ``[batch, *counts, outputs]``.

    Raises
    ------
    InvalidValue
        If ranks, channels or sizes don't fit.
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(convolve(floats, filters, strides=strides, dilations=dilations, padding=padding))


def depthwise_convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Convolution of each channel of integers with filters of its own.

    Parameters, result and errors are those of `convolve_integers`; the filters have the shape
    ``[1, kernel height, kernel width, channels * multiplier]``.

    Examples
    --------
    >>> from quantlib.numerics import Affine
    >>> x = np.array([1, 2, 3], np.int8).reshape(1, 1, 3, 1)
    >>> filters = np.array([1, 2, -1, 3], np.float32).reshape(1, 1, 2, 2)
    >>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    >>> requantize = fixed_point(0.5, Affine("INT8", 1.0))
    >>> depthwise_convolve_integers(x, filters, requantize, zero_point=1, **window)[0, 0]
    array([[0, 2],
           [0, 4]], dtype=int8)
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(depthwise_convolve(floats, filters, strides=strides, dilations=dilations, padding=padding))


def transposed_convolve_integers(
    x: Array,
    filters: Array,
    requantize: Requantizer,
    *,
    shape: Sequence[int],
    zero_point: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: PaddingName,
) -> Array:
    """Transposed convolution of integers.

    Parameters, result and errors are those of `convolve_integers`; the filters have the shape
    ``[*kernel, outputs, channels]``, and `shape` is that of the result, ``[batch, *spatial, outputs]``.

    Examples
    --------
    >>> from quantlib.numerics import Affine
    >>> x = np.array([1, 2, 3], np.int8).reshape(1, 1, 3, 1)
    >>> filters = np.array([1, 2], np.float32).reshape(1, 2, 1, 1)
    >>> window = {"strides": (1, 1), "dilations": (1, 1), "padding": "VALID"}
    >>> requantize = fixed_point(0.5, Affine("INT8", 1.0))
    >>> transposed_convolve_integers(x, filters, requantize, shape=(1, 1, 4, 1), zero_point=1, **window).ravel()
    array([0, 1, 2, 2], dtype=int8)
    """
    floats = centered(x, zero_point, filters.dtype)
    return requantize(
        transposed_convolve(shape, filters, floats, strides=strides, dilations=dilations, padding=padding)
    )


@dataclass(frozen=True, slots=True)
class _Form:
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

    def settings(self, options: Table) -> dict[str, Any]:
        """Strides, dilations, padding and activation."""
        return spatial_options(options, dilated=not self.x)

    def shape(self, call: Call) -> dict[str, Any]:
        """Shape of a transposed convolution's result, which is its first operand."""
        return {"shape": tuple(int(n) for n in call.operand(0))} if self.x else {}

    def optimized(self, operator: QuantizedOperator) -> bool:
        """Whether LiteRT's optimized kernel rounds otherwise: not of INT16 with 64-bit sums, or with zero points."""
        x, filters, output = operator.operand(self.x), operator.operand(1), operator.output
        if x.type != "INT16":
            return x.type == "INT8" or self.channels != -1  # a depthwise one of UINT8 doesn't
        points = x.zero_point, output.zero_point, *filters.parameters.zero_point.reshape(-1)
        return not accumulates_int64(operator, self.x, self.bias) and not any(points)

    def optimize(
        self, operator: QuantizedOperator, upward: Requantizer, double: Requantizer
    ) -> Callable[[Array], Array]:
        """From sums to the output as LiteRT's optimized kernel does: ruy, or vectors.

        ruy rounds halves upwards. So do the vectors, of 8 channels or, of UINT8, of 16 values; what they leave is
        rounded as the reference kernel does (``Quantize`` in ``tflite/kernels/internal/optimized/optimized_ops.h``).
        """
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


def _integers(form: _Form) -> Callable[[QuantizedOperator], Kernel]:
    """Make the `prepare` of a kernel of integer activations."""

    def prepare(operator: QuantizedOperator) -> Kernel:
        x, filters = operator.operand(form.x), operator.operand(1)
        settings = form.settings(operator.options)
        del settings["activation"]  # is the requantizer's
        point = filters.zero_point if x.type == "UINT8" else 0
        largest, zero_point = reach(x.parameters), x.zero_point
        upward = operator.runtime == "builtin" and form.optimized(operator)

        def made(stored: Array, offsets: Array | None) -> tuple[Array, tuple[Callable[[Array], Array], ...]]:
            double = requantizer(operator, offsets, x=form.x, bias=form.bias)
            if not upward:
                return form.exact(stored, largest, point), (double, double)
            other = requantizer(operator, offsets, x=form.x, bias=form.bias, rounding="upward")
            return form.exact(stored, largest, point), (form.optimize(operator, other, double), double)

        ready = constants_once(operator, (1, form.bias), made)

        def run(call: Call) -> Sequence[Array]:
            exact, ways = ready(call)
            given = call.operand(form.x)
            # LiteRT has no other kernel than the reference one for groups
            requantize = ways[not form.vectors and given.shape[-1] != exact.shape[-1]]
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


def _taken_over(form: _Form) -> Callable[[QuantizedOperator], bool]:
    """Whether XNNPACK computes a convolution: of bytes, by constants."""

    def serves(operator: QuantizedOperator) -> bool:
        filters, bias = operator.optional(1), operator.optional(form.bias)
        if not of_bytes(operator, (form.x,)) or filters is None or filters.value is None:
            return False
        if form.x and not _fits_xnnpack(operator):
            return False
        if bias is None:
            return form.x > 0 and filters.type == operator.output.type  # of a transposed one it may be left out
        return filters.type == operator.output.type and bias.type == "INT32" and bias.value is not None

    return serves


def _hybrid(form: _Form) -> Callable[[QuantizedOperator], Kernel]:
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


def _dynamic(form: _Form, call: Call, exact: Array, scales: Array, settings: dict[str, Any]) -> Array:
    """A convolution of floats as XNNPACK computes it; each sample is quantized over its own range."""
    x, bias, activation = call.operand(form.x), call.optional(form.bias), settings.pop("activation")

    def product(values: Array, finish: Callable[[Array], Array]) -> Array:
        return form.integers(values, exact, finish, zero_point=0, **settings)

    return dynamic(x, x.ndim - 1, product, scales, bias, activation=activation)


def _kernels(form: _Form, weights: tuple[str, ...], wide: tuple[str, ...]) -> tuple[IntegerKernel, ...]:
    """Types that a convolution serves: activations of 8 bits, of 16 with `wide` weights, or floats."""

    def given(x: str, filters: tuple[str, ...], bias: tuple[str, ...]) -> Callable[[QuantizedOperator], bool]:
        operands = (("INT32",), filters, (x,), bias) if form.x else ((x,), filters, bias)
        return takes(*operands, to=(x,))

    floats = given("FLOAT32", weights, ("FLOAT32", ""))

    def is_hybrid(operator: QuantizedOperator) -> bool:
        affine = operator.operand(1).affine if floats(operator) else None
        return affine is not None and (form.single or affine.scale.size > 1)

    def is_dynamic(operator: QuantizedOperator) -> bool:
        """Whether XNNPACK computes it of floats: by INT8 constants, and not a depthwise one."""
        filters, bias = operator.operand(1), operator.optional(form.bias)
        if filters.type != "INT8" or filters.value is None or form.channels == -1 or not is_hybrid(operator):
            return False
        if form.x and not _fits_xnnpack(operator):
            return False
        return form.x > 0 if bias is None else bias.value is not None

    prepare = _integers(form)
    return (
        xnnpack(_taken_over(form), prepare),
        xnnpack(is_dynamic, _hybrid(form)),
        IntegerKernel(given("INT8", weights, ("INT32", "")), prepare),
        IntegerKernel(given("UINT8", ("UINT8",), ("INT32", "")), prepare),
        IntegerKernel(given("INT16", wide, ("INT64", "INT32", "")), prepare),
        IntegerKernel(is_hybrid, _hybrid(form)),
    )


_CONV = _Form(convolve_integers, convolve_hybrid, 0, 0, single=True, vectors=False)
_DEPTHWISE = _Form(depthwise_convolve_integers, depthwise_convolve_hybrid, -1, -1)
_TRANSPOSED = _Form(transposed_convolve_integers, transposed_convolve_hybrid, 0, -2, x=2, bias=3)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "CONV_2D": _kernels(_CONV, ("INT8", "INT4"), ("INT8", "INT4")),
        # With INT16 activations LiteRT 2.3 reads INT4 weights as bytes (EvalQuantizedPerChannel16x8 in
        # tflite/kernels/depthwise_conv.cc), beyond their end.
        "DEPTHWISE_CONV_2D": _kernels(_DEPTHWISE, ("INT8", "INT4"), ("INT8",)),
        "TRANSPOSE_CONV": _kernels(_TRANSPOSED, ("INT8",), ("INT8",)),
    }
)

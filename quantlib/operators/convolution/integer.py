"""Integer kernels of convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from quantlib.errors import InvalidValue

from ..integer import IntegerKernel, accumulates_int64, takes
from ..integer_product import centered, exact_weights, reach
from ..integer_requantize import fixed_point
from .floating import spatial_options
from .floating_dense import convolve
from .floating_depthwise import depthwise_convolve
from .floating_transposed import transposed_convolve
from .integer_hybrid import convolve_hybrid, depthwise_convolve_hybrid, transposed_convolve_hybrid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

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
    """

    integers: Callable[..., Array]
    hybrid: Callable[..., Array]
    channels: int
    arranged: int
    x: int = 0
    bias: int = 2
    single: bool = False

    def settings(self, options: Table) -> dict[str, Any]:
        """Strides, dilations, padding and activation."""
        return spatial_options(options, dilated=not self.x)

    def shape(self, call: Call) -> dict[str, Any]:
        """Shape of a transposed convolution's result, which is its first operand."""
        return {"shape": tuple(int(n) for n in call.operand(0))} if self.x else {}

    def exact(self, filters: Array, largest: int, zero_point: int = 0) -> Array:
        """Filters as the functions take them."""
        exact = exact_weights(np.moveaxis(filters, self.channels, 0), largest, zero_point)
        return np.ascontiguousarray(np.moveaxis(exact, 0, self.arranged))


def _multipliers(operator: QuantizedOperator, place: int) -> Array:
    """Real multipliers of the output channels (``PopulateConvolutionQuantizationParams``, ``kernel_util.cc``)."""
    x, filters, output = operator.operand(place), operator.operand(1), operator.output
    scales = filters.parameters.scale.reshape(-1)
    if x.type == "UINT8":  # this kernel has one multiplier, of a product in float32
        return np.atleast_1d(np.float64(x.scale * filters.scale) / np.float64(output.scale))
    return np.float64(x.scale) * scales.astype(np.float64) / np.float64(output.scale)


def _integers(form: _Form) -> Callable[[QuantizedOperator], Kernel]:
    """Make the `prepare` of a kernel of integer activations."""

    def prepare(operator: QuantizedOperator) -> Kernel:
        x, filters, bias = operator.operand(form.x), operator.operand(1), operator.optional(form.bias)
        settings = form.settings(operator.options)
        activation = settings.pop("activation")
        multipliers = _multipliers(operator, form.x)
        wide = accumulates_int64(operator, form.x, form.bias)
        point = filters.zero_point if x.type == "UINT8" else 0
        largest, zero_point = reach(x.parameters), x.zero_point

        def made(stored: Array, offsets: Array | None) -> tuple[Array, Requantizer]:
            requantize = fixed_point(
                multipliers, operator.output.parameters, activation=activation, bias=offsets, wide=wide
            )
            return form.exact(stored, largest, point), requantize

        ready = None
        if filters.value is not None and (bias is None or bias.value is not None):
            ready = made(filters.value, None if bias is None else bias.value)

        def run(call: Call) -> Sequence[Array]:
            exact, requantize = ready or made(call.operand(1), call.optional(form.bias))
            more = {**settings, **form.shape(call)}
            return (form.integers(call.operand(form.x), exact, requantize, zero_point=zero_point, **more),)

        return run

    return prepare


def _hybrid(form: _Form) -> Callable[[QuantizedOperator], Kernel]:
    """Make the `prepare` of a kernel of float activations."""

    def prepare(operator: QuantizedOperator) -> Kernel:
        filters = operator.operand(1)
        scales = filters.parameters.scale.reshape(-1)
        settings = form.settings(operator.options)
        largest = 255  # of int8 less a zero point of int8
        ready = None if filters.value is None else form.exact(filters.value, largest)

        def run(call: Call) -> Sequence[Array]:
            exact = form.exact(call.operand(1), largest) if ready is None else ready
            if scales.size not in (1, exact.shape[form.arranged]):
                raise InvalidValue(
                    f"{scales.size} scales for {exact.shape[form.arranged]} outputs; one each is required"
                )
            more = {**settings, **form.shape(call)}
            return (form.hybrid(call.operand(form.x), exact, scales, call.optional(form.bias), **more),)

        return run

    return prepare


def _kernels(form: _Form, weights: tuple[str, ...]) -> tuple[IntegerKernel, ...]:
    """Types that a convolution serves: activations of 8 bits, of 16, or floats."""

    def given(x: str, filters: tuple[str, ...], bias: tuple[str, ...]) -> Callable[[QuantizedOperator], bool]:
        operands = (("INT32",), filters, (x,), bias) if form.x else ((x,), filters, bias)
        return takes(*operands, to=(x,))

    floats = given("FLOAT32", weights, ("FLOAT32", ""))

    def is_hybrid(operator: QuantizedOperator) -> bool:
        affine = operator.operand(1).affine if floats(operator) else None
        return affine is not None and (form.single or affine.scale.size > 1)

    prepare = _integers(form)
    return (
        IntegerKernel(given("INT8", weights, ("INT32", "")), prepare),
        IntegerKernel(given("UINT8", ("UINT8",), ("INT32", "")), prepare),
        IntegerKernel(given("INT16", weights, ("INT64", "INT32", "")), prepare),
        IntegerKernel(is_hybrid, _hybrid(form)),
    )


_CONV = _Form(convolve_integers, convolve_hybrid, 0, 0, single=True)
_DEPTHWISE = _Form(depthwise_convolve_integers, depthwise_convolve_hybrid, -1, -1)
_TRANSPOSED = _Form(transposed_convolve_integers, transposed_convolve_hybrid, 0, -2, x=2, bias=3)

KERNELS: Mapping[str, Sequence[IntegerKernel]] = MappingProxyType(
    {
        "CONV_2D": _kernels(_CONV, ("INT8", "INT4")),
        "DEPTHWISE_CONV_2D": _kernels(_DEPTHWISE, ("INT8", "INT4")),
        "TRANSPOSE_CONV": _kernels(_TRANSPOSED, ("INT8",)),
    }
)

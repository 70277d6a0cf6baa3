"""What an integer kernel computes with, as numbers that another implementation can be built or tested with.

A family's ``arithmetic.py`` has a table ``KERNELS`` from operator names to `Description`. Numbers come from the
functions that the kernels are made with, so that they can't differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.numerics import quantize_multiplier

from .integer import QuantizedOperator
from .integer_requantize import Requantizer, rounding_of
from .integer_table import all_values
from .kernel import Array, Call, Kernel
from .windows import PADDINGS, Axis, plan_axis

#: Whose integers the kernels equal, bit for bit.
VERIFIED_WITH = "ai-edge-litert 2.3.0, x86-64"

#: Shapes of operands (None where one is left out) and, behind these, of outputs.
Shapes = Sequence["tuple[int, ...] | None"]

#: Makes the operator's kernel, where numbers are to be had from it alone.
_Maker = Callable[[], "Kernel | None"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Multiplier:
    """A real multiplier, and its fixed-point form ``mantissa / 2**31 * 2**shift``.

    Attributes
    ----------
    role : str
        What it scales: ``output`` (accumulators to the output), ``input_0``, ``input_1``, ``difference`` (SOFTMAX),
        ``below`` (what is below zero).
    rounding : str
        How the product is rounded: ``double``, ``int64`` or ``float64``, see `quantlib.numerics` for the first two.
        With ``float64`` the kernel multiplies by `real` itself, and mantissa and shift are what comes nearest.
    real : float64 array of shape (1,) or (channels,)
    mantissa, shift : int32 array of the shape of `real`
    """

    role: str
    rounding: str
    real: npt.NDArray[np.float64]
    mantissa: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Arithmetic:
    """How one operator is computed.

    Attributes
    ----------
    formula : str
        Name of the computation, such as ``convolution``.
    multipliers : tuple of Multiplier
    clamp : (int, int) or None
        Least and greatest integer of the output, a fused activation included.
    settings : mapping of str to int, bool, str or nested lists of int
        What else the formula reads: strides, padding in elements, axes ...
    tables : mapping of str to ndarray
        Look-up tables.
    """

    formula: str
    multipliers: tuple[Multiplier, ...] = ()
    clamp: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    tables: Mapping[str, Array] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Description:
    """What says how an operator is computed.

    Attributes
    ----------
    describe : callable
        From the operator, shapes and a maker of its kernel to an `Arithmetic`; None for types that it doesn't know.
    runtimes : tuple of str
        For whose arithmetic.
    """

    describe: Callable[[QuantizedOperator, Shapes, _Maker], Arithmetic | None]
    runtimes: tuple[str, ...] = ("reference",)


def fixed(role: str, real: npt.ArrayLike, rounding: str = "double") -> Multiplier:
    """A multiplier by its real value."""
    reals = np.atleast_1d(np.asarray(real, np.float64))
    return Multiplier(role, rounding, reals, *quantize_multiplier(reals))


def requantized(
    formula: str, real: npt.ArrayLike, requantizer: Requantizer, settings: Mapping[str, Any] = _NOTHING
) -> Arithmetic | None:
    """Arithmetic of sums that a requantizer brings to the output; None where its way of rounding has no name."""
    rounding = rounding_of(requantizer)
    if not rounding:
        return None
    output = fixed("output", real, rounding)
    if rounding != "float64":
        mantissa, shift = requantizer.parameters
        output = Multiplier("output", rounding, output.real, mantissa, shift)
    return Arithmetic(formula, (output,), (requantizer.low, requantizer.high), settings)


def shape_of(shapes: Shapes, index: int) -> tuple[int, ...]:
    """Shape of an operand that must be there."""
    shape = shapes[index]
    if shape is None:
        raise InvalidValue(f"operand {index} is left out; it is required")
    return shape


def window(
    lengths: Sequence[int], kernel: Sequence[int], options: Any, *, dilated: bool = True
) -> dict[str, list[Any]]:
    """Kernel, strides, dilations and padding (before and after, in elements) of height and width."""
    axes: list[Axis] = []
    for name, length, taps in zip("hw", lengths, kernel, strict=True):
        dilation = getattr(options, f"dilation_{name}_factor") if dilated else 1
        stride = getattr(options, f"stride_{name}")
        axes.append(plan_axis(length, taps, stride, dilation, PADDINGS[options.padding]))
    return {
        "kernel": [a.kernel for a in axes],
        "stride": [a.stride for a in axes],
        "dilation": [a.dilation for a in axes],
        "padding": [[a.before, a.after] for a in axes],
    }


def tabulate(operator: QuantizedOperator, make: _Maker, first: int | None = None) -> Arithmetic | None:
    """Arithmetic of a function of one integer of 8 or 16 bits: what the kernel gives for each, from `first` on."""
    x, kernel = operator.operand(0), make()
    if kernel is None or x.type not in ("INT8", "UINT8", "INT16"):
        return None
    values = np.sort(all_values(x.dtype))
    values = values if first is None else values[values >= first]
    types = tuple(o.type for o in operator.outputs)
    (table,) = kernel(Call((values,), operator.options, types))
    return Arithmetic("table", settings={"first": int(values[0])}, tables={"table": table})


def as_table(
    *multipliers: Callable[[QuantizedOperator], tuple[Multiplier, ...]], positive: bool = False
) -> Description:
    """Describe a function of one integer by its table.

    Other runtimes may round what their vectors leave in another way, so that places matter and no table says all.

    Parameters
    ----------
    *multipliers : callable
        One at most: multipliers of the operator that the table was computed with.
    positive : bool
        It has no values below the zero point.
    """

    def describe(operator: QuantizedOperator, shapes: Shapes, make: _Maker) -> Arithmetic | None:
        found = tabulate(operator, make, operator.operand(0).zero_point if positive else None)
        if found is None:
            return None
        return replace(found, multipliers=tuple(m for function in multipliers for m in function(operator)))

    return Description(describe)


def quantized(*operands: Any) -> bool:
    """Whether all operands are integers of 16 bits or fewer that have a scale."""
    return all(o is not None and o.affine is not None and o.type in ("INT8", "UINT8", "INT16") for o in operands)

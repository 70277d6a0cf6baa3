"""What an integer kernel computes with, as numbers that another implementation can be built or tested with.

A family's ``arithmetic.py`` has a table ``KERNELS`` from operator names to `Description`. Numbers come from the
functions that the kernels are made with, so that they can't differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidValue
from quantlib.frozen import Frozen
from quantlib.numerics import quantize_multiplier, real_multiplier

from .integer import QuantizedOperator
from .integer_requantize import Requantizer, rounding_of
from .integer_table import all_values
from .integer_unary import steps_table
from .integer_vectors import InVectors
from .kernel import Array, Call, Kernel
from .windows import PADDINGS, Axis, plan_axis

#: Whose integers the kernels equal, bit for bit.
VERIFIED_WITH = "ai-edge-litert 2.3.0, x86-64"

#: Shapes of operands (None where one is left out) and, behind these, of outputs.
Shapes = Sequence["tuple[int, ...] | None"]

#: Makes the operator's kernel, where numbers are to be had from it alone.
_Maker = Callable[[], "Kernel | None"]

_NOTHING: Mapping[str, Any] = Frozen()


@dataclass(frozen=True, slots=True, eq=False)
class Multiplier:
    """A real multiplier, and its fixed-point form ``mantissa / 2**31 * 2**shift``.

    Attributes
    ----------
    role : str
        What it scales: ``output`` (accumulators to the output), ``input_0``, ``input_1``, ``difference`` (SOFTMAX),
        ``below`` (what is below zero), parts of a recurrent cell ...
    rounding : str
        How the product is rounded, see `rounding_of`. With ``float32`` and ``float64`` the kernel multiplies by
        `real` itself, and mantissa and shift are what comes nearest.
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
    runtime : str
        Whose kernel computes so. That of ``xnnpack`` is ``builtin`` where the delegate leaves an operator to LiteRT.
    """

    formula: str
    multipliers: tuple[Multiplier, ...] = ()
    clamp: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    tables: Mapping[str, Array] = field(default_factory=lambda: _NOTHING)
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What says how an operator is computed.

    Attributes
    ----------
    describe : callable
        From the operator, shapes and a maker of its kernel to an `Arithmetic`; None for types that it doesn't know.
        The operator's runtime is that of its kernel: ``xnnpack`` only where the delegate takes it over.
    """

    describe: Callable[[QuantizedOperator, Shapes, _Maker], Arithmetic | None]


def fixed(role: str, real: npt.ArrayLike, rounding: str = "double") -> Multiplier:
    """A multiplier by its real value."""
    reals = np.atleast_1d(np.asarray(real, np.float64))
    return Multiplier(role, rounding, reals, *quantize_multiplier(reals))


def split(role: str, mantissa: npt.ArrayLike, shift: npt.ArrayLike, rounding: str = "double") -> Multiplier:
    """A multiplier by its fixed-point form."""
    mantissas, shifts = (np.atleast_1d(np.asarray(v, np.int32)) for v in (mantissa, shift))
    return Multiplier(role, rounding, real_multiplier(mantissas, shifts), mantissas, shifts)


def requantized(
    formula: str, requantizer: Requantizer | InVectors, settings: Mapping[str, Any] = _NOTHING
) -> Arithmetic | None:
    """Arithmetic of sums that a requantizer brings to the output; None where its way of rounding has no name."""
    whole = requantizer
    if isinstance(requantizer, InVectors):
        whole, rest = requantizer.vector, rounding_of(requantizer.rest)
        settings = {**settings, "lanes": requantizer.lanes, "flat": requantizer.flat, "rest": rest}
    if not isinstance(whole, Requantizer) or not (rounding := rounding_of(whole)):
        return None
    if rounding in ("float32", "float64"):
        output = fixed("output", whole.parameters[0], rounding)
    else:
        mantissa, shift = whole.parameters
        output = split("output", mantissa, shift, rounding)
    return Arithmetic(formula, (output,), (whole.low, whole.high), settings)


def shape_of(shapes: Shapes, index: int) -> tuple[int, ...]:
    """Shape of an operand that must be there.

    Raises
    ------
    InvalidValue
        If it is left out.
    """
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
    """Describe a function of one integer by its table: what its kernel gives for each, in every runtime.

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


def stepped(function_of: Callable[[QuantizedOperator], Callable[[Array], Array]]) -> Description:
    """Describe a function of an INT16 value by the table of 513 entries between which its kernel interpolates.

    Parameters
    ----------
    function_of : callable
        From the operator to what its table is made of.
    """

    def describe(operator: QuantizedOperator, shapes: Shapes, make: _Maker) -> Arithmetic | None:
        x, output = operator.operand(0), operator.output
        if x.type != "INT16" or not quantized(x, output):
            return None
        table = steps_table(function_of(operator), x.parameters, output.parameters)
        return Arithmetic("interpolated", tables={"table": table})

    return Description(describe)


def moved(
    operator: QuantizedOperator, shapes: Shapes, kernel: Kernel, data: Sequence[int], *, filling: int | None = None
) -> Arithmetic | None:
    """Arithmetic of an exact copy: from where each element comes, as its kernel moves numbers that count them.

    Parameters
    ----------
    operator : QuantizedOperator
    shapes : sequence of (tuple of int, or None)
        As `quantlib.operators.arithmetic` takes them.
    kernel : callable
        What moves elements of any type.
    data : sequence of int
        Operands that it moves; the others must be constants.
    filling : int, optional
        What it puts where no element goes; its kernel puts 0 there.

    Returns
    -------
    Arithmetic or None
        None where an operand that says how isn't a constant.
    """
    inputs: list[Array | None] = []
    first = 1
    for i, operand in enumerate(operator.inputs):
        if operand is None or i not in data:
            if operand is not None and operand.value is None:
                return None
            inputs.append(None if operand is None else operand.value)
            continue
        if operand.type != operator.output.type:
            return None
        shape = shape_of(shapes, i)
        inputs.append(np.arange(first, first + math.prod(shape), dtype=np.int32).reshape(shape))
        first += math.prod(shape)
    results = kernel(Call(tuple(inputs), operator.options, ("INT32",) * len(operator.outputs)))
    tables = {f"places_{k}": np.asarray(result, np.int32) - 1 for k, result in enumerate(results)}
    if filling is None and any((table < 0).any() for table in tables.values()):
        return None
    settings = {"inputs": list(data)} | ({} if filling is None else {"value": filling})
    return Arithmetic("move", settings=settings, tables=tables)


def quantized(*operands: Any) -> bool:
    """Whether all operands are integers of 16 bits or fewer that have a scale."""
    return all(o is not None and o.affine is not None and o.type in ("INT8", "UINT8", "INT16") for o in operands)

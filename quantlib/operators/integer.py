"""What an integer kernel is made from: an operator with the scales, constants and options of one place in a model.

A family's ``integer.py`` has a table ``KERNELS`` from operator names to `IntegerKernel`: which operators it serves,
and how it makes a `Kernel` of one. What is the same for all samples (multipliers, tables, filters in the form in
which they are multiplied) is computed when the kernel is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, element_type
from quantlib.tflite import Table

from .kernel import Array, Call, Kernel

_Made = TypeVar("_Made")

#: Named ways of integer arithmetic, on x86: ``reference`` is that of LiteRT's reference kernels (``BUILTIN_REF``),
#: ``builtin`` that of its optimized ones (``BUILTIN_WITHOUT_DEFAULT_DELEGATES``), ``xnnpack`` that of its default
#: interpreter, where XNNPACK takes over some operators and the others run as in ``builtin``.
RUNTIMES = ("reference", "builtin", "xnnpack")

#: ``TensorType`` of the schema.
_INT32 = 2


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """An operand or output at one place in a model.

    Attributes
    ----------
    type : str
        Element type, such as ``INT8``.
    affine : Affine or None
        What its integers stand for; None where it isn't quantized.
    value : ndarray or None
        Its values, where it is a constant. Read-only.
    """

    type: str
    affine: Affine | None = None
    value: Array | None = None

    @property
    def parameters(self) -> Affine:
        """What its integers stand for, which must be known.

        Raises
        ------
        InvalidValue
            If it isn't quantized.
        """
        if self.affine is None:
            raise InvalidValue(f"an operand of {self.type} without a scale; one is required")
        return self.affine

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype in which its values are held.

        Raises
        ------
        InvalidValue
            If NumPy can't hold them.
        """
        storage = element_type(self.type).storage
        if storage is None:
            raise InvalidValue(f"an operand of {self.type}; NumPy has no such arrays")
        return storage

    @property
    def scale(self) -> np.float32:
        """Its one scale.

        Raises
        ------
        InvalidValue
            If it has none, or several.
        """
        scale = self.parameters.scale
        if scale.size != 1:
            raise InvalidValue(f"an operand of {self.type} with {scale.size} scales; one is required")
        return np.float32(scale.flat[0])

    @property
    def zero_point(self) -> int:
        """Its one zero point.

        Raises
        ------
        InvalidValue
            If it has none, or several.
        """
        points = self.parameters.zero_point
        if points.size != 1:
            raise InvalidValue(f"an operand of {self.type} with {points.size} zero points; one is required")
        return int(points.flat[0])


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedOperator:
    """An operator at one place in a model, with all that is the same for every sample.

    Attributes
    ----------
    name : str
    inputs : tuple of (Operand or None)
        None where one is left out.
    outputs : tuple of Operand
    options : Table
        With the schema's defaults where it has none.
    runtime : str
        One of `RUNTIMES`.
    intermediates : tuple of (Operand or None)
        Tensors that say the scales of values within a recurrent kernel.
    """

    name: str
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: Table
    runtime: str = "reference"
    intermediates: tuple[Operand | None, ...] = ()

    def operand(self, index: int) -> Operand:
        """An operand that must be there.

        Raises
        ------
        InvalidValue
            If it is left out.
        """
        found = self.optional(index)
        if found is None:
            raise InvalidValue(f"operand {index} is left out; it is required")
        return found

    def optional(self, index: int) -> Operand | None:
        """An operand, or None where it is left out or the operator has fewer."""
        return self.inputs[index] if index < len(self.inputs) else None

    @property
    def output(self) -> Operand:
        """The first output.

        Raises
        ------
        InvalidValue
            If there is none.
        """
        if not self.outputs:
            raise InvalidValue("an operator without an output; one is required")
        return self.outputs[0]


@dataclass(frozen=True, slots=True)
class IntegerKernel:
    """How one operator is computed for certain types.

    Attributes
    ----------
    serves : callable
        Whether it computes an operator with these types.
    prepare : callable
        Make the kernel of an operator that it serves.
    runtimes : tuple of str
        Whose arithmetic it has. Where no kernel of ``xnnpack`` serves an operator, that of ``builtin`` is taken.
    """

    serves: Callable[[QuantizedOperator], bool]
    prepare: Callable[[QuantizedOperator], Kernel]
    runtimes: tuple[str, ...] = ("reference", "builtin")


def per_tensor(*operands: Operand) -> tuple[Affine, ...]:
    """What the integers of operands stand for, with one scale each.

    Raises
    ------
    InvalidValue
        If one of them has no scale, or several.

    Examples
    --------
    >>> [affine.scale.tolist() for affine in per_tensor(Operand("INT8", Affine("INT8", 0.5)))]
    [[0.5]]
    """
    for operand in operands:
        _ = operand.scale  # refuses none, and several
    return tuple(operand.parameters for operand in operands)


def takes(*inputs: Collection[str], to: Collection[str]) -> Callable[[QuantizedOperator], bool]:
    """Make a predicate on element types.

    Parameters
    ----------
    *inputs : collection of str
        Types that each operand may have; an empty string where it may be left out. The last one goes for all that
        follow.
    to : collection of str
        Types that the outputs may have.

    Examples
    --------
    >>> int8 = takes(("INT8",), ("INT8", "INT4"), ("INT32", ""), to=("INT8",))
    >>> x, w = Operand("INT8", Affine("INT8", 0.1)), Operand("INT4", Affine("INT4", 0.2))
    >>> int8(QuantizedOperator("CONV_2D", (x, w), (x,), Table("Conv2DOptions")))
    True
    """

    def serves(operator: QuantizedOperator) -> bool:
        count = max(len(inputs), len(operator.inputs))
        found = [operator.optional(i) for i in range(count)]
        given = ["" if operand is None else operand.type for operand in found]
        fits = all(kind in inputs[min(i, len(inputs) - 1)] for i, kind in enumerate(given))
        return fits and all(output.type in to for output in operator.outputs)

    return serves


def constants_once(
    operator: QuantizedOperator, places: Sequence[int], make: Callable[..., _Made]
) -> Callable[[Call], _Made]:
    """Make something of operands: beforehand where all are constants, else in each call.

    Parameters
    ----------
    operator : QuantizedOperator
    places : sequence of int
        Where the operands stand.
    make : callable
        Takes their arrays, None for one that is left out.

    Returns
    -------
    callable
        From a call to what was made.

    Examples
    --------
    >>> weights = Operand("INT8", Affine("INT8", 0.1), np.array([1, 2], np.int8))
    >>> x, options = Operand("INT8", Affine("INT8", 0.1)), Table("FullyConnectedOptions")
    >>> total = constants_once(QuantizedOperator("FULLY_CONNECTED", (x, weights), (x,), options), [1], np.sum)
    >>> int(total(Call((None, None), options)))
    3
    """
    given = [operator.optional(place) for place in places]
    if all(operand is None or operand.value is not None for operand in given):
        made = make(*(None if operand is None else operand.value for operand in given))
        return lambda call: made
    return lambda call: make(*(call.optional(place) for place in places))


def alike(
    prepare: Callable[[QuantizedOperator], Kernel],
    types: Sequence[str] = ("INT8", "UINT8", "INT16"),
    others: Sequence[Collection[str]] = (),
    runtimes: tuple[str, ...] = ("reference", "builtin"),
) -> tuple[IntegerKernel, ...]:
    """Make kernels whose operands and outputs have one type, one kernel for each type.

    Parameters
    ----------
    prepare : callable
    types : sequence of str
    others : sequence of collection of str
        Types of the operands behind the first, where these are others.
    runtimes : tuple of str
        Whose arithmetic they have.

    Examples
    --------
    >>> len(alike(lambda operator: lambda call: [call.operand(0)], ("INT8", "UINT8")))
    2
    """
    return tuple(IntegerKernel(takes((kind,), *others, to=(kind,)), prepare, runtimes) for kind in types)


def accumulates_int64(operator: QuantizedOperator, x: int = 0, bias: int = 2) -> bool:
    """Whether a convolution or matrix product adds in 64 bits.

    It does with INT16 activations, unless its options say that the bias has 32 bits.

    Parameters
    ----------
    operator : QuantizedOperator
    x, bias : int
        Where its activations and its bias stand.

    Raises
    ------
    InvalidValue
        If the options say other than the bias has. LiteRT's reference kernels would read other numbers.
    """
    if operator.operand(x).type != "INT16":
        return False
    found = operator.optional(bias)
    stated = getattr(operator.options, "quantized_bias_type", 0)
    wide = bool(stated != _INT32)
    if found is not None and found.type != ("INT64" if wide else "INT32"):
        raise InvalidValue(
            f"a bias of {found.type} with quantized_bias_type {stated}; INT64, or INT32 with quantized_bias_type "
            f"{_INT32}, is required"
        )
    return wide

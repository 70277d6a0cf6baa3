"""`OperatorRow`: what is known of one operator; one row is enough to add it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weight:
    """An operand that usually is a constant with many elements.

    Attributes
    ----------
    operand : int
        Its place among the operator's inputs.
    axis : int or None
        The axis of its output channels (``quantized_dimension``), from the end where negative; None where one
        scale serves the tensor.
    hybrid : tuple of str
        Element types that the kernel for float activations takes directly.
    hybrid_channels : bool or None
        Whether that kernel wants a scale per channel (True), one for the tensor (False), or takes both (None).
    rank : int or None
        Rank that the kernel requires.
    transposed : str
        Option that swaps the last two axes.
    table : bool
        A table whose rows are copied. Rows too short to share a scale are better stored as float16.
    least : int
        Elements from which quantizing it is worth its while, unless the recipe says otherwise.
    static : tuple of str
        Element types that the kernels for integer activations take; UINT8 goes with UINT8 activations alone.
    wide : tuple of str
        Those beside INT16 activations, where they aren't the same.
    """

    operand: int
    axis: int | None
    hybrid: tuple[str, ...] = ()
    hybrid_channels: bool | None = None
    rank: int | None = None
    transposed: str = ""
    table: bool = False
    least: int = 16
    static: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()

    def beside(self, activations: str) -> tuple[str, ...]:
        """Element types that the kernels for activations of an integer type take, but for UINT8."""
        found = self.wide if activations == "INT16" and self.wide else self.static
        return tuple(kind for kind in found if kind != "UINT8")

    def channel_axis(self, rank: int, transposed: bool = False) -> int | None:
        """Axis of the output channels in a tensor of a rank; None where there is none."""
        if self.axis is None or (self.rank is not None and rank != self.rank):
            return None
        axis = self.axis if self.axis >= 0 else rank + self.axis - transposed
        return axis if 0 <= axis < rank else None


#: How an operator's integer kernels want the scale of what they write.
OWN = "own"  # any, chosen from the tensor's own range
SAME = "same"  # that of the data operands, which must be alike
FIXED = "fixed"  # one that the kernels insist on
NONE = "none"  # the output holds no quantized values (indices, booleans)

#: Types with integer kernels, as most operators have them.
ALL_TYPES = ("INT8", "INT16", "UINT8")


@dataclass(frozen=True, slots=True)
class Recurrent:
    """What the integer kernel of an operator with a state takes beside activations; operands by their places.

    Facts of tflite/kernels/lstm.cc, unidirectional_sequence_lstm.cc, svdf.cc and
    tflite/converter/tools/optimize/operator_property.cc.

    Attributes
    ----------
    activation : int
        The fused activation that the kernel computes, whatever the options say.
    weights : tuple of (int, str)
        Constants with one scale and zero point 0, and their element type.
    biases : tuple of (int, int, int)
        INT32 constants: where each stands, its weight, and the coefficients of the layer normalization before it (-1
        where there is none). Its scale is that of the weight times that of what the weight multiplies; behind a layer
        normalization 2^-10 times that of the coefficients.
    state : int
        The INT16 state that the kernel updates.
    output_state : int or None
        The INT8 state that holds the last output, with the output's parameters.
    powers : tuple of int
        With a power of two as the scale of `state`: the least and the greatest exponent of its range.
    projection : int or None
        Weight that multiplies the hidden state; without it that is the output.
    intermediates : int
        Tensors that say the scales of values within the kernel.
    largest : tuple of (int, int)
        Weights whose integers must be less than their type allows, and the greatest.
    """

    activation: int
    weights: tuple[tuple[int, str], ...]
    biases: tuple[tuple[int, int, int], ...]
    state: int
    output_state: int | None = None
    powers: tuple[int, ...] = ()
    projection: int | None = None
    intermediates: int = 0
    largest: tuple[tuple[int, int], ...] = ()


#: `Integer.least` of products: XNNPACK wants multipliers below 256 (XNNPACK src/operators/fully-connected-nc.c), and
#: LiteRT makes no other kernel take its place.
PRODUCTS = ("product", 2.0**-8, 0.0)


@dataclass(frozen=True, slots=True)
class Integer:
    """What an operator's integer kernels take; found by running them in LiteRT 2.3.

    Attributes
    ----------
    rule : str
        ``own``, ``same``, ``fixed`` or ``none``: the scale of the output.
    types : tuple of str
        Element types of the activations.
    data : tuple of int or None
        Operands that hold activations; None for all.
    outputs : tuple of int or None
        Outputs that hold activations; None for all.
    fixed : tuple of (str, float, int)
        With rule ``fixed``: scale and zero point for each type.
    symmetric : tuple of int
        Data operands which, as constants, need zero point 0.
    table : int or None
        Data operand which, as a constant, is a table any row of which may be read.
    useful : (float, float) or None
        Values of operand 0 beyond which an 8-bit output doesn't change.
    useful16 : (float, float) or None
        The same for a 16-bit output.
    greatest : bool
        The greatest of operand 0's values rule the output: a range that cuts them off costs more than a wide one.
    divides : bool
        The kernel fails where an element of operand 1 is rounded to zero.
    least : (str, float, float) or None
        Least scale of the output that kernels take, for 8 and for 16 bits, as a part of the ``largest`` scale of the
        operands, its ``square``, or the ``product`` of the first with the second or the weights. A smaller one says
        nothing: what is written would be less than the operands' own errors.
    least_input : float
        Least scale of operand 0 that 8-bit kernels take, times the option ``beta`` where there is one.
    recurrent : Recurrent or None
        What it takes beside activations, where it has a state.
    """

    rule: str
    types: tuple[str, ...] = ALL_TYPES
    data: tuple[int, ...] | None = (0,)
    outputs: tuple[int, ...] | None = None
    fixed: tuple[tuple[str, float, int], ...] = ()
    symmetric: tuple[int, ...] = ()
    table: int | None = None
    useful: tuple[float, float] | None = None
    useful16: tuple[float, float] | None = None
    greatest: bool = False
    divides: bool = False
    least: tuple[str, float, float] | None = None
    least_input: float = 0.0
    recurrent: Recurrent | None = None


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator.

    Attributes
    ----------
    name : str
        The schema's name, or the code of a custom operator.
    options : str
        Its options table in the schema; empty where it has none.
    weights : tuple of Weight
    together : bool
        The hybrid kernel takes all weights quantized, or none.
    blockwise : tuple of str
        Weight types that the hybrid kernel takes with a scale per block.
    asymmetric_inputs : bool
        Its options have the field ``asymmetric_quantize_inputs``.
    bias : int or None
        The operand that is added to the output; hybrid kernels want it as a plain constant.
    shapes : tuple of int
        Float operands whose values decide a shape; behind a DEQUANTIZE they would make it dynamic.
    integer : Integer or None
        What its integer kernels take; None where it has none that can be used.
    refused : str
        Why integer kernels that exist can't be used.
    """

    name: str
    options: str = ""
    weights: tuple[Weight, ...] = ()
    together: bool = False
    blockwise: tuple[str, ...] = ()
    asymmetric_inputs: bool = False
    bias: int | None = None
    shapes: tuple[int, ...] = ()
    integer: Integer | None = None
    refused: str = ""

    def weight(self, operand: int) -> Weight | None:
        """The weight at an operand, if there is one."""
        return next((w for w in self.weights if w.operand == operand), None)

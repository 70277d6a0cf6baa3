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
    """

    operand: int
    axis: int | None
    hybrid: tuple[str, ...] = ()
    hybrid_channels: bool | None = None
    rank: int | None = None
    transposed: str = ""
    table: bool = False
    least: int = 16

    def channel_axis(self, rank: int, transposed: bool = False) -> int | None:
        """Axis of the output channels in a tensor of a rank; None where there is none."""
        if self.axis is None or (self.rank is not None and rank != self.rank):
            return None
        axis = self.axis if self.axis >= 0 else rank + self.axis - transposed
        return axis if 0 <= axis < rank else None


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
    """

    name: str
    options: str = ""
    weights: tuple[Weight, ...] = ()
    together: bool = False
    blockwise: tuple[str, ...] = ()
    asymmetric_inputs: bool = False
    bias: int | None = None
    shapes: tuple[int, ...] = ()

    def weight(self, operand: int) -> Weight | None:
        """The weight at an operand, if there is one."""
        return next((w for w in self.weights if w.operand == operand), None)

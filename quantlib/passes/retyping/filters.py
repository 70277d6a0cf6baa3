"""Filters of UINT8 as INT8, whose kernels take no zero point but 0: the same sums to the bit.

A weight less its zero point may need nine bits. Where one does, its channel is there twice and the weight is the sum
of two; where none does, the weight is stored less its zero point.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from quantlib.numerics import Affine, product_scales, retyped
from quantlib.tflite import Data, Table

from .rewriter import SHIFT, Refusal, Rewriter, less, vector

#: Operators whose INT8 kernels take a filter with zero point 0 alone (tflite/kernels/conv.cc, depthwise_conv.cc,
#: transpose_conv.cc), and the operand of their activations.
FILTERED = MappingProxyType({"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "TRANSPOSE_CONV": 2})
#: Fused activations that leave nothing below zero: RELU and RELU6.
_NOT_NEGATIVE = (1, 3)
_Weights = npt.NDArray[np.int16]
_COMMON = ("padding", "stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor", "fused_activation_function")


@dataclass(frozen=True, slots=True)
class _Filter:
    """An operator with a filter, and what its kernels multiply by.

    Attributes
    ----------
    rewriter : Rewriter
    at : int
        Place of the operator.
    operator : Table
    operand : int
        Which one holds the activations.
    data : Data
        The filter's bytes.
    form : Affine
        What the INT8 filter means.
    scale : float
        What kernels are to take for the scale of the activations.
    """

    rewriter: Rewriter
    at: int
    operator: Table
    operand: int
    data: Data
    form: Affine
    scale: float

    @property
    def inputs(self) -> list[int]:
        """Operands as they were."""
        return vector(self.operator.inputs)

    @property
    def point(self) -> int:
        """Zero point of the UINT8 filter."""
        return int(self.rewriter.forms[self.inputs[1]].zero_point[0])

    @property
    def weights(self) -> _Weights:
        """The filter less its zero point, in its shape."""
        stored = self.data.numpy().astype(np.int16) - np.int16(self.point)
        return stored.reshape(self.rewriter.before[self.inputs[1]].shape.tolist())

    def activations(self) -> int:
        """The tensor that the operator reads: a copy where its scale must be another in the last places.

        QUANTIZE makes it, which leaves every integer as it is: the scales differ by some millionths.
        """
        x = self.inputs[self.operand]
        table = self.rewriter.graph.tensors[x]
        if float(table.quantization.scale[0]) == self.scale:
            return x
        return self.rewriter.copy(x, table.replace(quantization=table.quantization.replace(scale=[self.scale])))

    def channels(self, wanted: list[int]) -> int:
        """A tensor of some channels of the activations, which may repeat."""
        x, source = self.inputs[self.operand], self.activations()
        table = self.rewriter.graph.tensors[source]
        made = self.rewriter.beside(x, "channels", _resized(table, len(wanted)))
        indices = self.rewriter.indices(f"{self.rewriter.name(x)}_channel_numbers", wanted)
        self.rewriter.add("GATHER", [source, indices], [made], Table("GatherOptions", axis=len(table.shape) - 1))
        return made

    def constant(self, kind: str, data: Data | npt.NDArray[np.int8]) -> int:
        """A filter of INT8."""
        shape = None if isinstance(data, Data) else data.shape
        key = f"{kind} {float(self.form.scale[0])!r}"
        return self.rewriter.constant(self.inputs[1], key, self.form, data, shape)

    def reading(self, x: int, weights: int) -> Table:
        """The operator with other activations and another filter."""
        inputs = self.inputs
        inputs[self.operand], inputs[1] = x, weights
        return self.operator.replace(inputs=inputs)


def filtered(rewriter: Rewriter, at: int, operator: Table, name: str) -> str:
    """Let an operator with a filter compute on INT8.

    Parameters
    ----------
    rewriter : Rewriter
    at : int
        Place of the operator.
    operator : Table
    name : str
        One of `FILTERED`.

    Returns
    -------
    str
        What had to be done for it; empty where the filter fits as it is.

    Raises
    ------
    Refusal
        If it can't.
    """
    found = _filter(rewriter, at, operator, FILTERED[name])
    values = found.data.numpy()
    least, greatest = int(values.min()) - found.point, int(values.max()) - found.point
    if greatest >= 2 * SHIFT - 1:
        raise Refusal(f"{name} with a weight {greatest} above its zero point, which is no sum of two of INT8")
    if least >= -SHIFT and greatest < SHIFT:
        weights = rewriter.constant(
            found.inputs[1], f"of {found.form.scale}", found.form, less(found.data, found.point)
        )
        rewriter.emit(found.reading(found.activations(), weights), at)
        return _halves_below_zero(found) if name == "DEPTHWISE_CONV_2D" else ""
    if name != "DEPTHWISE_CONV_2D":
        return _dense(found)
    return "; ".join(filter(None, (_depthwise(found), _halves_below_zero(found))))


def _filter(rewriter: Rewriter, at: int, operator: Table, operand: int) -> _Filter:
    inputs, outputs = vector(operator.inputs), vector(operator.outputs)
    x, w, y = (rewriter.forms.get(t) for t in (inputs[operand], inputs[1], outputs[0]))
    data = rewriter.data(inputs[1])
    if x is None or w is None or y is None or data is None:
        raise Refusal("its filter is no constant of UINT8 with one scale")
    scales = tuple(float(form.scale[0]) for form in (x, w, y))
    scale, weights = product_scales(*scales) if rewriter.exact else scales[:2]
    form = Affine(retyped(w, "INT8").type, np.array([weights], np.float32))
    return _Filter(rewriter, at, operator, operand, data, form, scale)


def _halves_below_zero(found: _Filter) -> str:
    """What LiteRT's optimized INT8 kernel, without XNNPACK, does otherwise; empty where nothing is below zero."""
    output = found.rewriter.forms[vector(found.operator.outputs)[0]]
    fused = getattr(found.operator.builtin_options, "fused_activation_function", 0)
    if not found.rewriter.exact or fused in _NOT_NEGATIVE or int(output.zero_point[0]) == 0:
        return ""
    return "without XNNPACK halves below zero round up, not down: they may differ by 1"


def _dense(found: _Filter) -> str:
    """Input channels with a weight of nine bits are there twice."""
    weights = found.weights
    extra = np.flatnonzero((np.abs(weights) >= SHIFT).any(axis=(0, 1, 2)))
    first, second = _halves(weights)
    both = np.concatenate([first, second[..., extra]], axis=3)
    rewriter, t = found.rewriter, found.inputs[found.operand]
    parts = [found.activations(), found.channels(extra.tolist())]
    x = rewriter.beside(t, "twice", _resized(rewriter.graph.tensors[parts[0]], both.shape[3]))
    rewriter.add("CONCATENATION", parts, [x], Table("ConcatenationOptions", axis=3))
    rewriter.emit(found.reading(x, found.constant("twice", both)), found.at)
    return f"{extra.size} of {weights.shape[3]} input channels twice: their weights need nine bits"


def _depthwise(found: _Filter) -> str:
    """Channels with a weight of nine bits are convolved apart, each with its copy, then put in their places."""
    rewriter, weights = found.rewriter, found.weights[0]
    outputs, y = weights.shape[2], vector(found.operator.outputs)[0]
    large = ((weights >= SHIFT) | (weights < -SHIFT)).any(axis=(0, 1))
    apart = np.flatnonzero(large).tolist()
    repeated = outputs // int(rewriter.before[found.inputs[0]].shape[-1])
    x = found.channels([c // max(repeated, 1) for c in apart for _ in range(2)])
    both = np.stack(_halves(weights[..., apart]), axis=-1).transpose(2, 0, 1, 3)
    w = rewriter.constant(
        found.inputs[1], f"apart {found.form.scale}", found.form, np.ascontiguousarray(both), both.shape
    )
    options = Table("Conv2DOptions", **{name: getattr(found.operator.builtin_options, name) for name in _COMMON})
    bias = [_part(rewriter, b, apart) for b in found.inputs[2:]]
    table = rewriter.graph.tensors[y]
    alone = len(apart) == outputs
    z = y if alone else rewriter.beside(y, "apart", _resized(table, len(apart)))
    rewriter.add("CONV_2D", [x, w, *bias], [z], options, found.at if alone else None)
    if not alone:
        kept = np.where(large, 0, weights)[None].astype(np.int8)
        rest = found.constant("rest", kept)
        whole = rewriter.beside(y, "rest", table)
        operator = found.reading(found.activations(), rest).replace(outputs=[whole])
        rewriter.emit(operator, found.at)
        _put_together(rewriter, y, whole, z, large.tolist())
    return f"{len(apart)} of {outputs} channels by a CONV_2D of their own: their weights need nine bits"


def _put_together(rewriter: Rewriter, y: int, whole: int, apart: int, large: list[bool]) -> None:
    """Take the marked channels from one tensor and the others from another, which has all."""
    table = rewriter.graph.tensors[y]
    runs = [(mark, len(list(run))) for mark, run in groupby(large)]
    axis = len(table.shape) - 1

    def pieces(source: int, sizes: list[int]) -> list[int]:
        if len(sizes) == 1:
            return [source]
        made = [rewriter.beside(y, f"piece_{i}", _resized(table, size)) for i, size in enumerate(sizes)]
        place = rewriter.graph.add_tensor(
            f"{rewriter.name(y)}_axis", "INT32", (), buffer=rewriter.draft.add_buffer(np.array(axis, np.int32))
        )
        operands = [source, rewriter.indices(f"{rewriter.name(y)}_sizes", sizes), place]
        rewriter.add("SPLIT_V", operands, made, Table("SplitVOptions", num_splits=len(sizes)))
        return made

    ours = iter(pieces(apart, [size for mark, size in runs if mark]))
    others = pieces(whole, [size for _, size in runs])
    joined = [next(ours) if mark else other for (mark, _), other in zip(runs, others, strict=True)]
    rewriter.add("CONCATENATION", joined, [y], Table("ConcatenationOptions", axis=axis))


def _halves(weights: _Weights) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Two INT8 arrays whose sum is an array of nine bits."""
    first = np.clip(weights, 1 - SHIFT, SHIFT - 1)
    return first.astype(np.int8), (weights - first).astype(np.int8)


def _part(rewriter: Rewriter, bias: int, channels: list[int]) -> int:
    """Some of the elements of a bias."""
    data = rewriter.data(bias)
    if data is None:
        if bias < 0:
            return bias
        raise Refusal("its bias is no constant")
    values = data.numpy().view("<i4")[channels]
    table = rewriter.before[bias].replace(shape=[len(channels)], buffer=rewriter.draft.add_buffer(values))
    return rewriter.beside(bias, "apart", table)


def _resized(table: Table, channels: int) -> Table:
    """A tensor with another number of channels."""
    shape, dynamic = table.shape.tolist(), table.shape_signature
    wild = None if dynamic is None else [*dynamic.tolist()[:-1], channels]
    return table.replace(shape=[*shape[:-1], channels], shape_signature=wild)

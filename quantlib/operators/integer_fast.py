"""Fixed-point multipliers in float64, where that is exact: several times as fast as in int64.

With a mantissa ``q`` of 31 bits and ``r`` bits to the right, `multiply_by_quantized_multiplier` of ``x`` is
``floor(v + 1/2 + d)`` where ``v = x * q / 2**(31 + r)``: ``d`` is ``2**-(r + 1)`` (0 if r is 0), and, where halves of
the second rounding go away from zero, has the sign of ``x``. For the first rounding sends ``v * 2**r`` to the integer
whose half it reaches, and the second one compares integers. All of it are multiples of ``2**-(31 + r)``, so that a
float64 holds it while ``v`` stays below ``2**(22 - r)``; what is larger is beyond the output's range, and clipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kernel import Array

#: Bits of a float64, less those of a mantissa behind the point.
_ROOM = 53 - 31
#: Accumulators that are scaled at a time: few enough to stay in the cache.
_BLOCK = 1 << 14
_SIGN = np.int64(-(1 << 63))
#: What an int32 accumulator holds.
_INT32 = 1 << 31


@dataclass(frozen=True, slots=True, eq=False)
class FastScaler:
    """Scales accumulators of channels, from sums to the output; see the module.

    Attributes
    ----------
    real, nudge, constant, bias : float64 array
        Multipliers, `d` above, what is added to all, and biases; of all channels, several times over.
    signed : bool
        Whether `d` has the sign of the accumulator.
    low, span : int
        Least integer of the output, and how many there are above it.
    largest : int
        Size of the largest sum that stays within int32 with its bias.
    """

    real: Array
    nudge: Array
    constant: Array
    bias: Array
    signed: bool
    low: int
    span: int
    largest: int

    def holds(self, sums: Array) -> bool:
        """Whether sums stay within int32; float32 ones, which are exact, are below 2**24."""
        if sums.dtype == np.float32:
            return self.largest >= 1 << 24
        return not sums.size or (-self.largest <= sums.min() and sums.max() <= self.largest)

    def __call__(self, sums: Array, out: Array) -> None:
        """Scale sums of shape ``[..., C]`` to `out`, of 8 or 16 bits and contiguous."""
        flat, target = sums.reshape(-1), out.reshape(-1).view(f"u{out.itemsize}")
        width = self.real.size
        rows = max(1, _BLOCK // width)
        values, signs = np.empty((2, rows, width))
        whole = flat.size - flat.size % width
        for start in range(0, whole, rows * width):
            stop = min(whole, start + rows * width)
            count = (stop - start) // width
            piece, to = (array[start:stop].reshape(count, width) for array in (flat, target))
            self._block(piece, to, values[:count], signs[:count], width)
        if whole < flat.size:
            rest = flat.size - whole
            self._block(flat[whole:], target[whole:], values[0, :rest], signs[0, :rest], rest)

    def _block(self, given: Array, target: Array, v: Array, signs: Array, width: int) -> None:
        np.add(given, self.bias[:width], out=v)
        v *= self.real[:width]
        if self.signed:
            # the sign bit of one, the others of the other: half of what np.copysign takes
            bits = signs.view(np.int64)
            np.bitwise_and(v.view(np.int64), _SIGN, out=bits)
            bits |= self.nudge[:width].view(np.int64)
            v += signs
        v += self.constant[:width]
        np.clip(v, 0, self.span, out=v)
        np.copyto(target, v, casting="unsafe")  # what isn't negative is truncated: its floor
        if self.low:
            target += target.dtype.type(self.low & ((1 << (8 * target.itemsize)) - 1))


def fits_float64(shift: Array, zero_point: int, low: int, high: int) -> Array:
    """Whether float64 is exact for channels.

    Parameters
    ----------
    shift : int array of shape (C,) or (1,)
        As `quantlib.numerics.quantize_multiplier` gives them.
    zero_point, low, high : int
        Of the output, and its ends.

    Returns
    -------
    bool array of the shape of `shift`

    Examples
    --------
    >>> fits_float64(np.array([1, 0, -13, -14]), 0, -128, 127)
    array([False,  True,  True, False])
    """
    reach = max(abs(low - zero_point), abs(high - zero_point)) + (high - low) + 2
    return np.asarray((shift <= 0) & (shift >= int(reach).bit_length() - _ROOM))


def fast_scaler(
    mantissa: Array, shift: Array, bias: Array | None, zero_point: int, low: int, high: int, *, signed: bool
) -> FastScaler:
    """Make a scaler of channels for which float64 is exact, see `fits_float64`.

    Parameters
    ----------
    mantissa, shift : int array of shape (C,) or (1,)
        As `quantlib.numerics.quantize_multiplier` gives them.
    bias : int array of shape (C,), optional
    zero_point, low, high : int
        Of the output, and its ends.
    signed : bool
        Halves of the second rounding go away from zero; else upwards.

    Examples
    --------
    >>> scaler = fast_scaler(np.array([1 << 30]), np.array([-1]), None, 3, -128, 127, signed=True)
    >>> out = np.empty(4, np.int8)
    >>> scaler(np.array([1.0, 2, -2, 600]), out)
    >>> out
    array([  4,   4,   2, 127], dtype=int8)
    """
    right = -shift.astype(np.int64)
    offsets = np.zeros(1) if bias is None else bias.reshape(-1).astype(np.float64)
    nudge = np.where(right > 0, np.ldexp(0.5, -right), 0.0)
    constant = np.full(right.shape, 0.5 + zero_point - low) + (0.0 if signed else nudge)
    channels = max(right.size, offsets.size)
    repeats = max(1, 1024 // channels) if channels > 1 else 1
    # Few channels make short inner loops: their parameters are repeated, so that several rows are one.
    real, *others = (
        np.tile(np.broadcast_to(p, channels), repeats)
        for p in (np.ldexp(mantissa.astype(np.float64), -31 - right), nudge, constant, offsets)
    )
    largest = _INT32 - 1 - int(np.abs(offsets).max(initial=0))
    return FastScaler(real, others[0], others[1], others[2], signed, low, high - low, largest)

"""From accumulators to integers of an output: the last step of most integer kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    MultiplierRounding,
    multiply_by_quantized_multiplier,
    multiply_by_quantized_multiplier_int64,
    quantize_multiplier,
    round_half_away,
)

from .fused import NONE, RANGES
from .integer_fast import FastScaler, fast_scaler, fits_float64
from .integer_values import scale_of, zero_point_of
from .kernel import Array
from .kernel_checks import INTEGERS, checked

#: Accumulators that are scaled at a time: few enough to stay in the cache.
_BLOCK = 1 << 15
#: Multipliers from which on XNNPACK refuses an operator (``src/operators/fully-connected-nc.c`` in google/XNNPACK).
_TOO_LARGE = 256.0
#: Share of channels from which on the others are worth a way of their own.
_MOST = 0.5


@checked(divides_by=())
def activation_range(activation: int, affine: Affine) -> tuple[int, int]:
    """Least and greatest integer of an output with a fused activation.

    An end is ``zero_point + half_away(float32(end / scale))``, within the type's range
    (``CalculateActivationRangeQuantized`` in ``tflite/kernels/kernel_util.cc``). Integer kernels know the ReLU family
    alone; any other activation is taken for none.

    Parameters
    ----------
    activation : int
        ``ActivationFunctionType``.
    affine : Affine
        Of the output, with one scale.

    Returns
    -------
    low, high : int

    Examples
    --------
    >>> activation_range(3, Affine("INT8", 0.05, -128))
    (-128, -8)
    """
    return real_range(affine, *RANGES.get(activation, RANGES[NONE]))


def real_range(affine: Affine, low: float, high: float) -> tuple[int, int]:
    """Integers that stand for two real ends, each ``zero_point + half_away(float32(end / scale))``.

    Parameters
    ----------
    affine : Affine
        With one scale.
    low, high : float
        Infinite for none.

    Returns
    -------
    least, greatest : int
        Within the type's range on its own side: `least` is that of the type or more, `greatest` that or less.

    Examples
    --------
    >>> real_range(Affine("INT8", 0.05, -128), 0, 1)
    (-128, -108)
    """
    with np.errstate(over="ignore"):  # what is beyond float32 is beyond the type
        steps = round_half_away(np.array([low, high], np.float32) / scale_of(affine))
    least, greatest = (zero_point_of(affine) + int(step) for step in np.clip(steps, -(2.0**62), 2.0**62))
    return max(affine.qmin, least), min(affine.qmax, greatest)


@dataclass(frozen=True, slots=True, eq=False)
class Requantizer:
    """Scale accumulators, add the zero point and clip: ``clip(scaled(sums + bias) + zero_point, low, high)``.

    Attributes
    ----------
    scaled : callable
        From int64 accumulators and the parameters of their channels to integers.
    parameters : tuple of ndarray
        Each with one element for all channels, or one for each.
    zero_point, low, high : int
    dtype : dtype
        Of the result.
    bias : int array of shape (C,), optional
        Added to the sums of each channel.
    fast : FastScaler, optional
        The same in float64, for all channels but those of `slow`.
    slow : (int array, Requantizer), optional
        Channels for which float64 isn't exact, and how these are requantized.
    """

    scaled: Callable[..., Array]
    parameters: tuple[Array, ...]
    zero_point: int
    low: int
    high: int
    dtype: Any
    bias: Array | None = None
    fast: FastScaler | None = None
    slow: tuple[Array, Requantizer] | None = None
    _tiled: tuple[Array, ...] = field(init=False, default=())
    _channels: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        # Few channels make short inner loops: their parameters are repeated, so that several rows are one.
        given = [p.reshape(-1) for p in (*self.parameters, *(() if self.bias is None else (self.bias,)))]
        channels = max(p.size for p in given)
        if any(p.size not in (1, channels) for p in given):
            raise InvalidValue(f"parameters for {[p.size for p in given]} channels; as many, or one, are required")
        object.__setattr__(self, "_channels", channels)
        if channels > 1:
            repeats = max(1, 1024 // channels)
            given = [np.tile(np.broadcast_to(p, channels), repeats) if p.size > 1 else p for p in given]
        object.__setattr__(self, "_tiled", tuple(given))

    def __call__(self, sums: Array) -> Array:
        """Requantize.

        Parameters
        ----------
        sums : int or float array of shape [..., C]
            Integral values.

        Returns
        -------
        ndarray
            The shape of `sums`, of `dtype`.

        Raises
        ------
        InvalidValue
            If there are other channels than parameters.
        """
        if self._channels > 1 and (sums.ndim == 0 or sums.shape[-1] != self._channels):
            raise InvalidValue(f"accumulators of {sums.shape} with parameters for {self._channels} channels")
        out = np.empty(sums.shape, self.dtype)
        if self.fast is not None and self.fast.holds(sums):
            self.fast(sums, out)
            if self.slow is not None:
                out[..., self.slow[0]] = self.slow[1](sums[..., self.slow[0]])
            return out
        flat, target = sums.reshape(-1), out.reshape(-1)
        for cut, shape, parameters in self._blocks(flat.size):
            values = flat[cut].reshape(shape).astype(np.int64)
            if self.bias is not None:
                values += parameters[-1]
                parameters = parameters[:-1]
            result = self.scaled(values, *parameters)
            result += self.zero_point
            np.clip(result, self.low, self.high, out=result)
            np.copyto(target[cut].reshape(shape), result, casting="unsafe")
        return out

    def _blocks(self, size: int) -> Iterator[tuple[slice, tuple[int, ...], tuple[Array, ...]]]:
        """Pieces of flat accumulators: where, the shape in which parameters broadcast, and these."""
        width = max(p.size for p in self._tiled)
        rows = max(1, _BLOCK // width)
        whole = size - size % width
        for start in range(0, whole, rows * width):
            stop = min(whole, start + rows * width)
            yield slice(start, stop), (-1, width), self._tiled
        if whole < size:
            rest = size - whole
            yield slice(whole, size), (rest,), tuple(p[:rest] for p in self._tiled)


@checked(bias=INTEGERS, divides_by=())
def fixed_point(
    real: ArrayLike,
    output: Affine,
    *,
    activation: int = 0,
    bias: Array | None = None,
    wide: bool = False,
    rounding: MultiplierRounding = "double",
) -> Requantizer:
    """Requantize by fixed-point multipliers.

    Parameters
    ----------
    real : float array of shape (1,) or (C,)
        Real multipliers, for instance ``input scale * filter scale / output scale``.
    output : Affine
    activation : int
        ``ActivationFunctionType``.
    bias : int array of shape (C,), optional
    wide : bool
        64-bit accumulators, with 16 bits of the multiplier, see `multiply_by_quantized_multiplier_int64`.
    rounding : {"double", "single", "upward"}
        Of 32-bit accumulators, see `multiply_by_quantized_multiplier`.

    Returns
    -------
    Requantizer

    Raises
    ------
    InvalidValue
        If a multiplier isn't finite, or there aren't as many as biases.

    Examples
    --------
    >>> requantize = fixed_point(0.25, Affine("INT8", 0.1, 3))
    >>> requantize(np.array([1, 2, -2, 600]))
    array([  4,   4,   2, 127], dtype=int8)
    """
    scaled = multiply_by_quantized_multiplier_int64 if wide else _ROUNDINGS[rounding]
    made = _requantizer(scaled, quantize_multiplier(np.atleast_1d(real)), output, activation, bias)
    return made if wide or rounding == "single" else _quickened(made, signed=rounding == "double")


def _quickened(plain: Requantizer, *, signed: bool) -> Requantizer:
    """The same with a `FastScaler` for those channels for which there is one."""
    mantissa, shift = (p.reshape(-1) for p in plain.parameters)
    ends = plain.zero_point, plain.low, plain.high
    fits = fits_float64(shift, *ends)
    if fits.all():
        return replace(plain, fast=fast_scaler(mantissa, shift, plain.bias, *ends, signed=signed))
    if fits.mean() < _MOST or (plain.bias is not None and plain.bias.size != fits.size):
        return plain
    left = np.flatnonzero(~fits)
    others = replace(
        plain, parameters=(mantissa[left], shift[left]), bias=None if plain.bias is None else plain.bias[left]
    )
    kept, shifts = np.where(fits, mantissa, 0), np.where(fits, shift, 0)
    return replace(plain, fast=fast_scaler(kept, shifts, plain.bias, *ends, signed=signed), slow=(left, others))


@checked(bias=INTEGERS, divides_by=())
def floating_point(
    real: ArrayLike, output: Affine, *, activation: int = 0, bias: Array | None = None, wide: bool = False
) -> Requantizer:
    """Requantize by a product in float64, rounded half away from zero.

    Parameters, result and errors are those of `fixed_point`; `wide` keeps what int32 accumulators would lose.

    Examples
    --------
    >>> floating_point(0.25, Affine("INT8", 0.1))(np.array([1, 2, -2]))
    array([ 0,  1, -1], dtype=int8)
    """
    scaled = _scaled_real if wide else _scaled_real_int32
    return _requantizer(scaled, (np.atleast_1d(np.asarray(real, np.float64)),), output, activation, bias)


@checked(bias=INTEGERS, divides_by=())
def single_precision(
    real: ArrayLike, output: Affine, limits: tuple[int, int], *, bias: Array | None = None
) -> Requantizer:
    """Requantize by a product in float32, rounded half to even: ``half_even(float32(sums) * real)``, as XNNPACK does.

    Parameters
    ----------
    real : float array of shape (1,) or (C,)
        Real multipliers, rounded to float32.
    output : Affine
    limits : (int, int)
        Least and greatest integer of the output.
    bias : int array of shape (C,), optional

    Returns
    -------
    Requantizer

    Raises
    ------
    InvalidValue
        If a multiplier is 256 or more, which XNNPACK refuses; or there aren't as many as biases.

    Examples
    --------
    >>> single_precision(0.25, Affine("INT8", 0.1, 3), (-128, 127))(np.array([1, 2, 6, -2, 600]))
    array([  3,   3,   5,   3, 127], dtype=int8)
    """
    factors = np.atleast_1d(np.asarray(real, np.float32))
    if not (factors < _TOO_LARGE).all():
        raise InvalidValue(
            f"a multiplier of {factors.max()}: XNNPACK requires less than {_TOO_LARGE:g}; see the scales"
        )
    return Requantizer(_scaled_float32, (factors,), zero_point_of(output), *limits, output.type.storage, bias)


def _requantizer(
    scaled: Callable[..., Array], parameters: tuple[Array, ...], output: Affine, activation: int, bias: Array | None
) -> Requantizer:
    low, high = activation_range(activation, output)
    return Requantizer(scaled, parameters, zero_point_of(output), low, high, output.type.storage, bias)


def _scaled_int32(sums: Array, mantissa: Array, shift: Array, *, rounding: MultiplierRounding) -> Array:
    # what an int32 accumulator can't hold, it loses
    return multiply_by_quantized_multiplier(sums.astype(np.int32), mantissa, shift, rounding=rounding)


#: One function object for each rounding: `rounding_of` tells them apart by identity.
_ROUNDINGS: Mapping[MultiplierRounding, Callable[..., Array]] = MappingProxyType(
    {
        "double": partial(_scaled_int32, rounding="double"),
        "single": partial(_scaled_int32, rounding="single"),
        "upward": partial(_scaled_int32, rounding="upward"),
    }
)


def _scaled_real_int32(sums: Array, real: Array) -> Array:
    return _scaled_real(sums.astype(np.int32), real)


def _scaled_real(sums: Array, real: Array) -> Array:
    product = sums * real
    return round_half_away(product, out=product)


def _scaled_float32(sums: Array, real: Array) -> Array:
    product = sums.astype(np.int32).astype(np.float32)
    product *= real
    return np.rint(product, out=product)


_WAYS: Mapping[Callable[..., Array], str] = MappingProxyType(
    {
        **{scaled: name for name, scaled in _ROUNDINGS.items()},
        _scaled_float32: "float32",
        multiply_by_quantized_multiplier_int64: "int64",
        _scaled_real_int32: "float64",
        _scaled_real: "float64",
    }
)


def rounding_of(requantizer: Requantizer) -> str:
    """How a requantizer multiplies and rounds.

    Returns
    -------
    str
        ``double``, ``single`` or ``upward`` (`multiply_by_quantized_multiplier`), ``int64``
        (`multiply_by_quantized_multiplier_int64`), ``float64`` (a product in float64, halves away from zero),
        ``float32`` (a product in float32, halves to even); empty for a way that has no name.

    Examples
    --------
    >>> rounding_of(fixed_point(0.25, Affine("INT8", 0.1))), rounding_of(floating_point(0.25, Affine("INT8", 0.1)))
    ('double', 'float64')
    """
    return _WAYS.get(requantizer.scaled, "")

"""Inputs and outputs of a model as real numbers, whatever types the file gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, dequantize, quantize, round_half_away
from quantlib.tflite import Model, Tensor

from .boundary import affine_of
from .protocol import Array, Interface, Port, feed


@dataclass(frozen=True, slots=True)
class End:
    """One input or output of one model.

    Attributes
    ----------
    port : Port
    affine : Affine or None
        What its integers stand for; None where they stand for themselves, or it is float.
    """

    port: Port
    affine: Affine | None

    @property
    def real(self) -> Port:
        """The same port as real values go in or out of it."""
        return self.port if self.affine is None else replace(self.port, type="FLOAT32")

    def encode(self, value: Array) -> Array:
        """Bring real values into the type of the file, as LiteRT's QUANTIZE does."""
        try:
            return encode(value, self.affine)
        except InvalidValue as error:
            raise InvalidValue(f"input {self.port.alias!r}: {error}") from None

    def decode(self, value: Array) -> Array:
        """Bring values of the file's type to real ones."""
        return decode(value, self.affine)


@dataclass(frozen=True, slots=True)
class Ends:
    """What goes in and out of a model, and how.

    Attributes
    ----------
    inputs, outputs : tuple of End
    interface : Interface
        What samples are read by.
    """

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    interface: Interface

    def feed(self, sample: Any) -> dict[str, Array]:
        """Bring one sample into the form that a runner takes, as the function `feed`; real values are quantized."""
        values = feed(self.interface, sample)
        return {end.port.name: end.encode(values[end.port.name]) for end in self.inputs}

    def decode(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Bring a runner's outputs to real values, where they stand for some."""
        affines = {end.port.name: end.affine for end in self.outputs}
        return {name: decode(value, affines.get(name)) for name, value in outputs.items()}


def single_affine(tensor: Tensor) -> Affine | None:
    """Parameters of an activation: those of a tensor that has one scale; None where it has none, or several.

    Parameters
    ----------
    tensor : Tensor

    Returns
    -------
    Affine or None

    Raises
    ------
    InvalidValue
        If scales and zero points don't fit one another.
    """
    affine = affine_of(tensor)
    return affine if affine is not None and affine.scale.size == 1 else None


def end_of(model: Model, subgraph: int, port: Port) -> End:
    """One end of a model, with what its integers stand for.

    Parameters
    ----------
    model : Model
    subgraph : int
    port : Port

    Returns
    -------
    End
        One scale and zero point are required of an end; several count as none.

    Raises
    ------
    InvalidValue
        If scales and zero points don't fit one another.
    """
    return End(port, single_affine(Tensor(model, subgraph, port.index)))


def model_ends(model: Model, interface: Interface, *, real: bool) -> Ends:
    """What goes in and out of a model.

    Parameters
    ----------
    model : Model
    interface : Interface
    real : bool
        As real values, also where the file has integers with a scale; otherwise as the file has them.

    Returns
    -------
    Ends

    Raises
    ------
    InvalidValue
        If scales and zero points don't fit one another.

    Examples
    --------
    >>> import numpy as np
    >>> import quantlib as ql
    >>> from quantlib.runners import interface_of
    >>> recipe = ql.recipes.int8(input_type="INT8", default_ranges=(-1, 1))
    >>> model = ql.quantize(ql.read(ql.demo.MODEL), recipe)
    >>> ends = model_ends(model, interface_of(model), real=True)
    >>> ends.feed(np.full((8, 8, 1), 2.0, np.float32))["image"][0, 0, 0]
    array([127], dtype=int8)
    """
    g = interface.subgraph
    inputs, outputs = (
        tuple(end_of(model, g, port) if real else End(port, None) for port in ports)
        for ports in (interface.inputs, interface.outputs)
    )
    return Ends(inputs, outputs, replace(interface, inputs=tuple(end.real for end in inputs)))


def encode(value: Array, affine: Affine | None) -> Array:
    """Quantize, where there is a scale: half away from zero, as LiteRT's reference kernel rounds.

    Parameters
    ----------
    value : float ndarray, or one of any dtype where there is no scale
    affine : Affine or None

    Returns
    -------
    ndarray of the same shape

    Raises
    ------
    InvalidValue
        If a value is NaN, or the scale can't be quantized to.

    Examples
    --------
    >>> import numpy as np
    >>> encode(np.float32([0.25, 0.5]), Affine("INT8", 0.5))
    array([1, 1], dtype=int8)
    """
    return value if affine is None else quantize(value, affine, rounding=round_half_away)


def decode(value: Array, affine: Affine | None) -> Array:
    """Dequantize, where there is a scale.

    Parameters
    ----------
    value : ndarray of the storage dtype of the type, or of any where there is no scale
    affine : Affine or None

    Returns
    -------
    ndarray of the same shape
        float32 where there is a scale.

    Raises
    ------
    InvalidValue
        If it is of another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> decode(np.array([1, 3], np.int8), Affine("INT8", 0.5))
    array([0.5, 1.5], dtype=float32)
    """
    return value if affine is None else dequantize(value, affine)

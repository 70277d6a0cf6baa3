"""From accumulators to integers of an output where vectors round in another way than what they leave."""

from __future__ import annotations

from dataclasses import dataclass

from .integer_requantize import Requantizer
from .kernel import Array


@dataclass(frozen=True, slots=True, eq=False)
class InVectors:
    """Requantize by vectors, and by a plain loop what these leave, see `in_vectors`.

    Attributes
    ----------
    vector, rest : Requantizer
    lanes : int
    flat : bool
    """

    vector: Requantizer
    rest: Requantizer
    lanes: int
    flat: bool

    def __call__(self, sums: Array) -> Array:
        """From sums to the output."""
        out = self.vector(sums)
        cut = sums.size if self.flat else sums.shape[-1]
        if cut % self.lanes:
            whole = cut - cut % self.lanes
            other, view = self.rest(sums), (out.reshape(-1) if self.flat else out)
            view[..., whole:] = (other.reshape(-1) if self.flat else other)[..., whole:]
        return out


def in_vectors(vector: Requantizer, rest: Requantizer, lanes: int, *, flat: bool = False) -> InVectors:
    """Requantize as kernels with vectors do, whose plain loop rounds otherwise what the vectors leave.

    Parameters
    ----------
    vector, rest : Requantizer
        Of whole vectors, and of what remains.
    lanes : int
        Values of a vector.
    flat : bool
        Vectors are cut from all values in a row; else from the channels of each row.

    Returns
    -------
    InVectors
        Callable, from sums to the output.

    Examples
    --------
    >>> import numpy as np
    >>> from quantlib.numerics import Affine
    >>> from quantlib.operators.integer_requantize import fixed_point
    >>> upward, double = (fixed_point(0.25, Affine("INT8", 0.1), rounding=r) for r in ("upward", "double"))
    >>> in_vectors(upward, double, 2)(np.array([[-2, -2, -2]]))
    array([[ 0,  0, -1]], dtype=int8)
    """
    return InVectors(vector, rest, lanes, flat)

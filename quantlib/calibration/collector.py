"""`Collector`: gathers `Statistics` while a model runs, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue, NotFound

from .states import new_state
from .statistics import Key, Statistics


class Collector:
    """Observes the tensors of a model while samples run through it.

    Parameters
    ----------
    model : str
        SHA-256 of the model file, in lower-case hexadecimal digits.
    names : mapping of (subgraph, index) to str
        The float tensors to observe, with their names. One that is never written has an empty state in the end.
    observer : str
        ``histogram``, ``minmax`` or ``moving-average``.
    channel_axes : mapping of (subgraph, index) to int
        Tensors that are observed by channel as well, and the axis of their channels.
    version : str
        Version of quantlib, for the record.

    Raises
    ------
    NotFound
        If there is no such observer, or a channel axis is that of a tensor without a name.

    Examples
    --------
    >>> collector = Collector("0" * 64, {(0, 1): "relu"})
    >>> for x in np.array([[0.0, 2.0], [1.0, 4.0]], np.float32):
    ...     collector.observe((0, 1), x)
    ...     collector.end_sample()
    >>> collector.finish()
    Statistics(model='000000000000'..., samples=2, observer='histogram', 1 tensors)
    """

    def __init__(
        self,
        model: str,
        names: Mapping[Key, str],
        observer: str = "histogram",
        *,
        channel_axes: Mapping[Key, int] = MappingProxyType({}),
        version: str = "",
    ) -> None:
        self._about = model, observer, version
        self._names, self._samples = dict(names), 0
        for key in channel_axes:
            self._require(key)
        self._states = {key: new_state(observer, channel_axis=channel_axes.get(key)) for key in names}
        self.finish()  # refuses what is no digest before hours of work, rather than after

    def observe(self, key: Key, x: NDArray[Any]) -> None:
        """Observe what was written to a tensor; more than once in a sample is as good as in several.

        Arrays that aren't float are left out: nothing is to be quantized there.

        Parameters
        ----------
        key : (subgraph, index)
        x : array of any shape
            Not kept.

        Raises
        ------
        NotFound
            If the tensor isn't one of those to observe.
        InvalidValue
            If its channels don't fit.
        """
        self._require(key)
        if np.asarray(x).dtype.kind != "f":
            return
        try:
            self._states[key] = self._states[key].observe(x)
        except InvalidValue as error:
            raise InvalidValue(f"tensor {self._names[key]!r} {key}: {error}") from None

    def end_sample(self) -> None:
        """Count a sample."""
        self._samples += 1

    def finish(self) -> Statistics:
        """Return what was found so far; the collector may go on."""
        model, observer, version = self._about
        return Statistics(model, self._samples, observer, self._states, self._names, version)

    def _require(self, key: Key) -> None:
        if key not in self._names:
            raise NotFound(f"tensor {key} is not observed; give its name to the collector")

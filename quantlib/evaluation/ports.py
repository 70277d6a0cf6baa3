"""Inputs and outputs of two models brought together, whatever types they have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quantlib.errors import InvalidValue
from quantlib.runners import Array, End, Interface, end_of, interface_of
from quantlib.tflite import Model


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two models' inputs and outputs, matched.

    Attributes
    ----------
    how : str
        ``signature``, ``name`` or ``position``.
    inputs, outputs : tuple of (End, End)
        A's and B's, in A's order.
    real : Interface
        What samples are read by: real values for every quantized input.
    swapped : bool
        Samples are named as B has it, since B is the float model.
    """

    how: str
    inputs: tuple[tuple[End, End], ...]
    outputs: tuple[tuple[End, End], ...]
    real: Interface
    swapped: bool

    def feeds(self, values: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Samples for A and for B, of one that `feed` made of the data by `real`."""
        first, second = {}, {}
        for a, b in self.inputs:
            value = values[(b if self.swapped else a).port.name]
            first[a.port.name], second[b.port.name] = a.encode(value), b.encode(value)
        return first, second


def pair(a: Model, b: Model, signature: str | None = None) -> Pairing:
    """Match inputs and outputs of two models.

    Parameters
    ----------
    a, b : Model
    signature : str, optional
        Which to run where there are several; a model without signatures has its first subgraph.

    Returns
    -------
    Pairing

    Raises
    ------
    NotFound
        If there is no such signature.
    InvalidValue
        If numbers or shapes of inputs or outputs differ.
    """
    first, second = (interface_of(m, known_signature(m, signature)) for m in (a, b))
    inputs, how = _matched(a, b, first, second, "inputs")
    outputs, other = _matched(a, b, first, second, "outputs")
    swapped = any(e.affine for e, _ in inputs) and not any(e.affine for _, e in inputs)
    # in the order of the model that names them: data without names goes by it
    ends = {id(e.port): e for both in inputs for e in both}
    ports = [ends[id(port)] for port in (second if swapped else first).inputs]
    real = tuple(end.real for end in ports)
    worse = max(how, other, key=("signature", "name", "position").index)
    return Pairing(worse, inputs, outputs, Interface(first.subgraph, real, ()), swapped)


def known_signature(model: Model, signature: str | None) -> str | None:
    """The signature to run a model by; None for a model without any, which has its first subgraph."""
    return signature if model.root.signature_defs else None


def _matched(
    a: Model, b: Model, first: Interface, second: Interface, what: str
) -> tuple[tuple[tuple[End, End], ...], str]:
    ports, others = getattr(first, what), getattr(second, what)
    if len(ports) != len(others):
        raise InvalidValue(f"{len(ports)} {what} in A and {len(others)} in B; give two models of one network")
    how, found = "position", list(others)
    for kind, key in (("signature", "alias"), ("name", "name")):
        known = {getattr(p, key): p for p in others}
        if len(known) == len(others) and set(known) == {getattr(p, key) for p in ports}:
            named = bool(a.root.signature_defs and b.root.signature_defs)
            how = kind if key == "name" or named else "name"
            found = [known[getattr(p, key)] for p in ports]
            break
    for p, q in zip(ports, found, strict=True):
        if len(p.shape) != len(q.shape) or any(-1 != m != n != -1 for m, n in zip(p.shape, q.shape, strict=True)):
            raise InvalidValue(
                f"{what[:-1]} {p.name!r} has shape {list(p.shape)} and {q.name!r} {list(q.shape)}, matched by {how}; "
                "give two models of one network"
            )
    return tuple(
        (end_of(a, first.subgraph, p), end_of(b, second.subgraph, q)) for p, q in zip(ports, found, strict=True)
    ), how

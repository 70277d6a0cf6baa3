"""What every runner does: feed a model by name, give its outputs, show any tensor on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from quantlib.errors import InvalidModel, InvalidValue, NotFound
from quantlib.numerics import element_type
from quantlib.operators import family
from quantlib.tflite import Model, Table, Tensor

Array = npt.NDArray[Any]
#: Called with (subgraph, tensor index, values) for each tensor as soon as it is computed; it must not keep or change
#: the array. It is shown the model's inputs, what operators compute from them, and recurrent state after each step;
#: not constants, nor what DEQUANTIZE and DENSIFY make of them (`computed`).
Tap = Callable[[int, int, Array], None]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model.

    Attributes
    ----------
    name : str
        Name of the tensor.
    alias : str
        Name in the signature; the tensor's own where there is no signature.
    index : int
        Index of the tensor in its subgraph.
    type : str
        Element type.
    shape : tuple of int
        -1 for a dimension that the caller chooses.
    """

    name: str
    alias: str
    index: int
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """Which subgraph runs, and what goes in and out.

    Attributes
    ----------
    subgraph : int
    inputs, outputs : tuple of Port
    """

    subgraph: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Runner(Protocol):
    """Runs samples through a model.

    Attributes
    ----------
    interface : Interface
    """

    interface: Interface

    def run(
        self, inputs: Mapping[str, Array], *, tap: Tap | None = None, keep_state: bool = False
    ) -> dict[str, Array]:
        """Run one sample.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            By tensor name or by alias; see `feed` for what else can be made one.
        tap : callable, optional
            Is shown every tensor that is computed, inputs included.
        keep_state : bool
            Leave variables and recurrent state as the last sample left them, instead of resetting them.

        Returns
        -------
        dict of str to ndarray
            Outputs by tensor name; where names repeat, ``#`` and the index are appended. They are the caller's own.

        Raises
        ------
        InvalidValue
            If the sample doesn't fit, or an operator can't compute its outputs; the message says which.
        """
        ...


def interface_of(model: Model, signature: str | None = None) -> Interface:
    """Find what goes in and out of a model.

    Parameters
    ----------
    model : Model
    signature : str, optional
        Key of a signature; needed where there are several. Models without one have their first subgraph's ends.

    Raises
    ------
    NotFound
        If there is no such signature, or there are several and none is named.
    """
    signatures = list(model.root.signature_defs or ())
    keys = [s.signature_key or "" for s in signatures]
    if signature is None and len({s.subgraph_index for s in signatures}) > 1:
        raise NotFound(f"the model has the signatures {', '.join(keys)}; name one")
    if signature is not None and signature not in keys:
        known = ", ".join(keys) or "none"
        raise NotFound(f"there is no signature {signature!r}; the model has {known}")
    chosen = signatures[keys.index(signature) if signature is not None else 0] if signatures else None
    g = chosen.subgraph_index if chosen is not None else 0
    if g >= len(model.subgraphs):
        raise InvalidModel(f"there is no subgraph {g} to run; the model has {len(model.subgraphs)}")
    graph = model.subgraphs[g]
    named = (chosen.inputs, chosen.outputs) if chosen is not None else (None, None)
    inputs, outputs = (
        _ports(model, g, indices_of(vector), {entry.tensor_index: entry.name for entry in entries or ()})
        for vector, entries in zip((graph.inputs, graph.outputs), named, strict=True)
    )
    return Interface(g, inputs, outputs)


def indices_of(vector: Any) -> list[int]:
    """Tensor indices of a vector of the file, which may be absent; -1 stands for an operand that is left out."""
    return [] if vector is None else [int(i) for i in vector]


def _ports(model: Model, g: int, indices: list[int], aliases: dict[int, str | None]) -> tuple[Port, ...]:
    tensors = [Tensor(model, g, i) for i in indices]
    names = [t.name for t in {t.index: t for t in tensors}.values()]
    ports = []
    for tensor in tensors:
        name = tensor.name if names.count(tensor.name) == 1 else f"{tensor.name}#{tensor.index}"
        wanted = tensor.table.shape_signature
        shape = tuple(wanted.tolist()) if wanted is not None and wanted.size else tensor.shape
        ports.append(Port(name, aliases.get(tensor.index) or name, tensor.index, tensor.type, shape))
    return tuple(ports)


def folded(model: Model, g: int) -> frozenset[int]:
    """Find tensors of a subgraph that are constants behind DEQUANTIZE or DENSIFY: the same for every sample.

    Parameters
    ----------
    model : Model
    g : int
        Index of the subgraph.

    Returns
    -------
    frozenset of int
    """
    found: set[int] = set()
    for operator in model.subgraphs[g].operators or ():
        inputs = indices_of(operator.inputs)
        if model.operator_name(operator) in FOLDED and all(
            i in found or (i >= 0 and Tensor(model, g, i).is_constant) for i in inputs
        ):
            found.update(indices_of(operator.outputs))
    return frozenset(found)


#: Operators that are computed once where their operand is a constant.
FOLDED = ("DEQUANTIZE", "DENSIFY")


def states_of(model: Model, g: int, operator: Table) -> tuple[int, ...]:
    """Variables that an operator updates in place: the state of a recurrent one."""
    if family(model.operator_name(operator)) != "recurrent":
        return ()
    inputs = [i for i in indices_of(operator.inputs) if i >= 0]
    return tuple(i for i in dict.fromkeys(inputs) if Tensor(model, g, i).table.is_variable)


def computed(model: Model, g: int) -> tuple[int, ...]:
    """Tensors of a subgraph that a tap is shown: its inputs, outputs of operators, recurrent state.

    Parameters
    ----------
    model : Model
    g : int
        Index of the subgraph.

    Returns
    -------
    tuple of int
        In the order in which they are first written.
    """
    graph = model.subgraphs[g]
    indices = indices_of(graph.inputs)
    for operator in graph.operators or ():
        indices += [*indices_of(operator.outputs), *states_of(model, g, operator)]
    constants = folded(model, g)
    return tuple(i for i in dict.fromkeys(indices) if i >= 0 and i not in constants)


def feed(interface: Interface, sample: Any) -> dict[str, Array]:
    """Bring one sample into the form that a runner takes: arrays of the right type and shape by tensor name.

    Parameters
    ----------
    interface : Interface
    sample : array, sequence of arrays, or mapping
        One array for a model with one input, arrays in the model's order, or by tensor name or alias (tensor names,
        where a sample has them all). The leading 1 of a shape may be missing, and a leading 1 may be another number:
        a batch. Floats of any width serve a float32 input.

    Returns
    -------
    dict of str to ndarray
        In the order of the model's inputs. An array that fits is taken as it is, not copied.

    Raises
    ------
    InvalidValue
        If number, name, type or shape don't fit; the message names the input.
    """
    if isinstance(sample, Mapping):
        given = _by_name(interface, sample)
    elif isinstance(sample, (list, tuple)):
        if len(sample) != len(interface.inputs):
            raise InvalidValue(f"a sample of {_counted(len(sample))}, and the model has {_listed(interface)}")
        given = {port.name: value for port, value in zip(interface.inputs, sample, strict=True)}
    elif len(interface.inputs) == 1:
        given = {interface.inputs[0].name: sample}
    else:
        raise InvalidValue(f"a sample of one array, and the model has {_listed(interface)}; give a mapping")
    return {port.name: _fitted(port, given[port.name]) for port in interface.inputs}


def _counted(count: int) -> str:
    return f"{count} array{'s' * (count != 1)}"


def _listed(interface: Interface) -> str:
    names = ", ".join(port.alias for port in interface.inputs)
    return f"{len(interface.inputs)} input{'s' * (len(interface.inputs) != 1)}: {names}"


def _by_name(interface: Interface, sample: Mapping[str, Any]) -> dict[str, Any]:
    ports = interface.inputs
    if all(port.name in sample for port in ports):
        keys = {port.name: port.name for port in ports}
    elif all(port.alias in sample for port in ports):
        keys = {port.name: port.alias for port in ports}
    else:
        keys = {port.name: port.name if port.name in sample else port.alias for port in ports}
    for port in ports:
        if keys[port.name] not in sample:
            have = ", ".join(str(key) for key in sample) or "none"
            raise InvalidValue(f"no array for the input {port.alias!r}; the sample has {have}")
    strange = [key for key in sample if key not in keys.values()]
    if strange or len(set(keys.values())) != len(keys):
        unused = f"an array {strange[0]!r} too many" if strange else "one array for two inputs"
        raise InvalidValue(f"the sample has {unused}, and the model has {_listed(interface)}")
    return {name: sample[key] for name, key in keys.items()}


def _fitted(port: Port, given: Any) -> Array:
    try:
        value = np.asarray(given)
    except ValueError:
        raise InvalidValue(f"input {port.alias!r}: a {type(given).__name__} that is no array; give one") from None
    dtype = element_type(port.type).storage
    if dtype is None:
        raise InvalidValue(f"input {port.alias!r}: NumPy has no arrays of {port.type}; the model can't be run")
    if value.dtype != dtype:
        same = value.dtype.newbyteorder("=") == dtype
        if not same and not (port.type == "FLOAT32" and value.dtype.kind == "f"):
            raise InvalidValue(
                f"input {port.alias!r}: {value.dtype} values where {port.type} is required; {_remedy(port, value)}"
            )
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite
            value = value.astype(dtype)
    if value.ndim == len(port.shape) - 1 and port.shape[0] in (1, -1):
        value = value[None]
    # a model says 1 for a batch that may be resized
    fits = value.ndim == len(port.shape) and all(
        want in (-1, have) or (axis == 0 and want == 1)
        for axis, (want, have) in enumerate(zip(port.shape, value.shape, strict=True))
    )
    if not fits:
        hint = "; an array's first axis counts samples" if value.ndim < len(port.shape) - 1 else ""
        raise InvalidValue(
            f"input {port.alias!r}: shape {list(value.shape)} where {list(port.shape)} is required{hint}"
        )
    return value


def _remedy(port: Port, value: Array) -> str:
    """What to do about values of another type than an input's: a cast alone seldom keeps what they mean."""
    if value.dtype.kind not in "biufc":
        return "give numbers; the path of a file of samples stands by itself, not in a list"
    if port.type in ("INT8", "UINT8", "INT16"):
        option = "; `run` and `golden` do so by real=True (--real), where it has them"
        shown = "bring them to its scale and zero point, which `quantlib inspect` shows"
        return shown + option * (value.dtype.kind == "f")
    if port.type == "FLOAT32":
        return "give floats, scaled as those that the model was trained with"
    return "cast them"

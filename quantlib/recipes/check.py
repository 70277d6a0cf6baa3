"""Check a model against the profile of a target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from quantlib.errors import InvalidValue
from quantlib.operators import accepted_versions
from quantlib.targets import Operand, Operation, Target, load
from quantlib.tflite import Model, Tensor, require_models

from .graph import Graph


@dataclass(frozen=True, slots=True)
class Violation:
    """Why one operator or tensor isn't what a target takes.

    Attributes
    ----------
    subgraph : int
    operator : int or None
        Place of the operator in its subgraph; None for what concerns no operator.
    type : str
        The operator's type, such as CONV_2D.
    name : str
        The operator's name, that of its first output.
    tensor : int or None
        Index of the tensor that it is about.
    tensor_name : str
    reason, remedy : str
    """

    subgraph: int
    operator: int | None
    type: str
    name: str
    tensor: int | None
    tensor_name: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        parts = [f"{self.type} {self.name} ({self.subgraph}, {self.operator})"] if self.operator is not None else []
        if self.tensor is not None:
            parts.append(f"tensor {self.tensor_name!r} ({self.subgraph}, {self.tensor})")
        where = ", ".join(parts) or "model"
        return f"{where}: {self.reason}; {self.remedy}"


@dataclass(frozen=True, slots=True, repr=False)
class Findings:
    """What `check` found.

    Attributes
    ----------
    target : str
    violations : tuple of Violation
        Empty where the target takes the model.
    notes : tuple of str
        What else there is to know of the target's profile.
    operators : int
        Number of operators that were looked at.
    """

    target: str
    violations: tuple[Violation, ...]
    notes: tuple[str, ...]
    operators: int

    @property
    def ok(self) -> bool:
        """Whether there is no violation."""
        return not self.violations

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as values that JSON knows."""
        return {
            "target": self.target,
            "ok": self.ok,
            "operators": self.operators,
            "violations": [asdict(v) for v in self.violations],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<Findings of {self._summary()}>"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.violations), self._summary(), *(f"note: {note}" for note in self.notes)])

    def _summary(self) -> str:
        found, places = len(self.violations), len({(v.subgraph, v.operator) for v in self.violations})
        count = f"{found} violation{'s' * (found != 1)} at {places} of" if found else "no violations in"
        return f"{self.target}: {count} {self.operators} operator{'s' * (self.operators != 1)}"


def check(model: Model, target: Target | str) -> Findings:
    """Check a model against what a target takes, in all subgraphs.

    Parameters
    ----------
    model : Model
    target : Target or str
        One of `quantlib.targets.NAMES`, or a profile that was loaded.

    Returns
    -------
    Findings
        Prints one violation a line: operator, tensor, reason, remedy; ``ok`` where there is none.

    Raises
    ------
    NotFound
        If there is no target of that name.
    InvalidValue
        If the model or the target is something else.

    Examples
    --------
    >>> import quantlib as ql
    >>> model = ql.read(ql.demo.MODEL)
    >>> ql.check(model, "tflite-micro").ok
    True
    >>> found = ql.check(ql.quantize(model, "dynamic"), "tflite-micro")
    >>> found.ok, found.violations[0].name
    (False, 'conv1')
    """
    require_models(model=model)
    if not isinstance(target, (str, Target)):
        raise InvalidValue(f"target is a {type(target).__name__}, and its name or a Target is required; see NAMES")
    profile = load(target) if isinstance(target, str) else target
    graphs = [Graph(model, g) for g in range(len(model.subgraphs))]
    violations = [*_whole_model(model, profile)]
    seen: set[tuple[int, int, str]] = set()
    for graph in graphs:
        for o in range(len(graph.operators)):
            for violation in _operator(graph, o, profile):
                key = (graph.index, -1 if violation.tensor is None else violation.tensor, violation.reason)
                if violation.tensor is None or key not in seen:
                    violations.append(violation)
                seen.add(key)
    return Findings(profile.name, tuple(violations), profile.notes, sum(len(g.operators) for g in graphs))


def operation(graph: Graph, index: int) -> Operation:
    """What of an operator decides whether a target runs it.

    Parameters
    ----------
    graph : Graph
    index : int
        Place of the operator.

    Raises
    ------
    InvalidValue
        If a tensor's scales and zero points don't fit one another.
    """
    table, name = graph.operators[index], graph.names[index]
    options = table.builtin_options if table.builtin_options is not None else table.builtin_options_2
    return Operation(
        name,
        graph.model.root.operator_codes[table.opcode_index].version,
        tuple(None if t < 0 else _operand(graph.tensor(t)) for t in _list(table.inputs)),
        tuple(_operand(graph.tensor(t)) for t in _list(table.outputs) if t >= 0),
        {} if options is None else options.stored(),
        accepted_versions(name),
    )


def _operand(tensor: Tensor) -> Operand:
    signature = tensor.table.shape_signature
    return Operand(
        tensor.type,
        tensor.shape,
        tensor.is_constant,
        tensor.quantization,
        dynamic=signature is not None and bool((signature[1:] < 0).any()),
        sparse=tensor.table.sparsity is not None,
        values=tensor.numpy,
    )


def _list(vector: Any) -> list[int]:
    return [] if vector is None else vector.tolist()


def _operator(graph: Graph, index: int, target: Target) -> Iterator[Violation]:
    table, label = graph.operators[index], graph.operator_label(index)
    where = (graph.index, index, graph.names[index], label)
    try:
        reasons = target.violations(operation(graph, index))
    except InvalidValue as error:
        yield Violation(*where, None, "", str(error), "quantize it again from the float model")
        return
    places = {"input": _list(table.inputs), "output": [t for t in _list(table.outputs) if t >= 0]}
    for reason in reasons:
        tensor = None if reason.place is None else places[reason.place[0]][reason.place[1]]
        name = "" if tensor is None else graph.tensor(tensor).name
        yield Violation(*where, tensor, name, reason.reason, reason.remedy)


def _whole_model(model: Model, target: Target) -> Iterator[Violation]:
    """Requirements on the file and its ends."""
    if not target.external_buffers:
        apart = sum(bool(b.offset) for b in model.buffers)
        if apart or any(t.table.external_buffer for t in model.tensors()):
            reason = f"{apart:,} buffers stand behind the FlatBuffer or in another file, where they aren't read"
            yield Violation(0, None, "", "", None, "", reason, "make the model smaller than 2 GiB")
    if target.io_types:
        graph = Graph(model, 0)
        for which in ("inputs", "outputs"):
            for t in _list(getattr(graph.table, which)):
                tensor = graph.tensor(t)
                if tensor.type not in target.io_types and (target.float_ok or tensor.type != "FLOAT32"):
                    reason = (
                        f"is {tensor.type} and an {which[:-1]} of the model; {', '.join(target.io_types)} are taken"
                    )
                    option = f"quantize it: quantlib quantize --recipe int8 --{which[:-1]}-type INT8"
                    yield Violation(0, None, "", "", t, tensor.name, reason, option)

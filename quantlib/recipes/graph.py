"""Who makes and who reads each tensor of a subgraph, and which tensors are constants in disguise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from quantlib.tflite import Model, Table, Tensor

#: Operators whose output is constant where their input is, and that only change how it is stored.
_STORAGE = ("DEQUANTIZE", "DENSIFY")


@dataclass(frozen=True, slots=True)
class Use:
    """One reading of a tensor: operator `operator` takes it as operand `operand`."""

    operator: int
    operand: int


@dataclass(frozen=True)
class Graph:
    """One subgraph of a model, for looking things up."""

    model: Model
    index: int

    @property
    def table(self) -> Table:
        """The ``SubGraph`` table."""
        return self.model.subgraphs[self.index]

    @cached_property
    def operators(self) -> tuple[Table, ...]:
        """The operators, in order of execution."""
        return tuple(self.table.operators or ())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Type of each operator."""
        return tuple(self.model.operator_name(o) for o in self.operators)

    @cached_property
    def uses(self) -> dict[int, list[Use]]:
        """Readings of each tensor."""
        found: dict[int, list[Use]] = {}
        for o, operator in enumerate(self.operators):
            for k, t in enumerate([] if operator.inputs is None else operator.inputs.tolist()):
                if t >= 0:
                    found.setdefault(t, []).append(Use(o, k))
        return found

    @cached_property
    def producers(self) -> dict[int, int]:
        """The operator that makes each tensor."""
        return {
            t: o
            for o, operator in enumerate(self.operators)
            for t in ([] if operator.outputs is None else operator.outputs.tolist())
        }

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tensors at the subgraph's ends: its inputs and outputs, and those of signatures."""
        found: set[int] = set()
        for vector in (self.table.inputs, self.table.outputs):
            found.update([] if vector is None else vector.tolist())
        for signature in self.model.root.signature_defs or ():
            if signature.subgraph_index == self.index:
                found.update(e.tensor_index for e in (*(signature.inputs or ()), *(signature.outputs or ())))
        return frozenset(found)

    def tensor(self, index: int) -> Tensor:
        """View of a tensor."""
        return Tensor(self.model, self.index, index)

    def origin(self, index: int) -> Tensor | None:
        """The constant that a tensor's values come from: itself, or what DENSIFY and DEQUANTIZE made it from.

        None where its values depend on the model's input.
        """
        tensor = self.tensor(index)
        for _ in range(3):
            if tensor.is_constant:
                return tensor
            maker = self.producers.get(tensor.index)
            if maker is None or self.names[maker] not in _STORAGE:
                return None
            inputs = self.operators[maker].inputs
            if inputs is None or inputs.size != 1:
                return None
            tensor = self.tensor(int(inputs[0]))
        return None

    def operator_label(self, index: int) -> str:
        """Name of an operator: that of its first output, else its type and place."""
        outputs = self.operators[index].outputs
        name = self.tensor(int(outputs[0])).name if outputs is not None and outputs.size and outputs[0] >= 0 else ""
        return name or f"{self.names[index]}#{index}"

"""Who makes and who reads each tensor of a subgraph, and which tensors are constants in disguise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from quantlib.operators import SAME, Integer, row
from quantlib.tflite import Model, Table, Tensor

from .grid import FakeQuant, Grid, Rounded, Shaped, Step, affine_of
from .trained import grid_behind, trained_grids

#: Operators between stored and real values, and those that do to real values what storing them would. Their output is
#: constant where their input is.
STORAGE = ("DEQUANTIZE", "DENSIFY", "QUANTIZE", "FAKE_QUANT")
#: What an operator that only rounds to a trained grid asks for: one scale before and after, and no kernel.
_FOLDED = Integer(SAME)


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
        """View of a tensor.

        Converters leave some that they made late without a shape; what operators of `STORAGE` make has that of what
        they read.
        """
        return self._views[index]

    @cached_property
    def _views(self) -> tuple[Tensor, ...]:
        return tuple(self._view(i) for i in range(len(self.table.tensors or ())))

    def _view(self, index: int) -> Tensor:
        tensor = Tensor(self.model, self.index, index)
        source = tensor
        for _ in range(8):
            if source.table.has_rank or source.shape:
                break
            maker = self.producers.get(source.index)
            if maker is None or self.names[maker] not in STORAGE:
                return tensor
            source = Tensor(self.model, self.index, int(self.operators[maker].inputs[0]))
        return Shaped(self.model, self.index, index, source.shape) if source is not tensor else tensor

    @cached_property
    def trained(self) -> dict[int, Grid]:
        """Grid of each float tensor that training left one for."""
        return trained_grids(self)

    @cached_property
    def folds(self) -> dict[int, Grid]:
        """Operators that round activations to a trained grid, and nothing else: integers need none of them.

        FAKE_QUANT, and each QUANTIZE with all that is made of it where that is DEQUANTIZE alone.
        """
        found: dict[int, Grid] = {}
        for o, name in enumerate(self.names):
            if name not in ("FAKE_QUANT", "QUANTIZE") or (grid := grid_behind(self, o)) is None:
                continue
            before, after = (int(v[0]) for v in (self.operators[o].inputs, self.operators[o].outputs))
            if self.tensor(before).type != "FLOAT32" or self.origin(before) is not None:
                continue
            if name == "FAKE_QUANT":
                found[o] = grid
                continue
            readers = [u.operator for u in self.uses.get(after, ())]
            alone = after not in self.ends and all(self.names[r] == "DEQUANTIZE" for r in readers)
            if readers and alone and grid.scale.size == 1:
                found.update(dict.fromkeys((o, *readers), grid))
        return found

    def integer(self, o: int) -> Integer | None:
        """What an operator's integer kernels take; None where it has none."""
        return _FOLDED if o in self.folds else row(self.names[o]).integer

    def moves(self, o: int) -> bool:
        """Whether an operator hands values on, in the scale that they have."""
        integer = self.integer(o)
        return integer is not None and integer.rule == SAME

    def moved_from(self, tensor: int) -> int:
        """The tensor that operators moved one from, and whose scale it has: itself where none did."""
        maker = self.producers.get(tensor)
        if maker is None or not self.moves(maker):
            return tensor
        read = {t for _, t in self.data(maker)}
        return self.moved_from(read.pop()) if len(read) == 1 else tensor

    def divides(self, tensor: int) -> bool:
        """Whether an operator that divides reads or writes a tensor."""
        near = {use.operator for use in self.uses.get(tensor, ())} | {self.producers.get(tensor, -1)}
        return any((integer := self.integer(o)) is not None and integer.divides for o in near if o >= 0)

    def ruled_by_greatest(self, tensor: int) -> str:
        """The operator that goes by a tensor's greatest values, at once or after these were moved; empty if none."""
        waiting, seen = [tensor], {tensor}
        while waiting:
            for use in self.uses.get(waiting.pop(), ()):
                integer = self.integer(use.operator)
                if integer is not None and integer.greatest and use.operand == 0:
                    return self.names[use.operator]
                outputs = self.operators[use.operator].outputs if self.moves(use.operator) else None
                made = [] if outputs is None else outputs.tolist()
                waiting += [t for t in made if t not in seen]
                seen.update(made)
        return ""

    def data(self, o: int) -> list[tuple[int, int]]:
        """Operand and tensor of each activation that an operator reads, constants included."""
        integer, inputs = self.integer(o), self.operators[o].inputs
        if integer is None or inputs is None:
            return []
        places = range(inputs.size) if integer.data is None else integer.data
        return [(k, int(inputs[k])) for k in places if k < inputs.size and inputs[k] >= 0]

    def origin(self, index: int) -> Tensor | None:
        """The constant that a tensor's values come from: itself, or what operators of `STORAGE` made it from.

        Where one of these rounds or dequantizes, it is the constant as their reader sees it. None where its values
        depend on the model's input.
        """
        if index not in self._origins:
            self._origins[index] = self._origin(index)
        return self._origins[index]

    @cached_property
    def _origins(self) -> dict[int, Tensor | None]:
        """What `origin` has found."""
        return {}

    def _origin(self, index: int) -> Tensor | None:
        steps: list[Step] = []
        tensor, seen = self.tensor(index), False
        for _ in range(8):
            if tensor.is_constant:
                seen = seen and tensor.type not in ("FLOAT32", "FLOAT16") and tensor.quantization is not None
                if not (steps or seen):
                    return tensor
                return Rounded(self.model, self.index, tensor.index, tuple(reversed(steps)))
            maker = self.producers.get(tensor.index)
            inputs = None if maker is None else self.operators[maker].inputs
            if maker is None or inputs is None or inputs.size != 1 or self.names[maker] not in STORAGE:
                return None
            if self.names[maker] in ("QUANTIZE", "FAKE_QUANT"):
                step = self._step(maker, tensor)
                if step is None or (self.names[maker] == "QUANTIZE" and tensor.index == index):
                    return None
                steps.append(step)
            seen = seen or self.names[maker] == "DEQUANTIZE"
            tensor = self.tensor(int(inputs[0]))
        return None

    def _step(self, o: int, made: Tensor) -> Step | None:
        """How an operator rounds; None where it can't be told."""
        if grid_behind(self, o) is None:
            return None
        if self.names[o] == "FAKE_QUANT":
            return FakeQuant.of(self.operators[o].builtin_options)
        return affine_of(made)

    def operator_label(self, index: int) -> str:
        """Name of an operator: that of its first output, else its type and place."""
        outputs = self.operators[index].outputs
        name = self.tensor(int(outputs[0])).name if outputs is not None and outputs.size and outputs[0] >= 0 else ""
        return name or f"{self.names[index]}#{index}"

"""An INT8 model with INT16 activations: the same weights, the same numbers, and room between them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from quantlib.numerics import Affine, retyped
from quantlib.operators import FIXED, NONE, SAME, Integer, OperatorRow, row
from quantlib.recipes import Graph
from quantlib.tflite import Data, Deferred, Draft, Table, called_subgraphs, tensor_type_code, tensor_types

from ..activations import carried
from ..edited import Line
from ..forms import with_form
from ..stored import as_bytes
from .rewriter import Refusal, Rewriter, vector

_NARROW, _WIDE = "INT8", "INT16"
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
#: Types from which, and to which, QUANTIZE and DEQUANTIZE of INT16 have kernels (tflite/kernels/quantize.cc).
_CONVERTED = ("FLOAT32", _NARROW, _WIDE)

_WHAT = "on INT16; each value of INT8 is a whole number of steps"


def steps_of(form: Affine) -> int:
    """How many steps of INT16 one of INT8 becomes."""
    return round(float(form.scale[0]) / float(retyped(form, _WIDE).scale[0]))


def wider(data: Data, form: Affine) -> Deferred:
    """Bytes of INT8 values as INT16 values of the same meaning."""
    steps, point = steps_of(form), int(form.zero_point[0])

    def produce(start: int, stop: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        values = data.read(start // 2, stop // 2).view(np.int8).astype(np.int16)
        return as_bytes(((values - point) * steps).astype(np.int16))

    return Deferred(2 * data.nbytes, produce, granule=2 * data.granule)


class Wide(Rewriter):
    """The operators of a subgraph, in order.

    Each tensor is made as INT16 or as INT8, as the operator that makes it can; QUANTIZE makes the other one, once,
    where an operator or an end wants it.

    Parameters
    ----------
    draft : Draft
    source : Graph
        The subgraph as it is.
    narrow : collection of int
        Inputs and outputs that stay INT8.
    called : bool
        Operators run it, and hand it INT8: what has such ends stays as it is.
    done, kept : list of Line
        The account, which is added to.
    """

    kind = _NARROW

    def __init__(
        self,
        draft: Draft,
        source: Graph,
        narrow: Collection[int],
        done: list[Line],
        kept: list[Line],
        *,
        called: bool = False,
    ) -> None:
        super().__init__(draft, source.index)
        self.source, self.done, self.kept, self.called = source, done, kept, called
        self.computed = {t for t in self.forms if self.data(t) is None}
        self.ends = {t: _NARROW if t in narrow else _WIDE for t in source.ends if t in self.computed}
        self.home: dict[int, str] = {}
        self.made: dict[tuple[int, str], int] = {}

    def run(self) -> bool:
        """Change the subgraph; say whether any operator computes on INT16 now."""
        if self.called and self.ends:
            self.kept.append(Line(f"subgraph {self.g}", "operators hand it INT8; stays INT8"))
            return False
        modes = self._modes()
        count = sum(mode == _WIDE and self.source.names[o] not in _CONVERSIONS for o, mode in enumerate(modes))
        if not count:
            return False
        self.done.append(Line(f"{count} operator{'s' * (count > 1)}", _WHAT))
        for t in vector(self.source.table.inputs):
            if t in self.computed:
                self._written(t, self.ends[t])
        for at, (operator, mode) in enumerate(zip(self.source.operators, modes, strict=True)):
            if not mode:
                self.order.append((operator, at))
            elif mode == _WIDE:
                self._widen(at, operator)
            else:
                self._as_it_is(at, operator)
        for t, kind in self.ends.items():
            if t in self.home:
                self._read(t, kind)
        self.graph.operators, self.graph.origins = [o for o, _ in self.order], [i for _, i in self.order]
        return True

    # -- which operators

    def _modes(self) -> list[str]:
        """Type of each operator's activations; empty where none is INT8."""
        modes: list[str] = []
        for at, operator in enumerate(self.source.operators):
            touched = self.computed.intersection((*vector(operator.inputs), *vector(operator.outputs)))
            try:
                if touched:
                    self._check(at, operator)
                modes.append(_WIDE if touched else "")
            except Refusal as refusal:
                if self.source.names[at] not in _CONVERSIONS:  # they follow from others
                    self.kept.append(Line(self.source.operator_label(at), f"{refusal}; stays INT8"))
                modes.append(_NARROW)
        for at, operator in enumerate(self.source.operators):
            if modes[at] == _WIDE and self._only_narrow(at, operator, modes):
                modes[at] = _NARROW
        return modes

    def _only_narrow(self, at: int, operator: Table, modes: list[str]) -> bool:
        """Whether an operator makes nothing new of INT8 values, or floats INT8 for operators that stay so alone."""
        if self.source.names[at] == "QUANTIZE" and self._type(vector(operator.inputs)[0]) == "FLOAT32":
            made = vector(operator.outputs)[0]
            readers = [modes[u.operator] for u in self.source.uses.get(made, ())]
            return bool(readers) and _WIDE not in readers and made not in self.ends
        makers = [self.source.producers.get(t, -1) for _, t in self.source.data(at) if t in self.computed]
        return self.source.moves(at) and bool(makers) and all(m >= 0 and modes[m] == _NARROW for m in makers)

    def _check(self, at: int, operator: Table) -> None:
        """Whether an operator computes on INT16 what it does on INT8."""
        name, known = self.source.names[at], row(self.source.names[at])
        if name in _CONVERSIONS:
            if others := {self._type(t) for t in (*vector(operator.inputs), *vector(operator.outputs))} - {
                *_CONVERTED
            }:
                raise Refusal(f"{name} between INT8 and {min(others)}")
            return
        if any(True for _ in called_subgraphs(operator)):
            raise Refusal(f"{name} and the subgraphs that it runs")
        if known.integer is None or _WIDE not in known.integer.types or known.integer.recurrent is not None:
            raise Refusal(known.refused or f"LiteRT has no INT16 kernel of {name}")
        if known.integer.divides:
            raise Refusal(f"LiteRT's INT16 kernel of {name} gets small quotients wrong")
        self._check_activations(at, operator, known.integer)
        self._check_constants(at, operator, known)

    def _check_activations(self, at: int, operator: Table, integer: Integer) -> None:
        name, outputs = self.source.names[at], vector(operator.outputs)
        made = [] if integer.rule == NONE else outputs
        if integer.outputs is not None:
            made = [outputs[k] for k in integer.outputs if k < len(outputs)]
        tensors = [*(t for _, t in self.source.data(at)), *made]
        odd = next((t for t in tensors if t not in self.forms), None)
        if odd is not None:
            raise Refusal(f"{name} with {self._type(odd)} tensor {self.name(odd)!r}, which has not one scale of INT8")
        forms = [self.forms[t] for t in tensors]
        if integer.rule == SAME and any(form != forms[0] for form in forms):
            raise Refusal(f"{name} between different scales, whose kernel copies integers")
        fixed = next(((scale, point) for kind, scale, point in integer.fixed if kind == _WIDE), None)
        for t in made if integer.rule == FIXED else ():
            form = retyped(self.forms[t], _WIDE)
            if fixed != (float(form.scale[0]), int(form.zero_point[0])):
                raise Refusal(f"{name} with another scale than its kernels write")
        if integer.least is not None and integer.least[2]:
            steps = [float(retyped(form, _WIDE).scale[0]) for form in forms]
            if steps[-1] < integer.least[2] * max(steps[:-1]):
                raise Refusal(f"{name} with a scale of {steps[-1]:.3g}, too fine for its INT16 kernel")

    def _check_constants(self, at: int, operator: Table, known: OperatorRow) -> None:
        name, inputs = self.source.names[at], vector(operator.inputs)
        for weight in known.weights:
            t = inputs[weight.operand] if weight.operand < len(inputs) else -1
            takes = weight.beside(_WIDE)
            if takes and (self.data(t) is None or self._type(t) not in takes):
                raise Refusal(f"{name} whose weight is no constant of {' or '.join(takes)}")
            if weight.static and self.before[t].sparsity is not None:
                raise Refusal(f"{name} with a sparse weight")
        bias = self._bias_of(known, inputs)
        if bias >= 0 and (self.data(bias) is None or self._type(bias) != "INT32"):
            raise Refusal(f"{name} whose bias is no constant of INT32")
        for t in (bias, *(t for _, t in self.source.data(at) if self.data(t) is not None)):
            if t >= 0:
                self.source.tensor(t).numpy()  # what can't be read is an error now, not when the file is written

    @staticmethod
    def _bias_of(known: OperatorRow, inputs: list[int]) -> int:
        return -1 if known.bias is None or known.bias >= len(inputs) else inputs[known.bias]

    def _type(self, t: int) -> str:
        return tensor_types()[self.before[t].type] if t >= 0 else ""

    # -- what they read and write

    def _written(self, t: int, kind: str) -> int:
        """Where a tensor is written in its first form."""
        self.home[t] = kind
        return self._tensor(t, kind)

    def _read(self, t: int, kind: str) -> int:
        """The tensor in a form; it is made where there is none yet."""
        if t not in self.home:
            return t
        if (t, kind) not in self.made:
            self.add("QUANTIZE", [self.made[t, self.home[t]]], [self._tensor(t, kind)])
        return self.made[t, kind]

    def _tensor(self, t: int, kind: str) -> int:
        """A tensor for a form: an end in the form of the end, others in their first form."""
        table = with_form(self.before[t], retyped(self.forms[t], kind))
        if kind == self.ends.get(t, self.home[t]):
            self.graph.tensors[t] = table
            self.made[t, kind] = t
        else:
            self.made[t, kind] = self.beside(t, kind.lower(), table)
        return self.made[t, kind]

    def _widen(self, at: int, operator: Table) -> None:
        name, inputs = self.source.names[at], vector(operator.inputs)
        if name in _CONVERSIONS:
            read = [self.made[t, self.home[t]] if t in self.home else t for t in inputs]
            if self._alike(inputs[0], vector(operator.outputs)[0]):
                return
            written = [self._written(t, _WIDE) if t in self.computed else t for t in vector(operator.outputs)]
            self.emit(operator.replace(inputs=read, outputs=written), at)
            return
        known, places = row(name), dict(self.source.data(at))
        bias = self._bias_of(known, inputs)
        read = [self._operand(t) if k in places else t for k, t in enumerate(inputs)]
        if known.bias is not None and bias >= 0:
            read[known.bias] = self._bias(bias, steps_of(self.forms[next(iter(places.values()))]))
        written = [self._written(t, _WIDE) if t in self.computed else t for t in vector(operator.outputs)]
        self.emit(operator.replace(inputs=read, outputs=written, builtin_options=self._options(at, operator)), at)

    def _alike(self, before: int, after: int) -> bool:
        """Whether two tensors are the same now that they have finer steps; the second isn't there then."""
        if not {before, after} <= self.computed or self.home.get(before) != _WIDE or after in self.ends:
            return False
        if retyped(self.forms[before], _WIDE) != retyped(self.forms[after], _WIDE):
            return False
        self.home[after], self.made[after, _WIDE] = _WIDE, self.made[before, _WIDE]
        return True

    def _operand(self, t: int) -> int:
        data = self.data(t)
        if data is None:
            return self._read(t, _WIDE)
        return self.constant(t, "wide", retyped(self.forms[t], _WIDE), wider(data, self.forms[t]))

    def _bias(self, t: int, steps: int) -> int:
        """A bias of INT64, whose scale follows that of the activations."""
        kind = f"INT64 {steps}"
        if (t, kind) not in self.constants:
            table, values = self.before[t], self.source.tensor(t).numpy().reshape(-1).astype(np.int64) * steps
            scales = table.quantization
            if scales is not None and scales.scale is not None:
                scales = scales.replace(scale=(scales.scale / np.float32(steps)).astype(np.float32))
            buffer = self.draft.add_buffer(values)
            made = table.replace(type=tensor_type_code("INT64"), quantization=scales, buffer=buffer)
            self.graph.tensors.append(made)
            self.constants[t, kind] = len(self.graph.tensors) - 1
        return self.constants[t, kind]

    def _options(self, at: int, operator: Table) -> Table | None:
        """Options that speak of INT16; an activation that only the INT8 range carried is fused."""
        name, options = self.source.names[at], operator.builtin_options
        found, changes = carried(self.source, at), {}
        if found.note:
            (self.done if found.code else self.kept).append(Line(self.source.operator_label(at), found.note))
        if found.code:
            changes["fused_activation_function"] = found.code
        if name in ("ADD", "SUB"):  # scales are no powers of two (tflite/kernels/add.cc)
            changes["pot_scale_int16"] = False
        if options is not None and options.stored().get("quantized_bias_type"):
            changes["quantized_bias_type"] = tensor_type_code("INT64")
        return (options or Table(row(name).options)).replace(**changes) if changes else options

    def _as_it_is(self, at: int, operator: Table) -> None:
        """Let an operator compute on INT8 still."""
        read = [self._read(t, _NARROW) for t in vector(operator.inputs)]
        written = [self._written(t, _NARROW) if t in self.computed else t for t in vector(operator.outputs)]
        self.order.append((operator.replace(inputs=read, outputs=written), at))

"""A UINT8 model as INT8: every stored integer less 128, nothing requantized."""

from __future__ import annotations

from types import MappingProxyType

from quantlib.numerics import retyped
from quantlib.operators import row
from quantlib.tflite import Draft, Table, called_subgraphs, tensor_types

from ..edited import Line
from ..forms import form_of, with_form
from ..versions import name_of
from .filters import FILTERED, filtered
from .rewriter import Refusal, Rewriter, vector

#: Operators that convert, whatever the integers.
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
#: Operators whose INT8 kernels round some results otherwise than those of UINT8; found by running both in LiteRT 2.3.
_ROUNDED = MappingProxyType(
    {
        "AVERAGE_POOL_2D": "halves of windows with an even count",
        "L2_NORMALIZATION": "some results",
        "RESIZE_BILINEAR": "some results",
    }
)


def _rounds(name: str, operator: Table) -> str:
    """How an operator's results may differ by 1; empty where they don't."""
    options = operator.builtin_options
    if name not in _ROUNDED or (name == "AVERAGE_POOL_2D" and options is not None and _is_odd(options)):
        return ""
    return f"{name} rounds {_ROUNDED[name]} otherwise in INT8: they may differ by 1"


def _is_odd(options: Table) -> bool:
    """Whether all windows of a pool have an odd count: those at the edges too."""
    valid = options.padding == 1
    return bool(valid and options.filter_width % 2 and options.filter_height % 2)


class Signed(Rewriter):
    """The operators of a subgraph, in order."""

    def __init__(self, draft: Draft, g: int, done: list[Line], kept: list[Line], *, exact: bool = True) -> None:
        super().__init__(draft, g, exact=exact)
        self.done, self.kept = done, kept
        self.unsigned: dict[int, int] = {}  # tensors that are there as UINT8 too

    def run(self) -> bool:
        """Change the subgraph; say whether it had anything to change."""
        for t, form in self.forms.items():
            if self.data(t) is None:
                self.graph.tensors[t] = with_form(self.before[t], retyped(form, "INT8"))
        for at, operator in enumerate(self.graph.operators):
            name = name_of(self.draft.codes[operator.opcode_index])
            if self.forms.keys().isdisjoint((*vector(operator.inputs), *vector(operator.outputs))):
                self.order.append((operator, at))
                continue
            try:
                if name in FILTERED:
                    what = filtered(self, at, operator, name)
                    if what:
                        self.done.append(Line(self.name(vector(operator.outputs)[0]), what))
                    continue
                self._check(name, operator)
                read = [self.plain(t) for t in vector(operator.inputs)]
                if name == "CONCATENATION":
                    read = [self._rescaled(t, vector(operator.outputs)[0]) for t in read]
                self.emit(operator.replace(inputs=read), at)
                if self.exact and (what := _rounds(name, operator)):
                    self.done.append(Line(self.name(vector(operator.outputs)[0]), what))
            except Refusal as refusal:
                self.kept.append(Line(self.name(vector(operator.outputs)[0]), f"{refusal}; stays UINT8"))
                self._as_it_is(at, operator)
        self.graph.operators, self.graph.origins = [o for o, _ in self.order], [i for _, i in self.order]
        return bool(self.forms)

    def _check(self, name: str, operator: Table) -> None:
        """Whether an operator computes on INT8 what it does on UINT8."""
        known = row(name).integer
        calls = any(True for _ in called_subgraphs(operator))  # what they run is INT8 as well
        if name not in _CONVERSIONS and not calls and (known is None or "INT8" not in known.types or known.recurrent):
            raise Refusal(f"{name} has no kernel for INT8 that does the same")
        if name == "CONCATENATION":
            forms = {self.forms.get(t) for t in (*vector(operator.inputs), *vector(operator.outputs))}
            if len(forms) > 1 and self.exact:
                raise Refusal("CONCATENATION of other scales than its output's, which its kernel for INT8 refuses")

    def _rescaled(self, t: int, other: int) -> int:
        """A tensor in the scale of another, as the UINT8 kernel of CONCATENATION has it while it copies."""
        table, wanted = self.graph.tensors[t], self.graph.tensors[other]
        if tensor_types()[table.type] != "INT8" or form_of(table, t) == form_of(wanted, other):
            return t
        self.graph.tensors.append(
            table.replace(name=f"{table.name}_rescaled", quantization=wanted.quantization, buffer=0)
        )
        made = len(self.graph.tensors) - 1
        self.add("QUANTIZE", [t], [made])
        return made

    def _as_it_is(self, at: int, operator: Table) -> None:
        """Let an operator compute on UINT8 still."""
        inputs, outputs = vector(operator.inputs), vector(operator.outputs)
        for t in dict.fromkeys(inputs):
            if t in self.forms and self.data(t) is None and t not in self.unsigned:
                self.unsigned[t] = self.beside(t, "uint8", self.before[t])
                self.add("QUANTIZE", [t], [self.unsigned[t]])
        made = [t for t in outputs if t in self.forms]
        for t in made:
            self.unsigned[t] = self.beside(t, "uint8", self.before[t])
        read, written = ([self.unsigned.get(t, t) for t in ends] for ends in (inputs, outputs))
        self.order.append((operator.replace(inputs=read, outputs=written), at))
        for t in made:
            self.add("QUANTIZE", [self.unsigned[t]], [t])

"""Inputs and outputs of a finished model in another type: QUANTIZE and DEQUANTIZE stripped, inserted or converted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, retyped
from quantlib.tflite import Draft, Table, tensor_types

from ..forms import NO_REQUANT, ends_of, form_of, same_values, with_form
from ..versions import name_of, raise_version

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True, slots=True)
class _Beyond:
    """What a conversion beside an end has on its other side."""

    tensor: int
    form: Affine | None


class Ends:
    """The ends of one subgraph, whose types change one after the other.

    An end keeps its tensor, and so its name, its place and what signatures say of it; what the model computes with is
    a tensor beside it.

    Parameters
    ----------
    draft : Draft
    g : int
        Index of the subgraph.

    Attributes
    ----------
    took_given : bool
        Whether an input got its scale from mean and deviation that were given.
    """

    def __init__(self, draft: Draft, g: int) -> None:
        self.draft, self.g, self.graph = draft, g, draft.graphs[g]
        self.heads: list[Table] = []
        self.removed: set[int] = set()
        self.ends = ends_of(draft, g)
        self.took_given = False

    def done(self) -> None:
        """Put the operators in order."""
        self.graph.rearrange(self.heads, self.removed)

    def input(self, t: int, kind: str, given: Affine | None = None) -> str:
        """Let an input have another type.

        Parameters
        ----------
        t : int
        kind : str
            One of `END_TYPES`.
        given : Affine, optional
            What integers mean where the model is float and doesn't say it.

        Returns
        -------
        str
            What was done; empty where it has the type already.
        """
        table = self.graph.tensors[t]
        old, before = self._form(t), tensor_types()[table.type]
        if before == kind:
            return ""
        self._check(t)
        readers = list(self._readers(t))
        after = {at: beyond for at in readers if (beyond := self._beyond(at, "outputs")) is not None}
        new = self._wanted(t, old, kind, [after.get(at) for at in readers], given, "QUANTIZE")
        self.graph.tensors[t] = with_form(table, new)
        done: list[str] = []
        left = []
        for at in readers:
            name, beyond = self._name(at), after.get(at)
            if beyond is None or not self._may_skip(old, beyond.form, new, output=False):
                left.append(at)
            elif beyond.form == new and beyond.tensor not in self.ends:
                self._rename(beyond.tensor, t)
                self.removed.add(at)
                done.append(f"{name} stripped")
            elif beyond.form != new and (new is None or _has_kernel(new, beyond.form)):
                self.graph.operators[at] = self._conversion(t, beyond.tensor)
                done.append(f"{name} converted")
            else:
                left.append(at)
        if left:
            inner = self._beside(table, old)
            for at in left:
                self._replace(at, t, inner)
            self.heads += self._chain(t, inner)
            done.append(f"{_between(new, old)} inserted")
        return f"{before} -> {kind}: {', '.join(dict.fromkeys(done)) or 'nobody reads it'}"

    def output(self, t: int, kind: str) -> str:
        """Let an output have another type; as `input`."""
        table = self.graph.tensors[t]
        old, before = self._form(t), tensor_types()[table.type]
        if before == kind:
            return ""
        self._check(t)
        maker = self._maker(t)
        core = self._beyond(maker, "inputs")
        new = self._wanted(t, old, kind, [core], None, "DEQUANTIZE")
        self.graph.tensors[t] = with_form(table, new)
        others = list(self._readers(t))
        if core is None or not self._may_skip(old, core.form, new, output=True):
            inner = self._beside(table, old)
            self._rename(t, inner)
            self._append(self._chain(inner, t))
            return f"{before} -> {kind}: {_between(old, new)} inserted"
        name = self._name(maker)
        if others:  # they read the old form still
            inner = self._beside(table, old)
            for at in others:
                self._replace(at, t, inner)
            self.graph.operators[maker] = self.graph.operators[maker].replace(outputs=[inner])
        else:
            self.removed.add(maker)
        if core.form == new and core.tensor not in self.ends:
            self._rename(core.tensor, t)
            return f"{before} -> {kind}: {name} {'kept for other readers' if others else 'stripped'}"
        self._append(self._chain(core.tensor, t))
        return f"{before} -> {kind}: {name} converted"

    def _wanted(
        self, t: int, old: Affine | None, kind: str, near: Sequence[_Beyond | None], given: Affine | None, beside: str
    ) -> Affine | None:
        """What the end's values are to mean; `near` is what conversions beside it make of them."""
        if kind == "FLOAT32":
            return None
        integers = [beyond.form for beyond in near if beyond is not None and beyond.form is not None]
        if len(integers) == len(near) and len(set(integers)) == 1 and integers[0].type.name == kind:
            return integers[0]
        for form in integers:
            if old is None or same_values(old, form):
                return retyped(form, kind)
        known = old if old is not None else given
        if known is not None:
            self.took_given |= old is None
            return retyped(known, kind)
        stats = ", or give mean and deviation of the input (--input-stats MEAN,STD)" if beside == "QUANTIZE" else ""
        raise InvalidValue(
            f"{self._where(t)}: FLOAT32 without {beside} beside it, so no scale for {kind} is known; quantize the "
            f"model with calibration data{stats}"
        )

    @staticmethod
    def _may_skip(old: Affine | None, other: Affine | None, new: Affine | None, *, output: bool) -> bool:
        """Whether values may go from an end's new form to that beyond a conversion without passing its old one.

        Not where the old form clips or rounds what the two others would keep.
        """
        if old is None:
            return True
        if other is None:
            alike = new is not None and new.type.bits == old.type.bits and same_values(new, old)
            return not output or new is None or alike
        return new == other or same_values(old, other) or old.type.bits < other.type.bits

    def _beyond(self, at: int, side: str) -> _Beyond | None:
        """The other side of a conversion; None where an operator is none, or that side can't be an end."""
        if self._name(at) not in _CONVERSIONS:
            return None
        t = self._vector(at, side)[0]
        computed = t in self.ends or any(t in self._vector(o, "outputs") for o in self._present())
        if not computed or self.graph.tensors[t].is_variable:
            return None
        try:
            return _Beyond(t, self._form(t))
        except InvalidValue:  # per channel, or of a type that ends don't have
            return None

    def _check(self, t: int) -> None:
        if t in self.graph.inputs and t in self.graph.outputs:
            raise InvalidValue(f"{self._where(t)}: an input and an output at once; its type can't be changed")
        table = self.graph.tensors[t]
        if table.is_variable:
            raise InvalidValue(f"{self._where(t)}: a variable; its type can't be changed")

    def _maker(self, t: int) -> int:
        for at in self._present():
            if t in self._vector(at, "outputs"):
                return at
        raise InvalidValue(f"{self._where(t)}: no operator computes it, so its type can't be changed")

    def _chain(self, before: int, after: int) -> list[Table]:
        """Conversions from one tensor to another; by INT8 where there is no kernel."""
        first, last = self._form(before), self._form(after)
        if first is None or last is None or _has_kernel(first, last):
            return [self._conversion(before, after)]
        between = self._beside(self.graph.tensors[after], retyped(last, "INT8"))
        return [self._conversion(before, between), self._conversion(between, after)]

    def _conversion(self, before: int, after: int) -> Table:
        name = _between(self._form(before), self._form(after))
        return raise_version(self.draft, self.graph, self.draft.operator(name, [before], [after]))

    def _beside(self, table: Table, form: Affine | None) -> int:
        """A new tensor like another one, in a form."""
        suffix = "float" if form is None else form.type.name.lower()
        self.graph.tensors.append(with_form(table, form).replace(name=f"{table.name or ''}_{suffix}"))
        return len(self.graph.tensors) - 1

    def _append(self, operators: list[Table]) -> None:
        for operator in operators:
            self.graph.append(operator)

    def _present(self) -> Iterator[int]:
        return (at for at in range(len(self.graph.operators)) if at not in self.removed)

    def _readers(self, t: int) -> Iterator[int]:
        return (at for at in self._present() if t in self._vector(at, "inputs"))

    def _vector(self, at: int, name: str) -> list[int]:
        vector = getattr(self.graph.operators[at], name)
        return [] if vector is None else [int(i) for i in vector]

    def _name(self, at: int) -> str:
        return name_of(self.draft.codes[self.graph.operators[at].opcode_index])

    def _form(self, t: int) -> Affine | None:
        return form_of(self.graph.tensors[t], self._where(t))

    def _where(self, t: int) -> str:
        return f"tensor {self.graph.tensors[t].name or ''!r} ({self.g}, {t})"

    def _replace(self, at: int, old: int, new: int) -> None:
        """Let one operator read another tensor."""
        inputs = [new if i == old else i for i in self._vector(at, "inputs")]
        self.graph.operators[at] = self.graph.operators[at].replace(inputs=inputs)

    def _rename(self, old: int, new: int) -> None:
        """Let all operators make and read another tensor in the place of one."""
        for at in self._present():
            changes = {}
            for name in ("inputs", "outputs"):
                vector = self._vector(at, name)
                if old in vector:
                    changes[name] = [new if i == old else i for i in vector]
            if changes:
                self.graph.operators[at] = self.graph.operators[at].replace(**changes)


def _between(before: Affine | None, after: Affine | None) -> str:
    """Name of the operator from one form to another."""
    return "DEQUANTIZE" if before is not None and after is None else "QUANTIZE"


def _has_kernel(first: Affine, last: Affine | None) -> bool:
    return last is None or (first.type.name, last.type.name) not in NO_REQUANT

"""`Target`: what a runtime or device takes, and the one evaluator of all profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .conditions import Condition, hybrid_weight
from .forms import Form, types_of
from .operation import Operand, Operation, Place, Reason

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Rule:
    """A requirement on operators of some types.

    Attributes
    ----------
    id : str
        A profile that extends another replaces its rules by this name.
    operators : tuple of str
        Operator types; empty for all.
    other_than : tuple of str
        Operator types that are left out.
    when : tuple of Condition
        The rule says nothing unless all of these hold.
    require : tuple of Condition
        It is violated where one of these fails.
    reason, remedy : str
        Texts, with ``{type}``, ``{scale}``, ``{zero_point}``, ``{shape}``, ``{axis}`` of the operand that fails, and
        ``{operator}``, ``{version}``.
    source : str
        Where the fact comes from.
    """

    id: str
    operators: tuple[str, ...]
    other_than: tuple[str, ...]
    when: tuple[Condition, ...]
    require: tuple[Condition, ...]
    reason: str
    remedy: str
    source: str = ""

    def concerns(self, operator: str) -> bool:
        """Whether the rule speaks of an operator type."""
        return (not self.operators or operator in self.operators) and operator not in self.other_than

    def violations(self, operation: Operation) -> Iterator[Reason]:
        """At most one reason for each condition."""
        if not all(c.verdict(operation)[0] for c in self.when):
            return
        for condition in self.require:
            good, place = condition.verdict(operation)
            if good is False:
                words = _words(operation, place)
                yield Reason(self.reason.format_map(words), self.remedy.format_map(words), place)


def _words(operation: Operation, place: Place | None) -> dict[str, object]:
    words: dict[str, object] = {"operator": operation.operator, "version": operation.version}
    operand = dict(operation.operands()).get(place) if place is not None else None
    if operand is not None:
        words |= {"type": operand.type, "shape": list(operand.shape)}
        words |= {"scale": _numbers(operand.scale.tolist()), "zero_point": _numbers(operand.zero_point.tolist())}
        words["axis"] = operand.quantization.quantized_dimension if operand.quantization else 0
    return words


def _numbers(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.9g}"
    return f"{min(values):.4g}..{max(values):.4g}" if values else "none"


@dataclass(frozen=True, slots=True)
class Accept:
    """An operator type that a target has: its highest version, and the types that its kernels take."""

    forms: tuple[Form, ...] = ()
    version: int | None = None
    constants: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """What a runtime or device takes. `load` makes one from its profile.

    Attributes
    ----------
    name, title : str
    sources : tuple of str
        Where the facts come from.
    notes : tuple of str
        What else there is to know, above all which facts nobody verified.
    float_ok, hybrid_ok, int16_ok, uint8_ok : bool
        Whether it computes in float32, with float activations and integer weights, with int16 and uint8 activations.
    dense_per_tensor : bool
        FULLY_CONNECTED takes one scale for its weights, not one a channel.
    static_shapes : bool
        All shapes must be known when the model is loaded.
    external_buffers, sparsity : bool
        Whether it reads buffers beyond 2 GiB or from another file, and tensors that are stored sparse.
    custom : tuple of str
        Codes of custom operators that it has.
    io_types, element_types : tuple of str
        Element types of the model's inputs and outputs, and of any tensor; empty where all are.
    max_rank : int or None
    other_operators : bool
        Whether operators that the profile doesn't name run as well, as far as LiteRT knows their version.
    operators : mapping of str to Accept
    rules : tuple of Rule
    remedies : mapping of str to str
        Text for each general requirement.

    Examples
    --------
    >>> from quantlib import targets
    >>> micro = targets.load("tflite-micro")
    >>> micro.hybrid_ok, micro.float_ok, micro.io_types
    (False, True, ())
    >>> x = targets.Operand("INT8", (1, 8))
    >>> print(micro.violations(targets.Operation("GELU", 2, (x,), (x,)))[0].reason)
    tflite-micro has no kernel of GELU
    """

    name: str
    title: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    float_ok: bool
    hybrid_ok: bool
    int16_ok: bool
    uint8_ok: bool
    dense_per_tensor: bool
    static_shapes: bool
    external_buffers: bool
    sparsity: bool
    other_operators: bool
    custom: tuple[str, ...]
    io_types: tuple[str, ...]
    element_types: tuple[str, ...]
    max_rank: int | None
    operators: Mapping[str, Accept]
    rules: tuple[Rule, ...]
    remedies: Mapping[str, str]

    def violations(self, operation: Operation) -> tuple[Reason, ...]:
        """Say why the target doesn't run an operation.

        Parameters
        ----------
        operation : Operation
            An operator that stands in a model, or one that is only planned.

        Returns
        -------
        tuple of Reason
            Empty where it runs.
        """
        reasons = list(self._kernel(operation))
        if reasons:
            return tuple(reasons)
        reasons += self._operands(operation)
        if not reasons:
            reasons += self._types(operation)
        for rule in self.rules:
            if rule.concerns(operation.operator):
                reasons += rule.violations(operation)
        return tuple(dict.fromkeys(reasons))

    def _reason(self, operation: Operation, text: str, remedy: str, place: Place | None = None) -> Reason:
        return Reason(text, self.remedies[remedy].format_map({"operator": operation.operator}), place)

    def _kernel(self, operation: Operation) -> Iterator[Reason]:
        """Whether there is a kernel, in this version."""
        name, version = operation.operator, operation.version
        if name in self.custom:
            return
        accept = self.operators.get(name)
        if accept is None and not (self.other_operators and operation.accepted is not None):
            yield self._reason(operation, f"{self.name} has no kernel of {name}", "operator")
            return
        highest = accept.version if accept is not None else None
        if highest is not None and version > highest:
            yield self._reason(
                operation,
                f"{name} has version {version}, and {self.name} takes it up to version {highest}",
                "version",
            )
        elif self.other_operators and operation.accepted is not None and version not in operation.accepted:
            versions = f"{operation.accepted[0]} to {operation.accepted[-1]}"
            yield self._reason(
                operation, f"{name} has version {version}, and {self.name} takes versions {versions}", "version"
            )

    def _operands(self, operation: Operation) -> Iterator[Reason]:
        """What every tensor has to keep to."""
        tests: tuple[tuple[str, bool, Callable[[Operand], bool], str], ...] = (
            (
                "float",
                not self.float_ok,
                lambda x: x.type == "FLOAT32",
                "is {0.type}, and the target computes in integers",
            ),
            (
                "element_type",
                bool(self.element_types),
                lambda x: x.type not in self.element_types,
                "is {0.type}, which the target doesn't read",
            ),
            ("sparse", not self.sparsity, lambda x: x.sparse, "is stored sparse"),
            ("dynamic", self.static_shapes, lambda x: x.dynamic, "has a dimension that is known at run time only"),
            (
                "rank",
                self.max_rank is not None,
                lambda x: len(x.shape) > (self.max_rank or 0),
                f"has shape {{0.shape}}, and at most {self.max_rank} dimensions are taken",
            ),
        )
        for place, operand in operation.operands():
            for remedy, active, fails, text in tests:
                if active and fails(operand):
                    yield self._reason(operation, text.format(operand), remedy, place)
                    break
        accept = self.operators.get(operation.operator, Accept())
        for index in accept.constants:
            for place, operand in operation.at(f"in{index}"):
                if not operand.constant:
                    yield self._reason(
                        operation,
                        f"is computed at run time, and {operation.operator} takes a constant as operand {index}",
                        "constant",
                        place,
                    )

    def _types(self, operation: Operation) -> Iterator[Reason]:
        """Whether a kernel takes these element types."""
        weight = None if self.hybrid_ok else hybrid_weight(operation)
        if weight is not None:
            text = f"holds integer weights for float activations (hybrid), {types_of(operation)}"
            yield self._reason(operation, text, "hybrid", weight)
            return
        accept = self.operators.get(operation.operator, Accept())
        if accept.forms and not any(form.matches(operation) for form in accept.forms):
            known = "; ".join(map(str, accept.forms))
            yield self._reason(operation, f"has types {types_of(operation)}, and {self.name} takes {known}", "types")

    def __repr__(self) -> str:
        return f"<Target {self.name}: {self.title}>"

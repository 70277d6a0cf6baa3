"""What of an operator decides its version, and the conditions that version rules are made of.

The conditions follow `tflite/converter/tools/versioning/op_version.cc` and `op_signature.cc` of LiteRT at
commit f67457790c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue
from quantlib.frozen import Frozen

FLOAT8 = ("float8_e4m3fn", "float8_e5m2")

ELEMENT_TYPES = frozenset(
    [
        *FLOAT8,
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("int2", "int4", "int8", "int16", "int32", "int64"),
        *("uint4", "uint8", "uint16", "uint32", "uint64"),
        *("bool", "string", "resource", "variant"),
    ]
)
"""The members of the schema's TensorType, in lower case."""

OPTION_DEFAULTS: Mapping[str, int] = MappingProxyType(
    {"dilation_w_factor": 1, "dilation_h_factor": 1, "pot_scale_int16": 1}
)
"""Schema defaults, other than zero, of the options that rules look at."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What of an operator decides its version.

    Parameters
    ----------
    operator : str
        Name in the schema's BuiltinOperator, ``"CONV_2D"``.
    inputs : tuple of (str or None)
        Element type of each input by its TensorType name, ``"int8"`` or ``"INT8"`` (kept in lower case); None
        for an absent one (index -1), which still counts as an input.
    outputs : tuple of str
        Element type of each output.
    options : mapping of str to Any
        The operator's options by schema field name, enum values as int. A missing field has the
        schema's default.
    input_shapes : tuple of (tuple of int, or None)
        Shape of each input. None, or a missing entry, is a tensor without a shape, which counts as rank 0.
    scales : tuple of (float or None)
        First scale of input 0, input 1 and output 0, None where there is none. Only MUL looks at it.
    per_channel : bool
        Whether the weights (DEQUANTIZE: the input; QUANTIZE: the output) have as many scales as channels.
        CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED count a single channel with its single scale, too;
        EMBEDDING_LOOKUP, DEQUANTIZE and QUANTIZE want more than one.
    sparse : bool
        Whether the weights carry sparsity parameters. Only FULLY_CONNECTED looks at it.
    quantized : bool
        Whether input 0 (MUL: input 0 or 1) carries quantization parameters. Only ABS, ADD and MUL of int16
        look at it.

    Raises
    ------
    InvalidValue
        An element type that isn't in the schema.

    Examples
    --------
    >>> Signature("CONV_2D", ("INT8", "INT8", "INT32"), ("INT8",)).inputs
    ('int8', 'int8', 'int32')
    """

    operator: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=Frozen)
    input_shapes: tuple[tuple[int, ...] | None, ...] = ()
    scales: tuple[float | None, ...] = ()
    per_channel: bool = False
    sparse: bool = False
    quantized: bool = True

    def __post_init__(self) -> None:
        """Fold the element types to lower case, and refuse unknown ones."""
        inputs = tuple(None if name is None else name.lower() for name in self.inputs)
        outputs = tuple(name.lower() for name in self.outputs)
        for name in (*inputs, *outputs):
            if name is not None and name not in ELEMENT_TYPES:
                raise InvalidValue(
                    f"{name!r} is not an element type of the schema, in the signature of {self.operator}; "
                    "give a TensorType name such as 'int8'"
                )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outputs", outputs)

    def input(self, index: int) -> str | None:
        """Element type of an input; None where it is absent or there are fewer inputs."""
        return self.inputs[index] if index < len(self.inputs) else None

    def output(self, index: int) -> str | None:
        """Element type of an output; None where there are fewer outputs."""
        return self.outputs[index] if index < len(self.outputs) else None

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of an input; ``()`` where it has none."""
        return (self.input_shapes[index] or ()) if index < len(self.input_shapes) else ()

    def option(self, name: str) -> Any:
        """Value of an option; the schema's default where it is missing."""
        return self.options.get(name, OPTION_DEFAULTS.get(name, 0))


Condition = Callable[[Signature], bool]
Rule = tuple[int, tuple[Condition, ...]]
"""A version, and the conditions that must all hold for it."""
Rules = tuple[Rule, ...]
"""An operator's rules: the first that holds wins."""


def when(version: int, *conditions: Condition) -> Rule:
    """Write one line of a rule table; without conditions it always holds."""
    return version, conditions


def holds(rule: Rule, signature: Signature) -> bool:
    """Tell whether all conditions of a rule hold."""
    return all(condition(signature) for condition in rule[1])


def input_is(*types: str, at: int = 0) -> Condition:
    """Hold when input `at` has one of these element types."""
    return lambda signature: signature.input(at) in types


def output_is(*types: str, at: int = 0) -> Condition:
    """Hold when output `at` has one of these element types."""
    return lambda signature: signature.output(at) in types


def either_side(*types: str) -> Condition:
    """Hold when input 0 or output 0 has one of these element types."""
    return any_of(input_is(*types), output_is(*types))


def any_of(*conditions: Condition) -> Condition:
    """Hold when at least one of the conditions holds."""
    return lambda signature: any(condition(signature) for condition in conditions)


def negated(condition: Condition) -> Condition:
    """Hold when the condition doesn't."""
    return lambda signature: not condition(signature)


def operands(data: str, weights: str, output: str, *, weights_at: int = 1) -> Condition:
    """Hold when input 0, weights and output 0 have these element types."""
    return lambda signature: (
        signature.input(0) == data and signature.input(weights_at) == weights and signature.output(0) == output
    )


def option(name: str) -> Condition:
    """Hold when the option is neither false nor zero."""
    return lambda signature: bool(signature.option(name))


def option_is(name: str, value: int) -> Condition:
    """Hold when the option has this value."""
    return lambda signature: bool(signature.option(name) == value)


def rank_above(rank: int) -> Condition:
    """Hold when input 0 has more than this many dimensions."""
    return lambda signature: len(signature.shape(0)) > rank


def rank_is(rank: int, at: int = 0) -> Condition:
    """Hold when input `at` has this many dimensions."""
    return lambda signature: len(signature.shape(at)) == rank


def per_channel(signature: Signature) -> bool:
    """Hold when there is one scale per channel."""
    return signature.per_channel


def sparse(signature: Signature) -> bool:
    """Hold when the weights are sparse."""
    return signature.sparse


def quantized(signature: Signature) -> bool:
    """Hold when the input carries quantization parameters."""
    return signature.quantized


def int16_through(signature: Signature) -> bool:
    """Hold when input 0 and output 0 are both int16."""
    return signature.input(0) == signature.output(0) == "int16"


def broadcast_above_rank_4(signature: Signature) -> bool:
    """Hold when inputs 0 and 1 differ in shape, and some input has more than 4 dimensions."""
    if len(signature.inputs) < 2 or signature.shape(0) == signature.shape(1):
        return False
    return max(len(shape or ()) for shape in signature.input_shapes) > 4


def grouped(signature: Signature) -> bool:
    """Hold when a CONV_2D input has other than the filter's number of input channels (axis 3 of both)."""
    data, weights = signature.shape(0), signature.shape(1)
    return len(data) == 4 and len(weights) == 4 and data[3] != weights[3]


def rescale_at_least_1(signature: Signature) -> bool:
    """Hold when scale 0 * scale 1 / output scale, in float32 as LiteRT computes it, is at least 1."""
    if len(signature.scales) < 3:
        return False
    with np.errstate(all="ignore"):  # scales come from files: any value is possible
        first, second, output = (np.float32(scale or 0) for scale in signature.scales[:3])
        return bool(first and second and output and first * second / output >= 1)

"""All that is known of an operator: one folder per family, one row per operator."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from quantlib.doors import late
from quantlib.errors import InvalidValue

from .kernel import Call, Kernel
from .row import ALL_TYPES, FIXED, NONE, OWN, SAME, Integer, OperatorRow, Recurrent, Weight
from .versions import Signature, accepted_versions, maximum_version, minimum_runtime, operator_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .description import VERIFIED_WITH, Arithmetic, Multiplier, Shapes
    from .integer import RUNTIMES, IntegerKernel, Operand, QuantizedOperator
    from .windows import patches

__all__ = [
    "ALL_TYPES",
    "FAMILIES",
    "FIXED",
    "NONE",
    "OWN",
    "RUNTIMES",
    "SAME",
    "VERIFIED_WITH",
    "Arithmetic",
    "Call",
    "Integer",
    "IntegerKernel",
    "Kernel",
    "Multiplier",
    "Operand",
    "OperatorRow",
    "QuantizedOperator",
    "Recurrent",
    "Shapes",
    "Signature",
    "Weight",
    "accepted_versions",
    "arithmetic",
    "family",
    "integer_kernel",
    "kernel",
    "maximum_version",
    "minimum_runtime",
    "operator_version",
    "patches",
    "row",
    "rows",
]

#: The folders of this room; each has a ``rows.py``, and a ``floating.py`` where NumPy can run its operators.
FAMILIES = (
    "activation",
    "convolution",
    "detection",
    "elementwise",
    "matmul",
    "movement",
    "normalization",
    "pooling",
    "quantization",
    "recurrent",
    "reduction",
    "resize",
)


@cache
def _families() -> Mapping[str, Mapping[str, OperatorRow]]:
    found = {name: import_module(f".{name}.rows", __name__).ROWS for name in FAMILIES}
    return MappingProxyType({name: {row.name: row for row in rows} for name, rows in found.items()})


@cache
def rows() -> Mapping[str, OperatorRow]:
    """All rows by operator name."""
    return MappingProxyType({name: row for family in _families().values() for name, row in family.items()})


def row(name: str) -> OperatorRow:
    """Row of an operator; an empty one for operators that have none."""
    return rows().get(name) or OperatorRow(name)


def family(name: str) -> str | None:
    """Folder of an operator; None for operators without a row."""
    return next((folder for folder, found in _families().items() if name in found), None)


def kernel(name: str) -> Kernel | None:
    """Float kernel of an operator; None where there is none. Its module is loaded here, on first use."""
    found: Kernel | None = _kernels(name, "floating").get(name)
    return found


def integer_kernel(operator: QuantizedOperator) -> Kernel | None:
    """Make the integer kernel of an operator; None where there is none for its types and runtime.

    Its module is loaded here, on first use.

    Raises
    ------
    InvalidValue
        If the operator's scales, options or constants can't be computed with.
    """
    served = _served(operator)
    return None if served is None else served[0].prepare(served[1])


def _served(operator: QuantizedOperator) -> tuple[IntegerKernel, QuantizedOperator] | None:
    """What serves an operator, and the operator with the runtime whose kernel that is."""
    candidates: Sequence[IntegerKernel] = _kernels(operator.name, "integer").get(operator.name, ())
    for runtime in _runtimes(operator.runtime):
        at = replace(operator, runtime=runtime)
        for candidate in candidates:
            if runtime in candidate.runtimes and candidate.serves(at):
                return candidate, at
    return None


def _runtimes(runtime: str) -> tuple[str, ...]:
    """Whose kernels a runtime takes, in order."""
    return (runtime, "builtin") if runtime == "xnnpack" else (runtime,)


def arithmetic(operator: QuantizedOperator, shapes: Shapes = ()) -> Arithmetic | None:
    """Say how an operator's integer kernel computes, as numbers: multipliers, clamp, windows, tables.

    They come from what the kernel is made of.

    Parameters
    ----------
    operator : QuantizedOperator
    shapes : sequence of (tuple of int, or None)
        Shapes of its operands and, behind these, of its outputs: for what depends on them, such as padding.

    Returns
    -------
    Arithmetic or None
        None for an operator that nobody described for its types and runtime.

    Raises
    ------
    InvalidValue
        As `integer_kernel`; or if there are other shapes than operands and outputs.

    Examples
    --------
    >>> from quantlib.numerics import Affine
    >>> from quantlib.tflite import Table
    >>> x, w = Operand("INT8", Affine("INT8", 0.5)), Operand("INT8", Affine("INT8", 0.25))
    >>> y = Operand("INT8", Affine("INT8", 1.0, -128))
    >>> dense = QuantizedOperator("FULLY_CONNECTED", (x, w), (y,), Table("FullyConnectedOptions"))
    >>> found = arithmetic(dense, ((1, 8), (4, 8), (1, 4)))
    >>> found.multipliers[0].real, found.multipliers[0].mantissa, found.multipliers[0].shift, found.clamp
    (array([0.125]), array([1073741824], dtype=int32), array([-2], dtype=int32), (-128, 127))
    """
    count = len(operator.inputs) + len(operator.outputs)
    if len(shapes) != count:
        raise InvalidValue(
            f"{len(shapes)} shapes for {operator.name}; {count}, of operands and outputs, are required"
        )
    served = _served(operator)
    at = replace(operator, runtime=_runtimes(operator.runtime)[-1]) if served is None else served[1]
    for candidate in _kernels(operator.name, "arithmetic").get(operator.name, ()):
        found: Arithmetic | None = candidate.describe(at, shapes, partial(integer_kernel, at))
        if found is not None:
            return replace(found, runtime=at.runtime)
    return None


def _kernels(name: str, kind: str) -> Mapping[str, Any]:
    """Table of kernels, or of their descriptions, in an operator's folder; an empty one where it has none."""
    folder = family(name)
    if folder is None:
        return {}
    try:
        module = import_module(f".{folder}.{kind}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{folder}.{kind}":
            raise
        return {}
    found: Mapping[str, Any] = module.KERNELS
    return found


#: What running integers needs, and planning doesn't.
__getattr__ = late(
    __name__,
    {
        "description": ("VERIFIED_WITH", "Arithmetic", "Multiplier", "Shapes"),
        "integer": ("RUNTIMES", "IntegerKernel", "Operand", "QuantizedOperator"),
        "windows": ("patches",),
    },
)

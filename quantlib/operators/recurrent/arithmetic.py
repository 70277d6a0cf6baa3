"""What integer recurrent operators compute with."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..description import Arithmetic, Description, fixed, quantized, split
from ..integer_table import all_values
from .integer import svdf_multipliers
from .integer_gates import sigmoid_of_gate, tanh_of_gate
from .integer_lstm import LANES, is_integer_lstm, is_ordered, lstm_constants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..description import Multiplier, Shapes
    from ..integer import QuantizedOperator
    from ..kernel import Kernel
    from .integer_lstm import IntegerLstm

#: Gates in the order of their operands.
_GATES = ("input", "forget", "cell", "output")


def _multipliers(lstm: IntegerLstm) -> Iterator[Multiplier]:
    for name, gate in zip(_GATES, lstm.gates, strict=True):
        if gate is None:
            continue
        for part, product in (("x", gate.inputs), ("state", gate.recurrent), ("peephole", gate.peephole)):
            if product is not None:
                yield split(f"{name}_{part}", product.mantissa, product.shift)
        if gate.norm is not None:
            yield split(f"{name}_norm", *gate.norm.multiplier)
    yield split("hidden", *lstm.hidden)
    if lstm.projection is not None:
        yield split("projection", lstm.projection.mantissa, lstm.projection.shift)


def _lstm(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if not is_integer_lstm(operator):
        return None
    lstm, values = lstm_constants(operator), np.sort(all_values(np.int16))
    guards = {name: g.norm.variance_guard for name, g in zip(_GATES, lstm.gates, strict=True) if g and g.norm}
    settings = {
        "steps_first": is_ordered(operator),
        "cell_exponent": lstm.cell_exponent,
        "cell_clip": lstm.cell_clip,
        "projection_clip": lstm.projection_clip,
        "hidden_zero_point": lstm.hidden_zero_point,
        "peephole_lanes": LANES,
        **{f"{name}_variance_guard": guard for name, guard in guards.items()},
    }
    tables = {
        "sigmoid": sigmoid_of_gate(values),
        "tanh_gate": tanh_of_gate(values),
        "tanh_cell": tanh_of_gate(values, 15 + lstm.cell_exponent),
    }
    return Arithmetic("lstm", tuple(_multipliers(lstm)), (-128, 127), settings, tables)


def _svdf(operator: QuantizedOperator, shapes: Shapes, make: Callable[[], Kernel | None]) -> Arithmetic | None:
    if not quantized(operator.operand(0), operator.output):
        return None
    first, second = svdf_multipliers(operator)
    affine = operator.output.parameters
    multipliers = (fixed("state", first), fixed("output", second))
    return Arithmetic("svdf", multipliers, (affine.qmin, affine.qmax), {"rank": operator.options.rank})


KERNELS: Mapping[str, Sequence[Description]] = MappingProxyType(
    {
        **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), (Description(_lstm),)),
        "SVDF": (Description(_svdf),),
    }
)

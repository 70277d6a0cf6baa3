"""Every operator with an integer kernel has plain functions behind a public door."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine
from quantlib.operators import FAMILIES, Operand, QuantizedOperator, integer_kernel, kernels
from quantlib.operators.kernel import Call
from quantlib.tflite import Table

#: What has its plain function elsewhere: in numerics, or in floats.
ELSEWHERE = {"DEQUANTIZE", "TFLite_Detection_PostProcess"}
#: What has no integer kernel of its own in the runtime `reference`: a float kernel takes the integers as they are.
AS_THEY_ARE = {"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}


def tables() -> dict[str, object]:
    found: dict[str, object] = {}
    for family in FAMILIES:
        try:
            found |= import_module(f"quantlib.operators.{family}.integer").KERNELS
        except ModuleNotFoundError:
            continue
    return found


def test_every_operator_has_functions() -> None:
    assert len(tables()) > 40
    assert set(tables()) - ELSEWHERE - AS_THEY_ARE == set(kernels.FUNCTIONS) - AS_THEY_ARE


def test_every_function_stands_in_the_door() -> None:
    tables = (kernels.FUNCTIONS, *kernels.OTHERS.values())
    names = {name for table in tables for functions in table.values() for name in functions}
    assert names - set(kernels.__all__) == set()
    assert all(callable(getattr(kernels, name)) for name in names)


@pytest.mark.parametrize(
    ("name", "function", "options", "types"),
    [
        ("LOGISTIC", kernels.logistic_bytes, Table("AddOptions"), ("INT8", "UINT8")),
        ("TANH", kernels.tanh_bytes, Table("AddOptions"), ("INT8", "UINT8")),
        ("ELU", kernels.elu_bytes, Table("AddOptions"), ("INT8",)),
        ("GELU", kernels.gelu_integers, Table("GeluOptions"), ("INT8", "UINT8", "INT16")),
        ("EXP", kernels.exponential_integers, Table("AddOptions"), ("INT8", "INT16")),
    ],
)
def test_functions_are_what_the_operators_compute(
    name: str, function: object, options: Table, types: tuple[str, ...]
) -> None:
    assert callable(function)
    for kind in types:
        wide = kind == "INT16"
        before = Affine(kind, 0.0002 if wide else 0.04, 0 if wide else 5)
        after = Affine(kind, 1 / 256, 0 if wide else {"INT8": -128, "UINT8": 0}[kind])
        operator = QuantizedOperator(name, (Operand(kind, before),), (Operand(kind, after),), options)
        kernel = integer_kernel(operator)
        assert kernel is not None
        x = np.arange(before.qmin, before.qmax + 1, 7 if wide else 1).astype(before.type.storage)
        np.testing.assert_array_equal(kernel(Call((x,), options, (kind,)))[0], function(x, before, after))


def test_gelu_by_the_hyperbolic_tangent() -> None:
    before, options = Affine("INT8", 0.02), Table("GeluOptions", approximate=True)
    operator = QuantizedOperator("GELU", (Operand("INT8", before),), (Operand("INT8", before),), options)
    kernel = integer_kernel(operator)
    assert kernel is not None
    x = np.arange(-128, 128).astype(np.int8)
    found = kernels.gelu_integers(x, before, before, approximate=True)
    np.testing.assert_array_equal(kernel(Call((x,), options, ("INT8",)))[0], found)


def test_another_dtype_is_named() -> None:
    with pytest.raises(InvalidValue, match="an array of int16; int8 or uint8 is required"):
        kernels.logistic_bytes(np.zeros(1, np.int16), Affine("INT8", 1.0), Affine("INT8", 1.0))

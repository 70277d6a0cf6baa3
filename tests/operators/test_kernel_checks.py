"""What the public kernels refuse before they compute: one line of ours for each array, parameter and shape."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import re
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis
from quantlib.operators import kernels
from quantlib.operators.kernel_checks import ANY, BYTES, FLOAT, checked

FUNCTIONS = {
    name: getattr(kernels, name) for name in kernels.__all__ if isinstance(getattr(kernels, name), FunctionType)
}
#: What a kernel takes of any dtype.
EVERY = {("pad", "x"), ("pad", "value"), ("resize_nearest_neighbor", "x"), ("space_to_batch", "x")}

#: What a kernel checks itself, among other things.
OWN = {("average_pool", "x"), ("max_pool", "x")}

ARRAYS = [
    (name, parameter)
    for name, function in FUNCTIONS.items()
    for parameter, p in inspect.signature(function).parameters.items()
    if str(p.annotation).split(" | ")[0] == "Array"
]
AFFINES = [
    (name, parameter)
    for name, function in FUNCTIONS.items()
    for parameter, p in inspect.signature(function).parameters.items()
    if p.annotation == "Affine"
]


def affines(name: str) -> dict[str, Any]:
    return {parameter: Affine("INT8", 0.5) for known, parameter in AFFINES if known == name}


def test_the_sweep_finds_them() -> None:
    assert len(ARRAYS) > 70
    assert len(AFFINES) > 70
    assert set(ARRAYS) >= EVERY | OWN


@pytest.mark.parametrize("name", sorted({name for name, _ in {*ARRAYS, *AFFINES} - OWN}))
def test_a_kernel_is_checked(name: str) -> None:
    assert hasattr(FUNCTIONS[name], "__wrapped__"), f"{name} has no @checked"


@pytest.mark.parametrize(("name", "parameter"), sorted(set(ARRAYS) - EVERY - OWN))
def test_another_dtype_is_named(name: str, parameter: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^{parameter} is an array of complex64.* required"):
        FUNCTIONS[name](**{parameter: np.zeros((2, 2), np.complex64)}, **affines(name))


@pytest.mark.parametrize(("name", "parameter"), sorted(set(ARRAYS) - OWN))
def test_what_is_no_array_is_named(name: str, parameter: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^{parameter} is a str; an array.* is required$"):
        FUNCTIONS[name](**{parameter: "1"}, **affines(name))


def test_what_the_decorator_is_told() -> None:
    @checked(x=BYTES, y=ANY, divides_by=("before",))
    def kernel(x: Any, y: Any, before: Affine, after: Affine) -> str:
        return "computed"

    x, affine, none = np.zeros(2, np.int8), Affine("INT8", 0.5), Affine("INT8", 0.0)
    assert kernel(x, x.astype(complex), affine, after=none) == "computed"
    for given, message in (
        ((x.astype(np.int16), x, affine, affine), "x is an array of int16; int8 or uint8 is required"),
        ((x, 1, affine, affine), "y is a int; an array is required"),
        ((x, x, none, affine), "before has a scale of 0, by which is divided; a positive one is required"),
    ):
        with pytest.raises(InvalidValue, match=f"^{message}$"):
            kernel(*given)


@pytest.mark.parametrize("said", [{"weights": FLOAT}, {"divides_by": ("weights",)}])
def test_a_name_that_the_kernel_lacks(said: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^kernel has no parameter weights; one of x, after is required$"):

        @checked(**said)
        def kernel(x: Any, after: Affine) -> None: ...


@pytest.mark.parametrize(("name", "parameter"), AFFINES)
def test_other_parameters_are_named(name: str, parameter: str) -> None:
    given = affines(name)
    with pytest.raises(InvalidValue, match=f"^{parameter} is a float; an Affine is required$"):
        FUNCTIONS[name](**{**given, parameter: 0.5})


#: What has zeros alone where its scale is 0, or doesn't look at it.
ZEROS = ("before", "first", "second", "slopes")
SCALELESS = ("activation_range", "fixed_point", "float_range", "floating_point", "reach", "single_precision")
DIVISORS = {
    *(("add_shifted", "first"), ("add_shifted", "second"), ("divide_integers", "second")),
    *(("rsqrt_bytes", "before"), ("rsqrt_int16", "before")),
}


@pytest.mark.parametrize(("name", "parameter"), AFFINES)
def test_no_scale_of_zero_is_divided_by(name: str, parameter: str) -> None:
    taken = name in SCALELESS or (parameter in ZEROS and (name, parameter) not in DIVISORS)
    given = {**affines(name), parameter: Affine("INT8", 0.0)}
    if taken:  # what else is missing is said
        with contextlib.suppress(TypeError):
            FUNCTIONS[name](**given)
    else:
        with pytest.raises(InvalidValue, match=f"^{parameter} has a scale of 0, by which is divided; "):
            FUNCTIONS[name](**given)


def test_operands_of_scale_zero_are_zeros() -> None:
    """Such filters stand in files, for channels that training left empty."""
    none, half, x = Affine("INT8", [0.0, 0.5], 0, PerAxis(0)), Affine("INT8", 0.5), np.array([[1, 2]], np.int8)
    requantize = kernels.floating_point(kernels.multiplier_of_product(half, none, half), half)
    weights = kernels.exact_weights(np.array([[5, 5], [1, 2]], np.int8), kernels.reach(none))
    np.testing.assert_array_equal(kernels.fully_connected_integers(x, weights, requantize, zero_point=0), [[0, 3]])
    zero = Affine("INT8", 0.0)
    np.testing.assert_array_equal(kernels.add_integers(x, x, zero, half, half), x)


@pytest.mark.parametrize(
    ("name", "array", "parameter"),
    sorted(
        {
            (name, array, parameter)
            for name, array in ARRAYS
            for known, parameter in AFFINES
            if known == name
            and (array, parameter) in {("x", "before"), ("a", "first"), ("b", "second"), ("alpha", "slopes")}
        }
    ),
)
def test_integers_of_another_type_than_their_parameters(name: str, array: str, parameter: str) -> None:
    """8-bit integers that are taken for those of the other sign give wrong answers in silence."""
    given = {**affines(name), array: np.zeros(3, np.complex64), parameter: Affine("UINT16", 0.5)}
    with pytest.raises(InvalidValue) as refused:  # which names the dtypes that it takes
        FUNCTIONS[name](**{**given, **affines(name)})
    kind = np.dtype(re.findall(r"; (\w+)", str(refused.value))[0])
    given[array] = np.zeros(3, kind)
    required = f"^{array} is an array of {kind}, and {parameter} is of UINT16; uint16 is required"
    with pytest.raises(InvalidValue, match=required):
        FUNCTIONS[name](**given)


#: Kernels that take fewer dtypes than an `Affine` can say of their `x`.
FEWER = {
    **dict.fromkeys(("by_floats", "hard_swish_bytes", "logistic_bytes", "tanh_bytes"), ("int8", "uint8")),
    **dict.fromkeys(("exponential_integers", "product_integers"), ("int8", "int16")),
    **{"elu_bytes": ("int8",), "gelu_integers": ("int8", "uint8", "int16"), "rsqrt_int16": ("int16",)},
}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("name", FEWER)
def test_parameters_of_a_type_that_a_kernel_lacks(name: str, dtype: str) -> None:
    given: Any = {"x": np.zeros(3, dtype), "before": Affine(dtype.upper(), 0.5), "after": "none"}
    refused = "after is a str; " if dtype in FEWER[name] else f"x is an array of {dtype}; "
    with pytest.raises(InvalidValue, match=f"^{refused}"):
        FUNCTIONS[name](**given)


@pytest.mark.parametrize("name", sorted({name for name, array in ARRAYS if array == "b"}))
def test_operands_that_do_not_broadcast(name: str) -> None:
    arrays = {"a": np.zeros((2, 3), np.int8), "b": np.zeros((2, 4), np.int8)}
    with pytest.raises(InvalidValue, match=r"^a of shape \[2, 3\] and b of shape \[2, 4\] don't broadcast; "):
        FUNCTIONS[name](**arrays, **affines(name))


def test_slopes_that_do_not_broadcast() -> None:
    x, alpha, affine = np.zeros((2, 3), np.int8), np.zeros(2, np.int8), Affine("INT8", 0.5)
    with pytest.raises(InvalidValue, match=r"^x of shape \[2, 3\] and alpha of shape \[2\] don't broadcast; "):
        kernels.prelu_integers(x, alpha, affine, affine, affine)


def test_positions_and_names_are_the_same() -> None:
    a, affine = np.zeros(3, np.int8), Affine("INT8", 0.5)
    given: Any = (a, a.view(np.uint8), affine, affine, affine)
    with pytest.raises(InvalidValue, match=r"^b is an array of uint8, and second is of INT8; "):
        kernels.add_integers(*given)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'output'"):
        kernels.add_integers(a, a, affine, affine)  # type: ignore[call-arg]  # on purpose


@pytest.mark.parametrize("name", ["average_pool", "max_pool"])
def test_pools_check_for_themselves(name: str) -> None:
    x = np.zeros((1, 2, 2, 1), np.complex64)
    with pytest.raises(InvalidValue, match=r"^a pool of complex64: float32, int8, uint8 or int16 is required$"):
        FUNCTIONS[name](x, kernel=(1, 1), strides=(1, 1), padding="VALID")


def test_the_examples_of_the_report() -> None:
    floats, affine = np.ones((1, 2), np.float32), Affine("INT8", 0.5)
    with pytest.raises(InvalidValue, match=r"^x is an array of uint8, and before is of INT8; int8 is required"):
        kernels.logistic_bytes(np.zeros(2, np.uint8), affine, Affine("INT8", 1 / 256, -128))
    requantize = kernels.fixed_point([0.5], affine)
    with pytest.raises(InvalidValue, match=r"^x is an array of float32; int8, uint8 or int16 is required$"):
        kernels.fully_connected_integers(floats, floats, requantize, zero_point=0)
    with pytest.raises(InvalidValue, match=r"^x is an array of float32; int8 or uint8 is required$"):
        kernels.softmax_bytes(floats, 0.5)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_they_pickle(name: str) -> None:
    assert pickle.loads(pickle.dumps(FUNCTIONS[name])) is FUNCTIONS[name]

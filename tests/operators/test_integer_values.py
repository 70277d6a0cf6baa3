"""First and last step of integer kernels, and what is made of constants beforehand."""

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import Affine, PerAxis
from quantlib.operators.integer import Operand, QuantizedOperator, constants_once, per_tensor
from quantlib.operators.integer_requantize import activation_range, real_range
from quantlib.operators.integer_values import less_zero_point, ratio, stored
from quantlib.operators.integer_xnnpack import float_range
from quantlib.operators.kernel import Call
from quantlib.tflite import Table

OPTIONS = Table("FullyConnectedOptions")


def test_the_zero_point_takes_no_bits_from_the_steps():
    """32 bits don't hold the greatest step and a zero point above it, nor int64 the greatest float32."""
    assert stored(np.array([2**31 - 1, -(2**31)], np.int32), Affine("INT8", 1, 100)).tolist() == [127, -128]
    assert stored(np.array([-(2**31)], np.int32), Affine("INT8", 1, -100)).tolist() == [-128]
    assert stored(np.array([3e38, -np.inf], np.float32), Affine("UINT8", 1, 7)).tolist() == [255, 0]
    assert less_zero_point(np.array([0, 255], np.uint8), Affine("UINT8", 1, 255)).tolist() == [-255, 0]


def test_limits_take_the_place_of_the_type_s():
    assert stored(np.array([-50, 1, 50]), Affine("INT16", 1, 2), (-3, 9)).tolist() == [-3, 3, 9]


def test_ends_beyond_float32_are_those_of_the_type():
    tiny = Affine("INT8", 1e-39, 3)
    assert activation_range(3, tiny) == float_range(3, tiny) == real_range(tiny, 0, 6) == (3, 127)
    assert real_range(Affine("INT32", 1.0, 7), -np.inf, np.inf) == (-(2**31), 2**31 - 1)
    assert activation_range(5, Affine("INT8", 1.0, 7)) == (-128, 127)  # the sign bit is taken for none
    assert ratio(Affine("INT8", 3e38), tiny, np.float32) == np.inf


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ratios_are_rounded_once(kind):
    found = ratio(Affine("INT8", 0.1), Affine("INT8", 0.3), kind)
    assert type(found) is kind
    assert found == kind(np.float32(0.1)) / kind(np.float32(0.3))


def test_one_scale_each_is_required():
    channels = Operand("INT8", Affine("INT8", [1, 2], granularity=PerAxis(0)))
    for wrong in (channels, Operand("INT8")):
        with pytest.raises(InvalidValue, match="scale"):
            per_tensor(Operand("INT8", Affine("INT8", 1)), wrong)


def test_constants_are_prepared_once_and_others_in_each_call():
    made = []

    def prepare(weights, bias):
        made.append(bias)
        return int(weights.sum())

    x, constant = Operand("FLOAT32"), Operand("INT8", value=np.array([1, 2], np.int8))
    given = np.array([3, 4], np.int8)
    for weights, expected, count in ((constant, 3, 1), (Operand("INT8"), 7, 2)):
        made.clear()
        ready = constants_once(QuantizedOperator("CONV_2D", (x, weights), (x,), OPTIONS), (1, 2), prepare)
        assert len(made) == 2 - count
        found = [ready(Call((None, given), OPTIONS)) for _ in range(2)]
        assert found == [expected] * 2
        assert made == [None] * count

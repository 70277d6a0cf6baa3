"""The same numbers in another integer type, and the scales of products."""

from __future__ import annotations

import numpy as np
import pytest

from quantlib.errors import InvalidValue
from quantlib.numerics import (
    Affine,
    PerAxis,
    dequantize,
    element_type,
    multiply_by_quantized_multiplier,
    product_scales,
    quantize,
    quantize_multiplier,
    retyped,
)

BYTES = {"INT8": np.arange(-128, 128).astype(np.int8), "UINT8": np.arange(256).astype(np.uint8)}


@pytest.mark.parametrize("kind", BYTES)
@pytest.mark.parametrize("other", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("place", range(0, 256, 5))
def test_every_value_is_kept(kind: str, other: str, place: int) -> None:
    old = Affine(element_type(kind), np.float32([0.0235]), [int(BYTES[kind][place])])
    new = retyped(old, other)
    real = dequantize(BYTES[kind], old)
    stored = quantize(real, new)
    np.testing.assert_array_equal(dequantize(stored, new), real)
    if other == "INT16":
        assert new.zero_point.tolist() == [0]
        assert 2 * np.abs(stored.astype(int)).max() > 32767  # no wider than it must be
    else:
        shift = BYTES[other].astype(int)[0] - BYTES[kind].astype(int)[0]
        np.testing.assert_array_equal(stored.astype(int), BYTES[kind].astype(int) + shift)


@pytest.mark.parametrize("other", ["INT8", "UINT8"])
def test_16_bits_become_8_within_half_a_step(other: str) -> None:
    old = Affine(element_type("INT16"), np.float32([2**-10]))
    new = retyped(old, other)
    every = np.arange(-32768, 32640).astype(np.int16)
    real = dequantize(every, old)
    assert np.abs(dequantize(quantize(real, new), new) - real).max() <= float(new.scale[0]) / 2
    assert np.unique(quantize(real, new)).size == 256


@pytest.mark.parametrize(
    ("affine", "other", "message"),
    [
        (Affine(element_type("INT8"), np.float32([1])), "INT32", "INT8 as INT32"),
        (Affine(element_type("INT4"), np.float32([1])), "INT8", "INT4 as INT8"),
        (Affine(element_type("INT8"), np.float32([1, 2]), granularity=PerAxis(0)), "UINT8", "2 scales"),
        (Affine(element_type("INT16"), np.float32([1]), [5]), "INT8", "zero point 5"),
    ],
)
def test_what_has_no_such_form(affine: Affine, other: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        retyped(affine, other)


@pytest.mark.parametrize("seed", range(40))
def test_scales_of_a_product_round_every_sum_as_uint8_kernels_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = (np.float32(rng.uniform(0.001, 0.05)) for _ in range(2))
    output = float(np.float32(rng.uniform(0.01, 0.2)))
    first, second = product_scales(float(x), float(w), output)
    assert (np.float32(first), np.float32(second)) == (first, second)
    assert np.float32(first) * np.float32(second) == x * w
    assert abs(first / float(x) - 1) < 2e-3
    sums = np.arange(-300_000, 300_000)
    ours, theirs = quantize_multiplier(first * second / output), quantize_multiplier(float(x * w) / output)
    least = 256 * output / float(x * w)
    inside = sums[np.abs(sums) < least]
    np.testing.assert_array_equal(
        multiply_by_quantized_multiplier(inside, *ours), multiply_by_quantized_multiplier(inside, *theirs)
    )


@pytest.mark.parametrize("scales", [(0.0, 0.1, 0.1), (0.1, 1e-40, 0.1), (0.1, 0.1, 0.0), (1e-30, 1e-30, 0.1)])
def test_scales_that_no_kernel_takes_stay(scales: tuple[float, float, float]) -> None:
    assert product_scales(*scales) == scales[:2]


def test_other_scales_are_taken_where_they_must_be() -> None:
    found = [product_scales(0.0235 + k * 1e-5, 0.0117, 0.09) for k in range(60)]
    plain = [float(np.float32(0.0235 + k * 1e-5)) for k in range(60)]
    changed = [a != float(x) for (a, _), x in zip(found, (np.float32(p) for p in plain), strict=True)]
    assert sum(changed) > 0


def test_scales_that_would_not_be_exact_are_refused() -> None:
    with pytest.raises(InvalidValue, match="beyond the normal float32 numbers"):
        retyped(Affine("INT8", np.float32(1.2345678e-38)), "INT16")

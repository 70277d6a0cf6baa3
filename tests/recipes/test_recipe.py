"""Recipes: values, TOML, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib import recipes
from quantlib.calibration import MSE, RANGES, Blend, Entropy, MinMax, Percentile, RangeChooser
from quantlib.errors import InvalidRecipe, NotFound, WriteFailed
from quantlib.recipes import PRESETS, Recipe, by_name, from_toml, load

texts = st.tuples(st.text(max_size=20))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml(name: str) -> None:
    assert from_toml(by_name(name).to_toml()) == by_name(name)


@given(st.builds(
    Recipe,
    mode=st.just("weight-only"),
    weights=st.sampled_from(["INT8", "INT4"]),
    granularity=st.sampled_from(["channel", "tensor"]),
    symmetric=st.booleans(),
    range=st.sampled_from(["minmax", "mse"]),
    min_elements=st.none() | st.integers(0, 10**9),
    only=texts, skip=texts, only_types=texts, skip_types=texts,
))  # fmt: skip
def test_any_recipe_survives_toml(recipe: Recipe) -> None:
    assert from_toml(recipe.to_toml()) == recipe


def pairs(low: float, high: float) -> st.SearchStrategy[tuple[float, float] | None]:
    """Two numbers in order, or none."""
    return st.none() | st.tuples(st.floats(-low, 0), st.floats(0.001, high))


@given(st.builds(
    Recipe,
    mode=st.just("int8"),
    weights=st.sampled_from(["INT8", "INT4"]),
    granularity=st.sampled_from(["channel", "tensor"]),
    range=st.sampled_from([None, *RANGES]),
    weight_range=st.sampled_from(["minmax", "mse"]),
    percentile=st.floats(0, 100, exclude_min=True),
    symmetric_activations=st.booleans(),
    input_type=st.sampled_from(["FLOAT32", "INT8", "UINT8", "INT16"]),
    output_type=st.sampled_from(["FLOAT32", "INT8", "UINT8", "INT16"]),
    input_stats=st.none() | st.tuples(st.floats(0, 255), st.floats(0.001, 300)),
    default_ranges=pairs(1e30, 1e30),
    per_tensor_types=texts, int16=texts, int16_types=texts,
    tails=st.sampled_from(["float", "int16", "keep"]),
    rounding=st.sampled_from([None, "nearest", "balanced"]),
))  # fmt: skip
def test_any_recipe_for_integer_activations_survives_toml(recipe: Recipe) -> None:
    assert from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize("chooser", [MinMax(), Percentile(99.5), Entropy(), MSE(), Blend()])
def test_a_chooser_becomes_its_name(chooser: RangeChooser) -> None:
    recipe = recipes.int8(range=chooser)
    assert recipe.range == chooser.name
    assert recipe.chooser == chooser
    assert from_toml(recipe.to_toml()).chooser == chooser


def test_a_range_must_be_a_chooser_that_is_known() -> None:
    with pytest.raises(InvalidRecipe, match=r"or one of quantlib\.ranges"):
        recipes.int8(range=7)


def test_saved_recipe_is_loaded(tmp_path: Path) -> None:
    recipe = recipes.weight_only(skip=("first", r"\d+$"), range="mse")
    recipe.save(tmp_path / "r.toml")
    assert load(tmp_path / "r.toml") == recipe
    with pytest.raises(WriteFailed, match="No such file"):
        recipe.save(tmp_path / "missing" / "r.toml")


def test_toml_can_start_from_a_preset() -> None:
    assert from_toml('recipe = "dynamic"\nskip = "head"\n') == recipes.dynamic(skip=("head",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode = ", "not TOML"),
        ('mode = "dynamic"\nfoo = 1', "unknown key 'foo'"),
        ("min_elements = 4", "neither 'recipe' nor 'mode'"),
        ('recipe = "nosuch"', "no recipe 'nosuch'"),
        ('mode = "int3"', "mode is 'int3'; one of float16, dynamic, weight-only, int8, int16x8, uint8"),
        ('mode = "float16"\nweights = "INT8"', "weights is 'INT8'; one of FLOAT16"),
        ('mode = "dynamic"\nweights = "FLOAT16"', "one of INT8, INT4"),
        ('mode = "dynamic"\nsymmetric = false', "require zero point 0"),
        ('mode = "dynamic"\nsymmetric = 0', "another type"),
        ('mode = "dynamic"\nmin_elements = "many"', "another type"),
        ('mode = "dynamic"\nmin_elements = -1', "0 or more"),
        ('mode = "dynamic"\nonly = [1]', "another type"),
        ('mode = "dynamic"\nweights = "INT4"\ngranularity = "block"', "blocks need one"),
        ('mode = "dynamic"\nweights = "INT4"\ngranularity = "block"\nblock_size = 33', "multiple of 32"),
        ('mode = "dynamic"\nblock_size = 32', "goes with blocks"),
        ('mode = "weight-only"\ngranularity = "block"\nblock_size = 32', "only mode dynamic with INT4"),
        ('mode = "dynamic"\nrange = "kl"', "one of minmax, mse"),
        ('mode = "dynamic"\nrange = "percentile"', "one of minmax, mse"),
        ('mode = "dynamic"\ninput_type = "INT8"', "input_type says nothing to mode 'dynamic'"),
        ('mode = "float16"\nweights = "FLOAT16"\nrounding = "balanced"', "rounding says nothing to mode 'float16'"),
        ('recipe = "int8"\nrange = "kl"', "one of minmax, percentile, entropy, mse"),
        ('recipe = "int8"\nrange = 3', "another type"),
        ('recipe = "int8"\npercentile = 0', "percentile is 0; a number above 0 and up to 100"),
        ('recipe = "int8"\npercentile = nan', "percentile is nan"),
        ('recipe = "int8"\npercentile = "99"', "another type"),
        ('recipe = "int8"\nweight_range = "entropy"', "weight_range is 'entropy'; one of minmax, mse"),
        ('recipe = "int8"\nweights = "UINT8"', "weights is 'UINT8'; one of INT8, INT4"),
        ('recipe = "int8"\nsymmetric = false', "require zero point 0"),
        ('recipe = "int8"\nsymmetric_activations = 1', "another type"),
        ('recipe = "uint8"\nsymmetric_activations = true', "UINT8 has no negative integers"),
        ('recipe = "int8"\noutput_type = "INT32"', "output_type is 'INT32'; one of FLOAT32, INT8, UINT8, INT16"),
        ('recipe = "int8"\ninput_stats = 1', "another type"),
        ('recipe = "int8"\ninput_stats = [1]', "two finite numbers, mean and standard deviation"),
        ('recipe = "int8"\ninput_stats = [300, 1]', "mean 300.0; one of 0 to 255"),
        ('recipe = "int16x8"\ninput_stats = [127, 1]', "whose zero points are all 0"),
        ('recipe = "int8"\ninput_stats = [127.5, 0]', "standard deviation 0.0; more than 0 is required"),
        ('recipe = "int8"\ndefault_ranges = [0, inf]', "two finite numbers, least and greatest"),
        ('recipe = "int8"\ndefault_ranges = [3, 1]', "the first less than the second"),
        ('recipe = "int8"\ntails = "int8"', "tails is 'int8'; one of float, int16, keep"),
        ('recipe = "int8"\nrounding = "up"', "rounding is 'up'; one of nearest, balanced"),
        ('recipe = "int16x8"\nint16 = "logits"', "int16 selects operators of mode 'int8'"),
    ],
)
def test_bad_recipes_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message) as caught:
        from_toml(text, "r.toml")
    assert str(caught.value).startswith("r.toml: ")
    assert "\n" not in str(caught.value)


def test_unknown_names() -> None:
    with pytest.raises(NotFound, match="known are float16, dynamic"):
        by_name("int3")
    with pytest.raises(NotFound, match="No such file"):
        load("nowhere.toml")
    with pytest.raises(InvalidRecipe, match="unknown key 'rnage'"):
        recipes.dynamic(rnage="mse")


def test_a_recipe_file_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRecipe, match="not UTF-8"):
        load(tmp_path / "r.toml")


@pytest.mark.parametrize("name", ["symmetric", "symmetric_activations"])
@pytest.mark.parametrize("value", ["false", "no", 1, None])
def test_what_is_neither_true_nor_false_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidRecipe, match=f"{name} is {value!r}; True or False is required"):
        Recipe("int8", **{name: value})


def test_numbers_of_numpy_are_numbers() -> None:
    ends = (np.float32(-1), np.float32(1))
    made = Recipe("int8", default_ranges=ends, min_elements=np.int64(5), symmetric_activations=np.True_)
    assert made == Recipe("int8", default_ranges=(-1.0, 1.0), min_elements=5, symmetric_activations=True)
    assert Recipe("int8", input_stats=np.array([127.5, 127.5])).input_stats == (127.5, 127.5)

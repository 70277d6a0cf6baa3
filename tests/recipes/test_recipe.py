"""Recipes: values, TOML, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib import recipes
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
        ('mode = "int8"', "mode is 'int8'; one of float16, dynamic, weight-only"),
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

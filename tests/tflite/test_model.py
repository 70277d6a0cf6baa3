"""A model as a value: its ends, copies and pickles, and what `read` takes."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import pytest

import quantlib as ql
from quantlib.errors import InvalidValue, NotFound
from quantlib.tflite import Model, read
from tests.support.models import built


@pytest.fixture
def model() -> Model:
    return read(ql.demo.MODEL)


def test_inputs_and_outputs(model: Model) -> None:
    assert [t.name for t in model.inputs] == ["image"]
    assert [t.name for t in model.outputs] == ["probabilities"]
    branches = read(built("branches"))
    assert [t.index for t in branches.inputs] == list(branches.subgraphs[0].inputs)


def test_a_copy_is_the_model_and_a_pickle_equals_it(model: Model, tmp_path: Path) -> None:
    assert copy.copy(model) is model
    assert copy.deepcopy(model) is model
    mapped = tmp_path / "m.tflite"
    model.write(mapped)
    for one in (read(mapped), ql.quantize(model, "dynamic")):
        content = pickle.dumps(one)
        mapped.unlink(missing_ok=True)
        again = pickle.loads(content)
        assert again == one
        assert again.to_bytes() == one.to_bytes()
        assert pickle.loads(pickle.dumps(one.inputs[0])).name == "image"


def test_a_text_file_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"a file object that gives str, .* mode 'rb'"):
        read(io.StringIO("text"))  # type: ignore[arg-type]  # what it is about


@pytest.mark.parametrize("place", [(0, 1.5), ("a", 1), (None, None)])
def test_a_place_is_two_whole_numbers(model: Model, place: object) -> None:
    with pytest.raises(InvalidValue, match=r"give its name, or \(subgraph, index\)"):
        model.tensor(place)  # type: ignore[arg-type]  # what it is about


def test_a_name_of_the_signature_is_explained() -> None:
    model = read(ql.demo.MODEL)
    signature = model.root.signature_defs[0]
    entry = signature.inputs[0].replace(name="picture")
    root = model.root.replace(signature_defs=[signature.replace(inputs=[entry])])
    with pytest.raises(NotFound, match=r"it is a signature's name of \(0, 0\), give that"):
        Model(root).tensor("picture")

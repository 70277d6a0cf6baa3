"""The demo model: what is shipped, that LiteRT agrees, and that ``demo/train.py`` is where it comes from."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quantlib import demo
from quantlib.operators import minimum_runtime
from quantlib.tflite import Model, read

Array = npt.NDArray[Any]

SCRIPT = Path(__file__).resolve().parents[2] / "demo" / "train.py"
OPERATORS = [
    "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MAX_POOL_2D", "CONV_2D", "CONV_2D", "ADD", "MEAN",
    "FULLY_CONNECTED", "FULLY_CONNECTED", "SOFTMAX",
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    return read(demo.MODEL)


@pytest.fixture(scope="module")
def train() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("demo/train.py is part of the repository and of no distribution")
    spec = importlib.util.spec_from_file_location("quantlib_demo_train", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(model: Model) -> dict[str, Array]:
    return {t.name: t.numpy() for t in model.tensors() if t.name.endswith(("/kernel", "/bias"))}


def load(path: Path) -> dict[str, Array]:
    with np.load(path) as arrays:
        return dict(arrays)


def accuracy(probabilities: Array) -> float:
    return float((probabilities.argmax(1) == load(demo.LABELS)["labels"]).mean())


# ---- what is shipped -------------------------------------------------------------------------------------


def test_files_are_small() -> None:
    assert 120_000 < demo.MODEL.stat().st_size < 250_000
    assert sum(p.stat().st_size for p in (demo.SAMPLES, demo.LABELS, demo.CALIBRATION)) < 50_000


@pytest.mark.parametrize(("path", "count"), [(demo.SAMPLES, 450), (demo.CALIBRATION, 100)])
def test_samples_are_named_as_the_input(model: Model, path: Path, count: int) -> None:
    image = model.tensor((0, model.subgraphs[0].inputs[0]))
    (name, samples), *more = load(path).items()
    assert not more
    assert name == image.name == "image"
    assert samples.shape == (count, *image.shape[1:]) == (count, 8, 8, 1)
    assert samples.dtype == image.dtype == np.float32
    assert (samples.min(), samples.max()) == (0, 1)
    assert (samples * 16 == np.round(samples * 16)).all()  # pixels are 0 to 16


def test_labels_have_every_digit() -> None:
    arrays = load(demo.LABELS)
    assert list(arrays) == ["labels"]
    assert arrays["labels"].dtype == np.int64
    assert arrays["labels"].shape == (450,)
    counts = np.bincount(arrays["labels"])
    assert counts.size == 10
    assert counts.min() >= 43
    assert counts.max() <= 46


def test_calibration_has_nothing_held_out() -> None:
    held_out = {image.tobytes() for image in load(demo.SAMPLES)["image"]}
    assert len(held_out) == 450
    assert not held_out & {image.tobytes() for image in load(demo.CALIBRATION)["image"]}


def test_operators_and_what_describes_them(model: Model) -> None:
    (graph,) = model.subgraphs
    assert [model.operator_name(operator) for operator in graph.operators] == OPERATORS
    assert {code.version for code in model.root.operator_codes} == {1}
    fused = [getattr(o.builtin_options, "fused_activation_function", 0) for o in graph.operators]
    assert fused == [1, 3, 3, 0, 1, 0, 1, 0, 1, 0, 0]
    assert {t.type for t in model.tensors()} == {"FLOAT32", "INT32"}
    assert len({t.name for t in model.tensors()}) == len(graph.tensors)
    assert max(np.prod(t.shape) for t in model.tensors() if t.name == "dense/kernel") >= 4096
    assert "demo/train.py" in model.root.description


def test_signature(model: Model) -> None:
    (signature,) = model.root.signature_defs
    assert signature.signature_key == "serving_default"
    (graph,) = model.subgraphs
    assert [(m.name, m.tensor_index) for m in signature.inputs] == [("image", graph.inputs[0])]
    assert [(m.name, m.tensor_index) for m in signature.outputs] == [("probabilities", graph.outputs[0])]


def test_runtime_version_is_the_operators_own(model: Model) -> None:
    (entry,) = model.root.metadata
    assert entry.name == "min_runtime_version"
    oldest = minimum_runtime((name, 1) for name in OPERATORS)
    assert oldest is not None
    data = model.data(entry.buffer)
    assert data is not None
    assert data.numpy().tobytes() == oldest.encode().ljust(16, b"\0")


def test_weights_are_ordinary(weights: dict[str, Array]) -> None:
    assert len(weights) == 14
    for name, values in weights.items():
        assert 0 < np.abs(values).max() < 3, name


def test_rewrite_is_identical(model: Model) -> None:
    assert model.to_bytes(rebuild=True) == demo.MODEL.read_bytes()


# ---- LiteRT ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolver", ["AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF"])
def test_litert_agrees(train: ModuleType, weights: dict[str, Array], resolver: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert isn't installed")
    kind = getattr(litert.OpResolverType, resolver)
    interpreter = litert.Interpreter(str(demo.MODEL), experimental_op_resolver_type=kind, num_threads=1)
    run = interpreter.get_signature_runner("serving_default")
    samples = load(demo.SAMPLES)["image"]
    bright = 4 * samples[:50]  # reaches what ordinary samples don't: the upper end of RELU6
    assert train.forward(weights, bright)[0]["depthwise"].max() == 6
    images = np.concatenate([samples, bright])
    found = np.concatenate([run(image=image[None])["probabilities"] for image in images])
    expected = train.forward(weights, images)[0]["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert accuracy(found[:450]) == accuracy(expected[:450]) >= 0.98


# ---- the script ------------------------------------------------------------------------------------------


def test_accuracy(train: ModuleType, weights: dict[str, Array]) -> None:
    probabilities = train.forward(weights, load(demo.SAMPLES)["image"])[0]["probabilities"]
    assert accuracy(probabilities) >= 0.98


def test_script_writes_this_file(train: ModuleType, weights: dict[str, Array]) -> None:
    assert train.build(weights).to_bytes() == demo.MODEL.read_bytes()


def test_script_makes_this_split(train: ModuleType) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn isn't installed")
    images, labels, held_out, held_out_labels, calibration = train.split()
    np.testing.assert_array_equal(held_out, load(demo.SAMPLES)["image"])
    np.testing.assert_array_equal(held_out_labels, load(demo.LABELS)["labels"])
    np.testing.assert_array_equal(calibration, load(demo.CALIBRATION)["image"])
    digit_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert np.bincount([digit_of[image.tobytes()] for image in calibration]).tolist() == [10] * 10


def test_gradients_are_derivatives(train: ModuleType) -> None:
    """Central differences, in float64; the step is so small that it meets no kink of an activation."""
    rng = np.random.default_rng(1)
    weights = {name: w.astype(np.float64) for name, w in train.initial(rng).items()}
    for name, w in weights.items():
        w += rng.normal(0, 0.1, w.shape) * name.endswith("/bias")  # biases of 0 would hide mistakes
    images, labels = rng.random((3, 8, 8, 1)), np.array([1, 7, 4])
    _, gradients = train.learn(weights, images, labels)
    assert gradients.keys() == weights.keys()
    step = 1e-7
    for name, w in weights.items():
        for at in rng.integers(0, w.size, 6):
            index = np.unravel_index(at, w.shape)
            kept, loss = w[index], []
            for w[index] in (kept - step, kept + step):
                loss.append(train.learn(weights, images, labels)[0])
            w[index] = kept
            difference = (loss[1] - loss[0]) / (2 * step)
            assert difference == pytest.approx(gradients[name][index], rel=1e-5, abs=1e-8), (name, index)


def test_shift_moves_whole_images(train: ModuleType) -> None:
    images = np.zeros((200, 8, 8, 1), np.float32)
    images[:, 3, 4] = 1
    places = {tuple(np.argwhere(image)[0]) for image in train.shifted(images, np.random.default_rng(0))}
    assert places == {(i, j, 0) for i in (2, 3, 4) for j in (3, 4, 5)}


# ---- the table -------------------------------------------------------------------------------------------


def test_the_table_of_the_readme_is_what_make_demo_prints() -> None:
    if not SCRIPT.exists():
        pytest.skip("demo/table.py is part of the repository and of no distribution")
    litert = pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra 'litert')")
    if not litert.__version__.startswith("2.3.") or platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("the figures are of ai-edge-litert 2.3 on x86-64")
    done = subprocess.run([sys.executable, SCRIPT.with_name("table.py")], capture_output=True, text=True, check=True)
    assert done.stdout in SCRIPT.parents[1].joinpath("README.md").read_text(encoding="utf-8"), done.stdout

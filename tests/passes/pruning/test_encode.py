"""Weights stored without their zeros: LiteRT answers as with the dense ones, and everything here reads them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.cli import main
from quantlib.passes import Edited
from quantlib.runners import run as run_samples
from quantlib.tflite import Draft, Model, Table
from tests.support import pruned
from tests.support.litert import RESOLVERS, run
from tests.support.models import parameters
from tests.support.network import Network, gaussian
from tests.support.planned import calibrated, names, samples, valid
from tests.support.pruned import INNER
from tests.support.rules import unknown_to_reference
from tests.support.shared import SHARED, needs_shared

#: As many weights as there are to encode.
ALL: dict[str, Any] = {"min_elements": 0, "first_last": True}
BEHIND, BLOCKS4, BLOCKS16 = (
    "stored sparse behind DENSIFY",
    "stored sparse in blocks of 4",
    "stored sparse in blocks of 16",
)


def both(model: Model, sparsity: float | None = None, **options: Any) -> tuple[Edited, Edited]:
    """Pruned and dense, and pruned and encoded; the latter as a file that was read."""
    dense, encoded = (ql.prune(model, sparsity, **options, encode=e) for e in (False, True))
    assert ql.read(encoded.model.to_bytes()).to_bytes(rebuild=True) == encoded.model.to_bytes()
    return dense, encoded


def forms(edited: Edited) -> dict[str, str]:
    return {line.where: str(line.figures["form"]) for line in edited.done}


def version(model: Model, output: str) -> int:
    """Version of the operator that makes a tensor."""
    (found,) = [
        model.root.operator_codes[o.opcode_index].version
        for o in model.subgraphs[0].operators
        if model.tensor((0, int(o.outputs[0]))).name == output
    ]
    return int(found)


def widest(a: Any, b: Any) -> float:
    return max(float(np.abs(x.astype(np.float64) - y).max()) for x, y in zip(a, b, strict=True))


# ---- LiteRT answers the same -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["", "float16", "weight-only", "int8"])
@pytest.mark.parametrize(
    "options", [{"sparsity": 0.8}, {"pattern": "1:4"}, {"pattern": "1x4", "sparsity": 0.8}], ids=str
)
def test_behind_densify_outputs_are_the_same(mode: str, options: dict[str, Any]) -> None:
    model = pruned.model(mode)
    dense, encoded = both(model, only_types="CONV_2D", **options)
    assert set(forms(encoded)) == {"conv/kernel", "wide/kernel"}
    assert all(form.endswith("behind DENSIFY") for form in forms(encoded).values())
    assert len(encoded.model.to_bytes()) < len(model.to_bytes())
    valid(encoded.model, model)
    for resolver in RESOLVERS:
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) == 0, resolver
    for name in INNER:
        places = {t.name for t in encoded.model.tensors() if t.is_constant}
        stored = encoded.model.tensor(f"{name}_sparse" if f"{name}_sparse" in places else name)
        assert np.array_equal(stored.numpy(), dense.model.tensor(name).numpy())


def test_a_depthwise_filter_and_a_product_behind_densify() -> None:
    dense, encoded = both(pruned.model(), 0.9, **ALL)
    assert forms(encoded)["depthwise/kernel"] == BEHIND
    assert forms(encoded)["dense/kernel"] == BEHIND
    for resolver in RESOLVERS:
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) == 0, resolver


def product(
    type: str, *, scales: int = 1, integer: bool = False, sized: tuple[int, int] = (32, 64), **fields: Any
) -> Model:
    """One FULLY_CONNECTED with float, hybrid or integer arithmetic."""
    net = Network()
    rows, columns = sized
    w = gaussian(sized, 3, 0.1)
    if type == "FLOAT32":
        return net.done(net.fully_connected("y", net.input("x", (3, columns)), w, **fields))
    scale = np.abs(w).max(axis=1 if scales > 1 else None, keepdims=True) / 127
    stored = net.constant("y/kernel", np.rint(w / scale).astype(np.int8), quantization=parameters(scale.reshape(-1)))
    options = Table("FullyConnectedOptions", **fields)
    if not integer:
        x = net.input("x", (3, columns))
        return net.done(net.op("FULLY_CONNECTED", [x, stored, -1], "y", (3, rows), options, version=9))
    x = net.input("x", (3, columns), "INT8")
    net.graph.tensors[x] = net.graph.tensors[x].replace(quantization=parameters(0.05, 3))
    y = net.op("FULLY_CONNECTED", [x, stored, -1], "y", (3, rows), options, type="INT8", version=4)
    net.graph.tensors[y] = net.graph.tensors[y].replace(quantization=parameters(0.02, -5))
    return net.done(y)


@pytest.mark.parametrize(
    ("model", "form", "steps"),
    [
        # sums of 64 terms in another order; one step of the output where dense kernels round otherwise: XNNPACK,
        # the reference's in float64, with one scale the built-in ones too
        (product("FLOAT32"), BLOCKS4, {"default": 1e-5, "builtin": 1e-5, "reference": 0}),
        (product("INT8", integer=True), BLOCKS16, {"default": 1, "builtin": 1, "reference": 1}),
        (product("INT8", integer=True, scales=32), BLOCKS16, {"default": 1, "builtin": 0, "reference": 1}),
        # XNNPACK quantizes the inputs of dense weights otherwise than the sparse kernel: 1 of 127 steps, 64 terms
        (product("INT8"), BLOCKS16, {"default": 0.5, "builtin": 0, "reference": 0}),
        (
            product("INT8", asymmetric_quantize_inputs=True),
            BLOCKS16,
            {"default": 0.5, "builtin": 1e-5, "reference": 1e-5},
        ),
    ],
    ids=["float", "integer", "integer, channels", "hybrid", "hybrid, asymmetric"],
)
def test_sparse_kernels_read_blocks_directly(model: Model, form: str, steps: dict[str, float]) -> None:
    pattern = "1x4" if form == BLOCKS4 else "1x16"
    dense, encoded = both(model, 0.75, pattern=pattern, **ALL)
    assert forms(encoded) == {"y/kernel": form}
    assert names(encoded.model) == ["FULLY_CONNECTED"]
    assert version(encoded.model, "y") == 8  # that alone tells XNNPACK that the weights are sparse
    for resolver, most in steps.items():
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) <= most, resolver
    assert widest(run(encoded.model, "default"), run(encoded.model, "builtin")) == 0


@pytest.mark.parametrize(
    ("model", "why"),
    [
        # XNNPACK would take version 12 for dense weights, and read beyond them
        (product("INT8", scales=32), "kept dense: LiteRT can't run FULLY_CONNECTED with INT8 weights behind DENSIFY"),
        # 257 blocks in a row: their places don't fit 8 bits
        (product("INT8", sized=(4, 257 * 16)), "kept dense: LiteRT can't run FULLY_CONNECTED"),
        (product("INT8", integer=True, sized=(32, 40)), "kept dense: LiteRT can't run FULLY_CONNECTED with INT8"),
    ],
    ids=["a scale a channel", "long rows", "odd rows"],
)
def test_what_no_kernel_reads_stays_dense(model: Model, why: str) -> None:
    dense, encoded = both(model, 0.75, pattern="1x4" if model.tensor("y/kernel").shape[1] == 40 else "1x16", **ALL)
    assert forms(encoded)["y/kernel"].startswith(why)
    assert encoded.model.to_bytes() == dense.model.to_bytes()


def test_the_longest_rows_of_the_hybrid_kernel() -> None:
    dense, encoded = both(product("INT8", sized=(4, 256 * 16)), 0.5, pattern="1x16", **ALL)
    assert forms(encoded) == {"y/kernel": BLOCKS16}
    for resolver in ("builtin", "reference"):
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) == 0


@pytest.mark.parametrize("mode", ["uint8", "dynamic", "int16x8"])
def test_other_types_say_why_they_stay_dense(mode: str) -> None:
    dense, encoded = both(pruned.model(mode), 0.9)
    assert set(forms(encoded)) == {"conv/kernel", "wide/kernel", "dense/kernel"}
    kept = {"uint8": "LiteRT's DENSIFY takes no UINT8", "dynamic": "LiteRT can't run", "int16x8": "LiteRT can't run"}
    assert all(form.startswith(f"kept dense: {kept[mode]}") for form in forms(encoded).values())
    assert encoded.model.to_bytes() == dense.model.to_bytes()


def test_a_zero_point_is_not_filled_in() -> None:
    model = product("INT8", integer=True)
    model = model.replace("y/kernel", quantization=ql.Quantization([0.01], [4]))
    _, encoded = both(model, 0.75, **ALL)
    assert forms(encoded) == {"y/kernel": "kept dense: its zero point isn't 0, and DENSIFY fills with 0"}


def test_what_would_grow_stays_dense() -> None:
    dense, encoded = both(pruned.model(), 0.1)
    assert all(form.startswith("kept dense: its sparse form would take") for form in forms(encoded).values())
    assert encoded.model.to_bytes() == dense.model.to_bytes()


def test_a_weight_of_nothing_but_zeros() -> None:
    model = pruned.model()
    model = model.replace("conv/kernel", data=np.zeros((32, 3, 3, 16), np.float32))
    edited = ql.prune(model, 0.0, encode=True, only="conv")
    assert forms(edited) == {"conv/kernel": edited.done[0].figures["form"]}
    for resolver in RESOLVERS:
        assert widest(run(model, resolver), run(edited.model, resolver)) == 0


def test_the_bytes_in_the_report_are_those_of_the_file() -> None:
    model = pruned.model()
    _, encoded = both(model, 0.75)
    saved = sum(int(line.figures["bytes_before"]) - int(line.figures["bytes_after"]) for line in encoded.done)
    assert 0 <= len(model.to_bytes()) - len(encoded.model.to_bytes()) - saved <= 512


def test_what_is_zero_already_is_encoded() -> None:
    dense = ql.prune(pruned.model(), 0.75).model
    edited = ql.prune(dense, 0.0, encode=True)
    assert edited.model.to_bytes() == ql.prune(pruned.model(), 0.75, encode=True).model.to_bytes()
    assert not ql.prune(edited.model, 0.0, encode=True).done
    kept = {line.where: line.what for line in ql.prune(pruned.model(), 0.0, encode=True).kept}
    assert kept["conv/kernel"].startswith("0 of 4,608 are zero already; not encoded: its sparse form would take")


def test_shared_weights_are_stored_once() -> None:
    dense, encoded = both(pruned.shared(), 0.8, **ALL)
    assert names(encoded.model).count("DENSIFY") == 2
    assert len({encoded.model.tensor(n).table.buffer for n in ("w_sparse", "other_sparse")}) == 1
    for resolver in RESOLVERS:
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) == 0


def test_control_dependencies_follow() -> None:
    draft = Draft(pruned.model())
    # version 1, one subgraph, one pair: operator 0 before operator 2 (zigzag: 0 and 4)
    draft.set_metadata("model_control_dependencies", bytes([1, 1, 1, 0, 4]))
    edited = ql.prune(draft.done(), 0.75, encode=True, only="conv")
    (entry,) = [e for e in edited.model.root.metadata if e.name == "model_control_dependencies"]
    data = edited.model.data(entry.buffer)
    assert data is not None
    assert data.numpy().tolist() == [1, 1, 1, 2, 6]  # a DENSIFY came before


# ---- sparse files as inputs --------------------------------------------------------------------------------------


ENCODED = {"behind DENSIFY": {"sparsity": 0.75}, "blocks": {"sparsity": 0.75, "pattern": "1x4"}}


@pytest.fixture(params=ENCODED)
def pair(request: pytest.FixtureRequest) -> tuple[Model, Model]:
    dense, encoded = both(pruned.model(), **ENCODED[request.param])
    return dense.model, ql.read(encoded.model.to_bytes())


def constants(model: Model) -> dict[str, tuple[Any, Any]]:
    return {t.name: (t.type, t.numpy().tobytes(), t.quantization) for t in model.tensors() if t.is_constant}  # type: ignore[misc]  # a constant's aren't None


@pytest.mark.parametrize("mode", ["dynamic", "dynamic-int4", "int8", "int8-int4", "int16x8", "uint8"])
def test_integers_are_those_of_the_dense_file(pair: tuple[Model, Model], mode: str) -> None:
    recipe, data = ql.recipes.by_name(mode), samples(pruned.layers())
    dense, encoded = (ql.quantize(m, recipe, calibrated(m, data) if recipe.activations else None) for m in pair)
    assert names(dense) == names(encoded)
    first, second = ({t.name: t for t in m.tensors()} for m in (dense, encoded))
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert tensor.quantization == second[name].quantization
        assert not tensor.is_constant or np.array_equal(tensor.numpy(), second[name].numpy())
    versions = [sorted((c.builtin_code, c.version) for c in m.root.operator_codes) for m in (dense, encoded)]
    assert versions[0] == versions[1]
    for resolver in RESOLVERS:
        if resolver != "reference" or not unknown_to_reference(dense.to_bytes()):
            assert widest(run(dense, resolver), run(encoded, resolver)) == 0


def test_behind_dequantize_the_operator_no_longer_claims_sparse_weights() -> None:
    model = product("FLOAT32")
    dense, encoded = (ql.prune(model, 0.5, pattern="1x4", encode=e, **ALL).model for e in (False, True))
    small = [ql.quantize(m, "weight-only") for m in (dense, encoded)]
    assert version(encoded, "y") == 8
    assert version(small[1], "y") == version(small[0], "y") == 1
    for resolver in RESOLVERS:
        assert widest(*(run(m, resolver) for m in small)) == 0


def test_halves_of_a_sparse_file_stay_sparse() -> None:
    model = pruned.model()
    dense, encoded = (ql.prune(model, 0.75, encode=e).model for e in (False, True))
    halves, small = ql.quantize(dense, "float16"), ql.quantize(encoded, "float16")
    assert len(small.to_bytes()) < 0.75 * len(encoded.to_bytes()) < len(halves.to_bytes())
    assert small.tensor("conv/kernel_sparse").type == "FLOAT16"
    assert np.array_equal(small.tensor("conv/kernel_sparse").numpy(), halves.tensor("conv/kernel").numpy())
    assert ql.read(small.to_bytes()).to_bytes(rebuild=True) == small.to_bytes()
    decision = next(d for d in ql.plan(encoded, "float16").decisions if d.name == "conv/kernel")
    assert decision.after == decision.before - 2 * 1152  # of 4,608 elements a quarter is stored
    for resolver in RESOLVERS:
        assert widest(run(halves, resolver), run(small, resolver)) == 0
    # and the other way round
    again = ql.prune(halves, 0.75, encode=True).model
    for resolver in RESOLVERS:
        assert widest(run(halves, resolver), run(again, resolver)) == 0


def test_weights_that_kernels_read_sparse_are_no_halves() -> None:
    model = ql.prune(product("FLOAT32"), 0.75, pattern="1x4", encode=True, **ALL).model
    (decision,) = [d for d in ql.plan(model, "float16").decisions if d.name == "y/kernel"]
    assert decision.reason == "stored sparse, and no DENSIFY alone stands before its readers"


def test_it_is_run_compared_planned_and_shown(
    pair: tuple[Model, Model], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dense, encoded = pair
    data = samples(pruned.layers(), 3)
    for runner in ("numpy", "litert"):
        found = [run_samples(m, data, runner=runner)["last"] for m in pair]
        np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)
    assert ql.compare(dense, encoded, data, layers=True).outputs[0].sqnr_db > 100
    assert {d.name for d in ql.plan(encoded, "dynamic").quantized} == {
        d.name for d in ql.plan(dense, "dynamic").quantized
    }
    path = tmp_path / "encoded.tflite"
    encoded.write(path)
    assert main(["inspect", str(path), "--tensors", "--operators", "--json"]) == 0
    assert "conv/kernel_sparse" in json.dumps(json.loads(capsys.readouterr().out))


def test_a_sparse_file_is_pruned_further(pair: tuple[Model, Model]) -> None:
    dense, encoded = pair
    for options in ({"sparsity": 0.9}, {"sparsity": 0.9, "pattern": "1x4"}):
        wanted = ql.prune(dense, **options)
        found, again = ql.prune(encoded, **options), ql.prune(encoded, **options, encode=True)
        assert [line.where for line in found.done] == [line.where for line in wanted.done]
        assert {t.name for t in found.model.tensors()} == {t.name for t in dense.tensors()}
        assert names(found.model) == names(dense)
        assert constants(found.model) == constants(wanted.model)
        assert version(found.model, "dense") == version(dense, "dense")
        assert len(again.model.to_bytes()) < len(encoded.to_bytes())
        for resolver in RESOLVERS:
            assert widest(run(wanted.model, resolver), run(found.model, resolver)) == 0
            assert widest(run(wanted.model, resolver), run(again.model, resolver)) < 1e-5


@needs_shared
@pytest.mark.parametrize("name", ["mlperf_ic_resnet8_float", "mlperf_vww_mobilenet_96_int8", "dtln_1_while_float"])
def test_real_models_answer_the_same(name: str) -> None:
    model = ql.read(SHARED / "models" / f"{name}.tflite")
    dense, encoded = both(model, 0.75, first_last=True)
    assert len(encoded.model.to_bytes()) < 0.65 * model.source.size
    for resolver in RESOLVERS:
        assert widest(run(dense.model, resolver), run(encoded.model, resolver)) <= ("int8" in name)

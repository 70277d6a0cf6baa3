"""Products of what layers read, by hand; layers refitted one after another; and that outputs are nearer for it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import quantlib as ql
from quantlib.errors import InvalidValue
from quantlib.evaluation import gram, refit
from quantlib.numerics import magnitude_mask, zeros_of
from quantlib.tflite import GraphDraft, Table
from tests.support import pruned
from tests.support.network import Network, gaussian
from tests.support.planned import samples

DATA = samples(pruned.layers(), 16)
CLUSTER = functools.partial(ql.cluster, clusters=6)
_BRANCHES = ("then_subgraph_index", "else_subgraph_index")
EDIT = functools.partial(ql.prune, sparsity=0.7, min_elements=0)


def windows(x: Any, kernel: tuple[int, int], stride: int, dilation: int, same: bool) -> Any:
    """Windows of an image, one by one: (places, H, W, channels)."""
    extents = [(k - 1) * dilation + 1 for k in kernel]
    counts = [-(-n // stride) if same else (n - e) // stride + 1 for n, e in zip(x.shape, extents, strict=False)]
    total = [
        max((c - 1) * stride + e - n, 0) if same else 0 for c, e, n in zip(counts, extents, x.shape, strict=False)
    ]
    x = np.pad(x, [*((t // 2, t - t // 2) for t in total), (0, 0)])
    ys, xs = (np.arange(k) * dilation for k in kernel)
    return np.stack(
        [x[i * stride + ys][:, j * stride + xs] for i in range(counts[0]) for j in range(counts[1])]
    ).astype(np.float64)


@pytest.mark.parametrize("runner", ["numpy", "litert"])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("stride", "dilation", "same"), [(1, 1, True), (2, 1, True), (1, 2, True), (2, 1, False)])
def test_products_are_of_every_window(runner: str, depthwise: bool, stride: int, dilation: int, same: bool) -> None:
    net = Network()
    x = net.input("x", (1, 7, 6, 3))
    shape = (1, 3, 2, 6) if depthwise else (4, 3, 2, 3)
    w, b = net.constant("w", gaussian(shape)), net.constant("b", gaussian((shape[3] if depthwise else 4,)))
    options = Table(
        "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
        **{"stride_h": stride, "stride_w": stride, "dilation_h_factor": dilation, "dilation_w_factor": dilation},
        **{"padding": 0 if same else 1, **({"depth_multiplier": 2} if depthwise else {})},
    )
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    data = gaussian((3, 7, 6, 3), 4)
    found = [windows(v, (3, 2), stride, dilation, same) for v in data]
    side = [-(-n // stride) if same else (n - k) // stride + 1 for n, k in ((7, 3), (6, 2))]
    model = net.done(net.op(name, [x, w, b], "y", (1, *side, shape[3] if depthwise else 4), options))
    values = gram(model, data, runner=runner)["w"].values
    rows = np.concatenate([f.transpose(0, 3, 1, 2) if depthwise else f for f in found])
    rows = rows.reshape(len(rows), 3 if depthwise else 1, -1).swapaxes(0, 1)
    rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)
    np.testing.assert_allclose(values, rows.swapaxes(1, 2) @ rows, rtol=1e-4, atol=1e-4)
    assert values[0, -1, -1] == rows.shape[1]


def test_layers_are_refitted_on_what_pruned_ones_before_them_give() -> None:
    """The last one meets its least squares on what it really reads, and not on what it would read unpruned."""
    net = Network()
    x = net.input("x", (1, 12))
    for i in range(2):
        x = net.fully_connected(f"l{i}", x, gaussian((12, 12), i, 0.4), fused_activation_function=1)
    x = net.fully_connected("out", x, gaussian((12, 12), 7))
    model, data = net.done(x), gaussian((80, 12), 5) + 0.5
    edit = functools.partial(ql.prune, sparsity=0.5, min_elements=0, first_last=True)
    seen: list[int] = []
    fits = refit(model, data, edit, runner="numpy", progress=seen.append)
    assert (list(fits), seen) == (["l0/kernel", "l1/kernel", "out/kernel"], [1, 1, 1])
    made = edit(model, refit=fits).model
    reads, wanted = (
        ql.run(m, data, all_tensors=True)[name].astype(np.float64) for m, name in ((made, "l1"), (model, "out"))
    )
    new, bias = (made.tensor(f"out/{part}").numpy() for part in ("kernel", "bias"))
    for r in range(12):
        columns = np.concatenate([reads[:, new[r] != 0], np.ones((80, 1))], axis=1)
        least = np.linalg.lstsq(columns, wanted[:, r], rcond=None)[0]
        errors = [
            np.square(columns @ c - wanted[:, r]).sum() for c in (least, np.append(new[r, new[r] != 0], bias[r]))
        ]
        assert errors[1] < 1.02 * errors[0] + 1e-3


@pytest.mark.parametrize("options", [{}, {"ranking": "global"}])
def test_outputs_are_nearer_than_by_magnitude(options: dict[str, Any]) -> None:
    model, edit = pruned.model(), functools.partial(EDIT, **options)
    held_back = {"image": gaussian((12, 8, 8, 3), 99)}
    found = [{}, {"refit": gram(model, DATA, runner="numpy")}, {"refit": refit(model, DATA, edit, runner="numpy")}]
    edits = [edit(model, **f) for f in found]
    assert len({e.totals["zeros"] for e in edits}) == 1
    plain, once, in_turn = (ql.compare(model, e.model, held_back, runner="numpy").outputs[0].sqnr_db for e in edits)
    assert min(once, in_turn) > plain + 2


def test_a_layer_that_loses_nothing_stays_as_it_is() -> None:
    """Ranked together a layer may keep all; it must not fall back to magnitude for that."""
    model = pruned.model()
    wide = model.tensor("wide/kernel").numpy()
    small = np.where(magnitude_mask(wide, 0.9), wide, wide * np.float32(1e-4))
    dense = model.tensor("dense/kernel").numpy()
    model = model.replace("wide/kernel", data=small).replace("dense/kernel", data=dense + np.sign(dense))
    edit = functools.partial(ql.prune, sparsity=0.1, ranking="global")
    fits = refit(model, DATA, edit, runner="numpy")
    assert set(fits) == {"conv/kernel", "wide/kernel", "dense/kernel"}
    made = edit(model, refit=fits)
    assert [line.where for line in made.done] == ["wide/kernel"]
    assert made.totals["zeros"] == zeros_of(4608 + 2048 + 3072, 0.1)


def test_what_can_not_be_refitted_is_refused() -> None:
    with pytest.raises(InvalidValue, match="changes no weight that can be refitted"):
        refit(pruned.model("weight-only"), DATA, EDIT)
    with pytest.raises(InvalidValue, match="changes no weight that can be refitted"):
        refit(pruned.model(), DATA, functools.partial(ql.prune, sparsity=0.0))
    with pytest.raises(InvalidValue, match="changes no weight that can be refitted"):
        refit(CLUSTER(pruned.model()).model, DATA, CLUSTER)


def test_samples_that_are_not_finite_are_named() -> None:
    bad = {"image": DATA["image"].copy()}
    bad["image"][3] = np.inf
    message = "^sample 3: what first/kernel is multiplied with isn't finite; remove the sample$"
    for measure in (gram, functools.partial(refit, edit=CLUSTER)):
        with pytest.raises(InvalidValue, match=message):
            measure(pruned.model(), bad, runner="numpy")
    bad["image"][3] = 1e30
    with pytest.raises(InvalidValue, match=r"^first/kernel: products that aren't all finite"):
        gram(pruned.model(), bad, ["first/kernel"], runner="numpy")


def test_a_branch_that_some_samples_take() -> None:
    """It is refitted on those that do."""
    net = Network()
    draft, main = net.draft, net.graph
    draft.graphs += [GraphDraft.of(Table("SubGraph", name=name)) for name in ("then", "else")]
    c, x = net.input("c", (), "BOOL"), net.input("x", (1, 24))
    main.outputs = [main.add_tensor("y", "FLOAT32", (1, 24))]
    main.append(
        draft.operator("IF", [c, x], main.outputs, Table("IfOptions", **dict(zip(_BRANCHES, (1, 2), strict=True))))
    )
    for graph in draft.graphs[1:]:
        net.graph = graph
        h, name = net.input("x", (1, 24)), "then" if graph is draft.graphs[1] else "else"
        for i in range(2):
            h = net.fully_connected(f"{name}{i}", h, gaussian((24, 24), i))
        graph.outputs = [h]
    model = draft.done()
    data = {"c": np.arange(40) % 2 == 0, "x": gaussian((40, 24), 3) @ gaussian((24, 24), 4)}
    fits = refit(model, data, CLUSTER, runner="numpy")
    assert set(fits) == {f"{name}{i}/kernel" for name in ("then", "else") for i in range(2)}
    wanted, simple, fitted = (
        ql.run(m, data, runner="numpy")["y"] for m in (model, CLUSTER(model).model, CLUSTER(model, refit=fits).model)
    )
    for branch in (0, 1):
        errors = [np.square(y - wanted)[branch::2].sum() for y in (simple, fitted)]
        assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("options", [{}, {"grid": "int8"}, {"per": "channel"}, {"grid": "int8", "per": "channel"}])
@pytest.mark.parametrize("form", ["", "float16"])
def test_clusters_make_up_for_what_those_before_did(form: str, options: dict[str, Any]) -> None:
    model, edit = pruned.model(form), functools.partial(CLUSTER, **options)
    seen: list[int] = []
    fits = refit(model, DATA, edit, runner="numpy", progress=seen.append)
    found: list[Any] = [None, gram(model, DATA, runner="numpy"), fits]
    edits = [edit(model, refit=f) for f in found]
    assert list(fits) == [line.where for line in edits[2].done]
    assert (edits[2].totals["refitted"], sum(seen)) == (len(fits), len(fits))
    if not options:
        assert {line.figures["values"] for line in edits[2].done} == {6}
    held_back = {"image": gaussian((24, 8, 8, 3), 99)}
    simple, once, in_turn = (ql.compare(model, e.model, held_back, runner="numpy").outputs[0].sqnr_db for e in edits)
    assert once > simple + 2
    assert in_turn > (
        simple + 2 if "per" in options else once + 0.5
    )  # of little error there is little to make up for
    assert edit(model, refit=refit(model, DATA, edit, runner="numpy")).model.to_bytes() == edits[2].model.to_bytes()


def test_why_nothing_can_be_refitted_is_said() -> None:
    model = ql.quantize(ql.read(ql.demo.MODEL), ql.recipes.int8(default_ranges=(-1.0, 1.0)))
    with pytest.raises(InvalidValue, match=r"no weight that can be refitted: .+: .+"):
        refit(model, ql.demo.CALIBRATION, functools.partial(ql.prune, sparsity=0.5), runner="numpy")

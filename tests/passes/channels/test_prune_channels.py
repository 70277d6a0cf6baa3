"""`prune_channels`: what goes, what stays and why, in float and quantized models; bad requests."""

import numpy as np
import pytest

import quantlib as ql
from quantlib.passes import prune_channels
from quantlib.tflite import Table
from tests.support.channels import DEAD, chain, kept_of, left, samples
from tests.support.litert import RESOLVERS, run
from tests.support.models import blockwise, csr, signature
from tests.support.network import Network, gaussian
from tests.support.networks import example
from tests.support.shared import SHARED, needs_shared

# ---- how many, and which


def test_the_fraction_is_rounded_down_and_one_stays():
    model = chain(sizes=(10, 10))
    for fraction, expected in (
        (0.0, 10),
        (0.09, 10),
        (0.25, 8),
        (0.29, 8),
        (0.3, 7),
        (0.5, 5),
        (0.99, 1),
        (1 - 1e-9, 1),
    ):
        edited = prune_channels(model, fraction, first_last=True)
        assert (left(edited, "conv0"), left(edited, "conv1")) == (expected, expected), fraction
    assert prune_channels(model, 0.0).model is model


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_least_norms_go(norm):
    model = chain()
    before = model.tensor("conv1/kernel").numpy().reshape(8, -1)
    norms = np.abs(before).sum(1) if norm == "l1" else np.sqrt((before**2).sum(1))
    edited = prune_channels(model, 0.5, norm=norm)
    stays = np.sort(np.argsort(norms)[4:])
    np.testing.assert_array_equal(edited.model.tensor("conv1/kernel").numpy().reshape(4, -1), before[stays])
    np.testing.assert_array_equal(
        edited.model.tensor("dense/kernel").numpy(), model.tensor("dense/kernel").numpy()[:, stays]
    )


def test_norms_differ_where_filters_are_spread_differently():
    """One large weight has the greater L2 norm, many small ones the greater L1 norm."""
    net = Network()
    x = net.input("x", (1, 4))
    spread = np.array([[3, 0, 0, 0], [1.2, 1.2, 1.2, 1.2]], np.float32)
    x = net.fully_connected("first", x, gaussian((4, 4), 3))
    x = net.fully_connected("made", x, spread)
    model = net.done(net.fully_connected("last", x, gaussian((2, 2), 1)))
    for norm, stays in (("l1", 1), ("l2", 0)):
        found = prune_channels(model, 0.5, norm=norm).model.tensor("made/kernel").numpy()
        assert found.shape[0] == 1
        assert (np.count_nonzero(found) == 4) == (stays == 1)


def test_equal_filters_go_from_the_end():
    net = Network()
    x = net.input("x", (1, 3))
    x = net.fully_connected("first", x, np.ones((6, 3), np.float32), np.arange(6, dtype=np.float32))
    model = net.done(net.fully_connected("last", x, np.ones((2, 6), np.float32)))
    edited = prune_channels(model, 0.5, first_last=True)
    np.testing.assert_array_equal(edited.model.tensor("first/bias").numpy(), [0, 1, 2])


def test_layers_that_share_channels_have_the_same_say():
    """The larger norms of one layer would overrule the other's, were they not taken over their mean."""
    net = Network()
    x = net.input("x", (1, 2))
    x = net.fully_connected("first", x, np.ones((2, 2), np.float32))
    small = np.array([[0.01, 0], [1, 1], [1, 1], [1, 1]], np.float32)
    large = np.array([[1000, 1000], [1000, 1000], [900, 1000], [1000, 1000]], np.float32)
    one, two = net.fully_connected("one", x, small), net.fully_connected("two", x, large)
    total = net.op("ADD", [one, two], "sum", (1, 4), Table("AddOptions"))
    model = net.done(net.fully_connected("last", total, np.ones((2, 4), np.float32)))
    edited = prune_channels(model, 0.25, only=["one", "two"])
    np.testing.assert_array_equal(edited.model.tensor("one/kernel").numpy(), small[1:])
    np.testing.assert_array_equal(edited.model.tensor("two/kernel").numpy(), large[1:])


def test_global_takes_what_is_least_over_all_layers():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    weights = gaussian((8, 4), 2)
    weights[2:7] = 0
    x = net.fully_connected("dying", x, weights)
    x = net.fully_connected("alive", x, np.ones((8, 8), np.float32))
    model = net.done(net.fully_connected("last", x, gaussian((2, 8), 4)))
    edited = prune_channels(model, 0.25, ranking="global")
    assert (left(edited, "dying"), left(edited, "alive")) == (4, 8)
    edited = prune_channels(model, 0.95, ranking="global")
    assert (left(edited, "dying"), left(edited, "alive")) == (1, 1)


def test_global_takes_others_in_place_of_a_last_channel():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    x = net.fully_connected("dead", x, np.zeros((8, 4), np.float32))
    x = net.fully_connected("alive", x, np.ones((8, 8), np.float32))
    model = net.done(net.fully_connected("last", x, gaussian((2, 8), 4)))
    edited = prune_channels(model, 0.5, ranking="global")
    assert (left(edited, "dead"), left(edited, "alive")) == (1, 7)


def test_what_is_left_is_a_multiple():
    model = chain(sizes=(10, 20))
    edited = prune_channels(model, 0.5, multiple=4, first_last=True)
    assert (left(edited, "conv0"), left(edited, "conv1")) == (8, 12)
    assert left(prune_channels(model, 0.5, multiple=16, first_last=True), "conv0") == 10


def test_the_first_layer_and_the_last_stay_unless_asked_for():
    model = chain()
    edited = prune_channels(model, 0.5)
    assert (left(edited, "conv0"), left(edited, "conv1")) == (8, 4)
    assert kept_of(edited)["conv0"] == "is the first layer"
    assert left(prune_channels(model, 0.5, first_last=True), "conv0") == 4


def test_selectors():
    model = chain()
    both = {"first_last": True}
    assert left(prune_channels(model, 0.5, only="conv0", **both), "conv1") == 8
    assert left(prune_channels(model, 0.5, skip="conv0/kernel", **both), "conv0") == 8
    edited = prune_channels(model, 0.5, skip_types="CONV_2D", **both)
    assert not edited.done
    assert "left out by skip" in kept_of(edited)["conv0"]
    edited = prune_channels(model, 0.5, only_types=["FULLY_CONNECTED"], **both)
    assert "not among those asked for" in kept_of(edited)["conv1"]


def test_the_account_counts_channels_and_bytes():
    model = chain()
    edited = prune_channels(model, 0.5, first_last=True)
    assert dict(edited.totals) == {
        "channels": 20,
        "channels_left": 12,
        "bytes_before": len(model.to_bytes()),
        "bytes_after": len(edited.model.to_bytes()),
    }
    assert [line.to_dict() for line in edited.done] == [
        {"where": n, "what": "4 of 8 channels left", "channels": 8, "left": 4} for n in ("conv0", "conv1")
    ]
    assert kept_of(edited) == {"dense": "dense is an output of the model"}
    assert edited.model.to_bytes() == prune_channels(model, 0.5, first_last=True).model.to_bytes()


# ---- forms of constants


def dead_model(form):
    model = chain(DEAD)
    if form in ("float16", "dynamic", "weight-only", "weight-only-int4"):
        return ql.quantize(model, form)
    return model if form == "float32" else ql.quantize(model, form, ql.calibrate(model, samples()))


@pytest.mark.parametrize("form", ["float32", "float16", "dynamic", "weight-only", "int8", "int16x8", "uint8"])
def test_dead_channels_cost_nothing_in_any_form(form):
    model = dead_model(form)
    edited = prune_channels(model, 0.25, first_last=True)
    assert edited.model.tensor("conv1/kernel").shape == (6, 3, 3, 6)
    exact = form in ("int8", "int16x8", "uint8")
    for resolver in RESOLVERS:
        for a, b in zip(run(model, resolver), run(edited.model, resolver), strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=0 if exact else 2e-6 * np.abs(a).max(), err_msg=resolver)


@pytest.mark.parametrize("form", ["int8", "int16x8", "dynamic"])
def test_scales_and_zero_points_of_channels_are_cut_with_them(form):
    model = ql.quantize(chain(), form, None if form == "dynamic" else ql.calibrate(chain(), samples()))
    edited = prune_channels(model, 0.5)
    for end in ("kernel", "bias") if form != "dynamic" else ("kernel",):
        before, after = (m.tensor(f"conv1/{end}") for m in (model, edited.model))
        assert after.quantization.scale.size == after.quantization.zero_point.size == after.shape[0] == 4
        places = [int(np.flatnonzero(before.quantization.scale == s)[0]) for s in after.quantization.scale]
        np.testing.assert_array_equal(after.numpy(), before.numpy()[places])


def test_quantizing_what_is_left_gives_what_cutting_the_quantized_gives():
    """Weights alone: each channel has its own scale."""
    first = ql.quantize(prune_channels(chain(DEAD), 0.25).model, "dynamic")
    second = prune_channels(ql.quantize(chain(DEAD), "dynamic"), 0.25).model
    for name in ("conv1/kernel", "dense/kernel"):
        np.testing.assert_array_equal(first.tensor(name).numpy(), second.tensor(name).numpy())


@pytest.mark.parametrize("behind", [True, False])
def test_sparse_weights_become_dense_without_their_densify(behind):
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 8)), gaussian((8, 8), 1))
    values = gaussian((8, 8), 2) * (np.random.default_rng(3).random((8, 8)) < 0.4)
    stored, sparsity = csr(values.astype(np.float32), "Uint8Vector")
    w = net.graph.add_tensor("made/kernel", "FLOAT32", (8, 8), buffer=net.draft.add_buffer(stored), sparsity=sparsity)
    if behind:
        w = net.op("DENSIFY", [w], "dense/kernel", (8, 8), Table("DensifyOptions"))
    x = net.fully_connected("made", x, w)
    edited = prune_channels(net.done(net.fully_connected("last", x, gaussian((3, 8), 4))), 0.5)
    names = [edited.model.operator_name(o) for o in edited.model.subgraphs[0].operators]
    assert names == ["FULLY_CONNECTED"] * 3
    found = edited.model.tensor("dense/kernel" if behind else "made/kernel")
    stays = np.sort(np.lexsort((-np.arange(8), np.abs(values).sum(1)))[4:])
    np.testing.assert_array_equal(found.numpy(), values[stays].astype(np.float32))
    assert run(edited.model)[0].shape == (1, 3)


def test_what_read_sparse_weights_has_the_version_for_dense_ones():
    """XNNPACK takes FULLY_CONNECTED of version 8 for one with sparse weights."""
    net = Network()
    x = net.input("x", (1, 64))
    for i in range(3):
        x = net.fully_connected(f"fc{i}", x, gaussian((64, 64), i))
    model = net.done(x)
    encoded, dense = (ql.prune(model, 0.9, pattern="1x4", first_last=True, encode=e).model for e in (True, False))
    assert [encoded.root.operator_codes[o.opcode_index].version for o in encoded.subgraphs[0].operators] == [8] * 3
    cut, wanted = (prune_channels(m, 0.25, first_last=True).model for m in (encoded, dense))
    assert [cut.root.operator_codes[o.opcode_index].version for o in cut.subgraphs[0].operators] == [1] * 3
    for resolver in RESOLVERS:
        for ours, theirs in zip(run(cut, resolver), run(wanted, resolver), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_four_bit_weights_are_packed_anew():
    model = ql.quantize(chain(sizes=(8, 10)), "weight-only-int4")
    edited = prune_channels(model, 0.3)
    after, before = edited.model.tensor("conv1/kernel"), model.tensor("conv1/kernel")
    assert (after.type, after.shape) == ("INT4", (7, 3, 3, 8))
    rows = {row.tobytes() for row in before.numpy()}
    assert all(row.tobytes() in rows for row in after.numpy())


@pytest.mark.parametrize(("bits", "granule"), [("weight-only", 3 * 3 * 8), ("weight-only-int4", 7 * 3 * 3 * 8 // 2)])
def test_what_is_left_is_made_row_by_row_where_rows_are_whole_bytes(bits, granule):
    """So that no more than a row of a large weight is in memory when it is written."""
    edited = prune_channels(ql.quantize(chain(sizes=(8, 10)), bits), 0.3).model
    data = edited.tensor("conv1/kernel").data
    assert data.granule == granule
    parts = [data.read(i, min(i + granule, data.nbytes)) for i in range(0, data.nbytes, granule)]
    np.testing.assert_array_equal(np.concatenate(parts), data.read(0, data.nbytes))


def test_the_multiplier_of_a_single_channel_follows():
    net = Network()
    x = net.convolution("made", net.input("x", (1, 4, 4, 1)), gaussian((1, 3, 3, 8), 1), depthwise=True)
    options = net.graph.operators[-1].builtin_options.replace(depth_multiplier=8)
    net.graph.operators[-1] = net.graph.operators[-1].replace(builtin_options=options)
    model = net.done(net.convolution("last", x, gaussian((2, 1, 1, 8), 2)))
    made = prune_channels(model, 0.25, first_last=True, only="made").model
    assert made.tensor("made/kernel").shape == (1, 3, 3, 6)
    assert made.subgraphs[0].operators[0].builtin_options.depth_multiplier == 6


def test_blockwise_scales_keep_their_channels():
    edited = prune_channels(blockwise(), 0.5, first_last=True)
    assert not edited.done
    assert any("blockwise" in line.what for line in edited.kept)


def test_integers_without_a_scale_stay():
    net = Network()
    x = net.fully_connected("made", net.input("x", (1, 4)), np.ones((4, 4), np.int8))
    edited = prune_channels(net.done(net.fully_connected("last", x, gaussian((2, 4)))), 0.5, first_last=True)
    assert "INT8 without a scale" in kept_of(edited)["made"]


# ---- who shares what


def test_a_weight_that_two_layers_read_is_cut_once_for_both():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    w = net.constant("shared/kernel", gaussian((8, 4), 2))
    one, two = net.fully_connected("one", x, w), net.fully_connected("two", x, w)
    ends = [net.fully_connected(f"end {n}", t, gaussian((2, 8), 3)) for n, t in (("one", one), ("two", two))]
    edited = prune_channels(net.done(*ends), 0.5)
    assert edited.model.tensor("shared/kernel").shape == (4, 4)
    assert edited.model.tensor("end two/kernel").shape == (2, 4)
    assert [o.shape for o in run(edited.model)] == [(1, 2), (1, 2)]


def test_a_weight_that_a_refused_layer_reads_stays():
    """The file doesn't say the shape that the second layer writes; a runtime finds it out."""
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    w = net.constant("shared/kernel", gaussian((8, 4), 2))
    one, two = net.fully_connected("one", x, w), net.fully_connected("two", x, w)
    net.graph.tensors[two] = net.graph.tensors[two].replace(shape=[])
    ends = [net.fully_connected("end one", one, gaussian((2, 8), 3)), net.op("RELU", [two], "end two", (1, 8))]
    edited = prune_channels(net.done(*ends), 0.5, first_last=True)
    assert "FULLY_CONNECTED 'two' writes a shape [] that doesn't hold its channels" in kept_of(edited)["one"]
    assert edited.model.tensor("shared/kernel").shape == (8, 4)
    assert [o.shape for o in run(edited.model)] == [(1, 2), (1, 8)]


def test_a_weight_that_something_else_reads_stays():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    w = net.constant("shared/kernel", gaussian((4, 4), 2))
    made = net.fully_connected("made", x, w)
    other = net.op("SOFTMAX", [w], "other", (4, 4), Table("SoftmaxOptions", beta=1.0))
    edited = prune_channels(net.done(net.fully_connected("end", made, gaussian((2, 4), 3)), other), 0.5)
    assert "shared/kernel is also read by SOFTMAX 'other'" in kept_of(edited)["made"]


def test_a_weight_that_is_an_output_stays():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    w = net.constant("kernel", gaussian((4, 4), 2))
    made = net.fully_connected("made", x, w)
    edited = prune_channels(net.done(net.fully_connected("end", made, gaussian((2, 4), 3)), w), 0.5)
    assert "kernel is an input or output of the model" in kept_of(edited)["made"]


def test_a_buffer_that_two_tensors_share_is_cut_for_each():
    net = Network()
    x = net.fully_connected("first", net.input("x", (1, 4)), gaussian((4, 4), 1))
    buffer = net.draft.add_buffer(gaussian((4, 4), 2))
    for i in range(2):
        x = net.fully_connected(f"made{i}", x, net.constant(f"w{i}", np.zeros((4, 4), "f4"), buffer=buffer))
    model = net.done(net.fully_connected("end", x, gaussian((2, 4), 3)))
    edited = prune_channels(model, 0.5, skip="made0")
    assert [edited.model.tensor(f"w{i}").shape for i in range(2)] == [(4, 4), (2, 4)]
    np.testing.assert_array_equal(edited.model.tensor("w0").numpy(), model.tensor("w0").numpy())
    edited = prune_channels(model, 0.5)
    assert [edited.model.tensor(f"w{i}").shape for i in range(2)] == [(2, 4), (2, 2)]


def test_a_shape_that_two_operators_share_is_changed_for_one():
    """Channels of one branch stay, since they are an output; those of the other go."""
    net = Network()
    x = net.convolution("first", net.input("x", (1, 2, 2, 3)), gaussian((4, 1, 1, 3), 1))
    shape = net.constant("shape", np.array([1, 16], np.int32))
    flat = []
    for name in ("free", "held"):
        y = net.convolution(name, x, gaussian((4, 1, 1, 4), 2))
        flat.append(net.op("RESHAPE", [y, shape], f"{name} flat", (1, 16)))
    last = net.fully_connected("last", flat[0], gaussian((2, 16), 3))
    edited = prune_channels(net.done(last, flat[1]), 0.5)
    assert (left(edited, "free"), left(edited, "held")) == (2, 4)
    for resolver in RESOLVERS:
        assert [o.shape for o in run(edited.model, resolver)] == [(1, 2), (1, 16)]


def test_each_subgraph_is_followed_alone():
    found = example("two_signatures")
    edited = prune_channels(found.model, 0.5, first_last=True)
    assert not edited.done
    assert len(edited.kept) == 2
    loop = prune_channels(example("loop").model, 0.5, first_last=True)
    assert any("WHILE" in line.what for line in loop.kept)


def test_a_signature_keeps_its_output():
    """What only a signature names is an end, too."""
    net = Network()
    x = net.fully_connected("made", net.input("x", (1, 4)), gaussian((4, 4), 1))
    y = net.fully_connected("last", x, gaussian((2, 4), 2))
    net.draft.signatures.append(signature("s", {"x": 0}, {"inner": x, "y": y}))
    edited = prune_channels(net.done(y), 0.5, first_last=True)
    assert kept_of(edited)["made"] == "made is an output of the model"


# ---- real models


@needs_shared
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("mlperf_vww_mobilenet_96_float", 1498, 1126),
        ("mlperf_vww_mobilenet_96_int8", 1498, 1126),
        ("mlperf_ic_resnet8_float", 346, 270),
        ("mobilenet_v1_0.25_224_qat_uint8", 2497, 2125),
        ("face_detection_short_range_fp16", 1210, 1055),
    ],
)
def test_real_models_run(name, before, after):
    model = ql.read(SHARED / "models" / f"{name}.tflite")
    edited = prune_channels(model, 0.25)
    assert (edited.totals["channels"], edited.totals["channels_left"]) == (before, after)
    for resolver in RESOLVERS:
        shapes = [o.shape for o in run(model, resolver)]
        assert [o.shape for o in run(edited.model, resolver)] == shapes

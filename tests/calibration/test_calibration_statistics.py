"""Statistics as values: collected, merged, saved and loaded."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantlib.calibration import (
    Collector,
    HistogramState,
    MinMax,
    MinMaxState,
    Percentile,
    Statistics,
    load,
    merge,
    new_state,
)
from quantlib.errors import InvalidRange, InvalidValue, NotFound, QuantlibError, WriteFailed
from tests.support.examples import examples

from .strategies import MODEL, NAMES, arrays, gather, one, trees


def saved(statistics, folder, name="s.npz"):
    path = folder / name
    statistics.save(path)
    return path.read_bytes()


SAMPLES = st.lists(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), arrays(most=12)), max_size=3), max_size=6)


@examples(40)
@given(st.data(), SAMPLES, st.sampled_from(["histogram", "minmax"]))
def test_every_sharding_order_and_merge_tree_gives_the_same_file(tmp_path_factory, data, samples, observer):
    folder = tmp_path_factory.getbasetemp()
    whole = gather(samples, observer)
    shards = [[] for _ in range(data.draw(st.integers(1, 4)))]
    for sample in data.draw(st.permutations(samples)):
        shards[data.draw(st.integers(0, len(shards) - 1))].append(data.draw(st.permutations(sample)))
    merged = trees(data.draw, [gather(shard, observer) for shard in shards], merge)
    assert merged == whole
    assert hash(merged) == hash(whole)
    assert str(merged) == str(whole)
    assert merged.to_dict() == whole.to_dict()
    assert saved(merged, folder) == saved(whole, folder)
    back = load(folder / "s.npz")
    assert back == whole
    assert pickle.loads(pickle.dumps(whole)) == whole


def rich(observer="histogram"):
    """Statistics with a bit of everything."""
    samples = [[((0, 1), np.array([[1.5, -2.0], [np.nan, 0.0]], np.float32))], [((1, 0), np.array([[0.0]]))]]
    return gather(samples, observer, channel_axes={(0, 1): 1, (0, 7): 0, (1, 0): 0})


@pytest.mark.parametrize("observer", ["histogram", "minmax", "moving-average"])
def test_a_file_gives_back_what_was_saved(tmp_path, observer):
    statistics = rich(observer)
    statistics.save(tmp_path / "without.suffix")
    back = load(str(tmp_path / "without.suffix"))
    assert back == statistics
    assert back.tensors.keys() == statistics.tensors.keys()
    assert [len(state.channels.totals) for state in back.tensors.values()] == [2, 0, 1]
    assert (back.version, back.samples, back.observer, back.model) == ("1.0", 2, observer, MODEL)
    back.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "without.suffix").read_bytes()
    assert os.listdir(tmp_path) == ["without.suffix", "again"] or len(os.listdir(tmp_path)) == 2


def test_names_may_be_any_text(tmp_path):
    names = {(0, 0): "ends in zero\0", (0, 1): "", (0, 2): "größe/\ud800\n", (0, 3): ""}
    statistics = Statistics(MODEL, 0, "minmax", {key: MinMaxState() for key in names}, names)
    statistics.save(tmp_path / "s.npz")
    assert load(tmp_path / "s.npz").names == names


def test_merge_keeps_tensors_of_either():
    a = Statistics(MODEL, 1, "minmax", {(0, 5): MinMaxState().observe([1.0])}, {(0, 5): "a"}, "1.0")
    b = Statistics(MODEL, 2, "minmax", {(0, 2): MinMaxState().observe([2.0])}, {(0, 2): "b"}, "1.1")
    both = merge(a, b)
    assert list(both.tensors) == [(0, 2), (0, 5)]
    assert (both.samples, both.version) == (3, "1.0 1.1")
    assert merge(b, a) == both
    assert merge(both, Statistics(MODEL, 0, "minmax")) == both == merge(Statistics(MODEL, 0, "minmax"), both)
    assert merge(a) == a


def test_what_is_not_merged():
    a = one(HistogramState().observe([1.0]))
    with pytest.raises(InvalidValue, match=r"SHA-256 0123456789ab\.\.\. and 000000000000\.\.\.; merge those of one"):
        merge(a, Statistics("0" * 64, 0, "histogram"))
    with pytest.raises(InvalidValue, match="statistics of observers 'histogram' and 'minmax'"):
        merge(a, Statistics(MODEL, 0, "minmax"))
    with pytest.raises(InvalidValue, match=r"tensor \(0, 0\) is named 't' and 'u'"):
        merge(a, one(HistogramState(), name="u"))
    with pytest.raises(InvalidValue, match=r"tensor 't' \(0, 0\): one state has channels"):
        merge(a, one(new_state(channel_axis=0)))
    moving = one(new_state("moving-average").observe([1.0]))
    with pytest.raises(InvalidValue, match=r"tensor 't' \(0, 0\): moving averages depend on the order"):
        merge(moving, moving)


def test_statistics_are_values():
    statistics = rich()
    with pytest.raises(TypeError):
        statistics.tensors[0, 1] = MinMaxState()
    with pytest.raises(AttributeError):
        statistics.samples = 3
    assert statistics != rich("minmax")
    assert statistics != 1
    assert "samples=2, observer='histogram', 3 tensors" in repr(statistics)
    given = {(0, 0): MinMaxState()}
    made = Statistics(MODEL, 0, "minmax", given, {(0, 0): "t"})
    given[0, 1] = MinMaxState()
    assert len(made.tensors) == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("abc", 0, "minmax"), "model is 'abc'; its SHA-256"),
        (("G" * 64, 0, "minmax"), "model is 'GGG"),
        ((MODEL, -1, "minmax"), "-1 samples"),
        ((MODEL, 0, "kl"), "observer 'kl' is unknown"),
        ((MODEL, 0, "minmax", {(0, 0): MinMaxState()}), r"tensor \(0, 0\) has a state or a name, but not both"),
        (
            (MODEL, 0, "minmax", {(0, 0): HistogramState()}, {(0, 0): ""}),
            r"state of tensor \(0, 0\) is no MinMaxState",
        ),
    ],
)
def test_parts_that_do_not_belong_together(parts, message):
    with pytest.raises(InvalidValue, match=message):
        Statistics(*parts)


def test_tensors_are_found_by_name_and_key():
    names = {(0, 0): "a", (0, 1): "b", (1, 0): "b"}
    statistics = Statistics(MODEL, 0, "minmax", {key: MinMaxState() for key in names}, names)
    assert statistics.key("a") == (0, 0)
    assert statistics[1, 0] is statistics.tensors[1, 0]
    with pytest.raises(NotFound, match="2 observed tensors are named 'b'"):
        statistics["b"]
    with pytest.raises(NotFound, match="no observed tensors are named 'c'"):
        statistics["c"]


def test_choosing_names_the_tensor():
    statistics = rich()
    assert statistics.choose("conv1", MinMax()) == (-2, 1.5)
    assert statistics.choose((0, 1), Percentile(100), symmetric=True) == (-2, 2)
    with pytest.raises(InvalidRange, match=r"^tensor 'relu' \(0, 7\): no value was observed"):
        statistics.choose("relu", MinMax())
    with pytest.raises(InvalidValue, match=r"^tensor 'conv1' \(0, 1\): range 'percentile' needs a histogram"):
        rich("minmax").choose("conv1", Percentile())


def test_the_collector_observes_floats_alone():
    collector = Collector(MODEL, NAMES)
    collector.observe((0, 1), np.array([3, 4]))
    collector.observe((0, 1), np.array([True]))
    assert not collector.finish()["conv1"].seen
    collector.observe((0, 1), np.array([3.0]))
    collector.end_sample()
    before = collector.finish()
    collector.observe((0, 1), np.array([5.0]))
    collector.end_sample()
    assert (before.samples, before["conv1"].max) == (1, 3)
    assert (collector.finish().samples, collector.finish()["conv1"].max) == (2, 5)
    with pytest.raises(NotFound, match=r"tensor \(9, 9\) is not observed"):
        collector.observe((9, 9), np.array([1.0]))
    with pytest.raises(NotFound, match=r"tensor \(9, 9\) is not observed"):
        Collector(MODEL, NAMES, channel_axes={(9, 9): 1})
    with pytest.raises(NotFound, match="observer 'kl' is unknown"):
        Collector(MODEL, NAMES, "kl")
    with pytest.raises(InvalidValue, match="SHA-256"):
        Collector("digest", NAMES)
    with pytest.raises(InvalidValue, match=r"tensor 'relu' \(0, 7\): .* needs an axis 3"):
        Collector(MODEL, NAMES, channel_axes={(0, 7): 3}).observe((0, 7), np.ones(2))


def test_saving_leaves_all_or_nothing(tmp_path, monkeypatch):
    statistics, path = rich(), tmp_path / "s.npz"
    path.write_bytes(b"before")
    with pytest.raises(WriteFailed, match="No such file or directory"):
        statistics.save(tmp_path / "none" / "s.npz")
    with pytest.raises(WriteFailed, match="not a regular file"):
        statistics.save(tmp_path)

    def full(*args, **arrays):
        args[0].write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(WriteFailed, match="No space left on device; choose another path; nothing was changed"):
        statistics.save(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["s.npz"]


@pytest.mark.skipif(os.name == "nt", reason="modes and links are POSIX")
def test_the_file_is_an_ordinary_one(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    rich().save(link)
    assert link.is_symlink()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert load(link) == rich()


def test_files_that_are_none(tmp_path):
    with pytest.raises(NotFound, match=r"none\.npz: No such file or directory; give a statistics file"):
        load(tmp_path / "none.npz")
    with pytest.raises(NotFound, match=r"Is a directory|Permission"):
        load(tmp_path)
    (tmp_path / "text").write_text("calibration")
    with pytest.raises(InvalidValue, match=r"no archive; a statistics file of `Statistics.save` is required"):
        load(tmp_path / "text")
    np.savez(tmp_path / "data.npz", input=np.ones(3))
    np.savez(tmp_path / "header.npz", header=np.ones(3))
    np.savez(tmp_path / "pickle.npz", header=np.array([{"format": 1}], object))
    for name in ("data.npz", "header.npz", "pickle.npz"):
        with pytest.raises(InvalidValue, match="an archive of something else"):
            load(tmp_path / name)


def rewritten(path: Path, change):
    """Load the members of a saved file as arrays, change them, and save them again."""
    rich().save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    change(arrays, header)
    if "header" in arrays:
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("version", [2, 4])
def test_files_of_other_versions(tmp_path, version):
    rewritten(tmp_path / "other", lambda arrays, header: header.update(version=version))
    with pytest.raises(InvalidValue, match=f"of version {version}, but this quantlib reads version 3; use "):
        load(tmp_path / "other")


def put(name, index, value):
    return lambda arrays, header: arrays[name].__setitem__(index, value)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda a, h, n=n: a.pop(n) for n in ("key", "range", "tally", "channels", "channel_count")),
        lambda a, h: a.pop("channel_limbs"),
        lambda a, h: a.update(channel_limbs=a["channel_limbs"][1:]),
        *(lambda a, h, n=n: a.pop(n) for n in ("exponent", "counts")),
        *(lambda a, h, n=n: h.pop(n) for n in ("model", "samples", "observer", "quantlib", "names", "totals")),
        *(lambda a, h, n=n: h.update({n: [7, "x"]}) for n in ("model", "samples", "observer", "names", "totals")),
        lambda a, h: h.update(observer="moving-average"),
        lambda a, h: h.update(samples=-1),
        lambda a, h: h["totals"].__setitem__(0, "0x1p99999"),
        lambda a, h: h["totals"].__setitem__(0, "0x" + "f" * 4000 + "p0"),
        lambda a, h: h["totals"].__setitem__(0, 3),
        lambda a, h: h["totals"].pop(),
        lambda a, h: h["names"].pop(),
        lambda a, h: a.update(counts=a["counts"][:, :2000]),
        lambda a, h: a.update(counts=a["counts"].astype(np.int32)),
        lambda a, h: a.update(range=a["range"].astype(">f8")),
        put("key", 1, [0, 1]),
        put("range", (0, 0), 9.0),
        put("range", (0, 0), np.nan),
        put("range", (0, 1), 4.0),
        put("range", (1, 0), 0.0),
        put("tally", (0, 0), 99),
        put("tally", (0, 1), -1),
        put("counts", (0, 1024), 5),
        put("exponent", 0, 3),
        put("channels", (0, 1), 3),
        put("channels", (0, 1), -2),
        put("channels", (0, 0), -1),
        put("channels", (0, 2), -1),
        put("channels", (0, 2), 70),
        put("channels", (0, 3), 1),
        put("channel_limbs", 0, 1 << 32),
        put("channel_limbs", 0, -1),
        put("channel_limbs", -1, 1),
    ],
)
def test_damaged_files(tmp_path, change):
    rewritten(tmp_path / "bad", change)
    with pytest.raises(
        InvalidValue, match=r"bad: damaged statistics file: .*; calibrate again, or get a whole copy$"
    ):
        load(tmp_path / "bad")


def test_a_tensor_that_occurs_twice(tmp_path):
    rewritten(tmp_path / "bad", put("key", 1, [0, 1]))
    with pytest.raises(InvalidValue, match="a tensor occurs twice"):
        load(tmp_path / "bad")


def test_an_unchanged_rewriting_is_no_damage(tmp_path):
    rewritten(tmp_path / "good", lambda arrays, header: None)
    assert load(tmp_path / "good") == rich()


def test_a_file_that_claims_more_than_it_has(tmp_path):
    def claim(arrays, header):
        arrays.pop("counts")

    rewritten(tmp_path / "bad", claim)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (3 << 50, 2048)})
    with zipfile.ZipFile(tmp_path / "bad", "a") as archive:
        archive.writestr("counts.npy", file.getvalue() + bytes(800))
    with pytest.raises(InvalidValue, match="member 'counts' has 800 bytes for shape"):
        load(tmp_path / "bad")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_not_unpacked(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "bad", "w", method) as archive:
        archive.writestr("header.npy", b"0" * 1000)
    with pytest.raises(InvalidValue, match="damaged statistics file: member 'header' is neither stored nor deflated"):
        load(tmp_path / "bad")


def test_any_damage_ends_in_a_named_error(tmp_path):
    whole, path, rng = saved(rich(), tmp_path), tmp_path / "bad", np.random.default_rng(5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[at] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged[: rng.integers(1, len(whole))] if rng.random() < 0.3 else damaged)
        with contextlib.suppress(QuantlibError):
            load(path)
            refused -= 1
        refused += 1
    # Some bits of an archive mean nothing: dates, and fields that are stored twice.
    assert refused > 200


def test_statistics_are_walked_as_a_mapping_is():
    found = rich()
    assert list(found) == list(found.tensors)
    assert len(found) == len(found.tensors)
    key = next(iter(found))
    assert key in found
    assert found.names[key] in found
    assert "nothing of that name" not in found
    assert 0 not in found

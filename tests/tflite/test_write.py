"""Writing: whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlib.errors import InvalidValue, WriteFailed
from quantlib.tflite import Deferred, Draft, Model, read
from tests.support.models import built, constant, dense, relu, weights
from tests.support.shared import ROOT

POSIX = pytest.mark.skipif(os.name == "nt", reason="modes, signals and limits of POSIX")
OLD = b"what stood here before"


def large(elements: int = 3_000_000) -> Model:
    """A model of some megabytes, which takes several pieces and threads to write."""
    draft = Draft()
    graph = draft.graphs[0]
    relu(draft, graph)
    constant(draft, graph, "w", "FLOAT32", weights(elements, seed=1))
    graph.outputs.append(len(graph.tensors) - 1)
    return draft.done()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing may be left but what the test names ``*.tflite``."""
    yield tmp_path
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".tflite"]
    assert not list(tmp_path.rglob(".*"))


# ---- where to ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rebuild", [False, True])
def test_over_the_input(folder: Path, rebuild: bool) -> None:
    path = folder / "m.tflite"
    path.write_bytes(built("dense"))
    read(path).write(path, rebuild=rebuild)
    assert path.read_bytes() == built("dense")


def test_over_the_input_with_a_change(folder: Path) -> None:
    path = folder / "m.tflite"
    path.write_bytes(built("dense"))
    model = read(path)
    view = model.tensor("w2").numpy()
    model.replace("w1", data=weights(48, 32, seed=77)).write(path)
    assert np.array_equal(read(path).tensor("w1").numpy(), weights(48, 32, seed=77))
    assert np.array_equal(read(path).tensor("w2").numpy(), weights(8, 48, seed=3))
    assert np.array_equal(view, weights(8, 48, seed=3))  # the old file lives on while somebody looks at it


def test_a_missing_folder(folder: Path) -> None:
    with pytest.raises(WriteFailed, match=r"nowhere: no such folder; make it"):
        dense().write(folder / "nowhere" / "m.tflite")
    assert not (folder / "nowhere").exists()


def test_a_folder_as_target(folder: Path) -> None:
    (folder / "m.tflite").mkdir()
    with pytest.raises(WriteFailed, match="not a regular file"):
        dense().write(folder / "m.tflite")


def test_a_file_as_folder(folder: Path) -> None:
    (folder / "a.tflite").write_bytes(OLD)
    with pytest.raises(WriteFailed, match="no such folder"):
        dense().write(folder / "a.tflite" / "m.tflite")


def test_a_read_only_target(folder: Path) -> None:
    path = folder / "m.tflite"
    path.write_bytes(OLD)
    path.chmod(0o444)
    with pytest.raises(WriteFailed, match="read-only; make it writable"):
        dense().write(path)
    assert path.read_bytes() == OLD


@POSIX
def test_a_folder_without_permission(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder.chmod(0o555)
    with pytest.raises(WriteFailed, match="Permission denied"):
        dense().write(folder / "m.tflite")
    folder.chmod(0o755)


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_followed(folder: Path, exists: bool) -> None:
    (folder / "there").mkdir()
    target, link = folder / "there" / "real.tflite", folder / "link.tflite"
    if exists:
        target.write_bytes(OLD)
    link.symlink_to(target)
    size = dense().write(link)
    assert link.is_symlink()
    assert target.read_bytes() == built("dense")
    assert size == len(built("dense"))


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("exists", [True, False])
def test_the_mode_is_that_of_any_new_file(folder: Path, mask: int, exists: bool) -> None:
    path, other = folder / "m.tflite", folder / "other.tflite"
    if exists:
        path.write_bytes(OLD)
        path.chmod(0o600)
    before = os.umask(mask)
    try:
        dense().write(path)
        other.touch()
    finally:
        os.umask(before)
    assert path.stat().st_mode == other.stat().st_mode
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_path_of_text(folder: Path) -> None:
    assert dense().write(str(folder / "größe.tflite")) == len(built("dense"))


# ---- when it fails -----------------------------------------------------------------------------------------------


@pytest.fixture
def old(folder: Path) -> Iterator[Path]:
    """A target that must survive."""
    path = folder / "m.tflite"
    path.write_bytes(OLD)
    yield path
    assert path.read_bytes() == OLD


def failing(number: int = errno.EIO) -> Any:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("calls", [("pwrite", "pwritev", "write", "sendfile"), ("fsync",), ("replace",)])
def test_a_failing_system_call_leaves_nothing_behind(
    old: Path, calls: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in calls:
        if hasattr(os, call):
            monkeypatch.setattr(os, call, failing())
    with pytest.raises(WriteFailed, match=r"m.tflite: Input/output error, with 12,0.* to write; nothing was changed"):
        large().write(old)


def test_a_full_disk_by_its_error(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in ("pwrite", "pwritev"):
        monkeypatch.setattr(os, call, failing(errno.ENOSPC), raising=False)
    with pytest.raises(WriteFailed, match="No space left"):
        large().write(old)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    point = tmp_path / "disk"
    point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a small file system can't be mounted here: {done.stderr.strip()}")
    yield point
    subprocess.run(["umount", "-l", str(point)], check=True)


@POSIX
def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    path = small_disk / "m.tflite"
    dense().write(path)
    with pytest.raises(WriteFailed, match=r"No space left on device, with 12,0.* to write; nothing was changed"):
        large().write(path)
    assert path.read_bytes() == built("dense")
    assert [p.name for p in small_disk.iterdir()] == ["m.tflite"]


@POSIX
def test_a_limit_on_file_size(old: Path) -> None:
    script = """
        import resource, sys
        from quantlib.errors import WriteFailed
        from tests.tflite.test_write import large
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            large().write(sys.argv[1])
        except WriteFailed as error:
            sys.exit(f"refused: {error}")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(old)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("refused: ")
    assert "File too large" in done.stderr


@pytest.mark.parametrize("size", [100, 20_000_000])
def test_data_that_cannot_be_computed(old: Path, size: int) -> None:
    def produce(start: int, stop: int) -> Any:
        raise InvalidValue("weight 3 isn't finite")

    draft = Draft(dense())
    graph = draft.graphs[0]
    graph.tensors[graph.outputs[0]] = graph.tensors[graph.outputs[0]].replace(
        buffer=draft.add_buffer(Deferred(size, produce))
    )
    with pytest.raises(InvalidValue, match="weight 3"):
        draft.done().write(old)


@pytest.mark.parametrize("size", [100, 20_000_000])
def test_an_interruption_by_the_user(old: Path, size: int) -> None:
    def stop(written: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        large(size // 4).write(old, progress=stop)


# ---- Windows, as far as it can be had here -----------------------------------------------------------------------


def refuse_while_mapped(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """`os.replace` of a system that can't replace a file while it is mapped."""
    replace, refused = os.replace, []

    def careful(source: Any, target: Any) -> None:
        if model.source._map is not None:
            refused.append(True)
            raise PermissionError(errno.EACCES, "Access is denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", careful)
    return refused


@pytest.mark.parametrize("name", ["dense", "large_options", "with_archive"])
def test_a_mapped_target_is_released_and_replaced(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "m.tflite"
    path.write_bytes(built(name))
    model = read(path)
    refused = refuse_while_mapped(model, monkeypatch)
    model.write(path, rebuild=True)
    assert refused == [True]
    assert read(path).root == model.root  # which reads from memory now


def test_a_mapped_target_that_somebody_looks_at_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "m.tflite"
    path.write_bytes(built("dense"))
    model = read(path)
    view = model.tensor("w1").numpy()
    refuse_while_mapped(model, monkeypatch)
    with pytest.raises(WriteFailed, match="arrays that view the mapped file are still in use"):
        model.write(path)
    assert np.array_equal(view, weights(48, 32, seed=1))
    assert path.read_bytes() == built("dense")
    del view
    model.write(path)
    assert path.read_bytes() == built("dense")


def test_another_file_without_permission_is_an_error(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", failing(errno.EACCES))
    with pytest.raises(WriteFailed, match="Permission denied"):
        dense().write(old)


# ---- the same bytes every time -------------------------------------------------------------------------------------


def test_repeated_and_threaded_writes_give_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = Draft(large())
    graph = draft.graphs[0]

    def produce(start: int, stop: int) -> Any:
        return (np.arange(start, stop) * 2654435761 >> 8).astype(np.uint8)

    deferred = draft.add_buffer(Deferred(9_000_001, produce, granule=7))
    graph.outputs.append(graph.add_tensor("d", "UINT8", (9_000_001,), buffer=deferred))
    model = draft.done()
    expected = model.to_bytes()
    for cores in (1, 2, 4, 4):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        path = folder / f"{cores}.tflite"
        model.write(path)
        assert path.read_bytes() == expected
    assert model.to_bytes() == expected


def test_progress_counts_all_bytes_of_the_data(folder: Path) -> None:
    model, seen = large(), []
    size = model.write(folder / "m.tflite", progress=seen.append)
    assert 12_000_000 < sum(seen) <= size
    assert len(seen) > 4
    seen.clear()
    size = dense().write(folder / "small.tflite", progress=seen.append)
    assert size - 64 < sum(seen) <= size  # all but what lies between the pieces


def test_deferred_data_that_is_read_is_computed_once(folder: Path) -> None:
    calls: list[tuple[int, int]] = []

    def produce(start: int, stop: int) -> Any:
        calls.append((start, stop))
        return np.full(stop - start, 7, np.uint8)

    draft = Draft(dense())
    graph = draft.graphs[0]
    buffer = draft.add_buffer(Deferred(5_000_000, produce))
    graph.outputs.append(graph.add_tensor("d", "UINT8", (5_000_000,), buffer=buffer))
    graph.outputs.append(graph.add_tensor("again", "UINT8", (5_000_000,), buffer=buffer))
    model = draft.done()
    assert calls == []  # neither editing nor layout needs the bytes
    first, second = model.tensor("d").numpy(), model.tensor("again").numpy()
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    model.write(folder / "m.tflite")
    assert calls == [(0, 5_000_000)]


def test_deferred_data_that_nobody_reads_is_not_kept(folder: Path) -> None:
    longest = []

    def produce(start: int, stop: int) -> Any:
        longest.append(stop - start)
        return np.zeros(stop - start, np.uint8)

    draft = Draft(dense())
    graph = draft.graphs[0]
    buffer = draft.add_buffer(Deferred(40_000_000, produce, granule=1000))
    graph.outputs.append(graph.add_tensor("d", "UINT8", (40_000_000,), buffer=buffer))
    draft.done().write(folder / "m.tflite")
    assert sum(longest) == 40_000_000
    assert max(longest) < 10_000_000


@pytest.mark.parametrize("wrong", [np.zeros(3, np.uint8), np.zeros(100, np.int8)])
def test_deferred_data_of_another_length_or_type_is_refused(wrong: Any) -> None:
    data = Deferred(100, lambda start, stop: wrong)
    with pytest.raises(InvalidValue, match="deferred buffer gave"):
        data.read(0, 100)


def test_systems_without_positioned_reads_and_writes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = large().to_bytes()
    for call in ("pwrite", "pwritev", "pread", "preadv", "posix_fallocate"):
        monkeypatch.delattr(os, call, raising=False)
    large().write(folder / "m.tflite")
    assert (folder / "m.tflite").read_bytes() == expected
    model = read(folder / "m.tflite")
    model.write(folder / "again.tflite", rebuild=True)
    assert (folder / "again.tflite").read_bytes() == expected

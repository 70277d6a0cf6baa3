"""Small files are written whole or not at all: statistics, comparisons, pages, arrays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

import quantlib as ql
from quantlib import files
from quantlib.cli.common import write_arrays
from quantlib.errors import InvalidValue, WriteFailed
from quantlib.evaluation import write_text
from quantlib.files import replacing

POSIX = pytest.mark.skipif(os.name == "nt", reason="links, modes and folders' handles are POSIX")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InvalidValue("another line"), OSError(28, "No space left")])
def test_what_breaks_off_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"before")
    expected = WriteFailed if isinstance(error, OSError) else type(error)

    def broken_off() -> None:
        with replacing(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(expected) as found:
        broken_off()
    if expected is WriteFailed:
        assert str(found.value) == f"{target}: No space left; choose another path; nothing was changed"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert target.read_bytes() == b"before"


def test_an_error_of_ours_stays_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(WriteFailed, match=r"^mine$"), replacing(tmp_path / "a"):
        raise WriteFailed("mine")


def test_it_is_on_the_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents, name, folder: in any other order a power cut may leave an empty file."""
    steps: list[str] = []
    real = os.fsync, os.replace

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        steps.append(f"fsync of the {kind}")
        if kind == "file":
            assert (tmp_path / "a").read_bytes() == b"before"
        real[0](handle)

    def replace(source: str, target: str) -> None:
        steps.append("rename")
        real[1](source, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", replace)
    (tmp_path / "a").write_bytes(b"before")
    with replacing(tmp_path / "a") as file:
        file.write(b"after")
    assert (tmp_path / "a").read_bytes() == b"after"
    assert steps[:2] == ["fsync of the file", "rename"]
    assert len(steps) == (2 if os.name == "nt" else 3)


@POSIX
@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "é\n"),
        lambda path: write_arrays(str(path), {"a/b": np.arange(3)}),
        lambda path: ql.calibrate(ql.read(ql.demo.MODEL), ql.demo.CALIBRATION, observer="minmax").save(path),
    ],
)
def test_every_writer_follows_links_makes_ordinary_files_and_refuses_folders(tmp_path: Path, write) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "target").stat().st_size
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteFailed, match="folder: not a regular file; choose another path"):
        write(tmp_path / "folder")
    with pytest.raises(WriteFailed, match="not a regular file; choose another path"):
        write("")
    reading, writing = os.pipe()
    try:
        if os.path.exists(f"/dev/fd/{writing}"):  # as /dev/stdout is one, behind links that lead nowhere
            with pytest.raises(WriteFailed, match=f"/dev/fd/{writing}: not a regular file; choose another path"):
                write(f"/dev/fd/{writing}")
    finally:
        os.close(reading)
        os.close(writing)
    with pytest.raises(WriteFailed, match="No such file or directory; choose another path; nothing was changed"):
        write(tmp_path / "none" / "file")
    assert {p.name for p in tmp_path.iterdir()} == {"plain", "link", "target", "folder"}


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "é\r\n\n")
    assert (tmp_path / "t").read_bytes() == "é\r\n\n".encode()

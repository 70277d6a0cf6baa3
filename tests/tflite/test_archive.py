"""The ZIP behind a model moves with it, and its directory follows."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from quantlib.tflite import Model, read
from quantlib.tflite.archive import moved
from tests.support.archives import members, stands_exactly
from tests.support.models import archive, built, weights

CONTENTS = {"labels.txt": b"cat\ndog\n", "größe/vocab.txt": b"a\nb\n" * 50}


def test_it_is_kept_where_nothing_changes() -> None:
    model = read(built("with_archive"))
    assert members(model.to_bytes()) == CONTENTS
    assert stands_exactly(model.to_bytes())


@pytest.mark.parametrize("size", [1, 8, 1000])
def test_it_moves_with_a_model_that_grows_or_shrinks(size: int) -> None:
    model = read(built("with_archive"))
    changed = model.replace("w2", data=np.zeros((8, 48), np.float32)).replace(
        "w1", data=np.full((48, 32), size, np.float16), type="FLOAT16"
    )
    root = changed.root.replace(description="long " * size)
    raw = Model(root, changed.trailing, changed.source, changed.source_root).to_bytes()
    assert len(raw) != len(built("with_archive"))
    assert members(raw) == CONTENTS
    assert stands_exactly(raw)
    with zipfile.ZipFile(io.BytesIO(raw)) as back:
        assert back.comment == b"associated files"


def test_rewriting_again_and_again_adds_nothing() -> None:
    raw = read(built("with_archive")).replace("w2", data=weights(8, 48)).to_bytes()
    for _ in range(3):
        again = read(raw).to_bytes(rebuild=True)
        assert again == raw
        raw = again


def test_files_can_be_added_to_what_was_written() -> None:
    file = io.BytesIO(read(built("with_archive")).to_bytes(rebuild=True))
    with zipfile.ZipFile(file, "a") as appended:
        appended.writestr("more.txt", "more")
    assert members(file.getvalue()) == {**CONTENTS, "more.txt": b"more"}
    assert members(read(file.getvalue()).to_bytes(rebuild=True)) == {**CONTENTS, "more.txt": b"more"}


def test_an_archive_that_was_only_concatenated_stays_readable() -> None:
    """Its offsets count from its own start, which readers guess; that they can still do."""
    raw = built("dense") + archive()
    assert members(raw) == CONTENTS
    assert members(read(raw).to_bytes(rebuild=True)) == CONTENTS
    grown = read(raw).replace("w2", data=np.zeros((8, 48), np.float32)).to_bytes()
    assert members(grown) == CONTENTS


def test_a_comment_that_looks_like_an_end_is_a_comment() -> None:
    plain = archive()
    end = plain.index(b"PK\5\6")
    comment = b"PK\5\6" + bytes(30)
    raw = plain[: end + 20] + struct.pack("<H", len(comment)) + comment
    (start,) = struct.unpack_from("<I", raw, end + 16)
    out = moved(raw, 100)
    assert struct.unpack_from("<I", out, end + 16) == (start + 100,)
    assert out[end + 20 :] == raw[end + 20 :]
    assert len(out) == len(raw)


def test_many_files() -> None:
    file = io.BytesIO(built("dense"))
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as made:
        for i in range(300):
            made.writestr(f"{i}.txt", f"{i} " * 100)
    raw = read(file.getvalue()).replace("w2", data=np.ones((8, 48), np.float32)).to_bytes()
    assert len(members(raw)) == 300
    assert stands_exactly(raw)


@pytest.mark.parametrize("tail", [b"no archive", b"PK\5\6", b"\0" * 40 + b"x", b"PK\3\4" * 9, b"PK\5\6" + bytes(17)])
def test_other_bytes_are_kept_as_they_are(tail: bytes) -> None:
    assert moved(tail, 32) == tail
    model = read(built("dense") + tail)
    back = read(model.to_bytes(rebuild=True))
    assert back.trailing == model.trailing
    assert tail.lstrip(b"\0") in model.to_bytes(rebuild=True)


@pytest.mark.parametrize("zeros", [1, 16, 5000])
def test_zeros_at_the_end_are_padding(zeros: int) -> None:
    model = read(built("dense") + bytes(zeros))
    assert model.trailing.nbytes == 0
    assert model.to_bytes(rebuild=True) == built("dense")


def test_a_damaged_directory_is_kept_as_it_is() -> None:
    raw = bytearray(archive())
    end = raw.rindex(b"PK\5\6")
    for at, value in ((end + 10, 0xFF), (end + 12, 0xFF), (end + 17, 0xFF), (raw.index(b"PK\1\2"), 0)):
        damaged = bytearray(raw)
        damaged[at] = value
        assert len(moved(bytes(damaged), 64)) == len(raw)


def test_a_changed_model_equals_what_is_read_of_it() -> None:
    model = read(built("with_archive"))
    changed = model.replace("w1", data=np.zeros((48, 32), np.float16), type="FLOAT16")
    again = read(changed.to_bytes())
    assert again.trailing != changed.trailing  # offsets count from the start of another file
    assert again == changed == pickle.loads(pickle.dumps(changed))
    assert again != model

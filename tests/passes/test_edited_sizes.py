"""What a file takes after deflate: as if packed whole, but piece by piece."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

import quantlib as ql
from quantlib.passes import deflated_size
from quantlib.tflite import Model, file_pieces
from tests.support import pruned
from tests.support.network import Network, gaussian


def models() -> list[Model]:
    model = ql.read(ql.demo.MODEL)
    return [model, pruned.model(), ql.prune(model, 0.75).model, ql.prune(model, 0.75, encode=True).model]


@pytest.mark.parametrize("which", range(4))
def test_pieces_are_the_file(which: int) -> None:
    model = models()[which]
    whole = model.to_bytes()
    assert b"".join(piece.tobytes() for piece in file_pieces(model)) == whole
    packer = zlib.compressobj(6)
    assert deflated_size(model) == len(packer.compress(whole) + packer.flush())


def test_it_is_left_out_where_that_is_asked() -> None:
    edited = ql.prune(pruned.model(), deflated=False)
    assert set(edited.totals) == {"elements", "zeros", "sparsity"}
    assert not edited.notes
    assert "notes" not in edited.to_dict()


def stack(count: int) -> Model:
    """Products of 1,024 by 1,024, 4 MiB each."""
    net = Network()
    x = net.input("x", (1, 1024))
    for i in range(count):
        x = net.fully_connected(f"y{i}", x, gaussian((1024, 1024), i))
    return ql.read(net.done(x).to_bytes())


@pytest.mark.parametrize("encode", [False, True])
def test_memory_does_not_grow_with_the_number_of_weights(encode: bool) -> None:
    """Stored sparse, only where blocks stand is kept: 128 KiB a weight, and again while the file is laid out."""

    def peak(count: int) -> int:
        model = stack(count)
        tracemalloc.start()
        edited = ql.prune(model, 0.5, pattern="1x4", encode=encode, first_last=True, deflated=False)
        assert len(edited.done) == count
        assert sum(piece.size for piece in file_pieces(edited.model)) > count << 20
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(6) - peak(2) < 4 * (3 * (128 << 10) if encode else 64 << 10)

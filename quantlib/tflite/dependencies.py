"""Control dependencies: pairs of operators, by index, whose order must hold, in a metadata entry.

Format (version 1): a version, then for each subgraph a list of (first, second) pairs. Lengths are base-128
varints, operator indices zigzag varints.
Source: tflite/converter/experimental/remat/metadata_util.{h,cc} of LiteRT.
"""

from __future__ import annotations

from quantlib.errors import InvalidModel

_VERSION = 1


class _Stream:
    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            if self.at >= len(self.raw) or shift > 28:
                raise InvalidModel(
                    f"metadata model_control_dependencies breaks off at byte {self.at}; its indices can't be kept in "
                    "step with the operators"
                )
            byte = self.raw[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        value = self.unsigned()
        return -(value // 2) - 1 if value % 2 else value // 2


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def _signed(value: int) -> bytes:
    return _unsigned(-(value + 1) * 2 + 1 if value < 0 else value * 2)


def remapped(raw: bytes, places: list[dict[int, int]]) -> bytes:
    """Return the entry's bytes with every operator index moved.

    Parameters
    ----------
    raw : bytes
    places : list of dict
        For each subgraph, where each operator went; a pair that names a removed operator is dropped with it.

    Raises
    ------
    InvalidModel
        If the entry breaks off or has another version.
    """
    graphs = []
    for g, pairs in enumerate(_pairs(raw)):
        place = places[g] if g < len(places) else {}
        graphs.append([(place[a], place[b]) for a, b in pairs if a in place and b in place])
    return _entry(graphs)


def of_subgraphs(raw: bytes, kept: list[int]) -> bytes:
    """Return the entry's bytes with some of the subgraphs alone.

    Parameters
    ----------
    raw : bytes
    kept : list of int
        Subgraphs that stay, in order.

    Raises
    ------
    InvalidModel
        As `remapped`.
    """
    graphs = _pairs(raw)
    return _entry([graphs[g] if g < len(graphs) else [] for g in kept])


def _pairs(raw: bytes) -> list[list[tuple[int, int]]]:
    """For each subgraph, pairs of operators."""
    stream = _Stream(raw)
    version = stream.unsigned()
    if version != _VERSION:
        raise InvalidModel(
            f"metadata model_control_dependencies has version {version}; 1 is required to move operators"
        )
    return [[(stream.signed(), stream.signed()) for _ in range(stream.unsigned())] for _ in range(stream.unsigned())]


def _entry(graphs: list[list[tuple[int, int]]]) -> bytes:
    out = bytearray(_unsigned(_VERSION) + _unsigned(len(graphs)))
    for pairs in graphs:
        out += _unsigned(len(pairs))
        for a, b in pairs:
            out += _signed(a) + _signed(b)
    return bytes(out)

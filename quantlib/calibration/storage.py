"""Statistics as files: a `.npz` archive of plain arrays, and one of JSON text, without pickles.

======================  ==================  ==========================================================================
member                  dtype and shape     contents, for T tensors of which C channels are kept in all
======================  ==================  ==========================================================================
``header``              uint8 (n,)          JSON: format, version, model, samples, observer, quantlib, names, totals
``key``                 int64 (T, 2)        subgraph, index
``range``               float64 (T, 2)      min, max
``tally``               int64 (T, 3)        count, zeros, nonfinite
``exponent``            int64 (T,)          histogram only; 0 where there was nothing but zeros
``counts``              int64 (T, 2048)     histogram only
``average``             float64 (T, 3)      moving average only: momentum, low, high
``channels``            int64 (T, 4)        axis (-1 for none), channels, place and number of the limbs of a sum
``channel_count``       int64 (C,)          count
``channel_limbs``       int64 (n,)          of each channel's sum, from the least on
======================  ==================  ==========================================================================

Totals of tensors stand in the header as exact hexadecimal text. Those of channels are limbs of 32 bits, where limb k
counts ``2**(32 * (place + k) - 1074)``; the last one says the sign.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantlib.errors import InvalidValue, NotFound
from quantlib.files import replacing

from ._bins import BINS, exponent_of
from ._exact import Sums
from ._sums import PLACES, from_text, to_text
from .channels import Channels
from .states import OBSERVERS, HistogramState, MinMaxState, MovingAverageState
from .statistics import Statistics

_FORMAT = "quantlib statistics"
_VERSION = 3

#: Limbs of the greatest sum of 2**63 float64 numbers.
_LIMBS = (2 * PLACES + 64) // 32 + 2

_MEMBERS = (
    *("header", "key", "range", "tally", "exponent", "counts", "average"),
    *("channels", "channel_count", "channel_limbs"),
)

# What a damaged archive makes `zipfile` raise.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, NotImplementedError),
    *(RuntimeError, MemoryError),
)

_Arrays = dict[str, NDArray[Any]]


def save(statistics: Statistics, path: str | os.PathLike[str]) -> None:
    """Write statistics to a file: to a temporary one in the same folder, which then replaces the target."""
    with replacing(path) as file:
        np.savez_compressed(file, **_to_arrays(statistics))  # type: ignore[arg-type]  # none is allow_pickle


def load(path: str | os.PathLike[str]) -> Statistics:
    """Read what `save` wrote; see `quantlib.calibration.load`."""
    where = os.fspath(path)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(where, "rb"))
        except OSError as error:
            raise NotFound(f"{where}: {error.strerror or error}; give a statistics file") from None
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
        except zipfile.BadZipFile:
            raise InvalidValue(f"{where}: no archive; a statistics file of `Statistics.save` is required") from None
        except _BROKEN as error:
            raise _damaged(where, error) from None
        try:
            members = _members(archive)
        except _BROKEN as error:
            raise _damaged(where, error) from None
    header = _header(where, members)
    try:
        arrays = {name: _array(name, raw) for name, raw in members.items()}
        return _from_arrays(header, arrays)
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise _damaged(where, error) from None


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The bytes of the members that the format has; any others are left unread."""
    members = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in _MEMBERS and info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"member {name!r} is neither stored nor deflated")
        if name in _MEMBERS:
            members[name] = archive.read(info)
    return members


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0][:200] or type(error).__name__
    return f"no {error}" if isinstance(error, KeyError) else text


def _damaged(where: str, error: Exception) -> InvalidValue:
    return InvalidValue(f"{where}: damaged statistics file: {_reason(error)}; calibrate again, or get a whole copy")


def _header(where: str, members: dict[str, bytes]) -> dict[str, Any]:
    """The header, once its format and version are known to be ours."""
    header = None
    if "header" in members:
        with contextlib.suppress(ValueError, TypeError, RecursionError, MemoryError):
            header = json.loads(_array("header", members["header"]).tobytes())
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise InvalidValue(
            f"{where}: an archive of something else; a statistics file of `Statistics.save` is required"
        )
    if header.get("version") != _VERSION:
        raise InvalidValue(
            f"{where}: statistics file of version {str(header.get('version'))[:20]}, but this quantlib reads "
            f"version {_VERSION}; use that quantlib, or calibrate again"
        )
    return header


def _array(name: str, raw: bytes) -> NDArray[Any]:
    """An array from the bytes of a `.npy` file, if it has as many elements as it says."""
    file = io.BytesIO(raw)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"member {name!r} is of another .npy version than 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype not in (np.uint8, np.int64, np.float64) or fortran:
        raise ValueError(f"member {name!r} is of dtype {dtype}")
    rest, count = raw[file.tell() :], 1
    for extent in shape:
        count *= extent
    if count * dtype.itemsize != len(rest):
        raise ValueError(f"member {name!r} has {len(rest):,} bytes for shape {shape}")
    return np.frombuffer(rest, dtype).reshape(shape)


def _to_arrays(statistics: Statistics) -> _Arrays:
    states = list(statistics.tensors.values())
    split = [s.channels for s in states if s.channels is not None]
    sums = [c.settled().sums for c in split]
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": statistics.model,
        "samples": statistics.samples,
        "observer": statistics.observer,
        "quantlib": statistics.version,
        "names": list(statistics.names.values()),
        "totals": [to_text(s.total) for s in states],
    }
    arrays: _Arrays = {
        "header": np.frombuffer(json.dumps(header).encode("ascii"), np.uint8),
        "key": np.array(list(statistics.tensors), np.int64).reshape(-1, 2),
        "range": np.array([(s.min, s.max) for s in states], np.float64).reshape(-1, 2),
        "tally": np.array([(s.count, s.zeros, s.nonfinite) for s in states], np.int64).reshape(-1, 3),
        "channels": np.array([_layout(s.channels) for s in states], np.int64).reshape(-1, 4),
        "channel_count": np.concatenate([np.zeros(0, np.int64), *(c.count for c in split)]),
        "channel_limbs": np.concatenate([np.zeros(0, np.int64), *(s.limbs.reshape(-1) for s in sums)]),
    }
    if statistics.observer == HistogramState.observer:
        histograms = [s for s in states if isinstance(s, HistogramState)]
        arrays["exponent"] = np.array([s.exponent or 0 for s in histograms], np.int64)
        arrays["counts"] = np.array([s.counts for s in histograms], np.int64).reshape(-1, BINS)
    if statistics.observer == MovingAverageState.observer:
        averages = [(s.momentum, s.low, s.high) for s in states if isinstance(s, MovingAverageState)]
        arrays["average"] = np.array(averages, np.float64).reshape(-1, 3)
    return arrays


def _from_arrays(header: dict[str, Any], arrays: _Arrays) -> Statistics:
    observer, samples, names = header["observer"], header["samples"], header["names"]
    if observer not in OBSERVERS or not isinstance(samples, int):
        raise ValueError(f"observer {observer!r} or {samples!r} samples")
    size = len(names)
    _require_shapes(arrays, observer, size)
    totals, channels = [from_text(text) for text in header["totals"]], _channels(arrays)
    if len(totals) != size:
        raise ValueError(f"{len(totals)} totals of {size} tensors")
    states: dict[tuple[int, int], MinMaxState] = {}
    for row, (subgraph, index) in enumerate(arrays["key"].tolist()):
        low, high = arrays["range"][row].tolist()
        known = dict(zip(("count", "zeros", "nonfinite"), arrays["tally"][row].tolist(), strict=True))
        known |= {"min": low, "max": high, "total": totals[row], "channels": channels[row]}
        if observer == HistogramState.observer:
            counts = arrays["counts"][row].astype(np.int64)
            known |= {"exponent": int(arrays["exponent"][row]) if counts.any() else None, "counts": counts}
        if observer == MovingAverageState.observer:
            known |= dict(zip(("momentum", "low", "high"), arrays["average"][row].tolist(), strict=True))
        states[subgraph, index] = state = OBSERVERS[observer](**known)
        _check_state(state, row)
    if len(states) != size:
        raise ValueError("a tensor occurs twice")
    return Statistics(
        str(header["model"]),
        samples,
        observer,
        states,
        dict(zip(states, map(str, names), strict=True)),
        str(header["quantlib"]),
    )


def _require_shapes(arrays: _Arrays, observer: str, size: int) -> None:
    layout = arrays["channels"].reshape(-1, 4)
    required: dict[str, tuple[tuple[int, ...], type[Any]]] = {
        "key": ((size, 2), np.int64),
        "range": ((size, 2), np.float64),
        "tally": ((size, 3), np.int64),
        "channels": ((size, 4), np.int64),
        "channel_count": ((int(layout[:, 1].sum()),), np.int64),
        "channel_limbs": ((int((layout[:, 1] * layout[:, 3]).sum()),), np.int64),
    }
    if observer == HistogramState.observer:
        required |= {"exponent": ((size,), np.int64), "counts": ((size, BINS), np.int64)}
    if observer == MovingAverageState.observer:
        required["average"] = (size, 3), np.float64
    for name, (shape, dtype) in required.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(f"member {name!r} is {arrays[name].dtype}{arrays[name].shape}, not {shape}")


def _layout(channels: Channels | None) -> tuple[int, int, int, int]:
    """The row of the member ``channels``."""
    if channels is None:
        return -1, 0, 0, 0
    sums = channels.settled().sums
    return channels.axis, channels.count.size, sums.place, sums.limbs.shape[1]


def _channels(arrays: _Arrays) -> list[Channels | None]:
    result: list[Channels | None] = []
    counts, limbs = arrays["channel_count"], arrays["channel_limbs"]
    for axis, size, place, width in arrays["channels"].tolist():
        if min(size, place, width) < 0 or (axis < 0 and size) or place + width > _LIMBS:
            raise ValueError(f"{size} channels along axis {axis}, with limbs {place} to {place + width}")
        own = limbs[: size * width].reshape(size, width)
        if (own[:, :-1] >> 32).any() or ((own[:, -1:] + 1) >> 1).any():
            raise ValueError("limbs beyond 32 bits")
        result.append(Channels(axis, counts[:size], Sums(place, own)) if axis >= 0 else None)
        counts, limbs = counts[size:], limbs[size * width :]
    return result


def _check_state(state: MinMaxState, row: int) -> None:
    """Refuse what no observer leaves behind, such as bins that don't add up to the count."""
    numbers = state.count, state.zeros, state.nonfinite
    fits = min(numbers) >= 0 and state.zeros <= state.count
    ends = (state.min, state.max, *state.range)
    fits &= all(np.isfinite(ends)) and state.min <= state.max if state.count else ends == (np.inf, -np.inf) * 2
    if isinstance(state, HistogramState) and fits:
        fits = state.counts.min() >= 0 and int(state.counts.sum()) == state.count - state.zeros
        if fits and state.exponent is not None:
            fits = state.exponent == exponent_of(max(-state.min, state.max))
    if not fits:
        raise ValueError(f"figures of tensor {row} contradict one another")

"""Samples from whatever people have: arrays, mappings, files, folders, iterables, representative datasets."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantlib.errors import InvalidValue, NotFound

from .protocol import Array, Interface

#: What `samples` takes; see there.
Data = Any

_SUFFIXES = (".npy", ".npz")

#: What NumPy and zipfile raise over files that aren't what they seem.
_BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, SyntaxError)


def samples(data: Data, interface: Interface) -> Iterator[Any]:
    """Yield the samples of a data set, one at a time, as `feed` takes them.

    Parameters
    ----------
    data : array, mapping, path, iterable or callable
        - an array: its first axis counts samples (models with one input);
        - a mapping of input name to array: the same for each input;
        - the path of an ``.npy`` or ``.npz`` file with such arrays, or of a folder of them, which are taken in the
          order of their names. Arrays that were saved without names go to the inputs in the model's order;
        - an iterable of samples: arrays, sequences of arrays, or mappings;
        - a callable without arguments that gives any of these, such as a ``representative_dataset``.
    interface : Interface

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidValue
        If arrays have different numbers of samples, or there is no sample at all.
    """
    count = 0
    for sample in _rows(data, interface):
        count += 1
        yield sample
    if not count and isinstance(data, (str, os.PathLike)):
        raise InvalidValue(f"{os.fspath(data)}: no samples in it; the first axis of each array counts them")
    if not count:
        raise InvalidValue("the data has no samples; a generator can be read only once, so pass a new one")


def sample_count(data: Data) -> int | None:
    """Count samples without reading them; None where that can't be told."""
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        counts = [_rows_of_file(p) for p in ([path] if not path.is_dir() else _members(path))]
        return None if None in counts else sum(c for c in counts if c is not None)
    if isinstance(data, Mapping):
        return max((len(values) for values in data.values() if hasattr(values, "__len__")), default=None)
    return len(data) if hasattr(data, "__len__") else None


def _rows(data: Data, interface: Interface) -> Iterator[Any]:
    if isinstance(data, (str, os.PathLike)):
        yield from _files(Path(data), interface)
    elif isinstance(data, np.ndarray):
        yield from _array(data, interface)
    elif isinstance(data, Mapping):
        yield from _columns(data, interface)
    elif isinstance(data, Iterable):
        yield from data
    elif callable(data):
        yield from _rows(data(), interface)
    else:
        raise InvalidValue(f"a {type(data).__name__} holds no samples; give arrays, a file, or an iterable")


def _array(data: Array, interface: Interface) -> Iterator[Array]:
    if len(interface.inputs) != 1:
        names = ", ".join(port.alias for port in interface.inputs)
        raise InvalidValue(f"one array for a model with {len(interface.inputs)} inputs; give a mapping of {names}")
    if not data.ndim:
        raise InvalidValue("the data is a single number; its first axis must count samples")
    yield from data


def _columns(data: Mapping[str, Any], interface: Interface) -> Iterator[dict[str, Array]]:
    arrays = {name: np.asarray(values) for name, values in data.items()}
    single = [name for name, a in arrays.items() if not a.ndim]
    if single:
        raise InvalidValue(f"array {single[0]!r} is a single number; its first axis must count samples")
    lengths = {name: len(a) for name, a in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InvalidValue(f"the inputs have different numbers of samples: {shown}; the first axis counts them")
    if sorted(arrays) == sorted(f"arr_{i}" for i in range(len(interface.inputs))):
        # what np.savez calls arrays that it was given without names
        arrays = {port.name: arrays[f"arr_{i}"] for i, port in enumerate(interface.inputs)}
    for i in range(max(lengths.values(), default=0)):
        yield {name: a[i] for name, a in arrays.items()}


def _members(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and not p.name.startswith("."))


def _files(path: Path, interface: Interface) -> Iterator[Any]:
    if path.is_dir():
        found = _members(path)
        if not found:
            raise NotFound(f"{path}: no .npy or .npz file in the folder; put samples there, or name a file")
        for one in found:
            yield from _files(one, interface)
        return
    loaded = _loaded(path)
    try:
        yield from _array(loaded, interface) if isinstance(loaded, np.ndarray) else _columns(loaded, interface)
    except InvalidValue as error:
        raise InvalidValue(f"{path}: {error}") from None


def _loaded(path: Path) -> Array | dict[str, Array]:
    """Arrays of a file; those of an ``.npy`` stay on disk until they are read."""
    if path.exists() and not path.is_file():
        raise InvalidValue(f"{path}: a pipe or device, and data are read more than once; save them to a file")
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                return _one_array(path)
            file.seek(0)
            with np.load(file, allow_pickle=False) as loaded:
                return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file; give an .npz, an .npy, or a folder of them") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidValue(f"{path}: not an .npy or .npz file of plain arrays: {reason}") from None


def _one_array(path: Path) -> Array:
    try:
        array: Array = np.lib.format.open_memmap(path, mode="r")
    except ValueError:  # an array without elements can't be mapped
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _rows_of_file(path: Path) -> int | None:
    """Samples of a file, by its header alone."""
    try:
        if path.suffix != ".npz":
            return len(np.load(path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as member:
            versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape: tuple[int, ...] = versions[np.lib.format.read_magic(member)](member)[0]
            return shape[0]
    except (*_BROKEN, IndexError, TypeError):
        return None

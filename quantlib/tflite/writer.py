"""Write a laid-out file: in pieces, in parallel, to a temporary file that replaces the target in the end."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from quantlib.errors import QuantlibError, WriteFailed
from quantlib.files import require_regular, sync_folder

from .data import Bytes
from .layout import FileLayout, plan_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .data import Data
    from .model import Model

_T = TypeVar("_T")

#: Bytes of output that one task produces: small enough for the cache, large enough to cost no scheduling.
PIECE = 1 << 20


def _pieces(layout: FileLayout) -> Iterator[tuple[int, Data, int, int]]:
    """Split all placements into (position in the file, data, start, stop)."""
    for placement in layout.placements:
        data = placement.data
        step = max(PIECE // data.granule, 1) * data.granule
        for start in range(0, data.nbytes, step):
            yield placement.start + start, data, start, min(start + step, data.nbytes)


def file_pieces(model: Model) -> Iterator[Bytes]:
    """Yield the bytes of a model's file from beginning to end, in pieces of which none is kept.

    Parameters
    ----------
    model : Model

    Yields
    ------
    uint8 array of shape (n,)
    """
    layout, done = plan_layout(model), 0
    for at, data, start, stop in _pieces(layout):
        if at > done:
            yield np.zeros(at - done, np.uint8)
        yield data.load(start, stop) if data.granule == 1 else data.read(start, stop)
        done = at + stop - start
    if layout.size > done:
        yield np.zeros(layout.size - done, np.uint8)


def to_bytes(model: Model, *, rebuild: bool = False) -> bytes:
    """Return the file's bytes."""
    return _whole(plan_layout(model, rebuild=rebuild), None).tobytes()


def _whole(layout: FileLayout, progress: Callable[[int], object] | None) -> Bytes:
    """All bytes of a file."""
    out = np.zeros(layout.size, np.uint8)
    for at, data, start, stop in _pieces(layout):
        out[at : at + stop - start] = data.read(start, stop)
        if progress is not None:
            progress(stop - start)
    return out


def write(
    model: Model,
    path: str | os.PathLike[str],
    *,
    rebuild: bool = False,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write a model to a file, whole or not at all.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and renamed over the
    target. That may be the file that the model was read from.

    Parameters
    ----------
    model : Model
    path : path
        Target; a symbolic link is followed. The folder must exist.
    rebuild : bool
        Encode every table anew, even where nothing changed.
    progress : callable, optional
        Called with the number of bytes after each piece, from several threads.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    WriteFailed
        If the folder doesn't exist or can't be written to, the target is read-only or no regular file, or the
        disk is full. What stood at the target before is untouched.
    """
    target = os.path.realpath(os.fspath(path))
    folder = os.path.dirname(target)
    require_regular(path)
    _check_target(target, folder)
    layout = plan_layout(model, rebuild=rebuild)
    import tempfile  # here, since it costs as much to import as the whole of this room

    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", suffix=".tmp", dir=folder)
        try:
            _fill(handle, layout, progress)
            _set_mode(handle, temporary)
            os.fsync(handle)
        finally:
            os.close(handle)
        _replace(temporary, target, model)
        temporary = None
        sync_folder(folder)
    except QuantlibError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteFailed(f"{target}: {reason}, with {layout.size:,} bytes to write; nothing was changed") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return layout.size


def _check_target(target: str, folder: str) -> None:
    if not os.path.isdir(folder):
        raise WriteFailed(f"{folder}: no such folder; make it, or write to one that exists")
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteFailed(f"{target}: {error.strerror}; choose another path") from None
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise WriteFailed(f"{target}: the file is read-only; make it writable, or choose another path")


def _fill(handle: int, layout: FileLayout, progress: Callable[[int], object] | None) -> None:
    """Produce and write all pieces: a small file at once, others on as many threads as there are cores.

    (NumPy releases the GIL; but threads wait for one another longer than small pieces take.)
    """
    lock = threading.Lock()
    if layout.size < 4 * PIECE:
        _write_at(handle, _whole(layout, progress), 0, lock)
        return
    os.truncate(handle, layout.size) if hasattr(os, "truncate") and os.name != "nt" else os.ftruncate(
        handle, layout.size
    )

    def task(piece: tuple[int, Data, int, int]) -> None:
        at, data, start, stop = piece
        _write_at(handle, data.read(start, stop), at, lock)
        if progress is not None:
            progress(stop - start)

    _in_threads(task, _pieces(layout), min(os.cpu_count() or 1, 4))


def _in_threads(task: Callable[[_T], object], items: Iterator[_T], workers: int) -> None:
    """Do a task for each item; after an exception, which is raised, no further item is begun.

    Items are taken one by one as threads get to them: a queue of all would grow with the file.
    """
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not failed:
                with lock:
                    item = next(items, None)
                if item is None:
                    return
                task(item)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers - 1)]
    try:
        for thread in threads:
            thread.start()
        work()
        for thread in threads:
            thread.join()
    except BaseException as error:
        # An interrupt while waiting: the file must not be closed under a thread that still writes to it.
        failed.append(error)
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def _write_at(handle: int, piece: Bytes, at: int, lock: threading.Lock) -> None:
    view = memoryview(np.ascontiguousarray(piece).data)
    while len(view):
        if hasattr(os, "pwrite"):
            done = os.pwrite(handle, view, at)
        else:
            with lock:  # Windows has no pwrite: position and write must not be torn apart
                os.lseek(handle, at, os.SEEK_SET)
                done = os.write(handle, view)
        view, at = view[done:], at + done


def _set_mode(handle: int, path: str) -> None:
    """Give the file the mode of any new file; `mkstemp` made it private."""
    if os.name == "nt":
        return
    mask = _umask()
    os.fchmod(handle, 0o666 & ~mask)


def _umask() -> int:
    """Read the process's umask without the moment in which another thread would see it changed."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _replace(temporary: str, target: str, model: Model) -> None:
    try:
        os.replace(temporary, target)
    except PermissionError:
        # Windows can't rename over a file that is mapped, and the target may be the model's own source.
        if model.source is None or not model.source.is_file(target):
            raise
        model.source.release()
        os.replace(temporary, target)

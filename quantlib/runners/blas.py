"""One BLAS thread while samples run in parallel: BLAS threads beside ours only fight for the cores.

Results of a product may also depend on how many threads share it, so statistics are taken with one.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# OpenBLAS by its plain name, and as NumPy's and SciPy's wheels carry it: prefixed, and with 64-bit indices.
_NAMES = tuple(
    (f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
    for prefix in ("scipy_", "")
    for suffix in ("64_", "")
)


@cache
def _control() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """Functions that get and set the number of threads of NumPy's OpenBLAS; None with another BLAS."""
    import numpy as np

    root = Path(np.__file__).parent
    folders = (root.parent / "numpy.libs", root / ".libs", root / ".dylibs")
    libraries = [p for folder in folders if folder.is_dir() for p in sorted(folder.glob("*openblas*"))]
    for library in libraries:
        try:
            loaded = ctypes.CDLL(str(library))
        except OSError:
            continue
        for get, put in _NAMES:
            if hasattr(loaded, get) and hasattr(loaded, put):
                return getattr(loaded, get), getattr(loaded, put)
    return None


class _Gate:
    """Counts who is inside, so that the first sets one thread and the last restores what was before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before = 1

    def enter(self) -> None:
        control = _control()
        with self.lock:
            self.inside += 1
            if control is not None and self.inside == 1:
                get, put = control
                self.before = get()
                put(1)

    def leave(self) -> None:
        control = _control()
        with self.lock:
            self.inside -= 1
            if control is not None and self.inside == 0:
                control[1](self.before)


@cache
def _gate() -> _Gate:
    return _Gate()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's products run on the calling thread alone, where NumPy comes with OpenBLAS.

    Several threads may be inside at once. With another BLAS nothing changes; set its own environment variable
    (``MKL_NUM_THREADS`` ...) before Python starts.
    """
    gate = _gate()
    gate.enter()
    try:
        yield
    finally:
        gate.leave()

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from quantlib.errors import QuantlibError, WriteFailed

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse a target that is there and is no file: `WriteFailed`."""
    # what a link leads to by itself: that of a pipe, such as /dev/stdout, has no name that could be looked at
    target = os.fspath(path) or os.getcwd()  # which an empty path stands for
    if os.path.exists(target) and not os.path.isfile(target):
        raise WriteFailed(f"{target}: not a regular file; choose another path")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file in a target's folder; it is flushed to the disk and renamed over the target in the end.

    What stood there before is untouched if anything is raised in between.

    Parameters
    ----------
    path : path
        Target; a symbolic link is followed. The folder must exist.

    Yields
    ------
    binary file
        To be written and sought in.

    Raises
    ------
    WriteFailed
        If the target is no regular file, or the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     os.listdir(folder)
    ['a.txt']
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    require_regular(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(folder)
    except OSError as error:
        if isinstance(error, QuantlibError):
            raise
        raise WriteFailed(f"{target}: {error.strerror or error}; choose another path; nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def sync_folder(folder: str) -> None:
    """Make a rename in a folder durable, as far as the system can."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # a folder that can't be read, or whose file system refuses to sync it
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""Text files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat

from quantlib.errors import WriteFailed


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8 to a temporary file in the same folder, which then replaces the target.

    Parameters
    ----------
    path : path
    text : str

    Raises
    ------
    WriteFailed
        If it can't be written; what stood there before is untouched.
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        raise WriteFailed(f"{target}: not a regular file; choose another path")
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise WriteFailed(f"{target}: {error.strerror or error}; choose another path; nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)

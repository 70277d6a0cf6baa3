"""Text files, written whole or not at all."""

from __future__ import annotations

import os

from quantlib.files import replacing


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
    with replacing(path) as file:
        file.write(text.encode("utf-8"))

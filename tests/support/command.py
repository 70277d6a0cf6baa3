"""The command line, run in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantlib.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    status = main([str(w) for w in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err

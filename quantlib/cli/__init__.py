"""The command line: parsing and printing; one file per command.

Exit status: 0 done, 1 a finding or failed check, 2 misuse or bad input (one line on stderr).
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from quantlib import __version__
from quantlib.errors import QuantlibError

#: Each is a file of this folder, in the order of the help.
_COMMANDS = (
    *("inspect", "calibrate", "quantize", "plan", "run", "compare", "check", "golden"),
    *("prune", "cluster", "dequantize", "retype", "tidy"),
)
#: Commands that multiply no matrices, unless they calibrate.
_WITHOUT_PRODUCTS = ("check", "cluster", "dequantize", "inspect", "plan", "prune", "quantize")
#: Commands that share samples out to threads or processes, each with products of its own.
_PARALLEL = ("calibrate",)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands; of one alone, or none, where that will do, since each brings its imports."""
    parser = _Parser(prog="quantlib", description="Post-training quantization of .tflite files.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"quantlib {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    named = words[:1] if words and words[0] in _COMMANDS else () if list(words[:1]) == ["--version"] else _COMMANDS
    for name in named:
        importlib.import_module(f".{name}", __name__).add_parser(commands)
    return parser


def _spare_threads(words: Sequence[str]) -> None:
    """Let NumPy's OpenBLAS start no threads that nobody needs: they spin for as long as all imports take."""
    if not words:
        return
    if words[0] in _PARALLEL or (words[0] in _WITHOUT_PRODUCTS and not any(w.startswith("--data") for w in words)):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _joined(words: Sequence[str]) -> list[str]:
    """Join an option and a value with a minus, as ``--default-ranges -1,1``, which argparse takes for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and "=" not in joined[-1] and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those of the process otherwise.

    Returns
    -------
    int
        Exit status.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if "numpy" not in sys.modules:
        _spare_threads(words)
    command = words[0] if words else ""
    try:
        options = _parser(words).parse_args(_joined(words))
        status: int = options.run(options)
        sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    except QuantlibError as error:
        print(f"quantlib {command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # the reader, `head` say, has seen enough; what Python still holds must not fail at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"quantlib {command}: interrupted; nothing was changed", file=sys.stderr)
        return 130
    return status

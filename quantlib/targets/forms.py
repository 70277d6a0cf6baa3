"""Combinations of element types that an operator's kernels take, and their notation.

``"T T -> T"`` is an operator of two inputs and an output of one type; what T may be stands beside it. A word is an
element type, several of them (``INT8|INT4``), a letter that stands for the same type wherever it occurs, or ``*`` for
any type. ``?`` behind it: the operand may be absent. ``...`` behind it: any number of such operands, to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quantlib.errors import InvalidValue
from quantlib.numerics import ELEMENT_TYPES

from .operation import Operand, Operation


@dataclass(frozen=True, slots=True)
class Form:
    """One combination.

    Attributes
    ----------
    text : str
        The combination in the notation above.
    letters : mapping of str to tuple of str
        Types that a letter may stand for.
    """

    text: str
    letters: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        left, arrow, right = self.text.partition("->")
        for word in (*left.split(), *right.split()):
            for name in _bare(word).split("|"):
                if name not in ELEMENT_TYPES and name not in self.letters and name != "*":
                    raise InvalidValue(f"form {self.text!r}: {name!r} is no element type and no letter of it")
        if not arrow:
            raise InvalidValue(f"form {self.text!r}: an arrow is required, as in 'INT8 -> INT8'")

    def matches(self, operation: Operation) -> bool:
        """Whether an operation has these types."""
        left, _, right = self.text.partition("->")
        bound: dict[str, str] = {}
        return self._side(left.split(), operation.inputs, bound) and self._side(
            right.split(), operation.outputs, bound
        )

    def _side(self, words: list[str], operands: Sequence[Operand | None], bound: dict[str, str]) -> bool:
        for i, operand in enumerate(operands):
            last = words[-1] if words else ""
            word = words[i] if i < len(words) else last if last.endswith("...") else ""
            if not word or not self._word(word, operand, bound):
                return False
        return all(word.endswith(("?", "...")) for word in words[len(operands) :])

    def _word(self, word: str, operand: Operand | None, bound: dict[str, str]) -> bool:
        if operand is None:
            return word.endswith(("?", "..."))
        name = _bare(word)
        if name == "*":
            return True
        if name in self.letters:
            allowed = self.letters[name]
            return ("*" in allowed or operand.type in allowed) and bound.setdefault(
                name, operand.type
            ) == operand.type
        return operand.type in name.split("|")

    def __str__(self) -> str:
        used = [k for k in self.letters if any(_bare(w) == k for w in self.text.split())]
        return self.text + "".join(f", {k} {'|'.join(self.letters[k])}" for k in used if "*" not in self.letters[k])


def _bare(word: str) -> str:
    return word.removesuffix("...").removesuffix("?")


def types_of(operation: Operation) -> str:
    """An operation's element types in the notation of forms; ``-`` for an absent operand."""
    inputs = " ".join("-" if x is None else x.type for x in operation.inputs)
    return f"{inputs} -> {' '.join(y.type for y in operation.outputs)}"

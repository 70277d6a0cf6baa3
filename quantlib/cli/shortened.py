"""Long names, cut for the eye: converters join those of all that they fused, into hundreds of characters."""

from __future__ import annotations

import re
from collections import Counter

#: Characters of a name that are printed.
LONGEST = 72
#: How much more of a name is printed at a time, until it can be told from others.
_STEP = 24
_GAP = "..."


def shortened(text: str) -> str:
    """Leave out the middle of long names; ``--json`` has them whole.

    A name is what has no space in it. Its two ends are left, in `LONGEST` characters or as many as tell it from the
    other names of the text. Addresses of pages stay whole.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> print(shortened(f"CONV_2D model/{'re_lu/Relu;' * 20}model/Conv/Conv2D: FLOAT32"))
    CONV_2D model/re_lu/Relu;re_lu/Relu;re_lu/.../Relu;re_lu/Relu;model/Conv/Conv2D: FLOAT32
    """
    words = re.compile(rf"\S{{{LONGEST + 1},}}")
    cut: dict[str, str] = {}
    left, kept = {word for word in words.findall(text) if "://" not in word}, LONGEST
    while left:
        found = {word: _cut(word, kept) for word in left}
        count = Counter(found.values())
        cut |= {word: short for word, short in found.items() if count[short] == 1}
        left, kept = left - cut.keys(), kept + _STEP
    return words.sub(lambda word: cut.get(word[0], word[0]), text)


def _cut(word: str, kept: int) -> str:
    """The ends of a word, in so many characters; the word itself where it has no more."""
    if len(word) <= kept:
        return word
    head = (kept - len(_GAP)) // 2
    return f"{word[:head]}{_GAP}{word[head + len(_GAP) - kept :]}"

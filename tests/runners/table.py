"""Print how near NumPy comes to LiteRT, as Markdown: ``python -m tests.runners.table``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.runners.accuracy import Row, edge_files, of_file, of_task, tasks


def rows() -> Iterator[Row]:
    """All tasks, then all edge files."""
    for name in tasks():
        yield from of_task(name)
    for path in edge_files():
        yield from of_file(path)


def line(row: Row) -> str:
    """One line of the table."""
    name = f"{row.name} `{row.signature}`" if row.signature else row.name
    if row.note:
        return f"| {name} | {row.note} | |"
    least = "" if not row.floats else "equal" if row.least == np.inf else f"{row.least:.1f} dB"
    exact = "" if not row.exact else "equal" if not row.wrong else f"{row.wrong} of {row.exact} differ"
    return f"| {name} | {least} | {exact} |"


def main() -> None:
    """Print the table."""
    print("| model | least SQNR of float outputs | integer and boolean outputs |")
    print("|---|---|---|")
    for row in rows():
        print(line(row), flush=True)


if __name__ == "__main__":
    main()

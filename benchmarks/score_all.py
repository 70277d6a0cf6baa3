"""Score candidates of one task: ``python score_all.py TOOLS TASK LIMIT CANDIDATE...``, one line of JSON for each.

TOOLS is the folder with the shared scorer, LIMIT a number of samples (0: all). Its `score` is called for each, but
the float model runs only once, and samples are made only once.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any


class Remembered:
    """The float model's runner: what it said of the samples, which come in the same order each time."""

    def __init__(self, runner: Any) -> None:
        self.it, self._runner = runner.it, runner
        self._answers: list[Any] = []
        self._next = 0

    def rewound(self) -> Remembered:
        """Itself, from the first sample on."""
        self._next = 0
        return self

    def __call__(self, sample: Any, names: Any = None) -> Any:
        if self._next == len(self._answers):
            self._answers.append(self._runner(sample, names))
        self._next += 1
        return self._answers[self._next - 1]


def main(tools: str, name: str, limit: int, candidates: list[str]) -> None:
    """Score them."""
    sys.path.insert(0, tools)
    import score  # it stands outside the repository
    import tasks  # as above

    task, runner = tasks.TASKS[name], score.Runner
    task.samples = functools.cache(task.samples)
    reference = Remembered(runner(task.model, sequence=task.stateful))
    score.Runner = lambda path, *more, **named: (
        reference.rewound() if path == task.model else runner(path, *more, **named)
    )
    for candidate in candidates:
        print(json.dumps(score.score(task, candidate, limit or None)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])

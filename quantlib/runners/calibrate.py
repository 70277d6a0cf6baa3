"""Calibration over a data set: in threads, on any executor, in shards, interrupted and resumed."""

from __future__ import annotations

import os
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantlib.calibration import SampleWatch, Statistics, findings, new_state
from quantlib.errors import CalibrationWarning, InvalidValue, QuantlibError, WorkerFailed
from quantlib.tflite import Model

from .blas import one_blas_thread
from .checkpoint import Checkpoint, digest
from .collect import Settings, at_sample, collect, forget, make_runner
from .data import Data, samples
from .protocol import Interface, feed
from .suspects import expected_ranges, uneven_concatenations

#: Samples that a worker is given at a time: few, since a checkpoint saves what is complete.
_PART = 4

#: Threads of this process, at most: beyond, Python itself holds them up, and each has all tensors of a sample.
_THREADS = 8

_Progress = Callable[[int], object]
#: Number, digest and values of a sample.
_Item = tuple[int, int, Any]
_Work = tuple[Settings, list[tuple[int, Any]]]


@dataclass(frozen=True, slots=True)
class Shard:
    """The i-th of n parts of a data set, counted from 1: every n-th sample.

    Attributes
    ----------
    index, count : int

    Raises
    ------
    InvalidValue
        If there is no such part.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidValue(f"shard {self.index}/{self.count}: the first number must lie in 1..{self.count}")

    def takes(self, number: int) -> bool:
        """Whether a sample, counted from 0, is in this shard."""
        return number % self.count == self.index - 1


def calibrate(
    model: Model,
    data: Data,
    *,
    observer: str = "histogram",
    runner: str = "numpy",
    signature: str | None = None,
    sequence: bool = False,
    executor: Executor | None = None,
    map: Callable[..., Any] | None = None,
    shard: tuple[int, int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Statistics:
    """Find the ranges of a model's activations; see `quantlib.calibrate`, whose parameters are these."""
    part = Shard(*shard) if shard is not None else Shard()
    new_state(observer)
    alone = sequence or observer == "moving-average"
    if alone and (executor is not None or map is not None or part.count > 1 or checkpoint is not None):
        raise InvalidValue(
            f"{'sequence=True' if sequence else 'a moving average'} depends on the order of the samples, so the work "
            "can't be divided; leave out executor, map, shard and checkpoint (--jobs, --shard, --resume)"
        )
    if executor is not None and map is not None:
        raise InvalidValue("an executor and a map; give one of them")
    with _as_file(model) as path, one_blas_thread():
        settings = Settings(path, model.sha256, runner, observer, signature, sequence, _version())
        # an operator without a kernel is said here, not by a worker
        interface = make_runner(model, runner, signature).interface
        job = _Job(settings, interface, part, checkpoint, progress)
        try:
            if alone:
                job.alone(data)
            elif map is not None:
                job.with_map(map, data)
            elif executor is not None:
                job.share_out(executor, data)
            else:
                with ThreadPoolExecutor(min(_cores(), _THREADS)) as threads:
                    job.share_out(threads, data)
        finally:
            forget()
        result = job.state.finish()
    found = (*job.watch.findings(expected_ranges(model, interface)), *findings(result))
    for finding in (*found, *uneven_concatenations(model, result)):
        warnings.warn(str(finding), CalibrationWarning, stacklevel=3)
    return result


class _Job:
    """One calibration: what is to be run, and what is done of it."""

    def __init__(
        self,
        settings: Settings,
        interface: Interface,
        shard: Shard,
        checkpoint: str | os.PathLike[str] | None,
        progress: _Progress | None,
    ) -> None:
        self.settings, self.interface, self.shard = settings, interface, shard
        about = {k: v for k, v in asdict(settings).items() if k not in ("model", "version")}
        self.state = Checkpoint(checkpoint, {**about, "shard": [shard.index, shard.count]})
        self.watch = SampleWatch()
        self._progress = progress

    def alone(self, data: Data) -> None:
        """Run all samples in order."""
        self.state.add(collect(self.settings, self._counted(data)), {})

    def with_map(self, map: Callable[..., Any], data: Data) -> None:
        """Run parts by something like the builtin, which must keep their order."""
        given: list[list[_Item]] = []

        def works() -> Iterator[_Work]:
            for items in self._parts(data):
                given.append(items)
                yield self._work(items)

        with self._saving():
            # what is given is appended before it comes back, in the same order
            for at, statistics in enumerate(map(collect_part, works())):
                self._add(statistics, given[at])
                given[at] = []

    def share_out(self, executor: Executor, data: Data) -> None:
        """Keep workers busy without reading all samples ahead."""
        ahead = 2 * (getattr(executor, "_max_workers", None) or _cores())
        running: dict[Future[Statistics | str], list[_Item]] = {}
        with self._saving(), _exchange(executor) as folder:
            try:
                for items in self._parts(data):
                    running[self._submit(executor, items, folder)] = items
                    if len(running) >= ahead:
                        self._gather(running)
                while running:
                    self._gather(running)
            except BaseException:
                self._rescue(running)
                raise

    def _submit(self, executor: Executor, items: list[_Item], folder: str) -> Future[Statistics | str]:
        try:
            return executor.submit(collect_part, self._work(items), folder)
        except (BrokenExecutor, RuntimeError) as error:
            raise _failed(items, error) from error

    def _gather(self, running: dict[Future[Statistics | str], list[_Item]]) -> None:
        wait(running, return_when=FIRST_COMPLETED)
        for future in [f for f in running if f.done()]:
            try:
                statistics = _received(future.result())
            except QuantlibError:
                raise
            except Exception as error:
                raise _failed(running[future], error) from error
            self._add(statistics, running.pop(future))

    def _rescue(self, running: dict[Future[Statistics | str], list[_Item]]) -> None:
        """Keep what is complete, and leave the rest."""
        for future, items in running.items():
            future.cancel()
            if future.done() and not future.cancelled() and future.exception() is None:
                self._add(_received(future.result()), items)

    def _add(self, statistics: Statistics, items: list[_Item]) -> None:
        self.state.add(statistics, {number: crc for number, crc, _ in items})
        self._done(len(items))

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Save what is done when something breaks it off."""
        try:
            yield
        except WorkerFailed as error:
            self.state.save()
            path = self.state.path
            hint = f"go on with checkpoint={str(path)!r} (--resume)" if self.state.saved else "begin anew"
            raise WorkerFailed(f"{error}; {hint}") from error.__cause__
        except BaseException:
            self.state.save()
            raise

    def _work(self, items: list[_Item]) -> _Work:
        return self.settings, [(number, values) for number, _, values in items]

    def _parts(self, data: Data) -> Iterator[list[_Item]]:
        some: list[_Item] = []
        for item in self._items(data):
            some.append(item)
            if len(some) == _PART:
                yield some
                some = []
        if some:
            yield some

    def _counted(self, data: Data) -> Iterator[tuple[int, Any]]:
        for number, _, values in self._items(data):
            yield number, values
            self._done(1)

    def _items(self, data: Data) -> Iterator[_Item]:
        """Samples of the shard that aren't done yet."""
        for number, sample in enumerate(samples(data, self.interface)):
            if not self.shard.takes(number):
                continue
            try:
                values = feed(self.interface, sample)
            except QuantlibError as error:
                raise at_sample(number, error) from None
            self.watch.observe(values)
            crc = digest(values) if self.state.path is not None else 0
            if self.state.has(number, crc):
                self._done(1)
            else:
                yield number, crc, values

    def _done(self, count: int) -> None:
        if self._progress is not None:
            self._progress(count)


def collect_part(work: _Work, folder: str = "") -> Statistics | str:
    """What a worker does; top-level, so that it can be sent to one.

    With a folder, the statistics go to a file there, whose path is returned.
    """
    statistics = collect(*work)
    if not folder:
        return statistics
    handle, path = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        pickle.dump(statistics, file)
    return path


@contextmanager
def _exchange(executor: Executor) -> Iterator[str]:
    """Folder for the results of processes on this machine; empty for other executors.

    A pool of processes has one pipe for the results of all. If a process is killed while it writes there, what is
    left of a long message blocks the pool for ever; the path of a file goes through at once.
    """
    if getattr(executor, "_processes", None) is None:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="quantlib-", ignore_cleanup_errors=True) as folder:
        yield folder


def _received(result: Statistics | str) -> Statistics:
    """What a worker found, from its file if it wrote one; only our own workers can write in that folder."""
    if not isinstance(result, str):
        return result
    with open(result, "rb") as file:
        statistics: Statistics = pickle.load(file)
    os.unlink(result)
    return statistics


def _failed(items: list[_Item], error: BaseException) -> WorkerFailed:
    first, last = items[0][0], items[-1][0]
    where = f"sample {first}" if first == last else f"samples {first} to {last}"
    reason = " ".join(str(error).split())[:200]
    return WorkerFailed(f"{where}: a worker failed: {type(error).__name__}{': ' if reason else ''}{reason}")


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tflite-quantlib")
    except PackageNotFoundError:
        return ""


@contextmanager
def _as_file(model: Model) -> Iterator[str]:
    """The model as a file that workers can map; a temporary one where it is in memory only."""
    if model.unchanged and model.source.path is not None:
        yield os.path.abspath(model.source.path)
        return
    with tempfile.TemporaryDirectory(prefix="quantlib-", ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "model.tflite")
        model.write(path)
        yield path

"""Executors that calibration is tried on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest


def processes(count: int = 2) -> ProcessPoolExecutor:
    """Processes that begin from nothing, as on any platform."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


@contextmanager
def dask_cluster(count: int = 2) -> Iterator[Executor]:
    """A cluster of processes on this machine, as an executor; skips where Dask isn't installed."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed (the extra 'dask')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ports and clocks, which are not our matter
        with (
            distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()

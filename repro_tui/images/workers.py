"""Worker processes for the CPU-heavy parts of assembling and unpacking; they end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from repro_tui.errors import InfrastructureError

_KILL_PATIENCE_S = 10.0


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool, or without one this process; each job is a module-level function and its arguments."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Begin one job; without a pool it is over when this returns. Take what comes of it with `outcome`."""
        if self._pool is not None:
            return self._pool.submit(function, *arguments)
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def run(
        self, jobs: list[tuple[Callable[..., Any], tuple[Any, ...], int]], done: Callable[[int], None] = lambda _: None
    ) -> None:
        """Run jobs (function, arguments, weight), in the order given, and wait for all of them.

        `done` is called with a job's weight as it ends. The first failure is raised; the pool is of no use then.
        """
        if self._pool is None:
            for function, arguments, weight in jobs:
                function(*arguments)
                done(weight)
            return
        futures: dict[Future[Any], int] = {
            self._pool.submit(function, *arguments): weight for function, arguments, weight in jobs
        }
        for future in as_completed(futures):
            outcome(future)
            done(futures[future])


def outcome(future: Future[Any]) -> Any:
    """Return what a job returned, or raise what it raised."""
    try:
        return future.result()
    except BrokenProcessPool:
        raise InfrastructureError(
            "a worker process was killed", hint="look for a lack of memory, and run it again"
        ) from None


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """Give a pool of so many processes; started afresh, so that no thread or lock of this one is carried over."""
    if count == 1:
        yield Workers(None)
        return
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield Workers(pool)
    except BaseException:
        _kill(pool)
        raise
    pool.shutdown()


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the processes at once: a cancel must not wait for a layer of half a gigabyte, and nobody wants it any more.

    Nothing is cancelled before: the pool cannot bury its dead while some of their jobs are in that state.
    """
    processes = list((pool._processes or {}).values())  # noqa: SLF001 - kill_workers comes with Python 3.14
    for process in processes:
        process.kill()
    pool.shutdown(wait=False)
    for process in processes:
        process.join(_KILL_PATIENCE_S)


def _begin() -> None:
    """Leave SIGINT to the parent, and end when the parent does, however that happens."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)

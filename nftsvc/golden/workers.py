"""Many cases on many processors."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_CHUNKS_EACH = 4  # a worker that got easy ones comes back for more


def worth(items: int, least: int) -> int:
    """Return how many processes are worth their while, if one should have at least so many items."""
    return max(1, min(len(os.sched_getaffinity(0)), items // least))


def in_order(function: Callable[[_Item], _Result], items: Sequence[_Item], jobs: int) -> Iterator[_Result]:
    """Yield the result of each item, in order, from so many processes; with one job, from this one.

    The processes are forks, so that nothing is imported again: to be called before the process has threads. Function,
    items and results must be fit for pickling. What the function raises is raised here.
    """
    if jobs <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(jobs, get_context("fork"), initializer=_leave_interrupts_to_the_parent)
    try:
        yield from pool.map(function, items, chunksize=max(1, len(items) // (jobs * _CHUNKS_EACH)))
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

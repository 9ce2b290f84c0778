"""Work on a stream of items in threads, in order, with a bounded number of them in flight."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

_A = TypeVar("_A")
_B = TypeVar("_B")
_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Processors that this process may use: those of its mask, within its container's share."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    try:
        quota, period = _CGROUP.read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        pass
    return cores


def ordered_map(
    work: Callable[[_A], _B], items: Iterable[_A], workers: int, ahead: int
) -> Generator[_B, None, None]:
    """`map(work, items)` in order, by `workers` threads, up to `ahead` and `workers` in flight.

    `items` is iterated in the caller's thread. A single item is worked on here: no thread is
    started for it. Closing the iterator waits for what is being worked on and forgets the rest.
    """
    rest = iter(items)
    first, second = next(rest, None), next(rest, None)
    if first is None:
        return
    if second is None:
        yield work(first)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(workers, "tinysight") as pool:
        waiting: deque[Future[_B]] = deque([pool.submit(work, first), pool.submit(work, second)])
        del first, second
        try:
            for item in rest:
                waiting.append(pool.submit(work, item))
                # As early as possible, but never so that a thread would have nothing to do.
                while len(waiting) > workers and (
                    waiting[0].done() or len(waiting) > ahead + workers
                ):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def grouped(items: Iterable[_A], size: int, counts: Callable[[_A], bool]) -> Iterator[list[_A]]:
    """Lists of consecutive items, each with `size` that count; the last may have fewer."""
    group: list[_A] = []
    counted = 0
    for item in items:
        group.append(item)
        counted += counts(item)
        if counted == size:
            yield group
            group, counted = [], 0
    if group:
        yield group

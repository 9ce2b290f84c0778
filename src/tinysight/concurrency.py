"""Threads: a call whose result is collected later, and an ordered parallel map over a stream.

`concurrent.futures` is imported only where more than one item is worked on: it takes 6 ms.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

A = TypeVar("A")
T = TypeVar("T")
_CGROUP = "/sys/fs/cgroup/cpu.max"


class Deferred(Generic[T]):
    """Starts `work` at once in a thread of its own; its result or error is met in `result`.

    `work` must not import what the caller may be importing meanwhile: NumPy, for one, fails when
    two threads import it at the same time. A fork waits for it, so that the child has the result.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        _running.add(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        finally:
            del self._work  # and what it holds
            _running.discard(self)

    def done(self) -> bool:
        """Whether `result` would not wait."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """What `work` returned, once it has; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self) -> None:
        """Return when `work` is over, however it ended; at once in its own thread and before it is started."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()


_running: set[Deferred[Any]] = set()


def _before_fork() -> None:
    for deferred in tuple(_running):
        deferred.wait()  # which another thread may be about to start


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_before_fork)


def usable_cores() -> int:
    """Number of processors that this process may use: its affinity mask, within its container's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    # No such file, or "max": no limit. `open`, for pathlib is not needed yet.
    with suppress(OSError, ValueError), open(_CGROUP, encoding="ascii") as file:  # noqa: PTH123
        quota, period = file.read().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def ordered_map(
    work: Callable[[A], T], items: Iterable[A], workers: int, ahead: int
) -> Generator[T, None, None]:
    """`map(work, items)` in order, by threads, with bounded memory.

    `items` is iterated in the caller's thread. A single item is worked on there too: no thread is
    started for it. Closing the iterator waits for what is being worked on and drops the rest; an
    exception of `work` ends the iteration at its item.

    Args:
        work: called in the threads, several calls at the same time.
        items: read only as far as needed.
        workers: number of threads, at least 1.
        ahead: number of items, besides one for each worker, that may be in flight.
    """
    rest, most = iter(items), ahead + workers
    first, second = next(rest, None), next(rest, None)
    if first is None:
        return
    if second is None:
        yield work(first)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers, "tinysight") as pool:
        waiting: deque[Future[T]] = deque([pool.submit(work, first), pool.submit(work, second)])
        del first, second
        try:
            for item in rest:
                waiting.append(pool.submit(work, item))
                # As early as possible, but never so that a thread would have nothing to do.
                while len(waiting) > workers and (waiting[0].done() or len(waiting) > most):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def by_key(pairs: Iterable[tuple[A, T]]) -> dict[A, list[T]]:
    """The second parts of `pairs` by the first, in their order."""
    found: dict[A, list[T]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def grouped(items: Iterable[A], size: int, counts: Callable[[A], bool]) -> Iterator[list[A]]:
    """Lists of consecutive items, each with `size` that count; the last may have fewer."""
    group: list[A] = []
    counted = 0
    for item in items:
        group.append(item)
        counted += counts(item)
        if counted == size:
            yield group
            group, counted = [], 0
    if group:
        yield group

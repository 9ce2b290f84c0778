"""Threads: a call whose result is collected later, and an ordered parallel map over a stream.

`concurrent.futures` does the second, too. But Ctrl-C inside its `submit` may leave a lock of Python's held, and its
threads wait for that lock for good; the queue here is of C and cannot be interrupted in the middle.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from tinysight.errors import ConfigError

A = TypeVar("A")
T = TypeVar("T")
MAX_THREADS = 1024  # of a process, or processes of a run
_CGROUP = "/sys/fs/cgroup/cpu.max"


class _Job(Generic[T]):
    """One call, made by some thread; its result or error is met by whoever asks for it."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._pending = threading.Lock()
        self._pending.acquire()

    def run(self) -> None:
        """Make the call; the error, of any kind, is kept for `result`."""
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        finally:
            del self._call  # and what it holds
            self._pending.release()

    def done(self) -> bool:
        """Whether `result` would not wait."""
        return not self._pending.locked()

    def result(self) -> T:
        """What the call returned, once it has; raises what it raised."""
        with self._pending:
            if self._error is not None:
                raise self._error
            return self._value


class Deferred(_Job[T]):
    """Starts `work` at once in a thread of its own; its result or error is met in `result`.

    `work` must not import what the caller may be importing meanwhile: NumPy, for one, fails when
    two threads import it at the same time. A fork waits for it, so that the child has the result.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(work)
        self._thread = threading.Thread(target=self.run)
        _running.add(self)
        self._thread.start()

    def run(self) -> None:
        """Make the call."""
        super().run()
        _running.discard(self)

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


def thread_count(wanted: int | None, where: str = "threads") -> int:
    """`wanted`, or as many as there are processors to use where it is None.

    Raises:
        ConfigError: not from 1 to `MAX_THREADS`; `where` names it.
    """
    if wanted is None:
        return usable_cores()
    if 1 <= wanted <= MAX_THREADS:
        return wanted
    limit = "1 or more" if wanted < 1 else f"{MAX_THREADS} or less"
    raise ConfigError(where, f"should be {limit}, got {wanted}")


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
    jobs: SimpleQueue[_Job[T] | None] = SimpleQueue()

    def serve() -> None:
        while (job := jobs.get()) is not None and not closed:
            job.run()

    waiting: deque[_Job[T]] = deque()
    closed: list[bool] = []
    # Daemons: an error that nobody catches keeps this generator open, and would keep the process.
    started = partial(threading.Thread, target=serve, daemon=True)
    threads = [started(name=f"tinysight_{i}") for i in range(workers)]
    try:
        for thread in threads:
            thread.start()
        for item in chain((first, second), rest):
            waiting.append(_Job(partial(work, item)))
            jobs.put(waiting[-1])
            # As early as possible, but never so that a thread would have nothing to do.
            while len(waiting) > workers and (waiting[0].done() or len(waiting) > most):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        closed.append(True)
        for _ in threads:
            jobs.put(None)
        for thread in threads:
            if thread.ident is not None:
                thread.join()


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

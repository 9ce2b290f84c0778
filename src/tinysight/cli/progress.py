"""A progress line on a terminal, for work of more than two seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Event, Thread
from typing import TYPE_CHECKING, TextIO

from tinysight.concurrency import Deferred

if TYPE_CHECKING:
    from tinysight.fetch.download import Report

_QUIET = 2.0  # seconds without a bar: most runs are over by then
_EVERY = 0.2
_WINDOW = 60  # seconds over which the rate is taken


_Count = Callable[[], int | None]
_Seconds = Callable[[], float]


class ProgressLine:
    """`1,204 of 100,000 images  312/s  5:17 left` on one line that is drawn again and again.

    The rate is that of the last minute, so the time left follows a change of pace; images that an
    earlier run answered count as done, not towards the rate.

    Args:
        count: how many there are in all; None if nobody knows. Called in the background, once.
        out: a terminal.
        done: of an earlier run.
        clock: seconds, from anywhere.
    """

    def __init__(
        self, count: _Count, out: TextIO, done: int = 0, clock: _Seconds = time.monotonic
    ) -> None:
        self._count, self._out, self._clock, self._done = count, out, clock, done
        self._start = self._drawn = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._start, done)])
        self._counting: Deferred[int | None] | None = None
        self._total: int | None = None

    def step(self) -> None:
        """One more is done."""
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """So many are done."""
        self._done = done
        now = self._clock()
        if now - self._drawn < _EVERY or now - self._start < _QUIET:
            return
        self._drawn = now
        self._counting = self._counting or Deferred(self._count)
        if self._total is None and self._counting.done():
            self._total = self._counting.result()
        self._marks.append((now, self._done))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW:
            self._marks.popleft()
        self._out.write(f"\r\x1b[K{self.line(now)}")
        self._out.flush()

    def line(self, now: float) -> str:
        """What is shown at the moment `now`."""
        since, before = self._marks[0]
        rate = (self._done - before) / max(now - since, 1e-9)
        if self._total is None or not rate:
            return f"{self._done:,} images  {rate:,.0f}/s"
        left = max(self._total - self._done, 0) / rate
        return f"{self._done:,} of {self._total:,} images  {rate:,.0f}/s  {_clock(left)} left"

    def clear(self) -> None:
        """Take the line away, before something else is written to the terminal and at the end."""
        if self._counting is not None:
            self._out.write("\r\x1b[K")
            self._out.flush()


class Working:
    """`exporting  0:07`: what is being done and since when, on a terminal, after two seconds; nothing elsewhere.

    Called with a text, it shows that; with the empty one it clears the line.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out, self._text = out or sys.stderr, ""
        self._over, self._drawer = Event(), Thread()

    def __enter__(self) -> Working:
        return self

    def __exit__(self, *_: object) -> None:
        self("")

    def __call__(self, text: str) -> None:
        """From now on `text` is being done; what has the same first word goes on."""
        going, self._text = text.split()[:1] == self._text.split()[:1], text
        if going or not self._out.isatty():
            return
        self._over.set()  # no thread lives while a training forks its loaders
        if self._drawer.ident:
            self._drawer.join()
        self._over, self._drawer = Event(), Thread(target=self._draw, daemon=True)
        if text:
            self._drawer.start()

    def _draw(self) -> None:
        since, over = time.monotonic(), self._over
        while not over.wait(_EVERY):
            if (past := time.monotonic() - since) > _QUIET:
                print(f"\r\x1b[K{self._text}  {_clock(past)}", end="", file=self._out, flush=True)
        print("\r\x1b[K", end="", file=self._out, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def download_progress(name: str) -> Iterator[Report | None]:
    """A bar with size and rate on stderr where that is a terminal and rich is installed; else nothing."""
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield None
        return
    from rich import progress
    from rich.console import Console

    size, rate = progress.DownloadColumn(), progress.TransferSpeedColumn()
    columns = "{task.description}", progress.BarColumn(), size, rate, progress.TimeRemainingColumn()
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name.rsplit("/", 1)[-1], total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

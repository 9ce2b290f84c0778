"""How a run tells what it does: a bar on a terminal, else a log line now and then."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from tinysight.errors import MissingDependency

logger = logging.getLogger(__name__)

_QUIET = 10.0  # seconds between lines of epochs without an evaluation


class Report:
    """Tells of a run's progress.

    Args:
        steps: of the whole run.
        done: of them at the start.
        bar: show a progress bar on standard error. Default: if that is a terminal.
    """

    def __init__(self, steps: int, done: int, bar: bool | None) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._told = time.monotonic()
        if sys.stderr.isatty() if bar is None else bar:
            self._bar = _bar()
            self._task = self._bar.add_task("starting", total=steps, completed=done)

    def __enter__(self) -> Report:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, epoch: int) -> None:
        """One training step of `epoch` is done."""
        if self._bar:
            self._bar.update(self._task, advance=1, description=f"epoch {epoch}")

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch is done; `record` is its line of the metrics. Told if it was evaluated or took a while."""
        values = {"loss": record["loss"], **record.get("metrics", {})}
        words = [f"epoch {record['epoch']}/{epochs}"]
        words += [f"{key} {value:.4f}" for key, value in values.items()]
        words += [f"lr {record['lr']:.2g}", f"{record['seconds']:.1f} s"]
        if record.get("best"):
            words.append("best so far")
        line = "  ".join(words)
        now = time.monotonic()
        if "metrics" not in record and now - self._told < _QUIET:
            return
        self._told = now
        if self._bar:
            self._bar.console.print(line, highlight=False)
        else:
            logger.info(line)


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ModuleNotFoundError:
        raise MissingDependency("rich", "train", "a progress bar") from None
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)

"""Callbacks of a run: the progress display, and the interface for those of the caller of `fit`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinysight.errors import MissingDependency

if TYPE_CHECKING:
    from tinysight.training.run import Run

logger = logging.getLogger(__name__)

_QUIET = 10.0  # seconds between lines of epochs without an evaluation


class Callback:
    """Called by `fit` during a run; override what is needed.

    Of several processes only the first calls it. It may look at everything in `run` (`run.state.step`,
    `run.objective`), change nothing, and end the run with `run.stop(reason)`: after this step, or, with several
    processes, after this epoch. A checkpoint is written then, so that the run can be resumed.
    """

    def on_begin(self, run: Run) -> None:
        """The first step is about to begin, or the first one after a resumption."""

    def on_step(self, run: Run) -> None:
        """A step is done; `run.state.step` counts it."""

    def on_epoch(self, run: Run, record: Mapping[str, Any]) -> None:
        """An epoch is done, evaluated if it was due, and its checkpoint written.

        Args:
            run: the run.
            record: its line of `metrics.jsonl`: epoch, step, loss, lr, and perhaps metrics, terms and best.
        """

    def on_end(self, run: Run) -> None:
        """The run has ended, whether well, by `run.stop` or by an error."""


class Progress(Callback):
    """A bar on a terminal, else a log line now and then.

    Args:
        bar: whether to show a progress bar on standard error. Default: if that is a terminal.
    """

    def __init__(self, bar: bool | None = None) -> None:
        self._bar: Any = _bar() if (sys.stderr.isatty() if bar is None else bar) else None
        self._task: Any = None
        self._logged = time.monotonic()

    def on_begin(self, run: Run) -> None:
        """Show the bar."""
        self._logged = time.monotonic()
        if self._bar:
            steps = run.recipe.train.epochs * run.steps_per_epoch
            self._task = self._bar.add_task("starting", total=steps, completed=run.state.step)
            self._bar.start()

    def on_step(self, run: Run) -> None:
        """Advance the bar."""
        if self._bar:
            epoch = -(-run.state.step // run.steps_per_epoch)
            self._bar.update(self._task, advance=1, description=f"epoch {epoch}")

    def on_epoch(self, run: Run, record: Mapping[str, Any]) -> None:
        """Print a line, if the epoch was evaluated or the last line is a while ago."""
        now = time.monotonic()
        if "metrics" not in record and now - self._logged < _QUIET:
            return
        self._logged = now
        values = {"loss": record["loss"], **record.get("metrics", {})}
        words = [f"epoch {record['epoch']}/{run.recipe.train.epochs}"]
        words += [f"{key} {value:.4f}" for key, value in values.items()]
        words += [f"lr {record['lr']:.2g}", f"{record['seconds']:.1f} s"]
        if record.get("best"):
            words.append("best so far")
        line = "  ".join(words)
        if self._bar:
            self._bar.console.print(line, highlight=False)
        else:
            logger.info(line)

    def on_end(self, run: Run) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ModuleNotFoundError:
        raise MissingDependency("rich", "train", "a progress bar") from None
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)

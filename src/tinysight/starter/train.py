"""`tinysight.train("folder")`: everything from images to a bundle, in one call."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinysight.bundle import Bundle
from tinysight.config import load_recipe
from tinysight.errors import CheckpointError, ConfigError
from tinysight.evaluation.report import EvaluationReport
from tinysight.export.bundle import export_bundle
from tinysight.metrics.intervals import Interval, wilson_interval
from tinysight.starter.division import Tell
from tinysight.starter.start import Start, start, task_name
from tinysight.training.callbacks import Callback
from tinysight.training.folder import RunFolder
from tinysight.training.loop import FitResult, evaluate_splits, fit
from tinysight.training.predictor import finish
from tinysight.training.run import Run

logger = logging.getLogger(__name__)

CHOSEN = "chosen.yaml"  # in the run folder, with its lists
BUNDLE = "bundle"


@dataclass(frozen=True)
class TrainedRun(os.PathLike[str]):
    """A run that `train` made; as a path it is the run's folder.

    Attributes:
        out: the run folder.
        recipe: the recipe that was chosen, as a file to edit.
        fit: the training.
        report: evaluation of the best epoch on the validation images; the page is `out / "report.html"`.
        accuracy: share of validation images that are classified right.
        interval: its 95 % interval (Wilson).
        probe: the same share for the linear probe that training began with; None without pretrained weights.
        majority: share of the largest class: what a constant answer reaches.
        bundle: the exported folder; None if the result is no better than a constant, or worse than the probe.
        problem: why nothing was exported; empty if it was.
        start: the choice, with the images that were left out.
    """

    out: Path
    recipe: Path
    fit: FitResult
    report: EvaluationReport
    accuracy: float
    interval: Interval
    probe: float | None
    majority: float
    bundle: Bundle | None
    problem: str
    start: Start

    def __fspath__(self) -> str:
        """The run folder."""
        return str(self.out)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the best epoch, by name."""
        return self.fit.metrics


class _Beginning(Callback):
    """Evaluates the network as it is before the first step: with the classifier of the linear probe."""

    def __init__(self, tell: Tell) -> None:
        self.metrics: dict[str, float] = {}
        self._tell = tell

    def on_begin(self, run: Run) -> None:
        """Measure it, unless the run is resumed."""
        self._tell("")
        if run.recipe.model.linear_probe and not run.state.step:
            self.metrics = evaluate_splits(run)[0]


def train(
    data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *,
    minutes: float = 10.0, budget_ms: float | None = None, overrides: Sequence[str] = (),
    callbacks: Sequence[Callback] = (), progress: bool | None = None,
) -> TrainedRun:  # fmt: skip
    """Train a classifier on labelled images, without a recipe, and export it.

    Args:
        data: a folder with a folder for each class, or with such folders in `train` and `val`; or a list or CSV file
            with a path and a label on each line.
        out: run folder. Default: `runs/` and the name of `data`.
        minutes: time at hand for the whole training, above 0.
        budget_ms: longest time of the network for one image on one thread of this machine, ms. Default: any.
        overrides: `train.epochs=5` and the like, applied to the recipe that is chosen.
        callbacks: called after every step and epoch; see `training.Callback`.
        progress: show a bar. Default: on a terminal.

    Raises:
        DataError: the images cannot be trained on.
        CheckpointError: `out` holds a run.
        ConfigError: an argument is refused, or the loss is not a number any more.
    """
    folder = new_run_folder(data, out)
    found = start(data, folder / CHOSEN, minutes=minutes, budget_ms=budget_ms, overrides=overrides)
    for line in (*found.summary, *found.notes):
        logger.info(line)
    return train_start(found, callbacks=callbacks, progress=progress)


def new_run_folder(data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a run that is about to begin; nothing is made.

    Raises:
        CheckpointError: it holds a run.
        ConfigError: this is one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        hint = "`tinysight init` writes the recipe; torchrun trains it with -c"
        raise ConfigError("--data", "images are divided by one process", hint)
    folder = Path(out) if out is not None else Path("runs") / task_name(data)
    if RunFolder(folder).recipe.exists():
        hint = "add --resume to resume it, or choose another folder with --out"
        raise CheckpointError(str(folder), "already holds a run", hint)
    return folder


def resumed_start(out: Path) -> Start:
    """The start of a run that was begun by `train`.

    Raises:
        CheckpointError: there is none.
    """
    if not (out / CHOSEN).is_file():
        hint = "leave --resume out"
        raise CheckpointError(str(out), "no run that `train --data` began", hint)
    recipe = load_recipe(out / CHOSEN)
    lines = f"images   those of {out / CHOSEN}", f"network  {recipe.model.backbone.name}"
    return Start(
        recipe, out / CHOSEN, (*lines, f"time     {recipe.train.epochs} epochs in all"), (), ()
    )


def train_start(
    found: Start, *, resume: bool = False, callbacks: Sequence[Callback] = (),
    progress: bool | None = None, tell: Tell = lambda text: None,
) -> TrainedRun:  # fmt: skip
    """Train what was chosen into the folder of its file, judge the result, and export it if it is worth it.

    Args:
        found: what to train.
        resume: resume the run in the folder.
        callbacks: as of `fit`.
        progress: as of `fit`.
        tell: takes what is being done, where `progress` does not show it.

    Raises: as `fit` and `export_bundle`.
    """
    folder, beginning = found.file.parent, _Beginning(tell)
    tell("fitting the first classifier" if found.recipe.model.linear_probe else "starting")
    done = fit(
        found.recipe, folder, resume=resume, progress=progress, callbacks=(beginning, *callbacks)
    )
    tell("evaluating")
    report = finish(folder)
    labels = report.evaluation.labels
    right = int((report.evaluation.scores.argmax(axis=1) == labels).sum())
    probe = next(iter(beginning.metrics.values()), None)
    majority = float(np.bincount(labels).max() / len(labels))
    problem = done.stop_reason or judged(right, len(labels), probe, majority)
    bundle = None
    if not problem:
        tell("exporting and comparing with the network")
        bundle = export_bundle(folder, folder / BUNDLE, overwrite=resume)
    tell("")
    return TrainedRun(
        folder, found.file, done, report, right / len(labels), wilson_interval(right, len(labels)),
        probe, majority, bundle, problem, found,
    )  # fmt: skip


def judged(right: int, total: int, probe: float | None, majority: float) -> str:
    """What is wrong with a result, if anything: it knows no more than the largest class, or less than the probe knew.

    Args:
        right: validation images that are classified right.
        total: all of them.
        probe: share that the linear probe has right, on the same images.
        majority: share of the largest class.
    """
    accuracy = right / total
    if accuracy <= majority:
        return (
            f"{right} of {total} validation images are right; always answering the largest class has "
            f"{round(majority * total)} right. Are the labels right, and the classes to be seen in the images?"
        )
    if probe is not None and accuracy < wilson_interval(round(probe * total), total).low:
        return (
            f"{right} of {total} validation images are right, and {round(probe * total)} were before the first "
            "epoch (a linear probe of the pretrained network): training has lost it. Lower train.lr"
        )
    return ""

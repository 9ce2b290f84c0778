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
from tinysight.training.loop import FitResult, fit
from tinysight.training.predictor import finish
from tinysight.training.run import Run

logger = logging.getLogger(__name__)

CHOSEN = "chosen.yaml"  # in the run folder, with its lists


@dataclass(frozen=True)
class TrainedRun(os.PathLike[str]):
    """A run that `train` made; as a path it is the run's folder.

    Attributes:
        out: the run folder; `report.html` in it shows what the numbers here sum up.
        start: what was chosen: the recipe, its file to edit, notes on the images, those that are left out.
        fit: the training.
        report: evaluation of the best epoch on the validation images.
        accuracy: share of them that is classified right.
        interval: its 95 % interval (Wilson).
        majority: share of the largest class: what a constant answer reaches.
        probe: share that the linear probe has right with which training began; None without pretrained weights.
        bundle: what was exported; None where `problem` says why not.
        problem: what went wrong; empty if nothing did.
    """

    out: Path
    start: Start
    fit: FitResult
    report: EvaluationReport
    accuracy: float
    interval: Interval
    majority: float
    probe: float | None
    bundle: Bundle | None
    problem: str

    def __fspath__(self) -> str:
        """The run folder."""
        return str(self.out)


class _Beginning(Callback):
    """Keeps what the network reaches before the first step: with the classifier of the linear probe."""

    def __init__(self, tell: Tell) -> None:
        self.probe: float | None = None
        self._tell = tell

    def on_begin(self, run: Run) -> None:
        """Keep it."""
        self._tell("")
        self.probe = next(iter(run.state.probe.values()), None)


def train(
    data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *,
    minutes: float = 10.0, budget_ms: float | None = None, overrides: Sequence[str] = (),
    callbacks: Sequence[Callback] = (), progress: bool | None = None, resume: bool = False,
    force: bool = False, tell: Tell = lambda text: None,
) -> TrainedRun:  # fmt: skip
    """Train a classifier on labelled images, without a recipe; judge it, and export it if it is worth it.

    Args:
        data: a folder with a folder for each class, or with such folders in `train` and `val`; or a list or CSV file
            with a path and a label on each line.
        out: run folder. Default: `runs/` and the name of `data`.
        minutes: time at hand for the whole training, above 0.
        budget_ms: longest time of the network for one image on one thread of this machine, ms. Default: any.
        overrides: `train.epochs=5` and the like, applied to the recipe that is chosen.
        callbacks: called after every step and epoch; see `training.Callback`.
        progress: show a bar. Default: on a terminal.
        resume: go on with the run in `out`, by the recipe that was chosen then, with `overrides`; what `minutes` and
            `budget_ms` chose stays.
        force: replace the run in `out`, with its bundle.
        tell: takes what is being done, in words, where `progress` does not show it.

    Raises:
        DataError: the images cannot be trained on.
        CheckpointError: `out` holds a run, without `resume` or `force`, or one that is being trained; with `resume`,
            none that `train` began on `data`.
        ConfigError: an argument is refused, or the loss is not a number any more.
        ExportError: the bundle gives other results than the network.
    """
    folder = run_folder(data, out)
    file, beginning = folder / CHOSEN, _Beginning(tell)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        hint = "tinysight init, then torchrun with -c"
        raise ConfigError("--data", "images are divided by one process", hint)
    if resume and force:
        raise ConfigError("resume, force", "goes on with the run, or replaces it", "choose one")
    if resume:
        found = _begun(file, data, overrides)
    else:
        with RunFolder(folder).preparing("--resume goes on with it, --force replaces it", force):
            found = start(
                data, file, minutes=minutes, budget_ms=budget_ms, overrides=overrides, tell=tell
            )
    for line in found.lines:
        logger.info(line)
    tell("fitting the first classifier" if found.recipe.model.linear_probe else "starting")
    watching = beginning, *callbacks
    done = fit(
        found.recipe, folder, progress=progress, callbacks=watching, resume=resume, force=force
    )
    tell("evaluating")
    report = finish(folder)
    labels, scores = report.evaluation.labels, report.evaluation.scores
    right, total = int((scores.argmax(axis=1) == labels).sum()), len(labels)
    majority, probe = float(np.bincount(labels).max() / total), beginning.probe
    problem, bundle = done.stop_reason or judged(right, total, probe, majority), None
    if not problem:
        tell("exporting and comparing with the network")
        bundle = export_bundle(folder, folder / "bundle", overwrite=resume)
    tell("")
    shares = right / total, wilson_interval(right, total), majority, probe
    return TrainedRun(folder, found, done, report, *shares, bundle, problem)


def run_folder(data: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> Path:
    """`out`, else `runs/` and the name of the images."""
    return Path(out or f"runs/{task_name(data)}")


def _begun(file: Path, data: str | os.PathLike[str], overrides: Sequence[str]) -> Start:
    """What the run of the chosen recipe `file` began with."""
    if not file.is_file():
        raise CheckpointError(str(file.parent), "no run to resume", "leave --resume out")
    recipe, given = load_recipe(file, overrides=overrides), Path(os.path.abspath(data))  # noqa: PTH100
    root = str(recipe.data.root)  # one, as `start` wrote it
    if not Path(root).is_relative_to(given if given.is_dir() else given.parent):
        what = f"is a run on the images of {root}"
        raise CheckpointError(str(file.parent), what, "name those, or another run with --out")
    text = "%s goes on by chosen.yaml; images that were left out at its start are not named again"
    logger.info(text, file.parent)
    return Start(recipe, file, (), ())


def judged(right: int, total: int, probe: float | None, majority: float) -> str:
    """What is wrong with a result, if anything: it knows no more than the largest class, or less than the probe knew.

    Args:
        right: validation images that are classified right.
        total: all of them.
        probe: share that the linear probe has right, on the same images.
        majority: share of the largest class.
    """
    before = round((probe or 0) * total)
    words = f"{right} of {total} validation images are right, and"
    if right / total <= majority:
        always = f"{round(majority * total)} if the answer is always the largest class"
        return f"{words} {always}: are the labels right, and was there time for enough epochs?"
    if before and right / total < wilson_interval(before, total).low:
        return f"{words} {before} were before the first epoch, by a linear probe: lower train.lr"
    return ""

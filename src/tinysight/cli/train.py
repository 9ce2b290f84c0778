"""Train a recipe into a run folder, or go on with a run that was interrupted.

The same recipe, data and seed give the same weights, also when the run was killed and resumed. On several
processes: torchrun --nproc-per-node N -m tinysight train ...
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_recipe
from tinysight.cli.setup import Setup, log_to_stderr, read_setup

if TYPE_CHECKING:
    from tinysight.config import Recipe

logger = logging.getLogger(__name__)

_CARDS = {"adamw": 8}  # that PaddleClas' recipes are for; the others 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight train`."""
    add_recipe(parser, required=True)
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/<task>)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the run folder"
    )


def run(args: argparse.Namespace) -> int:
    """Train and tell where the result lies."""
    with log_to_stderr():
        setup = read_setup(args)
        from tinysight.data.labels import label_names
        from tinysight.evaluation.threshold import check_operating_point
        from tinysight.tasks import task_of_recipe
        from tinysight.training import fit
        from tinysight.training.distributed import is_main
        from tinysight.training.finish import finish

        _tell_rate(setup, args.override)
        recipe = _with_weights(setup)
        labels, task = label_names(recipe.data), task_of_recipe(recipe)
        check_operating_point(recipe.export, labels, task)  # not at the end
        out, resume = _place(setup, args)
        result = fit(recipe, out, resume=resume)
        if not is_main():  # the first of several processes tells
            return 0
        report = finish(out)
    values = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    print(f"best epoch {result.epoch}: {values}")
    print(f"run        {result.out}")
    print(f"report     {out / 'report.html'}")
    if found := report.threshold:
        print(f"threshold  {found.threshold:g}, {report.chosen}")
        for warning in found.warnings:
            print(f"warning    {warning}")
    elif recipe.export.operating_point:
        print(f"threshold  none: {report.chosen}")
    if result.unreadable:
        print(f"unreadable {len(result.unreadable)} images, left out:")
        for path, reason in result.unreadable:
            print(f"  {path}: {reason}")
    return 1 if result.unreadable else 0


def _tell_rate(setup: Setup, overrides: Sequence[str]) -> None:
    """Say that a published rate is for several cards, unless the user has set another one."""
    if setup.translation is None or any(text.startswith("Optimizer.lr.") for text in overrides):
        return
    settings, here = setup.recipe.train, int(os.environ.get("WORLD_SIZE", "1"))
    published = _CARDS.get(settings.optimizer.name, 4)
    if here != published:
        what = "Optimizer.lr.learning_rate: %g is used as it is; published rates are for %d cards, here is %d"
        logger.info(what, settings.lr, published, here)


def _with_weights(setup: Setup) -> Recipe:
    """The recipe; it begins with the weights that a PaddleClas configuration names."""
    from tinysight.training.predictor import begin_with

    weights = setup.beginning
    return setup.recipe if weights is None else begin_with(setup.recipe, weights)


def _place(setup: Setup, args: argparse.Namespace) -> tuple[Path, bool]:
    """The run folder, and whether to go on with the run in it."""
    if setup.translation and setup.translation.run.checkpoints:
        from tinysight.compat.paddle.dialect import find_run

        return find_run(setup.translation.run.checkpoints, setup.translation.run), True
    return Path(args.out) if args.out else setup.run_folder, args.resume

"""Train on images, or by a recipe, into a run folder; or resume a run that was interrupted.

    tinysight train --data flowers/          a folder for each class; or train/ and val/, a list, a CSV file
    tinysight train -c door.yaml

With --data everything is chosen for these images and this machine, the best network is exported, and
the recipe lies in the run folder as chosen.yaml.
The same recipe, data and seed give the same weights, also if the run was killed and resumed. With
several processes: torchrun --nproc-per-node N -m tinysight train ...
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from tinysight.cli.arguments import add_recipe, log_to_stderr, read_config
from tinysight.cli.init import add_data_options, print_broken
from tinysight.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight train`."""
    add_data_options(parser, "--data", "images to train on, in place of a recipe")
    add_recipe(parser, required=False)
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/<task>)")
    text = "resume from the last checkpoint in the run folder"
    parser.add_argument("--resume", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Train and print where the result is."""
    if (args.data is None) == (args.recipe is None):
        what = "both are given" if args.data else "no images and no recipe"
        raise ConfigError("--data or -c", what, "tinysight train --data FOLDER, or -c RECIPE")
    return _run_data(args) if args.data else _run_recipe(args)


def _run_data(args: argparse.Namespace) -> int:
    from tinysight.cli.progress import Working, shown
    from tinysight.starter.start import start, task_name
    from tinysight.starter.train import CHOSEN, new_run_folder, resumed_start, train_start

    with Working() as tell:
        if args.resume:
            found = resumed_start(Path(args.out or f"runs/{task_name(args.data)}"))
        else:
            found = start(
                args.data, new_run_folder(args.data, args.out) / CHOSEN, minutes=args.minutes,
                budget_ms=args.budget_ms, overrides=args.override, tell=tell,
            )  # fmt: skip
        print(*found.summary, *(f"note     {note}" for note in found.notes), sep="\n", flush=True)
        with log_to_stderr():
            done = train_start(found, resume=args.resume, tell=tell)
    low, high = done.interval
    total = len(done.report.evaluation.labels)
    print(
        f"accuracy {done.accuracy:.3f} (95 %: {low:.3f} to {high:.3f}) of {total} validation images"
    )
    probe = "" if done.probe is None else f"; the linear probe, {done.probe:.3f}"
    print(f"beside   the largest class alone, {done.majority:.3f}{probe}")
    print(f"run      {done.out}\nrecipe   {done.recipe}\nreport   {done.out / 'report.html'}")
    if done.bundle:
        bundle = done.bundle.folder
        print(f"bundle   {bundle} ({len(done.bundle.model) / 1e6:.1f} MB)")
        print(f"next     tinysight predict IMAGE --model {shown(bundle)}")
    else:
        print(f"bundle   none: {done.problem}")
        print(
            f"next     see the report; `tinysight export --run {shown(done.out)}` exports it all the same"
        )
    broken = (*found.broken, *done.fit.unreadable)
    print_broken(broken)
    return 1 if broken or done.problem else 0


def _run_recipe(args: argparse.Namespace) -> int:
    with log_to_stderr():
        config = read_config(args)
        from tinysight.data.labels import label_names
        from tinysight.evaluation.threshold import check_operating_point
        from tinysight.tasks.base import task_of_recipe
        from tinysight.training import fit
        from tinysight.training.distributed import is_main
        from tinysight.training.networks import begin_with
        from tinysight.training.predictor import finish

        for note in config.training_notes(int(os.environ.get("WORLD_SIZE", "1"))):
            logger.info(note)
        recipe, resumed = config.training_recipe, config.resumed_run
        if weights := config.initial_weights:
            recipe = begin_with(recipe, weights)
        labels, task = label_names(recipe.data), task_of_recipe(recipe)
        check_operating_point(recipe.export, labels, task)  # not at the end
        out = resumed or Path(args.out or config.run_folder)
        result = fit(recipe, out, resume=args.resume or resumed is not None)
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

"""Train a recipe into a run folder, or resume a run that was interrupted.

The same recipe, data and seed give the same weights, also if the run was killed and resumed. With
several processes: torchrun --nproc-per-node N -m tinysight train ...
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from tinysight.cli.arguments import add_recipe, log_to_stderr, read_config

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight train`."""
    add_recipe(parser, required=True)
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/<task>)")
    begin = parser.add_mutually_exclusive_group()
    text = "resume from the last checkpoint in the run folder, also for more epochs"
    begin.add_argument("--resume", action="store_true", help=text)
    begin.add_argument("--force", action="store_true", help="replace the run in the folder")
    text = "train N times with other seeds, into folders of their own; compare them"
    parser.add_argument("--seeds", type=int, metavar="N", help=text)


def run(args: argparse.Namespace) -> int:
    """Train and print where the result is."""
    with log_to_stderr():
        config = read_config(args)
        from tinysight.data.labels import label_names
        from tinysight.evaluation.threshold import check_operating_point
        from tinysight.tasks.base import task_of_recipe
        from tinysight.training import fit
        from tinysight.training.distributed import is_main
        from tinysight.training.folder import seed_runs
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
        again = args.resume or resumed is not None
        if args.seeds is not None:
            from tinysight.cli.runs import compare

            left_out, runs = 0, seed_runs(recipe, out, args.seeds)
            for folder, seeded in runs.items():
                logger.info("seed %d of %d seeds: %s", seeded.train.seed, len(runs), folder)
                done = fit(seeded, folder, resume=again, force=args.force)
                left_out += len(done.unreadable)
                finish(folder)
            print("\n".join(compare([*runs], str(out / "compare.html"))[1]))
            return int(left_out > 0)
        result = fit(recipe, out, resume=again, force=args.force)
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

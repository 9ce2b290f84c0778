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

from tinysight.cli.arguments import (
    add_data_options,
    add_recipe,
    log_to_stderr,
    naming_how_to_go_on,
    print_broken,
    read_config,
)
from tinysight.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight train`."""
    add_data_options(parser, "--data", "images to train on, in place of a recipe")
    add_recipe(parser, required=False)
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/<task>)")
    begin = parser.add_mutually_exclusive_group()
    text = "resume from the last checkpoint in the run folder, also for more epochs"
    begin.add_argument("--resume", action="store_true", help=text)
    begin.add_argument("--force", action="store_true", help="replace the run in the folder")
    text = "train N times with other seeds, into folders of their own; compare them; with -c"
    parser.add_argument("--seeds", type=int, metavar="N", help=text)


def run(args: argparse.Namespace) -> int:
    """Train and print where the result is."""
    if (args.data is None) == (args.recipe is None):
        hint = "--data FOLDER, or -c FILE"
        raise ConfigError("tinysight train", "takes images or a recipe", hint)
    with_data = args.data is not None
    for name in ("seeds",) if with_data else ("minutes", "budget_ms"):
        if getattr(args, name) is not None:
            goes, hint = "goes with --data, not with -c", "leave it out"
            if with_data:
                goes, hint = "goes with -c, not with --data", "chosen.yaml in the run folder is one"
            raise ConfigError(f"--{name.replace('_', '-')}", goes, hint)
    if not with_data:
        return _run_recipe(args)
    from tinysight.cli.init import train_images

    return train_images(args)


def _run_recipe(args: argparse.Namespace) -> int:
    with log_to_stderr():
        config = read_config(args)
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
        with naming_how_to_go_on(out, args.force):
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
    print_broken(result.unreadable)
    return 1 if result.unreadable else 0

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
    text = "resume from the last checkpoint in the run folder"
    parser.add_argument("--resume", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    """Train and print where the result is."""
    with log_to_stderr():
        config = read_config(args)
        from tinysight.training import fit
        from tinysight.training.distributed import is_main
        from tinysight.training.networks import begin_with
        from tinysight.training.predictor import finish

        for note in config.training_notes(int(os.environ.get("WORLD_SIZE", "1"))):
            logger.info(note)
        recipe, resumed = config.training_recipe, config.resumed_run
        if weights := config.initial_weights:
            recipe = begin_with(recipe, weights)
        out = resumed or Path(args.out or config.run_folder)
        try:
            result = fit(recipe, out, resume=args.resume or resumed is not None)
        except KeyboardInterrupt:
            kept = any(out.glob("checkpoints/*.safetensors"))
            how = "with --resume goes on from its last checkpoint" if kept else "begins anew"
            logger.info("\n%s: the same command %s", out, how)
            raise
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

"""Train a recipe into a run folder, or go on with a run that was interrupted.

The same recipe, data and seed give the same weights, also when the run was killed and resumed. On several
processes: torchrun --nproc-per-node N -m tinysight train ...
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinysight.cli.arguments import add_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight train`."""
    add_recipe(parser, required=True)
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/<task>)")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the run folder"
    )


def run(args: argparse.Namespace) -> int:
    """Train and tell where the result lies."""
    from tinysight.config import load_recipe
    from tinysight.data.labels import label_names
    from tinysight.operating import check
    from tinysight.train import fit
    from tinysight.train.distributed import is_main
    from tinysight.train.finish import finish

    recipe = load_recipe(args.recipe, args.override)
    check(recipe.export, label_names(recipe.data), recipe.data.target)  # better now than at the end
    out = Path(args.out) if args.out else Path("runs") / recipe.task
    with _log_to_stderr():
        result = fit(recipe, out, resume=args.resume)
        if not is_main():  # the first of several processes tells
            return 0
        verdict = finish(out)
    values = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    print(f"best epoch {result.epoch}: {values}")
    print(f"run        {result.out}")
    print(f"report     {out / 'report.html'}")
    if decision := verdict.decision:
        print(f"threshold  {decision.threshold:g}, {verdict.chosen}")
        for warning in decision.warnings:
            print(f"warning    {warning}")
    elif recipe.export.operating_point:
        print(f"threshold  none: {verdict.chosen}")
    if result.unreadable:
        print(f"unreadable {len(result.unreadable)} pictures, left out:")
        for path, reason in result.unreadable:
            print(f"  {path}: {reason}")
    return 1 if result.unreadable else 0


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show what the package logs, for as long as this command runs."""
    package = logging.getLogger("tinysight")
    handler = logging.StreamHandler(sys.stderr)
    before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)

"""Choose a recipe for images, and write it as a file to edit; nothing is trained.

    tinysight init flowers/                    writes flowers.yaml, flowers_train.txt, flowers_val.txt
    tinysight train -c flowers.yaml

`tinysight train --data flowers/` does this and trains.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote
from typing import Any

from tinysight.cli.arguments import (
    add_data_options,
    add_override,
    log_to_stderr,
    naming_how_to_go_on,
    print_broken,
)
from tinysight.errors import DataError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    add_data_options(parser, "source", "folder of classes, or with train/ and val/; list or CSV")
    add = parser.add_argument
    add("--out", metavar="FILE", help="recipe to write (default: the folder's name and .yaml)")
    add("--force", action="store_true", help="replace an existing file")
    add_override(parser)


def _wishes(args: argparse.Namespace) -> dict[str, Any]:
    given = {"minutes": args.minutes, "budget_ms": args.budget_ms, "overrides": args.override}
    return {name: value for name, value in given.items() if value is not None}


def run(args: argparse.Namespace) -> int:
    """Choose, write, and print what to do next."""
    from tinysight.cli.progress import Working
    from tinysight.starter.start import start, task_name

    file = Path(args.out or f"{task_name(args.source)}.yaml")
    if file.exists() and not args.force:
        raise DataError(str(file), "is there already", "--force replaces it, --out names another")
    with Working() as tell:
        found = start(args.source, file, tell=tell, **_wishes(args))
    print(*found.lines, sep="\n")
    print(f"recipe   {found.file}\nnext     tinysight train -c {quote(str(found.file))}")
    print_broken(found.broken)
    return 1 if found.broken else 0


def train_images(args: argparse.Namespace) -> int:
    """`tinysight train --data`: train, and print how good it is and what to do next."""
    from tinysight.cli.progress import Working
    from tinysight.starter.train import run_folder, train

    with log_to_stderr():
        folder, how = run_folder(args.data, args.out), {"resume": args.resume, "force": args.force}
        with naming_how_to_go_on(folder, args.force), Working() as tell:
            done = train(args.data, folder, tell=tell, **how, **_wishes(args))
    ends, count = "{:.3f} to {:.3f}".format(*done.interval), len(done.report.evaluation.labels)
    print(f"accuracy {done.accuracy:.3f} (95 %: {ends}) of {count} validation images")
    probe = "" if done.probe is None else f"; a linear probe has {done.probe:.3f}"
    print(f"beside   the largest class alone has {done.majority:.3f}{probe}")
    print(f"run      {done.out}\nrecipe   {done.start.file}\nreport   {done.out / 'report.html'}")
    next_ = f"the report; all the same, tinysight export --run {quote(str(done.out))}"
    bundle = f"none, for something went wrong: {done.problem}"
    if done.bundle:
        bundle = f"{done.bundle.folder} ({len(done.bundle.model) / 1e6:.1f} MB)"
        next_ = f"tinysight predict IMAGE --model {quote(str(done.bundle.folder))}"
    print(f"bundle   {bundle}\nnext     {next_}")
    broken = (*done.start.broken, *done.fit.unreadable)
    print_broken(broken)
    return 1 if broken or done.problem else 0

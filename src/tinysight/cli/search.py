"""Search for the best recipe: by a search YAML of ours or of PaddleClas.

Every training is an ordinary run folder. A search that was stopped, or killed, is started again with
the same command: nothing that has finished is trained again. Two at once share the work.
"""

from __future__ import annotations

import argparse
import logging
import time

from tinysight.cli.arguments import add_override, add_plugin, log_to_stderr
from tinysight.errors import ConfigError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tinysight search`."""
    add = parser.add_argument
    add("-c", "--config", required=True, metavar="SEARCH", help="the search, a YAML file")
    add_override(parser)
    add_plugin(parser)
    add("--out", metavar="DIR", help="folder of the study (default: the search's own)")
    add("--jobs", type=int, default=1, metavar="N", help="trainings at the same time")
    add("--trials", type=int, metavar="N", help="begin at most N trainings now")
    add("--hours", type=float, metavar="H", help="begin none after H hours")
    add("--storage", metavar="URL", help="a database that several machines share")
    add("--dry-run", action="store_true", help="print the first trainings and stop")


def run(args: argparse.Namespace) -> int:
    """Search, and print where the results are; 1 if a training has failed, or the budget was too small."""
    from tinysight.search import first_trainings, search
    from tinysight.search.plan import load_plan
    from tinysight.search.runs import Runner

    for name in ("jobs", "hours", "trials"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name}", f"should be above 0, got {value:g}")
    plan = load_plan(args.config, args.override)
    if args.out:
        plan = plan.model_copy(update={"out": args.out})
    if args.dry_run:
        for training in first_trainings(plan):
            print(training.config, *training.overrides, training.folder)
        return 0
    hours = args.hours or plan.hours
    deadline = time.monotonic() + hours * 3600 if hours else None
    with log_to_stderr():
        runner = Runner(plan, args.storage, args.jobs, deadline, args.trials)
        found = search(plan, runner)
    print(f"{'tried':40}  score")
    for training, result in runner.results.items():
        score = f"{result.score:.5f}" if result.score is not None else f"failed: {result.error}"
        print(f"{training.label:40}  {score}")
    for name, value in found.outcome.winners.items():
        print(f"best       {name} {value}")
    print(f"table      {found.written.table}")
    print(f"page       {found.written.page}")
    if found.written.recipe:
        print(f"recipe     {found.written.recipe}")
        print(f"train      {found.written.command}")
    if not found.complete:
        print("unfinished the budget is spent; the same command goes on")
    failed = any(r.score is None and r.error != "pruned" for r in runner.results.values())
    return 1 if failed or not found.complete else 0

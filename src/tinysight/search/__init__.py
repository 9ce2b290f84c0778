"""A search for the best recipe: which trainings, in what order, and what came of them."""

from __future__ import annotations

from typing import NamedTuple

from tinysight.config import load_run
from tinysight.search.plan import SearchPlan, Training
from tinysight.search.runs import BudgetSpent, Runner
from tinysight.search.shas import Outcome, shas
from tinysight.search.table import Written, write_results
from tinysight.search.tpe import tpe


class Found(NamedTuple):
    """What a search has found and written; whether all of its trainings have ended."""

    outcome: Outcome
    written: Written
    complete: bool


def search(plan: SearchPlan, runner: Runner) -> Found:
    """Run a search until it is complete or its budget is spent.

    Raises:
        ConfigError: an override of the first trainings does not fit the recipe, or all of a coordinate's have failed.
        MissingDependency: Optuna or Jinja2 is not installed.
    """
    for training in first_trainings(plan):  # a misspelt key stops it before anything is trained
        load_run(training.config, training.overrides)
    complete = True
    if plan.strategy == "tpe":
        outcome = tpe(plan, runner)
    else:
        outcome, complete = _shas(plan, runner)
    return Found(outcome, write_results(plan, outcome, runner.results), complete)


def first_trainings(plan: SearchPlan) -> list[Training]:
    """What is trained first: the values of the first coordinate; of tpe none is known before."""
    return next(shas(plan)) if plan.strategy == "shas" else []


def _shas(plan: SearchPlan, runner: Runner) -> tuple[Outcome, bool]:
    steps = shas(plan)
    trainings = next(steps)
    while True:
        try:
            trainings = steps.send(runner.run_all(trainings))
        except StopIteration as stop:
            return stop.value, True
        except BudgetSpent:
            done = {t: r.score for t, r in runner.results.items() if r.score is not None}
            return Outcome(last=max(done, key=lambda t: done[t], default=None)), False

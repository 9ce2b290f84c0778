"""Several runs side by side: metrics with intervals, what their recipes differ in, and which differences are noise.

Two questions are kept apart. Whether two *networks* differ is asked of the same evaluation images, pair by pair.
Whether two *recipes* differ is asked of several runs of each that differ in the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from tinysight.errors import DataError
from tinysight.evaluation.outcomes import WITHOUT_EFFECT
from tinysight.metrics.intervals import Interval
from tinysight.metrics.paired import MeanDifference, holm, mean_interval, paired_test, welch_test
from tinysight.runs.records import RunRecord

_RISK = 0.05
_ALL_PAIRS = 6  # runs; of more, each is compared with the best one


class SeedGroup(NamedTuple):
    """Runs of one recipe, which differ in the seed alone.

    Attributes:
        name: stands for the recipe: A, B, ...
        runs: names of the runs.
        metric: the metric that picks the best epoch.
        values: its value in each run that has one; of runs with the same seed, in the first.
        mean: mean of these, 0 of none.
        interval: 95 % interval of the mean over seeds; None of fewer than two runs.
    """

    name: str
    runs: list[str]
    metric: str
    values: list[float]
    mean: float
    interval: Interval | None


class PairedRuns(NamedTuple):
    """Two runs, or two recipes with several runs each.

    Attributes:
        first: name of one.
        second: name of the other.
        measure: what was measured.
        difference: second minus first; its p is that of all pairs of the comparison together.
        noise: True if there may well be none.
        text: what that means.
    """

    first: str
    second: str
    measure: str
    difference: MeanDifference
    noise: bool
    text: str


class RunComparison(NamedTuple):
    """What `compare_runs` finds.

    Attributes:
        runs: the runs, by a short name.
        groups: the recipes.
        pairs: of runs, on the same images.
        recipes: pairs of recipes with at least two runs each.
        changed: each key that differs, with its value in every run.
        notes: what cannot be told, and why.
    """

    runs: dict[str, RunRecord]
    groups: list[SeedGroup]
    pairs: list[PairedRuns]
    recipes: list[PairedRuns]
    changed: dict[str, list[Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = {
            key: [x._asdict() for x in getattr(self, key)] for key in ("groups", "pairs", "recipes")
        }
        for pair in (*rows["pairs"], *rows["recipes"]):
            pair["difference"] = pair["difference"]._asdict()
        runs = {name: run.to_json() for name, run in self.runs.items()}
        return {**self._asdict(), **rows, "runs": runs}


def compare_runs(found: Sequence[RunRecord]) -> RunComparison:
    """Compare at least two runs.

    Raises:
        DataError: fewer than two can be read, or a file of one is damaged.
    """
    notes = [f"{run.folder} is left out: {run.reason}" for run in found if run.state == "damaged"]
    known = [run for run in found if run.state != "damaged"]
    if len(known) < 2:
        what = f"two runs are needed, {len(known)} can be read"
        raise DataError("tinysight runs compare", what, *notes[:1])
    notes += [
        f"{r.folder} is {r.state}, {r.epochs} of {r.planned} epochs"
        for r in known
        if r.state != "finished"
    ]
    runs = dict(zip(_short_names(known), known, strict=True))
    keys = dict.fromkeys(k for run in known for k in run.recipe if not WITHOUT_EFFECT.match(k))
    rows = {key: [run.recipe.get(key) for run in known] for key in keys}
    changed = {key: values for key, values in rows.items() if any(v != values[0] for v in values)}
    members: dict[str, list[str]] = {}
    for i, name in enumerate(runs):
        recipe = str([values[i] for key, values in changed.items() if key != "train.seed"])
        members.setdefault(recipe, []).append(name)
    groups = [_group(i, names, runs, notes) for i, names in enumerate(members.values())]
    pairs = _pairs(runs, [set(names) for names in members.values()], notes)
    several = [group for group in groups if group.interval]
    if len(groups) > len(several) and len(groups) > 1:
        notes.append("one run says nothing about the luck of its seed: `tinysight train --seeds 5`")
    tested = [
        (a.name, b.name, a.metric, welch_test(a.values, b.values))
        for a, b in combinations(several, 2)
        if a.metric == b.metric
    ]
    recipes = _judged(tested, "noise: seeds differ as much", "recipe {} is better")
    return RunComparison(runs, groups, pairs, recipes, changed, notes)


def _short_names(runs: Sequence[RunRecord]) -> list[str]:
    """The ends of the paths, as long as it takes to tell them apart."""
    parts = [run.folder.absolute().parts for run in runs]
    lengths = range(1, max(map(len, parts)) + 1)
    tried = (["/".join(p[-length:]) for p in parts] for length in lengths)
    return next(names for names in tried if len(set(names)) == len(runs))


def _group(
    number: int, names: list[str], runs: dict[str, RunRecord], notes: list[str]
) -> SeedGroup:
    seeds: dict[Any, str] = {}
    for name in (name for name in names if math.isfinite(runs[name].value)):
        if (first := seeds.setdefault(runs[name].recipe.get("train.seed"), name)) != name:
            notes.append(f"{name} has recipe and seed of {first}, so it does not count once more")
    values = [runs[name].value for name in seeds.values()]
    metric = next((runs[name].metric for name in names if runs[name].metric), "")
    letter = chr(ord("A") + number) if number < 26 else f"#{number + 1}"
    mean = float(np.mean(values)) if values else 0.0
    ends = mean_interval(values)
    if ends and 0 <= min(values) <= max(values) <= 1:  # a share, as far as one can see
        ends = Interval(max(ends.low, 0.0), min(ends.high, 1.0))
    return SeedGroup(letter, names, metric, values, mean, ends)


def _pairs(
    runs: dict[str, RunRecord], alike: Sequence[set[str]], notes: list[str]
) -> list[PairedRuns]:
    found = {name: run.outcomes() for name, run in runs.items()}
    given = [name for name, (_, values) in found.items() if values]
    if missing := [name for name in runs if name not in given]:
        what = f"no result for each image of {', '.join(missing)}"
        notes.append(f"{what}: `tinysight eval --run` writes it, where the task has one")
    chosen = list(combinations(given, 2))
    if len(given) > _ALL_PAIRS:
        best = max(given, key=lambda name: runs[name].value)
        chosen = [(name, best) for name in given if name != best]
        notes.append(f"each of {len(given)} runs is compared with the best one alone, {best}")
    tested = []
    for a, b in chosen:
        (measure, first), (other, second) = found[a], found[b]
        shared = [image for image in first if image in second and measure == other]
        if len(shared) < max(len(first), len(second)):
            notes.append(f"{a} and {b} have {len(shared)} evaluation images in common")
        if shared:
            sides = (np.array([side[image] for image in shared]) for side in (first, second))
            tested.append((a, b, measure, paired_test(*sides)))
    judged = _judged(tested, "noise: these images do not tell the two apart", "{} is better")
    because = ", by its seed alone: the recipe is the same"
    seeds = [not pair.noise and any({*pair[:2]} <= names for names in alike) for pair in judged]
    return [
        p._replace(text=p.text + because) if s else p for p, s in zip(judged, seeds, strict=True)
    ]


def _judged(
    tested: Sequence[tuple[str, str, str, MeanDifference]], noise: str, better: str
) -> list[PairedRuns]:
    found = []
    for (a, b, name, test), p in zip(tested, holm([t[3].p for t in tested]), strict=True):
        text = noise if p >= _RISK else better.format(b if test.value > 0 else a)
        found.append(PairedRuns(a, b, name, test._replace(p=p), p >= _RISK, text))
    return found

"""Does a threshold keep its promise? Choose it on one half, count on the other, a hundred times.

::

    python benchmarks/operating_point.py                         # simulated scores
    python benchmarks/operating_point.py --clarity data/clarity  # and those of the shipped model

Each split chooses a threshold for `target_fpr` on the one part and counts the false positives among
the negatives of the other. A split is inside if that rate lies in the interval that the threshold
came with (95 %, `expected_fpr`). At least 93 of 100 have to be, clusters (below) apart, where the
interval is an approximation; otherwise the exit code is 1.

`data/clarity` is the folder that `datasets/clarity/build.py` writes. Its images are windows of
photographs: split at random they are exchangeable, and the promise holds; split by photograph they
come in clusters, which the choice is told.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight import Classifier
from tinysight.metrics.operating_point import at_target_fpr, expected_fpr

SPLITS, LEAST = 100, 93


class Part(NamedTuple):
    """Scores (N,), whether each is positive, and its cluster or None."""

    scores: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray | None = None

    def rows(self, chosen: np.ndarray) -> Part:
        """Some of the rows."""
        clusters = None if self.clusters is None else self.clusters[chosen]
        return Part(self.scores[chosen], self.labels[chosen], clusters)


Splits = Iterator[tuple[Part, Part]]


def main() -> int:
    """Print a line for each kind of scores."""
    parser = argparse.ArgumentParser(description="Is the realised FPR where it was said to be?")
    parser.add_argument("--clarity", type=Path, metavar="DIR", help="folder of the clarity data")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases: list[tuple[str, float, Splits, bool]] = []  # the last: whether the promise is exact
    for name, draw in SIMULATED.items():
        for target, negatives in ((0.05, 400), (0.01, 2000), (1e-3, 5000), (0.01, 60)):
            rng = np.random.default_rng(arguments.seed)
            title = f"{name}, {negatives} negatives"
            cases.append((title, target, simulated(draw, negatives, rng), True))
    if arguments.clarity:
        everything = clarity(arguments.clarity)
        for target in (0.1, 0.05, 0.02, 0.01):
            rng = np.random.default_rng(arguments.seed)
            cases.append(("clarity, split at random", target, halves(everything, rng), True))
            rng = np.random.default_rng(arguments.seed)
            title = "clarity, split by photograph"
            cases.append((title, target, by_cluster(everything, rng), False))
    print("| scores | target | inside, of 100 | realised, mean | stated, median |")
    print("|---|---|---|---|---|")
    found = [(report(name, target, splits), exact) for name, target, splits, exact in cases]
    return 0 if all(inside >= LEAST for inside, exact in found if exact) else 1


def report(name: str, target: float, splits: Splits) -> int:
    """One line; how many splits were inside."""
    inside, rates, stated = 0, [], []
    for chosen_on, counted_on in splits:
        point = at_target_fpr(
            chosen_on.scores, chosen_on.labels, target, clusters=chosen_on.clusters
        )
        negatives = counted_on.scores[counted_on.labels == 0]
        rate = float((negatives >= point.threshold).mean())
        ends = expected_fpr(
            point.counts, len(negatives), allowed=point.allowed, effective=point.effective
        )
        inside += ends.low <= rate <= ends.high
        rates.append(rate)
        stated.append(ends)
    low, high = np.median(stated, axis=0)
    print(f"| {name} | {target:g} | {inside} | {np.mean(rates):.4f} | {low:.4f} to {high:.4f} |")
    return inside


Draw = Callable[[np.random.Generator, int], np.ndarray]
SIMULATED: dict[str, Draw] = {
    "heaped at 0": lambda rng, n: rng.beta(0.3, 8, n),
    "logistic": lambda rng, n: 1 / (1 + np.exp(-rng.normal(-4, 2.5, n))),
    "two decimals": lambda rng, n: rng.beta(0.5, 6, n).round(2),
    "int8 steps": lambda rng, n: np.round(rng.beta(0.5, 5, n) * 127) / 127,
}


def simulated(draw: Draw, negatives: int, rng: np.random.Generator) -> Splits:
    """Fresh scores for each split, and 1,000 negatives to count on; 5 % positives."""
    positives = max(negatives // 20, 5)
    for _ in range(SPLITS):
        scores = np.concatenate([draw(rng, negatives), 1 - draw(rng, positives)])
        labels = np.repeat([0, 1], [negatives, positives])
        yield Part(scores, labels), Part(draw(rng, 1000), np.zeros(1000, int))


def halves(everything: Part, rng: np.random.Generator) -> Splits:
    """The images shuffled and cut in the middle."""
    for _ in range(SPLITS):
        order = rng.permutation(len(everything.scores))
        middle = len(order) // 2
        first = everything.rows(order[:middle])._replace(clusters=None)
        yield first, everything.rows(order[middle:])


def by_cluster(everything: Part, rng: np.random.Generator) -> Splits:
    """Photographs shuffled and cut in the middle, with all windows of each."""
    names = np.unique(everything.clusters)
    for _ in range(SPLITS):
        first = rng.permutation(names)[: len(names) // 2]
        inside = np.isin(everything.clusters, first)
        yield everything.rows(inside), everything.rows(~inside)


def clarity(folder: Path) -> Part:
    """Scores of the shipped model for all val and test files of the data set."""
    with (folder / "windows.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in ("val", "test")]
    paths = [str(folder / row["path"]) for row in rows]
    classifier = Classifier("clarity_assessment", batch_size=16)
    scores = np.concatenate([found[:, 1] for _, found in classifier.scores(paths)])
    labels = np.array([int(row["label"]) for row in rows])
    return Part(scores, labels, np.array([row["photograph"] for row in rows]))


if __name__ == "__main__":
    raise SystemExit(main())

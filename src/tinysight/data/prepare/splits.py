"""Dividing images in two: by groups that stay together, and with every class on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinysight.concurrency import by_key
from tinysight.errors import DataError


class Division(NamedTuple):
    """Places of the images on each side, sorted; `left_out` are on neither."""

    train: list[int]
    test: list[int]
    left_out: list[int]


def divide(
    labels: Sequence[int],
    groups: Sequence[str],
    *,
    fraction: float | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> Division:
    """Divide N images so that no group is on both sides.

    Args:
        labels: class ids, (N,).
        groups: names of what must stay together, (N,): a photograph, a camera, a person.
        fraction: share of every class for the test, as near as whole groups allow.
        per_class: number of images of each class for the test, in place of `fraction`. The others of the groups that
            are needed for it are left out, for they may be on neither side.
        seed: seed of the order in which groups are chosen.

    Raises:
        DataError: a class has too few images or groups, so that one side would have none of it.
    """
    members = by_key((group, i) for i, group in enumerate(groups))
    keys = sorted(members)
    order = [keys[i] for i in np.random.default_rng(seed).permutation(len(keys))]
    known = np.asarray(labels)
    counts = np.bincount(known)
    if per_class is not None:
        chosen, kept = _per_class(known, members, order, per_class)
    else:
        chosen = _by_fraction(known, members, order, fraction or 0.0)
        kept = {i for group in chosen for i in members[group]}
    side = np.array([group in chosen for group in groups])
    test, train = np.array(sorted(kept), np.int64), np.flatnonzero(~side)
    left = np.setdiff1d(np.flatnonzero(side), test)
    for c in np.flatnonzero(counts).tolist():
        if per_class is not None and int((known[test] == c).sum()) < per_class:
            what = f"class {c} has {counts[c]} images, {per_class} are wanted for the test"
            raise DataError("per class", what, "ask for fewer")
        for name, places in (("training", train), ("test", test)):
            if not (known[places] == c).any():
                hint = "ask for another share, or make smaller groups"
                raise DataError("split", f"no image of class {c} is left for the {name}", hint)
    return Division(train.tolist(), test.tolist(), left.tolist())


def _per_class(
    labels: np.ndarray, members: dict[str, list[int]], order: Sequence[str], wanted: int
) -> tuple[set[str], set[int]]:
    """Groups for the test and the images of them that are used; rare classes choose first."""
    chosen: set[str] = set()
    kept: set[int] = set()
    have: dict[int, int] = defaultdict(int)
    counts = np.bincount(labels)
    for c in sorted(np.flatnonzero(counts).tolist(), key=lambda c: int(counts[c])):
        for group in order:
            if have[c] >= wanted:
                break
            if group in chosen or not any(labels[i] == c for i in members[group]):
                continue
            chosen.add(group)
            for i in members[group]:
                label = int(labels[i])
                if have[label] < wanted:
                    have[label] += 1
                    kept.add(i)
    return chosen, kept


def _by_fraction(
    labels: np.ndarray, members: dict[str, list[int]], order: Sequence[str], fraction: float
) -> set[str]:
    """Groups for the test: each one that brings the classes nearer to their share, large ones first."""
    missing = np.bincount(labels) * fraction
    chosen: set[str] = set()
    for group in sorted(order, key=lambda g: -len(members[g])):
        own = np.bincount(labels[members[group]], minlength=len(missing))
        if np.abs(missing - own).sum() < np.abs(missing).sum():
            missing = missing - own
            chosen.add(group)
    return chosen | _of_rare_classes(labels, members, chosen)


def _of_rare_classes(
    labels: np.ndarray, members: dict[str, list[int]], chosen: set[str]
) -> set[str]:
    """The smallest group of each class that has none in the test, and another one for the training."""
    more: set[str] = set()
    for c in np.unique(labels).tolist():
        own = [g for g in members if (labels[members[g]] == c).any()]
        if len(own) > 1 and not (chosen | more).intersection(own):
            more.add(min(own, key=lambda g: (len(members[g]), g)))
    return more

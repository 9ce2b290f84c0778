"""What the nearest items say a query is: one of them, or unknown.

The nearest item's label, or the label that has most weight among the `k` nearest; unknown where its best score does not
reach the threshold of the label. `calibrate` sets thresholds from scores of things that the gallery does not know.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from tinysight.errors import ConfigError, DataError
from tinysight.gallery.base import Item, Match, Metric, Store, is_distance
from tinysight.metrics import operating_point as points
from tinysight.metrics.intervals import Interval


@dataclass(frozen=True)
class Decision:
    """A rule that makes one answer of the nearest items.

    Attributes:
        metric: of the gallery.
        k: how many of the nearest vote, each with its similarity or the inverse of its distance; 1: the nearest alone.
        threshold: the least score (the largest distance, for `l2` and `hamming`) that is an answer; None: every one is.
        by_label: the same for single labels, in place of `threshold`.
    """

    metric: Metric = "cosine"
    k: int = 1
    threshold: float | None = None
    by_label: Mapping[str, float] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether it may say that something is unknown."""
        return self.threshold is not None or bool(self.by_label)

    def best(self, matches: Sequence[Match]) -> Match | None:
        """The best match of the label that wins, whatever its score; None without matches."""
        voters = matches[: self.k]
        weights: dict[str, float] = {}
        for match in voters:
            weight = 1 / (match.score + 1e-9) if is_distance(self.metric) else max(match.score, 0.0)
            weights[match.label] = weights.get(match.label, 0.0) + weight
        if not weights:
            return None
        most = max(weights.values())
        return next(match for match in voters if weights[match.label] == most)

    def decide(self, matches: Sequence[Match]) -> Match | None:
        """The answer, with the score that its threshold was compared with; None: unknown.

        Args:
            matches: the nearest, best first, as `Store.search` gives them; at least `k`, if there are as many.
        """
        found = self.best(matches)
        limit = self.by_label.get(found.label, self.threshold) if found else None
        if found is None or limit is None:
            return found
        near = found.score <= limit if is_distance(self.metric) else found.score >= limit
        return found if near else None

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {**vars(self), "by_label": dict(self.by_label)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Decision:
        """A decision as a gallery keeps it.

        Raises:
            ConfigError: it is none.
        """
        try:
            metric, k, threshold, by_label = (values[name] for name in cls.__dataclass_fields__)
            limits = {str(label): float(limit) for label, limit in by_label.items()}
            return cls(metric, int(k), None if threshold is None else float(threshold), limits)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError("decision", f"is none: {error!r}") from None


class Answers(NamedTuple):
    """Nearest items of some queries, and what the queries are.

    Attributes:
        matches: of each, as `Store.search` gives them.
        truth: the label of each; of things that the gallery does not know, too. Queries of one label are not
            independent, and are not counted as if they were.
    """

    matches: list[list[Match]]
    truth: list[str]


class Calibrated(NamedTuple):
    """A decision, and what it can be expected to do.

    Attributes:
        decision: with its thresholds.
        counted: what the thresholds did with the unknown things that they were chosen on.
        false_accepts: share of unknown things that are taken for something, with its 95 % interval.
        right: share of known things that are answered rightly, likewise; None where none were given.
        enough: whether there were as many unknown things as keep the interval below twice the target.
    """

    decision: Decision
    counted: points.ThresholdResult
    false_accepts: points.Rate
    right: points.Rate | None
    enough: bool

    def expected(self, new: int) -> Interval:
        """Where the share counted on `new` other unknown things will lie, with 95 %."""
        of = self.counted
        return points.expected_fpr(of.counts, new, allowed=of.allowed, effective=of.effective)


def calibrate(
    decision: Decision,
    unknown: Answers,
    target: float,
    known: Answers | None = None,
    *,
    by_label: bool = False,
) -> Calibrated:
    """Set the threshold so that at most `target` of unknown things are taken for something.

    Args:
        decision: the rule; its thresholds are replaced.
        unknown: things that the gallery does not know.
        target: share of them that may be accepted, between 0 and 1.
        known: things that it knows, in other images than its own; they say what the threshold costs.
        by_label: True for a threshold of each label that enough unknown things were taken for.

    Raises:
        DataError: no unknown things, or nothing near them.
        ConfigError: a target out of range.
    """
    best = [decision.best(matches) for matches in unknown.matches]
    if not any(best):
        what = "no image of something unknown has a nearest item"
        raise DataError("calibrate", what, "add items of several labels to the gallery first")
    counted, limit = _limit(decision, best, unknown.truth, target)
    limits = {}
    for label in sorted({match.label for match in best if match}) if by_label else ():
        rows = [i for i, match in enumerate(best) if match and match.label == label]
        truth = [unknown.truth[i] for i in rows]
        own, own_limit = _limit(decision, [best[i] for i in rows], truth, target)
        if own.effective >= points.needed_negatives(target):
            limits[label] = own_limit
    decision = replace(decision, threshold=limit, by_label=limits)
    if limits:
        counted = _counted([decision.decide(m) for m in unknown.matches], unknown.truth, positive=0)
    right = None
    if known and known.truth:
        answers = zip(map(decision.decide, known.matches), known.truth, strict=True)
        hits = [found if found and found.label == truth else None for found, truth in answers]
        right = _counted(hits, known.truth, positive=1).tpr
    assert counted.fpr  # there are negatives
    enough = counted.effective >= points.needed_negatives(target)
    return Calibrated(decision, counted, counted.fpr, right, enough)


def _limit(
    decision: Decision, best: Sequence[Match | None], truth: Sequence[str], target: float
) -> tuple[points.ThresholdResult, float]:
    """What a threshold that keeps the target does, and the threshold as scores are."""
    sign = -1.0 if is_distance(decision.metric) else 1.0
    scores = np.array([sign * match.score if match else np.nan for match in best])
    low, high = np.nanmin(scores), np.nanmax(scores)
    # Where none may pass, the threshold lies between `high` and the best unknown one: little above that.
    room = (high - low) / 100 + 1e-6
    low, high = low - room, high + room
    unit = np.nan_to_num((scores - low) / (high - low), nan=0.0)
    none = np.zeros(len(unit), np.int64)
    found = points.at_target_fpr(unit, none, target, clusters=np.array(truth))
    return found, float(sign * (low + found.threshold * (high - low)))


def _counted(
    hits: Sequence[Match | None], truth: Sequence[str], *, positive: int
) -> points.ThresholdResult:
    ones = np.array([float(hit is not None) for hit in hits])
    labels = np.full(len(ones), positive)
    return points.at_threshold(ones, labels, 0.5, clusters=np.array(truth))


def decision_of(store: Store) -> Decision:
    """What was calibrated for a gallery; before that, the nearest item, whatever its score."""
    kept = store.setting("decision")
    return Decision.from_json(json.loads(kept)) if kept else Decision(store.metric)


def held_out(store: Store, k: int, most: int = 2000) -> tuple[Answers, Answers]:
    """Items of a gallery as queries of the rest of it: what they are without their label, and with it.

    Args:
        store: of the gallery; up to `most` of its items are looked up.
        k: matches that a decision wants.
        most: number of items.

    Returns:
        Of unknown things, whose label's items are left out, and of known ones, that alone are left out (only those
        whose label has other items).
    """
    sizes: Counter[str] = Counter()

    def every() -> Iterator[Item]:
        after = ""
        while page := store.items(after=after):
            after = page[-1].id
            there = [item for item in page if item.vector is not None]
            sizes.update(item.label for item in there)
            yield from there

    # The same items each time, in no order of their owner's.
    picked = heapq.nsmallest(most, every(), key=lambda item: (crc32(item.id.encode()), item.id))
    unknown, known = Answers([], []), Answers([], [])
    for item in picked:
        assert item.vector is not None
        count = 4 * k + 16
        while True:
            matches = store.search(item.vector[None], count)[0]
            strange = [match for match in matches if match.label != item.label]
            if len(strange) >= k or len(matches) < count:
                break
            count *= 4
        unknown.matches.append(strange)
        unknown.truth.append(item.label)
        if sizes[item.label] > 1:
            known.matches.append([match for match in matches if match.id != item.id])
            known.truth.append(item.label)
    return unknown, known


class Steady:
    """Answers of the frames of a video, without flicker.

    A label appears once `enter` frames in succession had it, and stays until `leave` frames in succession did not.

    Args:
        enter: at least 1.
        leave: at least 1.

    Raises:
        ConfigError: numbers out of range.
    """

    def __init__(self, enter: int = 3, leave: int = 5) -> None:
        if min(enter, leave) < 1:
            raise ConfigError("steady", f"frames are 1 or more, got {enter} and {leave}")
        self._enter, self._leave = enter, leave
        self._shown: Match | None = None
        self._next, self._seen, self._missed = "", 0, 0

    def update(self, found: Match | None) -> Match | None:
        """What to show for the next frame: the latest match of the label that is shown, or None.

        Args:
            found: answer of `Decision.decide`.
        """
        label = found.label if found else ""
        self._seen = self._seen + 1 if found and label == self._next else int(found is not None)
        self._next = label
        if self._shown and label == self._shown.label:
            self._missed, self._shown = 0, found
        elif self._shown:
            self._missed += 1
        if found and self._seen >= self._enter and (not self._shown or self._missed >= self._leave):
            self._shown, self._missed = found, 0
        elif self._missed >= self._leave:
            self._shown, self._missed = None, 0
        return self._shown

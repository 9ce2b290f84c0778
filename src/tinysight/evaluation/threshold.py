"""The operating point of a network: chosen as a recipe says, kept in a bundle, held against new images.

Which scores a threshold decides about depends on the post-processor. Two classes and `threshold`:
the probability of its `positive` class. Several labels and `multilabel`: the probabilities of all
labels together, one threshold for them; those of one image are a cluster. Nothing else has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinysight.bundle.manifest import Manifest
from tinysight.bundle.manifest import OperatingPoint as Kept
from tinysight.errors import ConfigError
from tinysight.evaluation.predictor import Evaluation
from tinysight.metrics import (
    Counts,
    Interval,
    ThresholdResult,
    at_target_fpr,
    at_target_precision,
    at_threshold,
    expected_fpr,
)
from tinysight.tasks.postprocess import class_index

if TYPE_CHECKING:
    from tinysight.config.schema import Export
    from tinysight.config.schema import OperatingPoint as Wanted

KEPT = "operating_point."  # begins the names of a bundle's metrics that belong to its threshold


class Decided(NamedTuple):
    """What a threshold decides about: scores (M,), truth (M,) bool, image of each or None."""

    scores: np.ndarray
    truth: np.ndarray
    clusters: np.ndarray | None
    name: str


def check(export: Export, labels: Sequence[str], target: str) -> None:
    """Refuse an `export.operating_point` that this post-processor has no use for.

    Raises:
        ConfigError: with what would be supported.
    """
    if export.operating_point is None:
        return
    reason = _unsupported(export.postprocess.spec, len(labels), target == "multilabel")
    if reason:
        raise ConfigError("export.operating_point", *reason)


def decided(
    found: Evaluation, postprocess: Mapping[str, Any], labels: Sequence[str]
) -> Decided | None:
    """What the post-processor's threshold decides about; None if it has none, or several."""
    if _unsupported(postprocess, len(labels), found.labels.ndim == 2):
        return None
    if found.labels.ndim == 2:
        known = found.labels >= 0
        images = np.nonzero(known)[0]
        return Decided(found.scores[known], found.labels[known] > 0, images, "any label")
    names = tuple(labels)
    which = class_index(postprocess.get("positive", 1), names, "postprocess.positive")
    return Decided(found.scores[:, which], found.labels == which, None, names[which])


def choose(
    found: Evaluation,
    wanted: Wanted | None,
    postprocess: Mapping[str, Any],
    labels: Sequence[str],
) -> ThresholdResult | None:
    """The threshold that the recipe asks for, on these images; the post-processor's own without a wish.

    Returns:
        None where the post-processor has no threshold and the recipe asks for none.

    Raises:
        ConfigError: an operating point that is not supported.
        DataError: these images cannot give it.
    """
    about = decided(found, postprocess, labels)
    if about is None:
        if wanted is None:
            return None
        reason = _unsupported(postprocess, len(labels), found.labels.ndim == 2)
        raise ConfigError("export.operating_point", *(reason or ()))
    scores, truth, clusters, _ = about
    if wanted and wanted.target_fpr is not None:
        return at_target_fpr(scores, truth, wanted.target_fpr, clusters=clusters)
    if wanted and wanted.target_precision is not None:
        return at_target_precision(scores, truth, wanted.target_precision, clusters=clusters)
    given = postprocess.get("threshold", 0.5)
    if wanted and wanted.threshold is not None:
        given = wanted.threshold
    return at_threshold(scores, truth, float(given), clusters=clusters)


def with_threshold(
    postprocess: Mapping[str, Any], decision: ThresholdResult | None
) -> dict[str, Any]:
    """The post-processor's spec with the chosen threshold in it."""
    changed = {"threshold": decision.threshold} if decision else {}
    return {**postprocess, **changed}


def how_chosen(decision: ThresholdResult, wished: bool) -> str:
    """The rule in words, as a bundle says it."""
    counts = decision.counts
    on = f"on {counts.negatives} negatives and {counts.positives} positives"
    if decision.rule == "target_fpr":
        return f"target_fpr {decision.target:g} {on}"
    if decision.rule == "target_precision":
        return f"target_precision {decision.target:g} {on}"
    where = "operating_point" if wished else "postprocess"
    return f"set in the recipe (export.{where}.threshold)"


def keep(decision: ThresholdResult, wished: bool) -> tuple[Kept, dict[str, float]]:
    """What goes into a bundle: the operating point, and its counts and rates among the metrics."""
    numbers: dict[str, float] = {
        "positives": decision.counts.positives,
        "negatives": decision.counts.negatives,
        "true_positives": decision.counts.true_positives,
        "false_positives": decision.counts.false_positives,
        "allowed": decision.allowed,
        "effective_negatives": decision.effective,
    }
    for name in ("fpr", "tpr", "precision"):
        if rate := getattr(decision, name):
            numbers |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
    ends = decision.interval and (decision.interval.low, decision.interval.high)
    kept = Kept(decision.threshold, how_chosen(decision, wished), ends)
    return kept, {KEPT + name: float(value) for name, value in numbers.items()}


def promised_fpr(manifest: Manifest, negatives: int) -> Interval | None:
    """Where the rate counted on so many negatives should lie (95 %), by what the bundle was chosen on.

    None if the bundle does not say, or there are no negatives.
    """
    numbers = {
        key.removeprefix(KEPT): value
        for key, value in manifest.metrics.items()
        if key.startswith(KEPT)
    }
    if not numbers.get("negatives") or not negatives:
        return None
    counts = Counts(*(int(numbers[name]) for name in Counts._fields))
    return expected_fpr(
        counts,
        negatives,
        allowed=int(numbers["allowed"]),
        effective=numbers["effective_negatives"],
    )


def measured(manifest: Manifest, found: Evaluation) -> ThresholdResult | None:
    """What the bundle's threshold does with these images; None if it has none."""
    about = decided(found, manifest.postprocess, manifest.labels)
    if about is None:
        return None
    threshold = float(manifest.postprocess.get("threshold", 0.5))
    return at_threshold(about.scores, about.truth, threshold, clusters=about.clusters)


def _unsupported(spec: Mapping[str, Any], classes: int, several: bool) -> tuple[str, str] | None:
    """Why there is no operating point, and what to do; None if there is one."""
    name = spec["name"]
    if several:
        if name == "multilabel" and not isinstance(spec.get("threshold"), list | tuple):
            return None
        what = f"{name} has no threshold common to all labels"
        return what, "several labels need export.postprocess {name: multilabel} with one threshold"
    if name != "threshold":
        return f"{name} has no threshold", "two classes need export.postprocess {name: threshold}"
    if classes != 2:
        what = f"{classes} classes have no false-positive rate"
        return what, "it needs two classes, or data.target: multilabel"
    return None

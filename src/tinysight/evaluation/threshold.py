"""The threshold of a network: chosen as a recipe says, written to a bundle, applied to new images.

Which scores it decides about depends on the task and the post-processor: `Task.binary_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinysight.bundle import manifest as bundle_manifest
from tinysight.bundle.manifest import Manifest
from tinysight.errors import ConfigError
from tinysight.evaluation.predictor import Evaluation
from tinysight.metrics.intervals import Interval
from tinysight.metrics.operating_point import (
    Counts,
    ThresholdResult,
    at_target_fpr,
    at_target_precision,
    at_threshold,
    expected_fpr,
)
from tinysight.tasks.base import BinaryScores, Scored, Task

if TYPE_CHECKING:
    from tinysight.config.schema import Export, OperatingPoint

PREFIX = "operating_point."  # begins the names of a bundle's metrics that belong to its threshold


def check_operating_point(export: Export, labels: Sequence[str], task: Task) -> None:
    """Refuse what the section `export` asks of scores that this task does not have.

    Raises:
        ConfigError: an `operating_point` or `calibrate` that is not supported; with what would be.
    """
    if export.operating_point is not None:
        what, hint = task.no_threshold(export.postprocess.spec, len(labels))
        if what:
            raise ConfigError("export.operating_point", what, hint)
    if export.calibrate and not task.calibrates:
        raise ConfigError("export.calibrate", "this task has no probabilities", "set it to false")


def threshold_scores(
    evaluation: Evaluation, postprocess: Mapping[str, Any], labels: Sequence[str]
) -> BinaryScores | None:
    """The scores that the post-processor's threshold decides about; None if it has none, or several."""
    scored = Scored(evaluation.scores, evaluation.labels, labels)
    return evaluation.task.binary_scores(scored, postprocess)


def choose_threshold(
    evaluation: Evaluation,
    point: OperatingPoint | None,
    postprocess: Mapping[str, Any],
    labels: Sequence[str],
) -> ThresholdResult | None:
    """The threshold that the recipe asks for, on these images.

    Args:
        evaluation: of the validation images.
        point: `export.operating_point`; None: the post-processor's own threshold.
        postprocess: spec of the post-processor.
        labels: the K label names.

    Returns:
        None where the post-processor has no threshold and the recipe asks for none.

    Raises:
        ConfigError: an operating point that is not supported.
        DataError: these images cannot give it.
    """
    binary = threshold_scores(evaluation, postprocess, labels)
    if binary is None:
        if point is None:
            return None
        what, hint = evaluation.task.no_threshold(postprocess, len(labels))
        raise ConfigError("export.operating_point", what, hint)
    scores, truth, clusters = binary[:3]
    if point and point.target_fpr is not None:
        return at_target_fpr(scores, truth, point.target_fpr, clusters=clusters)
    if point and point.target_precision is not None:
        return at_target_precision(scores, truth, point.target_precision, clusters=clusters)
    given = postprocess.get("threshold", 0.5)
    if point and point.threshold is not None:
        given = point.threshold
    return at_threshold(scores, truth, float(given), clusters=clusters)


def with_threshold(
    postprocess: Mapping[str, Any], result: ThresholdResult | None
) -> dict[str, Any]:
    """The post-processor's spec with the chosen threshold in it."""
    changed = {"threshold": result.threshold} if result else {}
    return {**postprocess, **changed}


def describe_rule(result: ThresholdResult, from_point: bool) -> str:
    """The rule in words, as a bundle says it.

    Args:
        result: a chosen threshold.
        from_point: True if `export.operating_point` asked for it, False if it is the post-processor's.
    """
    counts = result.counts
    on = f"on {counts.negatives} negatives and {counts.positives} positives"
    if result.rule == "target_fpr":
        return f"target_fpr {result.target:g} {on}"
    if result.rule == "target_precision":
        return f"target_precision {result.target:g} {on}"
    where = "operating_point" if from_point else "postprocess"
    return f"set in the recipe (export.{where}.threshold)"


def threshold_to_manifest(
    result: ThresholdResult, from_point: bool
) -> tuple[bundle_manifest.ShippedThreshold, dict[str, float]]:
    """The manifest's entry of a threshold, and its counts and rates as metrics of the manifest."""
    numbers: dict[str, float] = {
        "positives": result.counts.positives,
        "negatives": result.counts.negatives,
        "true_positives": result.counts.true_positives,
        "false_positives": result.counts.false_positives,
        "allowed": result.allowed,
        "effective_negatives": result.effective,
    }
    for name in ("fpr", "tpr", "precision"):
        if rate := getattr(result, name):
            numbers |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
    ends = result.interval and (result.interval.low, result.interval.high)
    entry = bundle_manifest.ShippedThreshold(
        result.threshold, describe_rule(result, from_point), ends
    )
    return entry, {PREFIX + name: float(value) for name, value in numbers.items()}


def fpr_on_new_images(manifest: Manifest, negatives: int) -> Interval | None:
    """95 % interval of the false-positive rate that a bundle's threshold should have on new images.

    Args:
        manifest: of the bundle.
        negatives: number of negatives among the new images.

    Returns:
        None if the bundle does not say what its threshold was chosen on, or there are no negatives.
    """
    numbers = {
        key.removeprefix(PREFIX): value
        for key, value in manifest.metrics.items()
        if key.startswith(PREFIX)
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


def apply_threshold(manifest: Manifest, evaluation: Evaluation) -> ThresholdResult | None:
    """Rates of the bundle's threshold on these images; None if it has none."""
    binary = threshold_scores(evaluation, manifest.postprocess, manifest.labels)
    if binary is None:
        return None
    threshold = float(manifest.postprocess.get("threshold", 0.5))
    return at_threshold(binary.scores, binary.truth, threshold, clusters=binary.clusters)

"""The threshold of a network: chosen as a recipe says, written to a bundle, applied to new images.

Which scores it decides about depends on the task and the post-processor: `Task.binary_scores`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinysight.bundle.manifest import Manifest, ShippedThreshold
from tinysight.errors import ConfigError
from tinysight.evaluation.predictor import Evaluation
from tinysight.metrics import operating_point as points
from tinysight.metrics.intervals import Interval
from tinysight.metrics.operating_point import ThresholdResult
from tinysight.tasks.base import BinaryScores, Scored, Task

if TYPE_CHECKING:
    from tinysight.config.schema import Export, OperatingPoint

_RULES = {"target_fpr": points.at_target_fpr, "target_precision": points.at_target_precision}
PREFIX = "operating_point."  # begins the names of a bundle's metrics that belong to its threshold


def check_operating_point(export: Export, labels: Sequence[str], task: Task) -> None:
    """Refuse what the section `export` asks of scores that this task does not have.

    Raises:
        ConfigError: an `operating_point` or `calibrate` that is not supported; with what would be.
    """
    problem = task.no_threshold(export.postprocess.spec, len(labels))
    if export.operating_point and problem:
        raise problem
    if export.calibrate and not task.calibrates:
        raise ConfigError("export.calibrate", "this task has no probabilities", "set it to false")


def threshold_scores(
    evaluation: Evaluation, postprocess: Mapping[str, Any], labels: Sequence[str]
) -> BinaryScores | None:
    """The scores that the post-processor's threshold decides about; None if it has none, or several."""
    scored = Scored(evaluation.scores, evaluation.labels, labels)
    return evaluation.task.binary_scores(scored, postprocess)


def choose_threshold(
    found: Evaluation, point: OperatingPoint | None, spec: Mapping[str, Any], labels: Sequence[str]
) -> ThresholdResult | None:
    """The threshold that the recipe asks for, on these images.

    Args:
        found: evaluation of the validation images.
        point: `export.operating_point`; None: the post-processor's own threshold.
        spec: of the post-processor.
        labels: the K label names.

    Returns:
        None where the post-processor has no threshold and the recipe asks for none.

    Raises:
        ConfigError: an operating point that is not supported.
        DataError: these images cannot give it.
    """
    binary = threshold_scores(found, spec, labels)
    if binary is None:
        if point and (problem := found.task.no_threshold(spec, len(labels))):
            raise problem
        return None
    given = {"threshold": float(spec.get("threshold", 0.5))}
    ((rule, value),) = (point.model_dump(exclude_none=True) if point else given).items()
    at = _RULES.get(rule, points.at_threshold)
    return at(binary.scores, binary.truth, value, clusters=binary.clusters)


def with_threshold(spec: Mapping[str, Any], result: ThresholdResult | None) -> dict[str, Any]:
    """The post-processor's spec with the chosen threshold in it."""
    return {**spec, "threshold": result.threshold} if result else dict(spec)


def describe_rule(result: ThresholdResult, from_point: bool) -> str:
    """The rule in words, as a bundle says it.

    Args:
        result: a chosen threshold.
        from_point: True if `export.operating_point` asked for it, False if it is the post-processor's.
    """
    positives, negatives, *_ = result.counts
    if result.target is not None:
        on = f"on {negatives} negatives and {positives} positives"
        return f"{result.rule} {result.target:g} {on}"
    where = "operating_point" if from_point else "postprocess"
    return f"set in the recipe (export.{where}.threshold)"


def threshold_to_manifest(
    result: ThresholdResult, from_point: bool
) -> tuple[ShippedThreshold, dict[str, float]]:
    """The manifest's entry of a threshold, and its counts and rates as metrics of the manifest."""
    numbers: dict[str, float] = {**result.counts._asdict(), "allowed": result.allowed}
    numbers["effective_negatives"] = result.effective
    for name in ("fpr", "tpr", "precision"):
        if rate := getattr(result, name):
            numbers |= {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}
    ends = result.interval and (result.interval.low, result.interval.high)
    entry = ShippedThreshold(result.threshold, describe_rule(result, from_point), ends)
    return entry, {PREFIX + name: float(value) for name, value in numbers.items()}


def fpr_on_new_images(manifest: Manifest, negatives: int) -> Interval | None:
    """95 % interval of the false-positive rate that a bundle's threshold should have on new images.

    Args:
        manifest: of the bundle.
        negatives: number of negatives among the new images.

    Returns:
        None if the bundle does not say what its threshold was chosen on, or there are no negatives.
    """
    metrics = manifest.metrics.items()
    numbers = {k.removeprefix(PREFIX): v for k, v in metrics if k.startswith(PREFIX)}
    if not numbers.get("negatives") or not negatives:
        return None
    counts = points.Counts(*(int(numbers[name]) for name in points.Counts._fields))
    allowed, effective = int(numbers["allowed"]), numbers["effective_negatives"]
    return points.expected_fpr(counts, negatives, allowed=allowed, effective=effective)

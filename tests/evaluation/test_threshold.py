"""Which scores a threshold decides about, what a bundle keeps of it, and what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.bundles import tiny_manifest
from tinysight.config.schema import Component, Export, OperatingPoint
from tinysight.errors import ConfigError, DataError
from tinysight.evaluation.predictor import Evaluation
from tinysight.evaluation.report import report_of
from tinysight.evaluation.threshold import (
    check_operating_point,
    choose_threshold,
    describe_rule,
    fpr_on_new_images,
    threshold_scores,
    threshold_to_manifest,
    with_threshold,
)
from tinysight.metrics.operating_point import expected_fpr
from tinysight.tasks.base import task_of_target

LABELS = ("dark", "bright")


def evaluation(scores: Any, labels: Any) -> Evaluation:
    table = np.array(scores, np.float32)
    return Evaluation(table, np.array(labels), ("x.png",) * len(table), {}, (), 0.0)


def two_classes(count: int = 400, seed: int = 0) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.25).astype(int)
    bright = 1 / (1 + np.exp(-rng.normal(4 * labels - 2, 1.5)))
    return evaluation(np.stack([1 - bright, bright], axis=1), labels)


def export(postprocess: dict[str, Any], **point: float) -> Export:
    chosen = OperatingPoint(**point)
    return Export.model_construct(postprocess=Component(**postprocess), operating_point=chosen)


def test_the_positive_class_may_be_either() -> None:
    found = two_classes()
    wanted = OperatingPoint(target_fpr=0.1)
    for positive in (1, "bright"):
        spec = {"name": "threshold", "positive": positive}
        decision = choose_threshold(found, wanted, spec, LABELS)
        assert decision and decision.counts.positives == (found.labels == 1).sum()
    about = threshold_scores(found, {"name": "threshold", "positive": "dark"}, LABELS)
    assert about and about.name == "dark"
    assert about.scores.tolist() == found.scores[:, 0].tolist()
    assert about.truth.tolist() == (found.labels == 0).tolist()


def test_each_wish_is_granted() -> None:
    found, spec = two_classes(), {"name": "threshold", "threshold": 0.5}
    fpr = choose_threshold(found, OperatingPoint(target_fpr=0.05), spec, LABELS)
    precision = choose_threshold(found, OperatingPoint(target_precision=0.9), spec, LABELS)
    given = choose_threshold(found, OperatingPoint(threshold=0.3), spec, LABELS)
    own = choose_threshold(found, None, spec, LABELS)
    assert fpr and precision and given and own
    assert fpr.fpr and fpr.fpr.value <= 0.05
    assert precision.precision and precision.precision.value >= 0.9
    assert (given.threshold, own.threshold) == (0.3, 0.5)
    assert describe_rule(fpr, True) == "target_fpr 0.05 on 307 negatives and 93 positives"
    assert describe_rule(precision, True).startswith("target_precision 0.9 on 307")
    assert describe_rule(given, True) == "set in the recipe (export.operating_point.threshold)"
    assert describe_rule(own, False) == "set in the recipe (export.postprocess.threshold)"
    assert with_threshold(spec, fpr) == {"name": "threshold", "threshold": fpr.threshold}
    assert with_threshold(spec, None) == spec


def test_several_labels_share_one_threshold_and_a_image_is_one_cluster() -> None:
    """Labels of an image that always agree are worth no more than the image."""
    rng = np.random.default_rng(1)
    truth = (rng.random(300) < 0.3).astype(int)
    score = 1 / (1 + np.exp(-rng.normal(4 * truth - 2, 1.5)))
    found = evaluation(np.stack([score] * 3, axis=1), np.stack([truth] * 3, axis=1))
    spec = {"name": "multilabel", "threshold": 0.5}
    decision = choose_threshold(found, OperatingPoint(target_fpr=0.1), spec, ("a", "b", "c"))
    assert decision
    assert decision.counts.negatives == 3 * (truth == 0).sum()
    assert decision.effective == pytest.approx((truth == 0).sum(), rel=0.02)
    found.labels[0, 1] = -1  # not known
    again = choose_threshold(found, OperatingPoint(target_fpr=0.1), spec, ("a", "b", "c"))
    assert again and sum(again.counts[:2]) == 899


@pytest.mark.parametrize(
    ("postprocess", "classes", "target", "message"),
    [
        ({"name": "topk"}, 2, "class", "topk has no threshold; two classes need"),
        ({"name": "threshold"}, 3, "class", "3 classes have no false-positive rate; it needs two"),
        (
            {"name": "topk"},
            3,
            "multilabel",
            "no threshold common to all labels; several labels need",
        ),
        ({"name": "multilabel", "threshold": [0.1, 0.2]}, 2, "multilabel", "common to all labels"),
    ],
)
def test_what_is_not_supported_is_refused(
    postprocess: dict[str, Any], classes: int, target: str, message: str
) -> None:
    names = [f"c{i}" for i in range(classes)]
    section = export(postprocess, target_fpr=0.1)
    with pytest.raises(ConfigError, match=f"export.operating_point: .*{message}"):
        check_operating_point(section, names, task_of_target(target))
    labels = np.zeros((4, classes), int) if target == "multilabel" else np.zeros(4, int)
    found = evaluation(np.full((4, classes), 0.5), labels)
    with pytest.raises(ConfigError, match=message):
        choose_threshold(found, section.operating_point, postprocess, names)
    assert choose_threshold(found, None, postprocess, names) is None


def test_what_is_supported_is_not_refused() -> None:
    check_operating_point(
        export({"name": "threshold"}, target_fpr=0.1), LABELS, task_of_target("class")
    )
    several = export({"name": "multilabel", "threshold": 0.5}, threshold=0.4)
    check_operating_point(several, ("a",), task_of_target("multilabel"))
    check_operating_point(
        Export.model_validate({"postprocess": {"name": "topk"}}), LABELS, task_of_target("class")
    )


def test_a_bundle_keeps_what_a_promise_needs() -> None:
    decision = choose_threshold(
        two_classes(), OperatingPoint(target_fpr=0.05), {"name": "threshold"}, LABELS
    )
    assert decision
    point, numbers = threshold_to_manifest(decision, True)
    manifest = tiny_manifest(
        metrics={"top1": 1.0, **numbers},
        threshold=point,
        postprocess={"name": "threshold", "threshold": point.value, "positive": 1, "default": 0},
    )
    again = expected_fpr(decision.counts, 250, allowed=decision.allowed)
    assert fpr_on_new_images(manifest, 250) == again
    assert fpr_on_new_images(manifest, 0) is None
    assert fpr_on_new_images(tiny_manifest(), 250) is None

    found = two_classes(800, seed=7)
    report = report_of(found, manifest.labels, manifest=manifest)
    applied = choose_threshold(found, None, manifest.postprocess, manifest.labels)
    assert applied and report.threshold == applied._replace(interval=decision.interval)
    assert report.threshold and report.threshold.fpr and report.expected_fpr
    assert report.expected_fpr.low <= report.threshold.fpr.value <= report.expected_fpr.high
    predicted = report.task.predicted(report.scored)
    assert predicted.tolist() == (found.scores[:, 1] >= point.value).astype(int).tolist()
    assert report.confusion()[0, 1] == report.threshold.counts.false_positives
    tree = report.to_json()
    assert tree["threshold"]["promised_fpr"] == list(report.expected_fpr)
    assert tree["threshold"]["chosen"] == point.chosen


def test_a_bundle_without_a_threshold_has_no_point() -> None:
    manifest = tiny_manifest(postprocess={"name": "topk"}, threshold=None)
    report = report_of(two_classes(), manifest.labels, manifest=manifest)
    assert report.threshold is None
    assert report.chosen == "none: the post-processor is topk"
    assert report.to_json()["threshold"] is None


def test_images_that_cannot_give_the_wish() -> None:
    with pytest.raises(DataError, match="no negatives"):
        choose_threshold(
            evaluation([[0.1, 0.9]] * 3, [1, 1, 1]),
            OperatingPoint(target_fpr=0.1),
            {"name": "threshold"},
            LABELS,
        )

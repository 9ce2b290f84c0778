"""ROC, precision and recall, confusion, calibration, and the numbers of each label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tinysight.evaluation.report import EvaluationReport
from tinysight.metrics.binary import pr_area, precision_recall_curve, roc_auc, roc_curve
from tinysight.metrics.calibration import confidences, reliability
from tinysight.report.charts import Axis, Chart, Mark, histogram
from tinysight.tasks.base import TaskTable

_SMALL = 0.05  # false-positive rates below it are drawn on a scale of tens
_LARGEST = 30  # classes whose confusion is shown whole
_WORST = 30  # rows of a longer table
_BINS = 10


class Matrix(NamedTuple):
    """Counts (K, K) of the K names: row = label, column = prediction."""

    names: Sequence[str]
    counts: list[list[int]]


def roc(report: EvaluationReport) -> Chart | None:
    """The receiver operating characteristic with the chosen point; None where there is none."""
    about, result = report.binary, report.threshold
    if about is None or not 0 < about.truth.sum() < len(about.truth):
        return None
    (rates, found, _), title = roc_curve(about.scores, about.truth), "ROC"
    x = Axis("false-positive rate")
    note = f"Area {roc_auc(about.scores, about.truth)['roc_auc']:.4f}."
    marks = []
    if result and result.fpr and result.tpr:
        fpr, tpr = result.fpr, result.tpr
        title, name = "ROC and the chosen point", f"threshold {result.threshold:.4g}"
        marks = [Mark(name, fpr.value, tpr.value, (fpr.low, fpr.high), (tpr.low, tpr.high))]
        note += " Whiskers: 95 % interval of what new images will show in the long run."
        if (result.target or fpr.value) <= _SMALL and result.rule != "target_precision":
            low = min(0.5 / int((~about.truth).sum()), result.target or 1.0)
            x = x._replace(low=low, log=True)
    points = {"ROC": list(zip(rates.tolist(), found.tolist(), strict=True))}
    y = Axis("true-positive rate")
    return Chart(title, x, y, points, marks=marks, diagonal=not x.log, note=note)


def precision_recall(report: EvaluationReport) -> Chart | None:
    """Precision over recall with the chosen point; None without a positive."""
    about, result = report.binary, report.threshold
    if about is None or not about.truth.any():
        return None
    shares, found, _ = precision_recall_curve(about.scores, about.truth)
    points = {"PR": list(zip(found.tolist(), shares.tolist(), strict=True))}
    marks = []
    if result and result.precision and result.tpr:
        share = result.precision
        marks = [Mark("threshold", result.tpr.value, share.value, None, share[1:])]
    area = pr_area(about.scores, about.truth)
    note = f"Average precision {area:.4f}, where {about.truth.mean():.3g} are positive as here."
    title = "Precision and recall"
    return Chart(title, Axis("recall"), Axis("precision"), points, marks=marks, note=note)


def scores(report: EvaluationReport) -> Chart | None:
    """How the scores of those with the label and of the others lie, and the threshold between."""
    about = report.binary
    if about is None:
        return None
    sides = (about.scores[about.truth], about.scores[~about.truth])
    groups = dict(zip(about.groups, sides, strict=True))
    cut = report.threshold and report.threshold.threshold
    return histogram("Scores by true label", f"probability of {about.name}", groups, cut)


def calibration_chart(report: EvaluationReport) -> Chart | None:
    """Accuracy over confidence; the area of a dot is its share of the images. None without probabilities."""
    numbers = report.calibration
    if not numbers:
        return None
    curve = reliability(*confidences(report.evaluation.scores, report.evaluation.labels), _BINS)
    points = list(zip(curve.confidence.tolist(), curve.accuracy.tolist(), strict=True))
    radii = [2.5 + 7 * math.sqrt(share) for share in (curve.number / curve.number.sum()).tolist()]
    state = "applied" if report.calibrated else "would fit"
    note = (
        f"Calibration error {numbers['ece']:.4f} (bins of equal numbers {numbers['ece_mass']:.4f}), Brier score "
        f"{numbers['brier']:.4f}; temperature {report.temperature:.3g} {state}. "
        "On the line, scores mean what they say."
    )
    x, y = Axis("confidence"), Axis("share of correct predictions")
    return Chart("Calibration", x, y, {"accuracy": points}, diagonal=True, radii=radii, note=note)


def label_table(report: EvaluationReport) -> TaskTable | None:
    """Precision, recall and F1 of each label; of many the worst."""
    rows, title = report.label_rates(), "Each label"
    if not rows:
        return None
    if len(rows) > _WORST:
        rows = sorted((row for row in rows if row[1].support), key=lambda row: row[1].f1)[:_WORST]
        title = f"The {len(rows)} labels with the lowest F1"
    cells = [(name, str(n), *(f"{rate:.3f}" for rate in rates)) for name, (n, *rates) in rows]
    return TaskTable(title, ("label", "images", "precision", "recall", "F1"), cells)


def confusion(report: EvaluationReport) -> Matrix | TaskTable | None:
    """The confusion matrix, of many classes the pairs confused most; None where it says nothing."""
    names, counts = report.labels, report.confusion()
    if counts is None:
        return None
    if len(names) <= _LARGEST:
        return Matrix(names, counts.tolist())
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:_WORST]
    pairs = [divmod(int(at), len(names)) for at in order]
    rows = [(names[i], names[k], str(wrong[i, k])) for i, k in pairs if wrong[i, k]]
    return TaskTable("Most confused", ("is", "predicted", "images"), rows, (1,))

"""ROC, precision and recall, confusion, calibration, and the numbers of each label."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from tinysight.evaluation.report import EvaluationReport
from tinysight.metrics.binary import pr_area, precision_recall_curve, roc_auc, roc_curve
from tinysight.metrics.calibration import confidences, reliability
from tinysight.report.charts import (
    Axis,
    Mark,
    histogram,
    line_chart,
    reliability_chart,
)
from tinysight.tasks.base import Section

_SMALL = 0.05  # false-positive rates below it are drawn on a scale of tens
_FEW = 4  # classes whose tables share a card
_LARGEST = 30  # classes whose confusion is shown whole
_WORST = 30  # rows of a longer table
_BINS = 10
_SAMPLES = 4000  # scores in a histogram


def roc(report: EvaluationReport) -> str:
    """The receiver operating characteristic with the chosen point; empty where there is none."""
    about = report.binary
    if about is None or not 0 < about.truth.sum() < len(about.truth):
        return ""
    curve, decision = roc_curve(about.scores, about.truth), report.threshold
    negatives = int((~about.truth).sum())
    marks, small = [], False
    if decision and decision.fpr and decision.tpr:
        fpr, tpr = decision.fpr, decision.tpr
        small = (decision.target or fpr.value) <= _SMALL and decision.rule != "target_precision"
        marks = [
            Mark(
                f"threshold {decision.threshold:.4g}",
                fpr.value, tpr.value, (fpr.low, fpr.high), (tpr.low, tpr.high),
            )
        ]  # fmt: skip
    low = min(0.5 / negatives, decision.target or 1.0 if decision else 1.0)
    x = Axis("false-positive rate", low, 1.0, True) if small else Axis("false-positive rate")
    points = list(zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True))
    area = roc_auc(about.scores, about.truth)["roc_auc"]
    return line_chart(
        "ROC and the chosen point" if marks else "ROC",
        x,
        Axis("true-positive rate"),
        {"ROC": points},
        marks,
        diagonal=not small,
        note=f"Area {area:.4f}. Whiskers: 95 % of what new images will show in the long run."
        if marks
        else f"Area {area:.4f}.",
    )


def overview(report: EvaluationReport) -> str:
    """What stands beside the worst errors: where the threshold lies, or without one each label."""
    cards = [roc(report), scores(report)]
    return _cards(cards if any(cards) else [by_label(report)])


def quality(report: EvaluationReport) -> str:
    """Everything else about the answers, as cards."""
    cards = [_table(section) for section in report.sections()]
    cards += [_pr(report), _reliability(report)]
    rest = [_confusion(report), by_label(report) if report.binary else ""]
    small = len(report.labels) <= _FEW
    cards += ['<div style="height:14px"></div>'.join(filter(None, rest))] if small else rest
    return f'<section><h2>Answers</h2><div class="charts">{_cards(cards)}</div></section>'


def _cards(contents: Sequence[str]) -> str:
    return "".join(f'<div class="card">{content}</div>' for content in contents if content)


def by_label(report: EvaluationReport) -> str:
    """Precision, recall and F1 of each label; of many the worst."""
    rows = report.label_rates()
    if not rows:
        return ""
    title = "Each label"
    if len(rows) > _WORST:
        rows = sorted((row for row in rows if row[1].support), key=lambda row: row[1].f1)[:_WORST]
        title = f"The {len(rows)} labels with the lowest F1"
    cells = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{support}</td><td>{precision:.3f}</td>"
        f"<td>{recall:.3f}</td><td>{f1:.3f}</td></tr>"
        for name, (support, precision, recall, f1) in rows
    )
    return (
        f'<h3>{title}</h3><div class="scroll"><table><thead><tr><th scope="col">label</th>'
        '<th scope="col">images</th><th scope="col">precision</th><th scope="col">recall</th>'
        f'<th scope="col">F1</th></tr></thead><tbody>{cells}</tbody></table></div>'
    )


def _table(section: Section) -> str:
    """A table of the task's own."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in section.columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in section.rows
    )
    return (
        f'<h3>{escape(section.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _pr(report: EvaluationReport) -> str:
    about, decision = report.binary, report.threshold
    if about is None or not about.truth.any():
        return ""
    curve = precision_recall_curve(about.scores, about.truth)
    marks = []
    if decision and decision.precision and decision.tpr:
        precision, recall = decision.precision, decision.tpr
        ends = (precision.low, precision.high)
        marks = [Mark("threshold", recall.value, precision.value, None, ends)]
    area = pr_area(about.scores, about.truth)
    return line_chart(
        "Precision and recall",
        Axis("recall"),
        Axis("precision"),
        {"PR": list(zip(curve.recall.tolist(), curve.precision.tolist(), strict=True))},
        marks,
        note=f"Average precision {area:.4f}, where {about.truth.mean():.3g} are positive as here.",
    )


def scores(report: EvaluationReport) -> str:
    """How the scores of those with the label and of the others lie, and the threshold between."""
    about = report.binary
    if about is None:
        return ""
    groups = {
        name: _some(about.scores[side])
        for name, side in zip(about.groups, (about.truth, ~about.truth), strict=True)
    }
    cut = report.threshold.threshold if report.threshold else None
    return histogram("Scores by true label", f"probability of {about.name}", groups, threshold=cut)


def _some(values: np.ndarray) -> Sequence[float]:
    step = max(1, len(values) // _SAMPLES)
    picked: list[float] = np.sort(values)[::step].tolist()
    return picked


def _reliability(report: EvaluationReport) -> str:
    if not report.calibration:
        return ""
    confidence, hit = confidences(report.evaluation.scores, report.evaluation.labels)
    curve = reliability(confidence, hit, _BINS)
    points = list(zip(curve.confidence.tolist(), curve.accuracy.tolist(), strict=True))
    shares = (curve.number / curve.number.sum()).tolist()
    state = "applied" if report.calibrated else "would fit"
    numbers = report.calibration
    note = (
        f"Calibration error {numbers['ece']:.4f} (bins of equal numbers {numbers['ece_mass']:.4f}), Brier score "
        f"{numbers['brier']:.4f}; temperature {report.temperature:.3g} {state}. "
        "On the line, scores mean what they say."
    )
    return reliability_chart("Calibration", points, shares, note)


def _confusion(report: EvaluationReport) -> str:
    names, counts = report.labels, report.confusion()
    if counts is None:
        return ""
    if len(names) > _LARGEST:
        return _confused_pairs(counts, names)
    head = "".join(f'<th scope="col">{escape(n)}</th>' for n in names)
    rows = []
    for k, (name, row) in enumerate(zip(names, counts.tolist(), strict=True)):
        total = sum(row) or 1
        cells = "".join(
            f'<td{" class=right" if i == k else ""} style="background:rgba(var(--shade),'
            f'{0.45 * c / total:.2f})">{c}</td>'
            for i, c in enumerate(row)
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        '<h3>Confusion</h3><div class="scroll"><table class="matrix"><thead><tr>'
        f"<th>is \\ answered</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _confused_pairs(counts: np.ndarray, names: Sequence[str]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(wrong, axis=None, kind="stable")[::-1][:_WORST]
    pairs = [divmod(int(at), len(names)) for at in order]
    rows = "".join(
        f'<tr><th scope="row">{escape(names[i])}</th><td class="text">{escape(names[k])}</td>'
        f"<td>{wrong[i, k]}</td></tr>"
        for i, k in pairs
        if wrong[i, k]
    )
    return (
        '<h3>Most confused</h3><div class="scroll"><table><thead><tr><th scope="col">is</th>'
        '<th scope="col">answered</th><th scope="col">images</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )

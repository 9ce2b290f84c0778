"""The top band: how good it is, where the threshold lies and what to expect of it, and what to doubt."""

from __future__ import annotations

from html import escape

from tinysight.evaluation.report import EvaluationReport
from tinysight.metrics.intervals import wilson_interval
from tinysight.metrics.operating_point import Rate, ThresholdResult

_SHARES = ("top1", "accuracy")  # metrics that are a share of independent images


def answer(report: EvaluationReport) -> str:
    """Three cards: the first metric, the operating point, what it was measured on."""
    return (
        '<section class="band" aria-label="The answer">'
        f"{_metric(report)}{_point(report)}{_facts(report)}</section>"
    )


def warnings(report: EvaluationReport) -> str:
    """What the data does not support, in one strip; empty if there is nothing."""
    found = list(report.threshold.warnings) if report.threshold else []
    decision, promised = report.threshold, report.expected_fpr
    if report.threshold is None and report.binary is not None:
        found.append(f"no threshold: {report.chosen}")
    if decision and decision.fpr and promised:
        rate = decision.fpr.value
        if not promised.low <= rate <= promised.high:
            found.append(
                f"the false-positive rate here, {rate:.3g}, is not what the threshold was chosen for: expected were "
                f"{promised.low:.3g} to {promised.high:.3g} (95 %); these images differ from those"
            )
    if not found:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in found)
    return f'<aside class="warnings" aria-label="Warnings"><ul>{items}</ul></aside>'


def _metric(report: EvaluationReport) -> str:
    metrics = list(report.evaluation.metrics.items())
    if not metrics:
        return '<div class="card"><span class="label">no metric</span></div>'
    (name, value), *others = metrics
    total = len(report.evaluation.labels)
    ends = ""
    if name in _SHARES:
        interval = wilson_interval(round(value * total), total)
        ends = f'<p class="note">95 %: {interval.low:.4g} to {interval.high:.4g}</p>'
    rest = "".join(
        f'<dt>{escape(k)}</dt><dd>{v:.4g}</dd><dd class="ends"></dd>'
        for k, v in others
        if not k.startswith("threshold")  # one is enough: the one in force
    )
    more = f'<dl class="rates" style="margin:8px 0 0">{rest}</dl>' if rest else ""
    return (
        f'<div class="card"><h2 class="label">{escape(name)}</h2>'
        f'<span class="big">{value:.4g}</span>{ends}{more}</div>'
    )


def _point(report: EvaluationReport) -> str:
    decision = report.threshold
    if decision is None:
        why = report.chosen
        return (
            '<div class="card" id="operating-point"><h2 class="label">Operating point</h2>'
            f'<span class="big">none</span><p class="note">{escape(why)}</p></div>'
        )
    about = report.binary.name if report.binary else ""
    ends = ""
    if decision.interval:
        low, high = decision.interval
        ends = f'<p class="note">95 %: {low:.4g} to {high:.4g}</p>'
    return (
        '<div class="card point" id="operating-point"><div>'
        '<h2 class="label">Operating point: threshold</h2>'
        f'<span class="big">{decision.threshold:.4g}</span>{ends}'
        f'</div><dl class="rates" style="margin:2px 0 0">{_rates(report, decision)}</dl>'
        f'<p class="note wide">“{escape(about)}” from this probability on; '
        f"{escape(report.chosen)}</p></div>"
    )


def _rates(report: EvaluationReport, decision: ThresholdResult) -> str:
    counts = decision.counts
    called = counts.true_positives + counts.false_positives
    rows = (
        ("false alarms (FPR)", decision.fpr, counts.false_positives, counts.negatives),
        ("found (TPR)", decision.tpr, counts.true_positives, counts.positives),
        ("precision", decision.precision, counts.true_positives, called),
    )
    text = "".join(_rate(name, rate, hits, total) for name, rate, hits, total in rows)
    if promised := report.expected_fpr:
        text += (
            "<dt>FPR expected here</dt><dd></dd>"
            f'<dd class="ends">{promised.low:.3g} to {promised.high:.3g}</dd>'
        )
    return text


def _rate(name: str, rate: Rate | None, hits: int, total: int) -> str:
    if rate is None:
        return f'<dt>{name}</dt><dd>–</dd><dd class="ends">nothing to count</dd>'
    ends = f"{hits} of {total}; 95 %: {rate.low:.3g} to {rate.high:.3g}"
    return f'<dt>{name}</dt><dd><b>{rate.value:.4g}</b></dd><dd class="ends">{ends}</dd>'


def _facts(report: EvaluationReport) -> str:
    found, latency = report.evaluation, report.latency
    rows = [("images", f"{len(found.labels):,}", "")]
    if found.unreadable:
        rows.append(("unreadable", f"{len(found.unreadable):,}", ""))
    if report.calibration:
        note = f"temperature {report.temperature:.3g}" + (" applied" if report.calibrated else "")
        rows.append(("calibration error", f"{report.calibration['ece']:.3g}", note))
    if latency:
        total = latency.total
        rows.append(("an image takes", f"{total.median:.1f} ms", f"95 of 100: {total.p95:.1f} ms"))
    cells = "".join(
        f'<dt>{name}</dt><dd><b>{value}</b></dd><dd class="ends wide">{note}</dd>'
        for name, value, note in rows
    )
    return (
        '<div class="card"><h2 class="label">Measured on</h2>'
        f'<dl class="rates" style="margin:2px 0 0">{cells}</dl></div>'
    )

"""What the report takes from a run folder: its curves, the check of its data, and what it ran on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tinysight.errors import DataError
from tinysight.evaluation.report import EvaluationReport
from tinysight.report.charts import Chart, around
from tinysight.tasks.base import TaskTable
from tinysight.validation import read_json, read_records

_CHECK = "data_check.json"
_FIRST = 3  # items of a finding
_LINES = 5  # of a chart, which has as many colours
_CHARTS = {"loss": "Training loss", "metric": "Evaluation", "lr": "Learning rate"}


def history(folder: Path | None) -> list[Chart]:
    """Curves by epoch from `metrics.jsonl`; none without it."""
    path = folder and folder / "metrics.jsonl"
    if not path or not path.is_file():
        return []
    series: dict[str, dict[str, list[tuple[float, float]]]] = {kind: {} for kind in _CHARTS}
    for number, line in enumerate(read_records(path), 1):
        values = [("loss", "loss", line.get("loss")), ("lr", "learning rate", line.get("lr"))]
        metrics, epoch = line.get("metrics", {}), line.get("epoch")
        if not isinstance(metrics, dict) or type(epoch) is not int:
            raise DataError(f"{path}:{number}", "damaged: no line of a run", "delete this line")
        values += [("metric", name, value) for name, value in metrics.items()]
        for kind, name, value in values:
            # A threshold among the metrics says where, not how good; rates lie in [0, 1].
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            if kind != "metric" or (0 <= value <= 1 and not name.startswith("threshold")):
                series[kind].setdefault(name, []).append((float(epoch), float(value)))
    shown = {kind: dict(list(lines.items())[:_LINES]) for kind, lines in series.items()}
    return [_curves(title, kind, shown[kind]) for kind, title in _CHARTS.items() if series[kind]]


def _curves(title: str, kind: str, series: dict[str, list[tuple[float, float]]]) -> Chart:
    epochs, values = zip(*(point for line in series.values() for point in line), strict=True)
    y = around(values, "" if kind == "metric" else kind)
    if kind != "metric":
        y = y._replace(low=min(y.low, 0.0))
    return Chart(title, around(epochs, "epoch"), y, series, dots=kind == "metric")


def data_check(folder: Path | None) -> TaskTable | None:
    """What `tinysight data check --json` found; no rows if nothing, None if it was not asked."""
    tree = _read(folder, _CHECK)
    findings = tree.get("findings") if tree else None
    if not isinstance(findings, list):
        return None
    rows = []
    for finding in findings:
        items = finding.get("items") if isinstance(finding, dict) else None
        if not isinstance(items, list):
            raise DataError(f"{folder}/{_CHECK}", "damaged: no findings", "delete it")
        kind, severity = (str(finding.get(key, "")) for key in ("kind", "severity"))
        first = "; ".join(_plain(item) for item in items[:_FIRST])
        rows.append((kind, severity, str(finding.get("count", len(items))), first))
    return TaskTable("Data check", ("finding", "severity", "number", "first"), rows, (1, 3))


def environment(report: EvaluationReport, folder: Path | None) -> list[TaskTable]:
    """The parts of an image's latency, versions and hardware."""
    tables, latency = [], report.latency
    if latency:
        parts = {name: getattr(latency, name) for name in latency._fields[1:]}
        rows = [(name, f"{part.median:.2f}", f"{part.p95:.2f}") for name, part in parts.items()]
        title = f"Latency per image, ms ({latency.images} timed one by one)"
        tables.append(TaskTable(title, ("part", "median", "95th percentile"), rows))
    tree = _read(folder, "environment.json")
    if tree is not None:
        cells = [(str(k), str(v)) for k, v in tree.items() if isinstance(v, str | int | float)]
        tables.append(TaskTable("Environment", (), cells, (1,)))
    return tables


def _read(folder: Path | None, name: str) -> dict[str, Any] | None:
    path = folder and folder / name
    return read_json(path, dict, "delete it") if path and path.is_file() else None


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " = ".join(map(_plain, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else f"...{text[-117:]}"

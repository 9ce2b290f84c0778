"""How the run went, and what it ran on."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from typing import Any

from tinysight.evaluation.report import EvaluationReport
from tinysight.report.charts import around, line_chart


def history(folder: Path | None) -> str:
    """Curves by epoch from `metrics.jsonl`; empty without it."""
    lines = _lines(folder / "metrics.jsonl") if folder else []
    if not lines:
        return ""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {"loss": {}, "metric": {}, "lr": {}}
    for line in lines:
        epoch = float(line["epoch"])
        values = [("loss", "loss", line.get("loss")), ("lr", "learning rate", line.get("lr"))]
        values += [("metric", name, value) for name, value in line.get("metrics", {}).items()]
        for kind, name, value in values:
            # A threshold among the metrics says where, not how good; rates lie in [0, 1].
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            if kind != "metric" or (0 <= value <= 1 and not name.startswith("threshold")):
                series[kind].setdefault(name, []).append((epoch, float(value)))
    charts = []
    for kind, title in (
        ("loss", "Training loss"),
        ("metric", "Evaluation"),
        ("lr", "Learning rate"),
    ):
        points = [point for line in series[kind].values() for point in line]
        if points:
            x = around([epoch for epoch, _ in points], "epoch")
            y = around([value for _, value in points], kind if kind != "metric" else "")
            if kind != "metric":
                y = y._replace(low=min(y.low, 0.0))
            chart = line_chart(title, x, y, series[kind], dots=kind == "metric")
            charts.append(f'<div class="card">{chart}</div>')
    return f'<section><h2>Training</h2><div class="charts">{"".join(charts)}</div></section>'


def environment(report: EvaluationReport, folder: Path | None) -> str:
    """Versions, hardware, and the parts of an image's time."""
    rows = []
    if report.latency:
        for name in report.latency._fields[1:]:
            spread = getattr(report.latency, name)
            rows.append((name, f"{spread.median:.2f}", f"{spread.p95:.2f}"))
    cards = []
    if rows and report.latency:
        cells = "".join(
            f'<tr><th scope="row">{name}</th><td>{median}</td><td>{p95}</td></tr>'
            for name, median, p95 in rows
        )
        cards.append(
            f"<h3>Time of one image, ms ({report.latency.images} timed one by one)</h3>"
            '<table><thead><tr><th scope="col">part</th><th scope="col">median</th>'
            f'<th scope="col">95 of 100 below</th></tr></thead><tbody>{cells}</tbody></table>'
        )
    path = folder and folder / "environment.json"
    if path and path.is_file():
        tree = json.loads(path.read_text("utf-8"))
        cells = "".join(
            f'<tr><th scope="row">{escape(str(k))}</th><td class="text">{escape(str(v))}</td></tr>'
            for k, v in tree.items()
            if isinstance(v, str | int | float)
        )
        cards.append(f"<h3>Environment</h3><table><tbody>{cells}</tbody></table>")
    if not cards:
        return ""
    shown = "".join(f'<div class="card scroll">{card}</div>' for card in cards)
    return f'<section><h2>Where it was measured</h2><div class="charts">{shown}</div></section>'


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]

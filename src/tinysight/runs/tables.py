"""Runs as tables for the terminal and for a page, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.files import write_atomic
from tinysight.metrics.intervals import Interval
from tinysight.report.charts import Chart, around
from tinysight.report.history import history
from tinysight.report.page import render
from tinysight.runs.compare import PairedRuns, RunComparison
from tinysight.runs.records import RunRecord
from tinysight.tasks.base import TaskTable

_COLUMNS = ("run", "task", "state", "epochs", "metric", "value", "95 %", "began")
_HEIGHTS = "▁▂▃▄▅▆▇█"
_WIDE = 48  # characters of a curve


def runs_table(runs: dict[str, RunRecord]) -> TaskTable:
    """A row for each run, under its name."""
    rows = [
        (name, run.task, run.state, f"{run.epochs}/{run.planned}", run.metric,
         f"{run.value:.4g}" if run.metric else "", span(run.intervals.get(run.metric)),
         run.began[:16].replace("T", " "))
        for name, run in runs.items()
    ]  # fmt: skip
    return TaskTable("Runs", _COLUMNS, rows, (1, 2, 4, 6, 7))


def comparison_tables(found: RunComparison) -> list[TaskTable]:
    """Everything of a comparison; without rows where there is nothing to say."""
    groups = [
        (g.name, g.metric, f"{len(g.values)}", f"{g.mean:.4g}", span(g.interval), " ".join(g.runs))
        for g in found.groups
    ]
    columns = ("recipe", "metric", "runs", "mean", "95 %", "which")
    pairs = ("", "and", "measured", "difference", "95 %", "p", "so")
    keys = [(key, *map(str, values)) for key, values in found.changed.items()]
    wide = range(1, 1 + len(found.runs))
    return [
        runs_table(found.runs),
        TaskTable("Recipes, over their seeds", columns, groups, (1, 4, 5)),
        TaskTable("Recipe against recipe", pairs, _pairs(found.recipes), (1, 2, 4, 6)),
        TaskTable("Run against run", pairs, _pairs(found.pairs), (1, 2, 4, 6)),
        TaskTable("What the recipes differ in", ("key", *found.runs), keys, (*wide,)),
    ]


def _pairs(pairs: Sequence[PairedRuns]) -> list[tuple[str, ...]]:
    return [
        (a, b, f"{measure} ({d.number})", f"{d.value:+.4f}", span(d.interval), f"{d.p:.2g}", text)
        for a, b, measure, d, _, text in pairs
    ]


def span(interval: Interval | None) -> str:
    """An interval in words; empty without one."""
    return f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else ""


def as_text(table: TaskTable) -> list[str]:
    """The table in aligned lines; numbers to the right."""
    rows = [tuple(table.columns), *table.rows] if table.columns else [*table.rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    sides = ["<" if i in (0, *table.text) else ">" for i in range(len(widths))]
    return ["  ".join(map("{:{}{}}".format, row, sides, widths)).rstrip() for row in rows]


def curve_text(values: Sequence[float]) -> str:
    """A curve in one line, from its lowest value to its highest.

    >>> curve_text([0, 1, 2, 4])
    '▁▂▄█'
    """
    step = max(1, -(-len(values) // _WIDE))
    shown, low, high = values[::-1][::step][::-1], min(values), max(values)
    return "".join(_HEIGHTS[int(7 * (v - low) / ((high - low) or 1))] for v in shown)


def write_comparison(path: str | Path, found: RunComparison) -> None:
    """Write a comparison as one page that loads nothing.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    drawn: dict[str, Chart] = {}
    for name, run in found.runs.items():
        for chart in history(run.folder):
            line: Any = next(iter(chart.series.values()))
            before = drawn.get(chart.title, chart._replace(series={}))
            lines = {**before.series, name: line}
            across, up = zip(*(point for points in lines.values() for point in points), strict=True)
            drawn[chart.title] = chart._replace(
                series=lines, x=around(across, "epoch"), y=around(up, chart.y.label)
            )
    tables = [table for table in comparison_tables(found) if table.rows]
    page = render("runs.html", found=found, tables=tables, charts=list(drawn.values()))
    write_atomic(Path(path), page)

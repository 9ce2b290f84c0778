"""List, show and compare runs.

tinysight runs list [FOLDER ...]            the runs below folders (default: runs)
tinysight runs show RUN                     its recipe, metrics with intervals, and curves
tinysight runs compare FOLDER [FOLDER ...]  which differences are noise; --out writes a page
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.runs import RunComparison, RunRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("action", choices=("list", "show", "compare"))
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="runs, or folders of runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", metavar="FILE", help="compare: write a page")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 if a run is damaged."""
    from tinysight.runs import find_runs, read_run

    if args.out and args.action != "compare":
        raise ConfigError("--out", f"runs {args.action} writes no page", "it is for compare")
    if args.action == "show" and len(args.folders) != 1:
        raise ConfigError("tinysight runs show", f"takes one run, got {len(args.folders)}")
    if args.action == "show":
        one = read_run(args.folders[0])
        return _say(args, one.to_json() | {"recipe": one.recipe}, _shown(one))
    if args.action == "compare":
        found, lines = compare(args.folders or ["runs"], args.out)
        return _say(args, found.to_json(), lines)
    runs = find_runs(args.folders or ["runs"])
    _say(args, [each.to_json() for each in runs], _listed(runs))
    return int(any(each.state == "damaged" for each in runs))


def _say(args: argparse.Namespace, tree: Any, lines: list[str]) -> int:
    print(json.dumps(tree) if args.json else "\n".join(lines))
    return 0


def _listed(runs: list[RunRecord]) -> list[str]:
    from tinysight.runs.tables import as_text, runs_table

    lines = as_text(runs_table({str(each.folder): each for each in runs}))
    return lines + [f"{each.folder} {each.state}: {each.reason}" for each in runs if each.reason]


def _shown(one: RunRecord) -> list[str]:
    from tinysight.config import load_recipe, minimal_yaml
    from tinysight.report.history import history
    from tinysight.runs.tables import as_text, curve_text, runs_table, span

    lines = [*as_text(runs_table({str(one.folder): one})), one.reason]
    for name, value in one.metrics.items():
        ends = span(one.intervals.get(name))
        lines.append(f"{name:16}  {value:.4g}" + (f"  95 %: {ends}" if ends else ""))
    curves = [line for chart in history(one.folder) for line in chart.series.items()]
    for name, points in curves:
        values = [y for _, y in points]
        lines.append(f"{name:16}  {curve_text(values)}  {values[0]:.4g} to {values[-1]:.4g}")
    recipe = minimal_yaml(load_recipe(one.folder / "recipe.yaml"))
    return [*filter(None, lines), "", recipe.rstrip()]


def compare(folders: Sequence[str | Path], page: str | None) -> tuple[RunComparison, list[str]]:
    """The comparison of the runs in folders, and the lines that tell it; writes a page where one is named."""
    from tinysight.runs import compare_runs, find_runs
    from tinysight.runs.tables import as_text, comparison_tables, write_comparison

    found, lines = compare_runs(find_runs(folders)), []
    for table in filter(lambda table: table.rows, comparison_tables(found)):
        lines += [table.title, *(f"  {line}" for line in as_text(table)), ""]
    lines += [f"note: {note}" for note in found.notes]
    if page:
        write_comparison(page, found)
    return found, [*lines, f"page: {page}" if page else "page: add --out compare.html"]

"""What a search leaves: a table as CSV, one HTML page, the best recipe as a file and the command that trains it."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any, NamedTuple

from tinysight.config import load_run, recipe_yaml
from tinysight.files import write_atomic
from tinysight.report.charts import Axis, Chart, Mark, around
from tinysight.report.page import render
from tinysight.search.plan import SearchPlan, Training
from tinysight.search.runs import TrainingResult
from tinysight.search.shas import Outcome
from tinysight.tasks.base import TaskTable

_CURVES = 8  # trainings whose curves are drawn


class Written(NamedTuple):
    """The files of `write_results`; the best recipe and its command where there is one."""

    table: Path
    page: Path
    recipe: Path | None
    command: str


def write_results(
    plan: SearchPlan, out: Outcome, results: Mapping[Training, TrainingResult]
) -> Written:
    """Write `trials.csv`, `search.html` and `best.yaml` into the folder of the study."""
    folder = Path(plan.out)
    rows = [
        (t.label, "" if r.score is None else f"{r.score:.6g}", f"{r.seconds:.0f}", r.error, r.folder,
         " ".join(t.overrides))
        for t, r in results.items()
    ]  # fmt: skip
    columns = ("tried", "score", "seconds", "error", "folder", "overrides")
    with io.StringIO() as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([columns, *rows])
        write_atomic(folder / "trials.csv", text.getvalue())
    recipe, command = None, ""
    if out.last is not None:
        overrides = list(out.last.overrides)
        if plan.output_key:
            overrides.append(f"{plan.output_key}={out.last.folder}")
        config = load_run(out.last.config, overrides)
        recipe = folder / "best.yaml"
        write_atomic(recipe, recipe_yaml(config.training_recipe))
        command = shlex.join(("tinysight", "train", "-c", str(recipe), "--out", f"{plan.out}/best"))
    won = [(name, str(value)) for name, value in out.winners.items()]
    best = max((r.score for r in results.values() if r.score is not None), default=None)
    page = render(
        "search.html", title=folder.name, base=plan.base, command=command,
        best="none" if best is None else f"{best:.5g}",
        charts=_charts(out, results), tables=[TaskTable("Best values", (), won, (1,)),
               TaskTable("Trainings", columns, rows, (3, 4, 5))],
    )  # fmt: skip
    write_atomic(folder / "search.html", page)
    return Written(folder / "trials.csv", folder / "search.html", recipe, command)


def importance(out: Outcome) -> dict[str, float]:
    """Share of the scores' variance that the values of each coordinate explain, 0 to 1."""
    found = {}
    for name, by_value in out.results.items():
        means = [fmean(scores) for scores in by_value.values() if scores]
        every = [s for scores in by_value.values() for s in scores]
        whole = pvariance(every) if len(every) > 1 else 0.0
        found[name] = min(pvariance(means) / whole, 1.0) if whole and len(means) > 1 else 0.0
    return found


def _charts(out: Outcome, results: Mapping[Training, TrainingResult]) -> list[Any]:
    done = {t: r for t, r in results.items() if r.score is not None}
    if not done:
        return []
    scores = [float(r.score or 0.0) for r in done.values()]
    y = around(scores, "score")
    costs = [(r.seconds, float(r.score or 0.0)) for r in done.values()]
    cost = Chart(
        "Cost against score", around([c for c, _ in costs], "seconds"), y,
        marks=[Mark("", *place) for place in costs],
    )  # fmt: skip
    ranked = sorted(done, key=lambda t: -float(done[t].score or 0.0))[:_CURVES]
    curves = {t.label: [(float(e), v) for e, v in done[t].curve] for t in ranked}
    points = [p for line in curves.values() for p in line]
    epochs = around([p[0] for p in points], "epoch")
    learning = Chart(
        "Best trainings", epochs, around([p[1] for p in points], "score"), curves, dots=True
    )
    shares = importance(out)
    bars = Chart(
        f"Importance: {', '.join(shares)}", Axis("", 0, max(len(shares), 1)), Axis("share of variance"),
        shares={"share of the variance of the scores": list(shares.values()) or [0.0]},
    )  # fmt: skip
    names = list(out.results)
    lines = {}
    for name in names if len(names) > 1 else ():
        by_value = out.results[name]
        ranks = [(float(i), fmean(s)) for i, s in enumerate(by_value.values()) if s]
        if len(ranks) > 1:
            lines[name] = [(i / (len(by_value) - 1), score) for i, score in ranks]
    parallel = None
    if lines:
        title = "Score of each value, from the first to the last"
        parallel = Chart(title, Axis("place in the list"), y, lines, dots=True)
    return [bars, parallel, learning, cost]

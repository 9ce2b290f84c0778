"""One run as its folder tells it: where it stands, what it measured, and how it ended."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinysight.disk import lock_file
from tinysight.errors import DataError, TinysightError
from tinysight.evaluation.outcomes import (
    ENVIRONMENT,
    EVALUATION,
    HELD,
    METRICS,
    OUTCOMES,
    RECIPE,
    read_outcomes,
)
from tinysight.files import read_yaml
from tinysight.metrics.intervals import Interval
from tinysight.validation import leaves, read_json, read_records


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        folder: its folder.
        task: name of what it makes.
        state: "finished", "running", "interrupted", "failed" or "damaged".
        reason: why it was interrupted, has failed, or cannot be read; empty where nothing is known.
        epochs: epochs done.
        planned: epochs of its recipe.
        best: the best epoch; 0 before an evaluation.
        began: time of the first start, ISO 8601; empty where it is not known.
        seconds: of all epochs.
        metrics: of the best epoch; of the evaluation at the end where there is one. The first one counts.
        intervals: 95 % intervals of metrics that have one.
        recipe: every value of the recipe by its dotted path.
        records: the lines of `metrics.jsonl`.
    """

    folder: Path
    task: str = ""
    state: str = "damaged"
    reason: str = ""
    epochs: int = 0
    planned: int = 0
    best: int = 0
    began: str = ""
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """Name of the metric that picks the best epoch; empty before an evaluation."""
        return next(iter(self.metrics), "")

    @property
    def value(self) -> float:
        """Value of that metric; NaN before an evaluation."""
        return self.metrics.get(self.metric, math.nan)

    def outcomes(self) -> tuple[str, dict[str, float]]:
        """What each evaluation image gives, as `read_outcomes`, by its path below `data.root`; empty before that."""
        path, start = self.folder / OUTCOMES, f"{Path(str(self.recipe.get('data.root')))}{os.sep}"
        name, values = read_outcomes(path) if path.is_file() else ("", {})
        return name, {image.removeprefix(start): value for image, value in values.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything but the recipe and the records, as plain data."""
        tree = asdict(self) | {"folder": str(self.folder)}
        return {key: value for key, value in tree.items() if key not in ("recipe", "records")}


def find_runs(folders: Sequence[str | Path]) -> list[RunRecord]:
    """The runs in these folders, and these folders if they are runs, in the order of the names; damaged ones too.

    Raises:
        DataError: one of the folders is missing, or holds no run.
    """
    found: dict[Path, RunRecord] = {}
    for given in map(Path, folders):
        places = []
        for place, below, files in os.walk(given):
            below.sort()
            if RECIPE in files and (METRICS in files or ENVIRONMENT in files):
                places.append(Path(place))
        if not places:
            hint = "`tinysight train --out` makes one"
            raise DataError(
                str(given), "no run in it" if given.is_dir() else "no such folder", hint
            )
        for path in places:
            try:
                found[path] = read_run(path)
            except TinysightError as error:
                found[path] = RunRecord(path, reason=str(error))
    return list(found.values())


def read_run(folder: str | Path) -> RunRecord:
    """The run in a folder.

    Raises:
        DataError: there is none, or a file of it is damaged.
    """
    path = Path(folder)
    if not (path / RECIPE).is_file():
        raise DataError(
            str(path), f"no run: it has no {RECIPE}", "`tinysight runs list` finds runs"
        )
    recipe = dict(leaves(read_yaml(path / RECIPE)))
    there = {name for name in (METRICS, ENVIRONMENT, EVALUATION) if (path / name).is_file()}
    records = read_records(path / METRICS) if METRICS in there else []
    around, evaluation = (
        read_json(path / name, dict) if name in there else {} for name in (ENVIRONMENT, EVALUATION)
    )
    try:
        starts, best = around.get("starts") or [{}], [r for r in records if r.get("best")][-1:]
        planned, epochs = int(recipe["train.epochs"]), int(records[-1]["epoch"]) if records else 0
        state = str(starts[-1].get("state") or ("finished" if epochs >= planned else "interrupted"))
        if is_running(path):
            state = "running"
        return RunRecord(
            path, str(recipe["task"]), state, str(starts[-1].get("reason", "")), epochs, planned,
            best[0]["epoch"] if best else 0, str(starts[0].get("time", "")),
            round(sum(float(record["seconds"]) for record in records), 1),
            evaluation.get("metrics") or (dict(best[0]["metrics"]) if best else {}),
            {name: Interval(*ends) for name, ends in evaluation.get("intervals", {}).items()},
            recipe, records,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(str(path), f"damaged: {type(error).__name__} {error}") from None


def is_running(folder: Path) -> bool:
    """Whether a process trains this run at the moment."""
    try:
        with (folder / f".{HELD}.part").open("rb") as file:
            lock_file(file, str(folder))
    except DataError:
        return True
    except OSError:  # not there, or not ours to read
        pass
    return False

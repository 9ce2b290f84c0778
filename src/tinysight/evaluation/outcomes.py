"""What single images tell: intervals of the metrics, and the file that two runs are compared by."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np

from tinysight.disk import ENCODABLE, write_atomic
from tinysight.errors import ConfigError, DataError
from tinysight.evaluation.predictor import Evaluation, Specs, compute_metrics
from tinysight.metrics.intervals import Interval, wilson_interval
from tinysight.metrics.paired import mean_interval

OUTCOMES = "outcomes.csv"
_SHARES = ("top1", "accuracy")  # metrics that are a share of independent images
_REPEATS = 400  # of a bootstrap
_LARGEST = 100_000  # scores; the bootstrap of more takes seconds


def metric_intervals(
    found: Evaluation, specs: Specs, outcomes: np.ndarray | None
) -> dict[str, Interval]:
    """95 % intervals of the metrics that have one.

    Shares of images have Wilson's. Other metrics of small lists are measured again on images drawn with replacement.
    The mean of `outcomes` has Student's.

    Args:
        found: the evaluation.
        specs: of its metrics.
        outcomes: what each image gives, (N,), NaN where it gives nothing; None where images cannot be told apart.
    """
    total, values = len(found.paths), found.metrics
    known = outcomes[~np.isnan(outcomes)] if outcomes is not None else np.empty(0)
    ends = mean_interval(known.tolist())
    intervals = _bootstrap(found, specs) if found.task.has_classes else {}
    for name, value in values.items():
        if name in _SHARES:
            intervals[name] = wilson_interval(round(value * total), total)
        elif name not in intervals and ends and math.isclose(known.mean(), value):
            intervals[name] = Interval(max(ends.low, 0.0), min(ends.high, 1.0))
    return {name: intervals[name] for name in values if name in intervals}


def _bootstrap(found: Evaluation, specs: Specs) -> dict[str, Interval]:
    scores, labels, count = found.scores, found.labels, len(found.paths)
    others = [n for n in found.metrics if n not in _SHARES and not n.startswith("threshold")]
    if scores.ndim != 2 or scores.size > _LARGEST or not others:
        return {}
    rng, drawn = np.random.default_rng(0), dict[str, list[float]]()
    for _ in range(_REPEATS):
        rows = rng.integers(0, count, count)
        try:
            values = compute_metrics(specs, scores[rows], labels[rows])
        except (ConfigError, DataError):  # a class is missing in this draw
            continue
        for name in others:
            if math.isfinite(values.get(name, math.nan)):
                drawn.setdefault(name, []).append(values[name])
    enough = {n: v for n, v in drawn.items() if 2 * len(v) >= _REPEATS}
    return {n: Interval(*map(float, np.quantile(v, [0.025, 0.975]))) for n, v in enough.items()}


def write_outcomes(path: Path, found: Evaluation, name: str, outcomes: np.ndarray) -> None:
    """Write a line an image: its path, and what it gives, called `name`."""
    with io.StringIO() as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("image", name))
        pairs = zip(found.paths, outcomes.tolist(), strict=True)
        writer.writerows((p, f"{value:.6g}") for p, value in pairs if not math.isnan(value))
        write_atomic(path, text.getvalue().encode("utf-8", ENCODABLE))


def read_outcomes(path: Path) -> tuple[str, dict[str, float]]:
    """The name of what was measured, and its value for each image by path.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            (_, name), *rows = csv.reader(file)
            return name, {image: float(value) for image, value in rows}
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error):
        hint = "delete it, and `tinysight eval --run` writes it anew"
        raise DataError(str(path), "damaged: no line an image", hint) from None

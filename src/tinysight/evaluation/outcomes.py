"""What single images tell: intervals of the metrics, and the file that two runs are compared by."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tinysight.disk import ENCODABLE, write_atomic
from tinysight.errors import ConfigError, DataError
from tinysight.evaluation.predictor import Evaluation, Specs, compute_metrics
from tinysight.metrics.intervals import Interval, bootstrap_interval, wilson_interval
from tinysight.metrics.paired import mean_interval

# Files of a run folder.
OUTCOMES = "outcomes.csv"
RECIPE, ENVIRONMENT = "recipe.yaml", "environment.json"
METRICS, EVALUATION = "metrics.jsonl", "evaluation.json"
HELD = "run"  # what a process that trains reserves in the folder
# Keys that a resumed run may change, since the weights do not depend on them. The data may have moved: the list's
# fingerprint is compared.
WITHOUT_EFFECT = re.compile(
    r"description|data\.root|data\.train\.root|data\.eval\.(\w+\.)?root|data\.workers"
    r"|train\.checkpoint_every|train\.loggers"
)
_SHARES = ("top1", "accuracy")  # metrics that are a share of independent images
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
    total, intervals = len(found.paths), dict[str, Interval]()
    known = np.empty(0) if outcomes is None else outcomes[~np.isnan(outcomes)]
    ends = mean_interval(known.tolist())
    small = found.task.has_classes and found.scores.ndim == 2 and found.scores.size <= _LARGEST
    for name, value in found.metrics.items():
        if name in _SHARES:
            intervals[name] = wilson_interval(round(value * total), total)
        elif small and not name.startswith("threshold"):
            with suppress(ConfigError, DataError):  # a class is missing in most draws
                intervals[name] = bootstrap_interval(
                    _measure(found, specs, name), total, repeats=200
                )
        elif ends and math.isclose(known.mean(), value):
            intervals[name] = Interval(max(ends.low, 0.0), min(ends.high, 1.0))
    return {k: v for k, v in intervals.items() if all(map(math.isfinite, v))}


def _measure(found: Evaluation, specs: Specs, name: str) -> Callable[[np.ndarray], float]:
    return lambda rows: compute_metrics(specs, found.scores[rows], found.labels[rows])[name]


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

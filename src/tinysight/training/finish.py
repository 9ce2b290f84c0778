"""The end of a run: its best network evaluated once more, the threshold chosen, the report written."""

from __future__ import annotations

import json
from pathlib import Path

from tinysight.config import Recipe
from tinysight.data.labels import label_names
from tinysight.data.lists import read_split
from tinysight.evaluation.latency import measure_latency
from tinysight.evaluation.predictor import Predict, evaluate
from tinysight.evaluation.report import Verdict, of_recipe
from tinysight.files import write_atomic
from tinysight.report import write_report
from tinysight.training.folder import RunFolder
from tinysight.training.predictor import load_predictor
from tinysight.transforms import Compose

EVALUATION = "evaluation.json"


def finish(out: str | Path) -> Verdict:
    """Judge the best network of the run in `out`; write `evaluation.json` and `report.html` there.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        DataError: the evaluation list cannot be read.
    """
    folder = RunFolder(out)
    predict, recipe = load_predictor(folder.path)
    verdict = judge(predict, recipe, latency=True)
    write_atomic(folder.path / EVALUATION, json.dumps(verdict.tree(), indent=2) + "\n")
    write_report(folder.path, verdict)
    return verdict


def judge(predict: Predict, recipe: Recipe, *, latency: bool = False) -> Verdict:
    """The verdict on a network, by the evaluation images of its own recipe.

    Args:
        predict: of `predictor`.
        recipe: of the run, resolved.
        latency: also time some images, one by one.
    """
    data = recipe.data
    labels = label_names(data)
    transforms = Compose.from_specs([t.spec for t in recipe.transforms.eval], "transforms.eval")
    found = evaluate(
        predict,
        read_split(data, data.eval),
        transforms,
        [m.spec for m in recipe.metrics],
        batch_size=data.eval_batch_size,
        labels=labels,
    )
    times = measure_latency(predict, found.paths, transforms) if latency else None
    return of_recipe(found, recipe, labels, latency=times)

"""A trained network as a callable, from a run folder or one checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.data.labels import label_names
from tinysight.errors import CheckpointError, ConfigError
from tinysight.evaluation.outcomes import EVALUATION, OUTCOMES, write_outcomes
from tinysight.evaluation.predictor import Evaluation, Predict
from tinysight.evaluation.report import EvaluationReport, Subject, assess, subject_of_recipe
from tinysight.files import write_atomic
from tinysight.models.outputs import activate, network_output
from tinysight.tasks.base import Task, task_of_recipe
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.folder import RunFolder
from tinysight.training.networks import build_model
from tinysight.transforms import Compose, decode, to_batch

if TYPE_CHECKING:
    from tinysight.pipelines.pipeline import Pipeline


def load_predictor(run_or_checkpoint: str | Path) -> tuple[Predict, Recipe]:
    """A callable from (N, 3, H, W) float32 to (N, K) probabilities, and the recipe of its run.

    Args:
        run_or_checkpoint: a run folder (its best checkpoint, else its last) or a checkpoint.

    Raises:
        CheckpointError: nothing there, or it is damaged.
    """
    model, recipe = load_model(run_or_checkpoint)
    return predictor(model.to(device()), task_of_recipe(recipe)), recipe


def subject_of_run(run_or_checkpoint: str | Path, recipe: Recipe | None = None) -> Subject:
    """What the evaluation of a run needs.

    Args:
        run_or_checkpoint: as for `load_predictor`.
        recipe: names other images and metrics. Default: the run's own.
    """
    predict, own = load_predictor(run_or_checkpoint)
    return subject_of_recipe(predict, recipe or own)._replace(labels=label_names(own.data))


def subject_of_weights(recipe: Recipe, weights: str | Path | None) -> Subject:
    """As `subject_of_run`, of the network of a resolved recipe with weights as `trained_model` takes them."""
    model, _ = trained_model(recipe, weights)
    return subject_of_recipe(predictor(model.to(device()), task_of_recipe(recipe)), recipe)


def pipeline_of_weights(
    recipe: Recipe, weights: str | Path | None, batch_size: int
) -> Pipeline[Any]:
    """From images to the results of a recipe's network, without a bundle.

    Args:
        recipe: a resolved recipe.
        weights: as `trained_model` takes them.
        batch_size: images a batch, at least 1.
    """
    subject = subject_of_weights(recipe, weights)
    decide = subject.task.postprocess(recipe.export.postprocess.spec, subject.labels)
    return network_pipeline(subject.predict, subject.transforms, decide, batch_size, subject.task)


def network_pipeline(
    predict: Predict, transforms: Compose, decide: Callable[[Any], list[Any]], batch_size: int,
    task: Task,
) -> Pipeline[Any]:  # fmt: skip
    """From images to results through a network that is no bundle, by the plainest way there is.

    Args:
        predict: (N, C, H, W) float32 to scores.
        transforms: from a decoded image to one input; not random.
        decide: from scores to results.
        batch_size: images a batch, at least 1.
        task: of the network.
    """
    from tinysight.pipelines.pipeline import Pipeline, Steps

    def run(rows: list[Any]) -> Any:
        scores = predict(np.concatenate([row for row, _ in rows]))
        return task.in_images(scores, [size for _, size in rows])

    steps = Steps(
        decode=decode,
        prepare=lambda pixels: (to_batch([transforms(pixels)]), pixels.shape[:2]),
        run=run,
        decide=decide,
    )
    return Pipeline(steps, batch_size)


def evaluate_run(run_or_checkpoint: str | Path) -> Evaluation:
    """The network of `load_predictor` on the evaluation images and metrics of its own recipe."""
    return assess(subject_of_run(run_or_checkpoint)).evaluation


def finish(out: str | Path) -> EvaluationReport:
    """Assess the best network of the run in `out`; write what `record_report` writes.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        DataError: the evaluation list cannot be read.
    """
    report = assess(subject_of_run(out), latency=True, every=True)
    record_report(out, report)
    return report


def record_report(out: str | Path, report: EvaluationReport) -> Path:
    """Write a report on the run in `out` there, with what each image gives as `outcomes.csv`; returns the page."""
    from tinysight.report import write_report

    write_atomic(Path(out) / EVALUATION, json.dumps(report.to_json(), indent=2) + "\n")
    task = report.task
    if (outcomes := task.outcomes(report.scored)) is not None:
        write_outcomes(Path(out) / OUTCOMES, report.evaluation, task.outcome, outcomes)
    return write_report(out, report)


def load_model(run_or_checkpoint: str | Path) -> tuple[nn.Module, Recipe]:
    """The trained network on the CPU in evaluation mode, and its recipe; otherwise as
    `load_predictor`.
    """
    path = find_checkpoint(run_or_checkpoint)
    checkpoint = load_checkpoint(path)
    recipe, problems = check_tree(checkpoint.recipe, str(path))
    if recipe is None:
        raise ConfigError.of(f"recipe in {path}", problems)
    model = build_model(recipe)
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        what = f"does not fit the network of its recipe: {error}"
        raise CheckpointError(str(path), what) from None
    return model.eval(), recipe


def trained_model(recipe: Recipe, weights: str | Path | None) -> tuple[nn.Module, Path]:
    """The network of a recipe with all weights of a file, on the CPU in evaluation mode, and that file.

    Args:
        recipe: a resolved recipe.
        weights: as `find_pretrained` takes them: a checkpoint, weights of PaddleClas; None: those that the recipe
            begins with, classifier included.

    Raises:
        CheckpointError: they do not fit, or there are none.
    """
    if weights is None and (not recipe.model.pretrained or recipe.model.skip):
        hint = "train first, or name weights (Global.pretrained_model)"
        raise CheckpointError(recipe.task, "no trained weights for this number of classes", hint)
    from tinysight.training.pretrained import find_pretrained, load_pretrained

    model = build_model(recipe)
    wanted = recipe.model.pretrained if weights is None else str(weights)
    path = find_pretrained(wanted or "", recipe.model.backbone.name)
    load_pretrained(model, path)
    _check_labels(recipe, path)
    return model.eval(), path


def _check_labels(recipe: Recipe, path: Path) -> None:
    """Raise `CheckpointError` if `path` is of a run whose outputs stand for other labels than those of the recipe."""
    try:
        data = load_checkpoint(path).recipe["data"]
    except (CheckpointError, KeyError, TypeError):  # weights of another kind say no labels
        return
    there, here = data.get("labels"), label_names(recipe.data)
    unnamed = isinstance(there, list) and here == tuple(map(str, range(len(there))))
    if isinstance(there, list) and tuple(there) != here and not unnamed:
        what = f"its outputs are {', '.join(map(str, there[:10]))}; the recipe's labels are {', '.join(here[:10])}"
        raise CheckpointError(str(path), what, "use the labels of its run, in their order")


def predictor(model: nn.Module, task: Task, temperature: float = 1.0) -> Predict:
    """`model`, as it is now, as a callable of NumPy arrays to scores, all in float32.

    Args:
        model: any network that `run_network` runs.
        task: task of the model; gives the output of the network and its activation.
        temperature: divides the outputs.
    """
    place: Any = next(model.parameters()).device

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(place)
            outputs = network_output(model, batch, task.source).float()
            scores: np.ndarray = activate(outputs, task.activation, temperature).cpu().numpy()
            return scores

    return predict


def device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """The file that `load_model` reads; raises as it does when there is none."""
    path = Path(run_or_checkpoint)
    if path.is_file():
        return path
    folder = RunFolder(path)
    for choice in (folder.best, folder.last, folder.previous):
        if choice.is_file():
            return choice
    what = "no checkpoint in this folder yet" if path.is_dir() else "no such run or checkpoint"
    raise CheckpointError(str(path), what)

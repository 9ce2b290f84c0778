"""From a run's best checkpoint to a bundle, written whole or not at all."""

from __future__ import annotations

import importlib
import json
import logging
import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tinysight import __version__, registry
from tinysight.bundle import CARD, MODEL, Bundle, fill, new_bundle
from tinysight.bundle.manifest import Input, Manifest, Parity, ShippedThreshold, utc_now
from tinysight.certificate import compare as certificates
from tinysight.certificate.compare import Side, edge_case_inputs
from tinysight.certificate.record import Certificate, to_files
from tinysight.certificate.verify import compare_all
from tinysight.config import Recipe, recipe_yaml
from tinysight.data.labels import label_names, resolve_labels
from tinysight.data.lists import read_split
from tinysight.errors import DataError, ExportError
from tinysight.evaluation import threshold as thresholds
from tinysight.evaluation.compare import Comparison
from tinysight.evaluation.predictor import Predict
from tinysight.evaluation.report import assess, subject_of_recipe
from tinysight.export.card import card
from tinysight.export.onnx import CELLS, INPUT, to_onnx
from tinysight.export.variants import files_of, spread
from tinysight.files import sha256
from tinysight.metrics.operating_point import ThresholdResult
from tinysight.models.detector import PicoDet
from tinysight.pipelines.sources import Source
from tinysight.plugins import find_plugin
from tinysight.tasks.base import Task, task_of_bundle, task_of_recipe
from tinysight.training import predictor as trained
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.folder import RunFolder
from tinysight.training.predictor import predictor
from tinysight.transforms import Compose

logger = logging.getLogger(__name__)

_IMAGES = 200  # of the evaluation list, evenly spread, for the parity check


def export_bundle(
    run_or_checkpoint: str | Path | None, out: str | Path, *, recipe: Recipe | None = None,
    images: Source | None = None, tolerance: float = 1e-4, overwrite: bool = False,
    licence: str = "",
) -> Bundle:  # fmt: skip
    """Make a bundle of a trained network and check that it gives the same results.

    Images of the run's evaluation list (up to 200, evenly spread) and those of `images` run from file
    to score through torch and through the written bundle. The largest difference and the number of
    changed labels go into the manifest. Then the files of `certificate.compare` run through torch and
    every installed engine; the table and torch's results become part of the bundle. If the recipe asks
    for an operating point or for calibrated scores, the evaluation images are evaluated first to
    choose them.

    Args:
        run_or_checkpoint: a run folder (its best checkpoint) or a checkpoint. With `recipe`: any weights that
            `trained_model` takes.
        out: folder of the bundle; appears whole or not at all.
        recipe: recipe of the network, in place of the one in the checkpoint.
        images: more images to compare on, on disk.
        tolerance: largest accepted difference of a score.
        overwrite: True to replace a bundle at `out`.
        licence: licence of the network, for its card.

    Raises:
        ExportError: the results differ by more than `tolerance`, an engine breaks the certificate,
            there is no image to compare, the transforms are random, or the validation images allow no
            operating point. Nothing is left at `out` then.
        BundleError: `out` exists and may not be replaced.
        ConfigError: the post-processor is not one of the recipe's task.
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    model: nn.Module
    if recipe is None:
        path = trained.find_checkpoint(run_or_checkpoint or "")
        model, recipe = trained.load_model(path)
    else:
        model, path = trained.trained_model(recipe, run_or_checkpoint)
    recipe = resolve_labels(recipe)
    task = task_of_recipe(recipe)
    task.check_postprocess(recipe.export.postprocess.name)
    transforms = shipped_transforms(recipe)
    steps = Compose.from_specs(transforms, "transforms.eval")
    height, width, channels = steps.output_shape()
    compared = _images(recipe, images)
    labels = label_names(recipe.data) if task.has_classes else ()
    chosen = _chosen(model, recipe, task)
    postprocess = thresholds.with_threshold(recipe.export.postprocess.spec, chosen.threshold)
    outputs, inside = (task.output, *task.more_outputs), recipe.export.nms
    if isinstance(model, PicoDet) and not inside:
        outputs, postprocess = CELLS, {**postprocess, "suppress": model.rule}
    manifest = Manifest(
        recipe.task, Input(INPUT, (None, channels, height, width), "float32"), outputs[0],
        tuple(transforms), postprocess, labels, recipe.description, licence, chosen.point,
        made_with=_versions(), created=utc_now(), more_outputs=outputs[1:],
        **_measured(path, recipe, chosen),
    )  # fmt: skip
    with new_bundle(out, overwrite=overwrite) as draft:
        network = to_onnx(
            model, (channels, height, width), opset=recipe.export.opset,
            metadata={"task": recipe.task, "labels": json.dumps(labels)}, source=task.source,
            activation=task.activation, outputs=outputs, temperature=chosen.temperature,
        )  # fmt: skip
        fill(draft, manifest, {MODEL: network})
        ready, absent = certificates.installed_engines(Bundle.load(draft))
        side = torch_side(predictor(model, task, chosen.temperature), steps, manifest)
        row = compare_images(side, ready["onnxruntime"], compared)
        if not row.max_score_difference <= tolerance:  # nan is no parity either
            hint = "please report it, with the recipe"
            raise ExportError(str(out), f"{row}; accepted are {tolerance:g}", hint)
        made_with = {k: manifest.made_with[k] for k in ("torch", "onnxruntime")}
        parity = Parity(row.images, row.max_score_difference, row.label_flips or 0, made_with)
        manifest = manifest._replace(parity=parity)
        reference = side.outputs(edge_case_inputs())
        engines, problems = compare_all(ready, reference)
        if problems:
            raise ExportError.of(f"certificate of {out}", problems)
        certificate = Certificate(f"torch {side.version}", tuple(engines), absent)
        # Only scores of classes are recorded; `verify` compares other results between engines.
        files = to_files(manifest, certificate, reference) if task.records_scores else {}
        files |= {MODEL: network, CARD: card(manifest, certificate).encode()}
        fill(draft, manifest, files)
        bundle = Bundle.load(draft)
    return replace(bundle, folder=Path(out))


def torch_side(predict: Predict, transforms: Compose, manifest: Manifest) -> Side:
    """The network itself, from the bytes of a file to its result, by the plainest way there is.

    Args:
        predict: the network that was validated.
        transforms: those that it was validated with.
        manifest: of the bundle that is made of it.
    """
    decide = registry.postprocesses.build(manifest.postprocess, labels=manifest.labels)
    task = task_of_bundle(manifest)
    pipeline = trained.network_pipeline(predict, transforms, decide, certificates.BATCH, task)
    return Side(partial(certificates.engine_outputs, pipeline, manifest), str(torch.__version__))


def compare_images(trained: Side, shipped: Side, images: Sequence[str]) -> Comparison:
    """Compare the network with what was made of it; images that neither reads are left out.

    Args:
        trained: the network that was validated.
        shipped: the bundle in an engine.
        images: paths of images.

    Raises:
        ExportError: no image can be read, or the two sides read different ones.
    """
    sides = trained.outputs(images), shipped.outputs(images)
    rows, apart = certificates.compare_kinds(*sides, {"parity": images})
    if apart:
        raise ExportError("parity", "the bundle reads other images than the network was given")
    if not rows:
        raise ExportError("parity", "none of the images can be read", "name others with --images")
    return rows["parity"]


def shipped_transforms(recipe: Recipe) -> list[dict[str, Any]]:
    """The evaluation transforms without those that make labelled images of unlabelled ones."""
    shipped = []
    for i, component in enumerate(recipe.transforms.eval):
        step = Compose.from_specs([component.spec], f"transforms.eval.{i}")
        if step.sets_label:
            continue
        if step.random:
            what = f"{component.name} is random; a bundle gives one image one answer"
            raise ExportError(f"transforms.eval.{i}", what, "move it to transforms.train")
        shipped.append(component.spec)
    return shipped


def _images(recipe: Recipe, images: Source | None) -> list[str]:
    """Files to compare on; those of the evaluation list if it is still there."""
    found = []
    try:
        found = spread(read_split(recipe.data, recipe.data.first_eval), _IMAGES)
    except DataError as error:
        if images is None:
            what = "no image to compare on: the run's evaluation list cannot be read"
            raise ExportError(error.problems[0].where, what, "name images with --images") from error
    found += [] if images is None else files_of(images)
    return list(dict.fromkeys(str(sample.path) for sample in found))


class _Chosen(NamedTuple):
    """What the validation images decide: the operating point and the temperature."""

    point: ShippedThreshold | None = None
    threshold: ThresholdResult | None = None
    metrics: dict[str, float] = {}  # measured here; empty if those of the run hold
    temperature: float = 1.0


def _chosen(model: nn.Module, recipe: Recipe, task: Task) -> _Chosen:
    """The operating point; the validation images are evaluated if the recipe asks for a choice.

    Raises:
        ConfigError: the recipe asks for an operating point that its post-processor has no use for.
        ExportError: the validation images cannot give the one that it asks for.
    """
    section = recipe.export
    if section.operating_point is None and not section.calibrate:
        value = section.postprocess.spec.get("threshold")
        if not isinstance(value, int | float):
            return _Chosen()
        text = "set in the recipe (export.postprocess.threshold)"
        return _Chosen(ShippedThreshold(float(value), text))
    thresholds.check_operating_point(section, label_names(recipe.data), task)
    report = assess(subject_of_recipe(predictor(model, task), recipe))
    from_point = section.operating_point is not None
    if from_point and report.threshold is None:
        raise ExportError("export.operating_point", report.chosen)
    temperature = (report.temperature or 1.0) if section.calibrate else 1.0
    metrics = report.evaluation.metrics
    if report.threshold is None:
        return _Chosen(metrics=metrics, temperature=temperature)
    for warning in report.threshold.warnings:
        logger.warning("%s", warning)
    point, numbers = thresholds.threshold_to_manifest(report.threshold, from_point)
    return _Chosen(point, report.threshold, metrics | numbers, temperature)


def _plugins(recipe: Recipe) -> list[dict[str, Any]]:
    """Name and hash of the run's plugins, and which of the bundle's components each registered."""
    parts = [(t.name, registry.transforms.plugin(t.name)) for t in recipe.transforms.eval]
    postprocess = recipe.export.postprocess.name
    parts.append((postprocess, registry.postprocesses.plugin(postprocess)))
    records = []
    for plugin in recipe.plugins:
        needed = [(p, file) for p, file in parts if file and Path(file).name == plugin.name]
        digest = find_plugin(needed[0][1]).sha256 if needed else plugin.sha256
        names = [part for part, _ in needed]
        records.append({"name": plugin.name, "sha256": digest, "needed_for": names})
    return records


def _measured(path: Path, recipe: Recipe, chosen: _Chosen) -> dict[str, Any]:
    """The manifest's `metrics` and `recipe`: how good the network is, and where it comes from."""
    # The evaluation whose weights these are, with its epoch; empty if nobody measured them.
    is_best = path.resolve() == RunFolder(path.parent.parent).best.resolve()
    best = load_checkpoint(path).state.best if is_best else {}
    metrics = chosen.metrics or best.get("metrics", {})
    plugins = _plugins(recipe)
    origin = {
        **({"plugins": plugins} if plugins else {}), "sha256": sha256(recipe_yaml(recipe).encode()),
        "backbone": recipe.model.backbone.name, "seed": recipe.train.seed,
        "epoch": best.get("epoch"), "checkpoint_sha256": sha256(path.read_bytes()),
        "target": recipe.data.target, "temperature": chosen.temperature,
    }  # fmt: skip
    # A threshold may be infinite (nothing is positive), which no manifest can hold.
    finite = {k: float(v) for k, v in metrics.items() if math.isfinite(v)}
    return {"metrics": finite, "recipe": origin}


def _versions() -> dict[str, str]:
    names = ("torch", "onnx", "onnxruntime", "numpy", "cv2")
    versions = {name: str(importlib.import_module(name).__version__) for name in names}
    return {"tinysight": __version__, "python": platform.python_version(), **versions}

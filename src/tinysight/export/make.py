"""A run's best network becomes a bundle, or nothing does."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinysight import __version__
from tinysight.bundle import CARD, MODEL, Bundle, fill, new_bundle
from tinysight.config import Recipe, recipe_yaml
from tinysight.data.lists import read_split
from tinysight.errors import ConfigError, DataError, ExportError
from tinysight.export.card import card
from tinysight.export.onnx import INPUT, OUTPUT, to_onnx
from tinysight.export.parity import measure
from tinysight.files import sha256
from tinysight.manifest import NO_CLASSES, Input, Manifest, OperatingPoint, utc_now
from tinysight.pipelines.sources import Source, pictures
from tinysight.train.checkpoint import load_checkpoint
from tinysight.train.folder import RunFolder
from tinysight.train.predictor import find_checkpoint, load_model, predictor
from tinysight.transforms import Compose

_PICTURES = 200  # of the evaluation list, evenly spread, for the parity check


def export_bundle(
    run_or_checkpoint: str | Path,
    out: str | Path,
    *,
    images: Source | None = None,
    tolerance: float = 1e-4,
    overwrite: bool = False,
    licence: str = "",
) -> Bundle:
    """Make a bundle of a trained network and prove that it answers the same.

    Pictures of the run's evaluation list (up to 200, evenly spread) and those of `images` are sent
    from file to score through torch and through the written bundle. The largest difference and the
    number of changed labels go into the manifest.

    Args:
        run_or_checkpoint: a run folder (its best checkpoint) or a checkpoint.
        out: the bundle's folder; appears whole or not at all.
        images: more pictures to compare with, on disk.
        tolerance: the largest difference of a score that is accepted.
        overwrite: replace a bundle at `out`.
        licence: of the network, as its card says it.

    Raises:
        ExportError: the answers differ by more than `tolerance`, there is no picture to compare,
            or the transforms are random. Nothing is left at `out` then.
        BundleError: `out` exists and may not be replaced.
        ConfigError: the post-processor is not a classifier's.
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    path = find_checkpoint(run_or_checkpoint)
    model, recipe = load_model(path)
    if (kind := recipe.export.postprocess.name) in NO_CLASSES:
        what = f"{kind}: what a recipe trains is a classifier, whose answers are classes"
        raise ConfigError("export.postprocess", what, "topk or threshold")
    transforms = shipped_transforms(recipe)
    height, width, channels = Compose.from_specs(transforms, "transforms.eval").output_shape()
    compared = _pictures(recipe, images)
    best = _best(path)
    with new_bundle(out, overwrite=overwrite) as draft:
        manifest = Manifest(
            task=recipe.task,
            description=recipe.description,
            licence=licence,
            input=Input(INPUT, (None, channels, height, width), "float32"),
            output=OUTPUT,
            transforms=tuple(transforms),
            postprocess=recipe.export.postprocess.spec,
            labels=recipe.data.labels,
            threshold=_threshold(recipe),
            # A threshold may be infinite (nothing is positive), which no manifest can say.
            metrics={k: float(v) for k, v in best.get("metrics", {}).items() if math.isfinite(v)},
            recipe=_provenance(path, recipe, best),
            made_with=_versions(),
            created=utc_now(),
        )
        network = to_onnx(
            model,
            (channels, height, width),
            opset=recipe.export.opset,
            metadata={"task": recipe.task, "labels": json.dumps(recipe.data.labels)},
        )
        fill(draft, manifest, {MODEL: network})
        engines = {k: manifest.made_with[k] for k in ("torch", "onnxruntime")}
        parity = measure(predictor(model), manifest, draft, compared, engines)
        if not parity.max_score_difference <= tolerance:  # nan is no parity either
            raise ExportError(
                str(out),
                f"scores differ by up to {parity.max_score_difference:.3g} on {parity.pictures} "
                f"pictures, {parity.label_flips} labels change; accepted are {tolerance:g}",
                "please report it, with the recipe",
            )
        manifest = manifest._replace(parity=parity)
        fill(draft, manifest, {MODEL: network, CARD: card(manifest).encode()})
        bundle = Bundle.load(draft)
    return replace(bundle, folder=Path(out))


def shipped_transforms(recipe: Recipe) -> list[dict[str, Any]]:
    """The evaluation transforms without those that make labelled pictures of unlabelled ones."""
    shipped = []
    for i, component in enumerate(recipe.transforms.eval):
        step = Compose.from_specs([component.spec], f"transforms.eval.{i}")
        if step.sets_label:
            continue
        if step.random:
            what = f"{component.name} is random; a bundle gives one picture one answer"
            raise ExportError(f"transforms.eval.{i}", what, "move it to transforms.train")
        shipped.append(component.spec)
    return shipped


def _pictures(recipe: Recipe, images: Source | None) -> list[Path]:
    """Files to compare on; those of the evaluation list if it is still there."""
    found: list[Path] = []
    data = recipe.data
    try:
        samples = read_split(data, data.eval)
    except DataError as error:
        if images is None:
            what = "no picture to compare on: the run's evaluation list cannot be read"
            raise ExportError(
                str(Path(data.root) / data.eval.list), what, "name pictures with --images"
            ) from error
    else:
        step = max(1, math.ceil(len(samples) / _PICTURES))
        found = [samples[i].path for i in range(0, len(samples), step)]
    extra = [] if images is None else [picture.data for picture in pictures(images)]
    found += [Path(data) for data in extra if isinstance(data, str)]
    return list(dict.fromkeys(found))


def _threshold(recipe: Recipe) -> OperatingPoint | None:
    value = recipe.export.postprocess.spec.get("threshold")
    if value is None:
        return None
    return OperatingPoint(float(value), "set in the recipe (export.postprocess.threshold)")


def _best(path: Path) -> dict[str, Any]:
    """The evaluation whose weights these are, with its epoch; empty if nobody measured them."""
    best = RunFolder(path.parent.parent).best
    return load_checkpoint(path).state.best if path.resolve() == best.resolve() else {}


def _provenance(path: Path, recipe: Recipe, best: dict[str, Any]) -> dict[str, Any]:
    return {
        "sha256": sha256(recipe_yaml(recipe).encode()),
        "backbone": recipe.model.backbone.name,
        "seed": recipe.train.seed,
        "epoch": best.get("epoch"),
        "checkpoint_sha256": sha256(path.read_bytes()),
    }


def _versions() -> dict[str, str]:
    import cv2
    import numpy
    import onnx
    import onnxruntime
    import torch

    modules: Sequence[Any] = (torch, onnx, onnxruntime, numpy, cv2)
    return {
        "tinysight": __version__,
        "python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in modules},
    }

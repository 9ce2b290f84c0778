"""A model from wherever it lies, and how good it is: `tinysight.load` and `tinysight.evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.bundle import Bundle
from tinysight.errors import BundleError, ConfigError, DataError
from tinysight.pipelines.pipeline import BundlePipeline, open_bundle

if TYPE_CHECKING:
    from tinysight.data.lists import Sample
    from tinysight.evaluation.report import EvaluationReport

_RECIPE = "recipe.yaml"  # of a run folder


def load(model: str | os.PathLike[str] | Bundle, **options: Any) -> BundlePipeline[Any]:
    """A model that is called on images: `load("runs/flowers")("a.jpg")`.

    Args:
        model: a run (what `train` returns, or its folder), whose exported bundle is meant; a bundle, its folder, or
            the name of one that is shipped.
        options: those of `Classifier` or `Detector`.

    Raises:
        BundleError: there is no such bundle, the run has none yet, or it was altered.
        ConfigError: an option is refused.
    """
    return open_bundle(_bundle(model), **options)


def evaluate(
    model: str | os.PathLike[str] | Bundle, images: str | os.PathLike[str] | None = None
) -> EvaluationReport:
    """How good a model is on labelled images, through its bundle as it is shipped.

    Args:
        model: as for `load`.
        images: a folder with a folder for each class, or a list or CSV file beside the images. Default: the validation
            images of the run.

    Returns:
        `report.evaluation.metrics`, `report.label_rates()`, `report.confusion()` and more.

    Raises:
        BundleError: as `load`.
        DataError: the images or their labels cannot be read.
        ConfigError: `images` is missing, and `model` is no run.
    """
    from tinysight.evaluation.report import assess, subject_of_bundle

    bundle = _bundle(model)
    if images is not None:
        return assess(subject_of_bundle(bundle), _labelled(Path(images), bundle.manifest.labels))
    recipe = None if isinstance(model, Bundle) else Path(model) / _RECIPE
    if recipe is None or not recipe.is_file():
        raise ConfigError("images", "which images?", "a folder of classes or a list; or give a run")
    from tinysight.config import load_recipe

    return assess(subject_of_bundle(bundle, load_recipe(recipe)))


def _bundle(model: str | os.PathLike[str] | Bundle) -> Bundle:
    if isinstance(model, Bundle):
        return model
    path = Path(model)
    if not (path / _RECIPE).is_file():
        return Bundle.load(os.fspath(model))
    if not (path / "bundle").is_dir():
        hint = f"`tinysight export --run {path}` makes it"
        raise BundleError(str(path), "this run has no bundle yet", hint)
    return Bundle.load(path / "bundle")


def _labelled(source: Path, labels: tuple[str, ...]) -> Sequence[Sample]:
    from tinysight.data.audit.sources import sides_of_lists

    (side,), _ = sides_of_lists([source], labels, target="class")
    if side.bad:
        raise DataError.of(str(source), side.bad[0].problems())
    return side.samples

"""Whether a bundle answers as the network it was made of, from a file's bytes to the label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import Manifest, Parity
from tinysight.certificate.compare import (
    EngineOutputs,
    compare_kinds,
    engine_outputs,
    installed_engines,
)
from tinysight.certificate.files import edge_case_files
from tinysight.certificate.record import Certificate
from tinysight.certificate.verify import compare_all
from tinysight.errors import ExportError
from tinysight.evaluation.predictor import Predict
from tinysight.pipelines.comparable import decide
from tinysight.pipelines.pipeline import open_bundle
from tinysight.pipelines.sources import ImageInput
from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import has_scores
from tinysight.tasks.results import Unreadable
from tinysight.training.predictor import network_pipeline
from tinysight.transforms import Compose

_BATCH = 16


def measure(
    predict: Predict,
    manifest: Manifest,
    draft: Path,
    images: Sequence[Path],
    engines: dict[str, str],
) -> Parity:
    """Send images through `predict` and through the bundle in `draft`, and compare.

    Images that cannot be read are left out on both sides.

    Raises:
        ExportError: no image can be read, or the two sides read different ones.
    """
    paths = [str(path) for path in images]
    expected = _outputs(predict, Compose.from_specs(manifest.transforms), manifest, paths)
    found = engine_outputs(open_bundle(draft, batch_size=_BATCH, exact=True), paths)
    rows, apart = compare_kinds(expected, found, {"parity": paths})
    if apart:
        raise ExportError(str(draft), "the bundle reads other images than the network was given")
    if not rows:
        raise ExportError("parity", "none of the images can be read", "name others with --images")
    row = rows["parity"]
    return Parity(row.images, row.max_score_difference, row.label_flips or 0, engines)


def certify(
    predict: Predict, transforms: Compose, bundle: Bundle, where: str
) -> tuple[Certificate, EngineOutputs]:
    """The files of the certificate through torch and through every engine that runs `bundle` here.

    Args:
        predict: the network that was validated.
        transforms: those that it was validated with.
        bundle: what was made of it.
        where: place that it will lie at, for the message.

    Raises:
        ExportError: a label changes, a score moves too far, or a file is read by one side only.
    """
    files = [ImageInput(file.name, file.data) for file in edge_case_files()]
    reference = _outputs(predict, transforms, bundle.manifest, files)
    ready, absent = installed_engines(bundle)
    engines, problems = compare_all(ready, reference)
    if problems:
        raise ExportError.of(f"certificate of {where}", problems)
    return Certificate(f"torch {torch.__version__}", tuple(engines), absent), reference


def _outputs(
    predict: Predict,
    transforms: Compose,
    manifest: Manifest,
    images: Sequence[ImageInput | str],
) -> EngineOutputs:
    """The results of the network itself for the images that can be read, by the plainest way there is."""
    spec, names = manifest.postprocess, manifest.labels
    scored = has_scores(spec)
    decision = partial(decide, manifest) if scored else postprocesses.build(spec, labels=names)
    results = network_pipeline(predict, transforms, decision, _BATCH).stream(images)
    return {r.filename: r for r in results if not isinstance(r, Unreadable)}

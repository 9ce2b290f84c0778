"""Whether a bundle answers as the network it was made of, from a file's bytes to the label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import Manifest, Parity
from tinysight.certificate.answers import Answers, answers
from tinysight.certificate.compare import compare, installed_engines
from tinysight.certificate.files import edge_case_files
from tinysight.certificate.record import Certificate
from tinysight.certificate.verify import compare_all
from tinysight.errors import ExportError, ImageError
from tinysight.evaluation.predictor import Predict
from tinysight.pipelines.classify import Classifier
from tinysight.transforms import Compose, decode, to_batch

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
    compose = Compose.from_specs(manifest.transforms)
    expected = Answers(dict(_answers(predict, compose, zip(paths, images, strict=True))))
    found = answers(Classifier(draft, batch_size=_BATCH, exact=True), paths)
    rows, apart = compare(manifest, expected, found, {"parity": paths})
    if apart:
        raise ExportError(str(draft), "the bundle reads other images than the network was given")
    if not rows:
        raise ExportError("parity", "none of the images can be read", "name others with --images")
    row = rows["parity"]
    return Parity(row.images, row.max_score_difference, row.label_flips, engines)


def certify(
    predict: Predict, transforms: Compose, bundle: Bundle, where: str
) -> tuple[Certificate, Answers]:
    """The files of the certificate through torch and through every engine that runs `bundle` here.

    Args:
        predict: the network that was validated.
        transforms: those that it was validated with.
        bundle: what was made of it.
        where: it will lie, for the message.

    Raises:
        ExportError: a label changes, a score moves too far, or a file is read by one side only.
    """
    named = [(file.name, file.data) for file in edge_case_files()]
    reference = Answers(dict(_answers(predict, transforms, named)))
    ready, absent = installed_engines(bundle)
    engines, problems = compare_all(bundle, ready, reference)
    if problems:
        raise ExportError.of(f"certificate of {where}", problems)
    return Certificate(f"torch {torch.__version__}", tuple(engines), absent), reference


def _answers(
    predict: Predict, compose: Compose, sources: Iterable[tuple[str, bytes | Path]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Scores (K,) of each image that can be read, by the plainest way there is."""
    names: list[str] = []
    images: list[np.ndarray] = []
    for name, source in sources:
        try:
            images.append(compose(decode(source)))
        except (ImageError, OSError):
            continue
        names.append(name)
        if len(images) == _BATCH:
            yield from zip(names, predict(to_batch(images)), strict=True)
            names, images = [], []
    if images:
        yield from zip(names, predict(to_batch(images)), strict=True)

"""Whether a bundle answers as the network it was made of, from a file's bytes to the score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinysight.errors import ExportError, ImageError
from tinysight.evaluate import Predict
from tinysight.manifest import Manifest, Parity
from tinysight.pipelines.classify import Classifier
from tinysight.registry import postprocesses
from tinysight.transforms import Compose, decode, to_batch

_BATCH = 16


def measure(
    predict: Predict,
    manifest: Manifest,
    draft: Path,
    images: Sequence[Path],
    engines: dict[str, str],
) -> Parity:
    """Send pictures through `predict` and through the bundle in `draft`, and compare.

    Pictures that cannot be read are left out on both sides.

    Raises:
        ExportError: no picture can be read, or the two sides read different ones.
    """
    names, expected = _scores(predict, Compose.from_specs(manifest.transforms), images)
    classifier = Classifier(draft, batch_size=_BATCH)
    found = list(classifier.scores([str(p) for p in images]))
    if [n for batch, _ in found for n in batch] != names:
        raise ExportError(str(draft), "the bundle reads other pictures than the network was given")
    if not names:
        raise ExportError("parity", "none of the pictures can be read", "name others with --images")
    actual = np.concatenate([scores for _, scores in found])
    answer = postprocesses.build(manifest.postprocess, labels=manifest.labels)
    flips = sum(
        # The best of one class out of many; of several labels at once also how many there are.
        a["class_ids"][:1] != b["class_ids"][:1] or len(a["class_ids"]) != len(b["class_ids"])
        for a, b in zip(answer(expected), answer(actual), strict=True)
    )
    difference = float(np.abs(expected.astype(np.float64) - actual).max())
    return Parity(len(names), difference, flips, engines)


def _scores(
    predict: Predict, compose: Compose, images: Sequence[Path]
) -> tuple[list[str], np.ndarray]:
    names: list[str] = []
    scores: list[np.ndarray] = []
    for path in images:
        try:
            scores.append(predict(to_batch([compose(decode(path.read_bytes()))])))
        except (ImageError, OSError):
            continue
        names.append(str(path))
    return names, np.concatenate(scores) if scores else np.zeros((0, 0), np.float32)

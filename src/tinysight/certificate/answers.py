"""What a bundle says about images, as numbers that can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle.manifest import NO_CLASSES, Manifest
from tinysight.pipelines.classify import Classifier
from tinysight.pipelines.sources import ImageInput
from tinysight.registry import postprocesses
from tinysight.tasks.answers import without_scores
from tinysight.tasks.results import Unreadable
from tinysight.transforms.header import read_header


class Answers(NamedTuple):
    """What was answered about each file that was read, by the file's name.

    Attributes:
        scores: of a classifier (K,), one for each class; of a network that describes images (D,),
            the vector; of a detector (B, 6), a row for each box above the bundle's threshold: label
            id, score, and x1, y1, x2, y2 as shares of the image's width and height.
        partial: whether NaN is a score that nobody kept.
        said: the label of each file as the side itself gave it; None where it follows from the scores.
    """

    scores: dict[str, np.ndarray]
    partial: bool = False
    said: dict[str, Any] | None = None

    def of(self, names: Iterable[str]) -> np.ndarray:
        """Those of these files in one array, a row for each; not of boxes."""
        return np.stack([self.scores[name] for name in names])

    def labels(self, manifest: Manifest, names: Sequence[str], scores: np.ndarray) -> list[Any]:
        """The label of each of these files, by what the side said of it or by these scores (N, K)."""
        if self.said is None:
            return labels(manifest, scores)
        return [self.said[name] for name in names]


def answers(classifier: Classifier, images: Sequence[ImageInput | str]) -> Answers:
    """What a bundle says about each image, from the bytes of its file on."""
    found: dict[str, np.ndarray] = {}
    kind = classifier.manifest.postprocess["name"]
    if kind not in NO_CLASSES:
        for names, scores in classifier.scores(images):
            found.update(zip(names, scores, strict=True))
        return Answers(found)
    for image, item in zip(images, classifier.stream(images), strict=True):
        if not isinstance(item, Unreadable):
            found[item["filename"]] = as_array(kind, item, image)
    return Answers(found)


def as_array(kind: str, answer: Mapping[str, Any], image: ImageInput | str) -> np.ndarray:
    """A vector, (D,), or the boxes, (B, 6), of an answer about this image; see `Answers`.

    Raises:
        KeyError, TypeError, ValueError: it is no such answer.
    """
    if kind == "embedding":
        return _numbers(answer["embedding"], 1)
    corners = _numbers(answer["boxes_xyxy"] or np.zeros((0, 4)), 2)
    corners = corners / np.tile(_sides(image), 2)
    ids, scores = _numbers(answer["label_ids"], 1), _numbers(answer["scores"], 1)
    return np.column_stack([ids, scores, corners])


def labels(manifest: Manifest, scores: np.ndarray) -> list[Any]:
    """What the bundle's post-processing makes of each row, without how sure it is.

    Of the best of many classes only the first counts, which is the last among equals as in `topk`:
    whether two that are as good as equal come fourth or fifth is no answer that anybody acts on.
    """
    if only_the_best(manifest):
        return (scores.shape[1] - 1 - scores[:, ::-1].argmax(axis=1)).tolist()  # type: ignore[no-any-return]
    answer = postprocesses.build(manifest.postprocess, labels=manifest.labels)
    return [without_scores(said) for said in answer(scores)]


def only_the_best(manifest: Manifest) -> bool:
    """Whether an image's label is its best class and nothing else."""
    return manifest.postprocess["name"] in ("topk", "scores")


def _numbers(values: Any, axes: int) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != axes or array.size and array.dtype.kind not in "if":
        raise ValueError(f"expected numbers along {axes} axes")
    return array.astype(np.float64)


def _sides(image: ImageInput | str) -> tuple[int, int]:
    """Width and height as it is shown, of an image that was read."""
    data = image if isinstance(image, str) else image.data
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    header = read_header(Path(data).read_bytes() if isinstance(data, str) else data)
    turned = header.orientation >= 5
    return (header.height, header.width) if turned else (header.width, header.height)

"""A recogniser: what a detector finds in an image is embedded and looked up in a gallery.

Adding a class to the gallery needs images of it and no training. Source: PaddleClas' PP-ShiTuV2 (`predict_system.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.system import SYSTEM, Rules, System
from tinysight.errors import BundleError
from tinysight.gallery.base import Match, Metric, Store, is_distance
from tinysight.gallery.decide import Decision, decision_of
from tinysight.metrics.suppression import Suppression, multiclass_nms
from tinysight.pipelines.detect import Detector
from tinysight.pipelines.pipeline import Classifier, Pipeline, Steps, default_workers
from tinysight.tasks.postprocess import result_type
from tinysight.tasks.results import CodeResult, EmbeddingResult, RecognitionResult, Result
from tinysight.transforms.decode import decode

if TYPE_CHECKING:
    from tinysight.gallery.gallery import Gallery

DETECTOR, EMBEDDER = "detector", "embedder"  # names of a system's members
_CROPS = 32  # that the network takes at once


class _Image(NamedTuple):
    pixels: np.ndarray  # (H, W, 3)
    row: Any  # what the detector takes; None without one


class Embedded(NamedTuple):
    """Parts of an image as vectors.

    Attributes:
        boxes: (B, 4) integers, left, top, right and bottom in pixels, inside the image.
        vectors: (B, D) float32, or (B, D / 8) uint8 where the embedder gives bits.
    """

    boxes: np.ndarray
    vectors: np.ndarray


class Recognizer(Pipeline[RecognitionResult]):
    """A system and a gallery, ready to recognise. Holds no state between calls, as every pipeline.

    Args:
        system: a system or its folder, with a `detector` and an `embedder`; or an embedding bundle or its folder, which
            looks up whole images.
        gallery: what is looked up in: a `Gallery` or its folder, made with the same embedder, or a `Store`. It is read
            anew for every batch, so it may change meanwhile.
        rules: in place of the system's own, and of what was calibrated for the gallery (`gallery calibrate`).
        detect: False to look up whole images alone, with a system too.
        as_paddleclas: treat distances as `predict_system.py` does: an L2 distance is a match where it is *at least* the
            threshold, and of overlapping boxes the *farthest* is kept.
        batch_size: images at a time, >= 1; their crops are embedded together. The results do not depend on it.
        threads: CPU threads of a network, >= 1.
        workers: images (or batches) in parallel; default: as for `Classifier`.
        engine: what runs the networks; see `Classifier`.
        precision: of the networks; see `Classifier`.

    Raises:
        BundleError: no such system, or a member is missing or of another kind.
        ConfigError: an argument is out of range.
        GalleryError: no such gallery, or another bundle made it.

    >>> recognizer = Recognizer("system", "gallery")  # doctest: +SKIP
    >>> recognizer("shelf.jpg").label_names  # doctest: +SKIP
    ('cola', 'lemonade')
    """

    def __init__(
        self, system: str | Path | System | Bundle, gallery: Gallery | Store | str | Path, *,
        rules: Rules | None = None, detect: bool = True, as_paddleclas: bool = False,
        batch_size: int = 1, threads: int = 1,
        workers: int | None = None, engine: str = "onnxruntime", precision: str = "f32",
    ) -> None:  # fmt: skip
        detector, embedder, own = members_of(system)
        self.rules, self.gallery = rules or own, _store(gallery, embedder)
        self._calibrated = rules is None
        self._as_paddleclas = as_paddleclas
        self._detector: Detector | None = None
        options: dict[str, Any] = {"engine": engine, "precision": precision, "threads": threads}
        options |= {"batch_size": batch_size, "workers": workers}
        if detector and detect:
            self._detector = Detector(limited(detector, self.rules), **options)
        self.embedder = Classifier(embedder, **options)
        self._crops = 1 if self.embedder.manifest.input.shape[0] == 1 else _CROPS
        if workers is None:
            workers = default_workers(embedder.folder, threads, engine)
        steps = Steps(decode, self._prepared, self.embedded, self._recognised)
        super().__init__(steps, batch_size, workers)

    def _prepared(self, pixels: np.ndarray) -> _Image:
        return _Image(pixels, self._detector.steps.prepare(pixels) if self._detector else None)

    def embedded(self, images: Sequence[_Image]) -> list[Embedded]:
        """The boxes of each image, those of the detector first, by falling score, and their vectors."""
        boxes = [np.empty((0, 4)) for _ in images]
        if self._detector:
            rows = [image.row for image in images]
            steps = self._detector.steps
            boxes = [found.boxes_xyxy for found in steps.decide(steps.run(rows))]
        whole = self.rules.append_whole_image or not self._detector
        inside = [
            inside_image(b, i.pixels.shape, whole) for b, i in zip(boxes, images, strict=True)
        ]
        crops = [
            image.pixels[y1:y2, x1:x2]
            for image, own in zip(images, inside, strict=True)
            for x1, y1, x2, y2 in own.tolist()
        ]
        vectors = self.vectors(crops)
        ends = np.cumsum([len(own) for own in inside])[:-1]
        return [Embedded(*pair) for pair in zip(inside, np.split(vectors, ends), strict=True)]

    def vectors(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """The vectors of B images, each uint8 RGB (H, W, 3): (B, D)."""
        steps, found = self.embedder.steps, list[np.ndarray]()
        for start in range(0, len(crops), self._crops):
            rows = [steps.prepare(crop) for crop in crops[start : start + self._crops]]
            found += map(vector_of, steps.decide(steps.run(rows)))
        return np.stack(found) if found else np.empty((0, self.gallery.dim), np.float32)

    def matches(
        self, images: Sequence[Embedded], decision: Decision | None = None
    ) -> list[list[Match | None]]:
        """What each box of each image is said to be, by a decision (default: the gallery's of now)."""
        vectors = [image.vectors for image in images if len(image.vectors)]
        if not vectors or not self.gallery.count():
            return [[None] * len(image.boxes) for image in images]
        decision = decision or self._decision()
        k = max(self.rules.top_k, decision.k)
        found = iter(self.gallery.search(np.concatenate(vectors), k))
        return [[decision.decide(next(found)) for _ in image.boxes] for image in images]

    def _decision(self) -> Decision:
        """What was calibrated for the gallery, which may say that a box is unknown, unless the caller gave rules."""
        return decision_of(self.gallery) if self._calibrated else Decision(self.gallery.metric)

    def _recognised(self, images: Sequence[Embedded]) -> list[RecognitionResult]:
        rules, metric, decision = self.rules, self.gallery.metric, self._decision()
        if self._calibrated and decision.calibrated:
            rules = rules._replace(score_threshold=np.inf if is_distance(metric) else -np.inf)
        pairs = zip(images, self.matches(images, decision), strict=True)
        return [
            recognised(i.boxes, found, metric, rules, self._as_paddleclas) for i, found in pairs
        ]


def members_of(system: str | Path | System | Bundle) -> tuple[Bundle | None, Bundle, Rules]:
    """The detector, the embedder and the rules of a system; of a bundle alone no detector.

    Raises:
        BundleError: there is none, it has no embedder, or a member is of another kind.
    """
    if isinstance(system, str | Path):
        is_system = (Path(system) / SYSTEM).exists()
        system = System.load(system) if is_system else Bundle.load(system)
    if isinstance(system, Bundle):
        where, detector, embedder, rules = system.folder, None, system, Rules()
    else:
        where, rules, members = system.folder, system.manifest.rules, system.members
        if EMBEDDER not in members:
            what = f"has no member {EMBEDDER!r}, but {', '.join(members)}"
            raise BundleError(str(where), what, "`tinysight export --system` makes one")
        detector, embedder = members.get(DETECTOR), members[EMBEDDER]
    kinds = (EmbeddingResult, CodeResult)
    if result_type(embedder.manifest.postprocess) not in kinds:
        what = f"the results of {embedder.manifest.task} are no vectors"
        raise BundleError(str(where), what, "recognition needs an embedding bundle")
    return detector, embedder, rules


def limited(detector: Bundle, rules: Rules) -> Bundle:
    """A detector's bundle that gives the boxes that the rules let through, best first."""
    spec = {**detector.manifest.postprocess, "equal": True}
    spec |= {"threshold": rules.threshold, "keep": rules.max_detections}
    return replace(detector, manifest=detector.manifest._replace(postprocess=spec, threshold=None))


def _store(gallery: Gallery | Store | str | Path, embedder: Bundle) -> Store:
    from tinysight.gallery.gallery import Gallery

    if isinstance(gallery, str | Path):
        gallery = Gallery(gallery)
    if not isinstance(gallery, Gallery):
        return gallery
    gallery.check_model(embedder)
    found: Store = gallery.store
    return found


def inside_image(boxes: np.ndarray, shape: Sequence[int], whole: bool) -> np.ndarray:
    """Boxes (B, 4) in whole pixels, clipped to an image of (H, W, ...); what is empty then is left out.

    Args:
        boxes: left, top, right, bottom; fractions are cut off, as in PaddleClas.
        shape: of the image.
        whole: append the image itself.
    """
    height, width = shape[:2]
    found = np.nan_to_num(boxes).astype(np.int64)
    found = found.clip(0, np.array([width, height] * 2))
    found = found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]
    return np.concatenate([found, [[0, 0, width, height]]]) if whole else found


def vector_of(result: Result) -> np.ndarray:
    """What a gallery keeps of a result: (D,) float32, or (D / 8,) uint8."""
    if isinstance(result, CodeResult):
        return result.code.astype(np.uint8)
    return np.asarray(result.embedding, np.float32)  # type: ignore[attr-defined]


def recognised(
    boxes: np.ndarray, matches: Sequence[Match | None], metric: Metric, rules: Rules,
    as_paddleclas: bool = False,
) -> RecognitionResult:  # fmt: skip
    """The matches that pass the threshold, and of boxes that overlap the best; best first.

    Args:
        boxes: (B, 4) integers.
        matches: of each box.
        metric: of the gallery, which says whether a score is a distance.
        rules: `score_threshold` and `nms_threshold` are used.
        as_paddleclas: see `Recognizer`.
    """
    kind = np.int64 if metric == "hamming" else np.float32
    scores: np.ndarray = np.array([match.score if match else 0 for match in matches], kind)
    distance = is_distance(metric)
    below = distance and not (as_paddleclas and metric == "l2")
    threshold = rules.score_threshold
    good = scores <= threshold if below else scores >= threshold
    places = np.flatnonzero(good & np.array([match is not None for match in matches], bool))
    rank = scores[places].astype(np.float32) * (-1 if distance and not as_paddleclas else 1)
    rule = Suppression(-np.inf, -1, rules.nms_threshold, -1, normalized=False)
    kept = places[multiclass_nms(boxes[places].astype(np.float32), rank[None], rule)[1]]
    left = [match for i in kept.tolist() if (match := matches[i])]
    labels, ids = (tuple(m.label for m in left), tuple(m.id for m in left))
    return RecognitionResult("", labels, scores[kept], ids, boxes[kept])

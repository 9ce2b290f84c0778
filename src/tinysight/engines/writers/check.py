"""How far a form's answers lie from those of `model.onnx`, on real images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinysight.bundle.manifest import Manifest
from tinysight.data.lists import read_list
from tinysight.engines.base import Session
from tinysight.errors import DataError, ExportError, ImageError
from tinysight.pipelines.sources import iter_images
from tinysight.transforms import Compose, decode, to_batch

LIMITS = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 5e-2}  # of a score; int8 is judged by its labels
_BATCH = 8
_MOST = 1000  # images, evenly spread


@dataclass(frozen=True)
class Images:
    """Files on disk, and their class ids where they are known."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None = None

    def spread(self, most: int) -> Images:
        """At most so many, evenly spread."""
        step = max(1, -(-len(self.paths) // most))
        labels = None if self.labels is None else self.labels[::step]
        return Images(self.paths[::step], labels)


def find_images(source: str | Path, classes: int, most: int = _MOST) -> Images:
    """The images of a folder, a pattern or a list; with class ids if it is a list that says them.

    Raises:
        DataError: there are none.
    """
    path = Path(source)
    if path.suffix in (".txt", ".csv") and path.is_file():
        try:
            samples = read_list(path, path.parent, classes)
        except DataError:
            pass  # a list of paths alone, then
        else:
            labels = tuple(int(sample.label) for sample in samples)
            return Images(tuple(sample.path for sample in samples), labels).spread(most)
    found = (image.data for image in iter_images(str(source)))
    return Images(tuple(Path(data) for data in found if isinstance(data, str))).spread(most)


def batches(manifest: Manifest, found: Images) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The network's input (N, C, H, W), and which images these are; unreadable ones are left out."""
    compose = Compose.from_specs(manifest.transforms)
    ready: list[np.ndarray] = []
    which: list[int] = []
    for i, path in enumerate(found.paths):
        try:
            ready.append(compose(decode(path)))
        except (ImageError, OSError):
            continue
        which.append(i)
        if len(ready) == _BATCH:
            yield to_batch(ready), which
            ready, which = [], []
    if ready:
        yield to_batch(ready), which


@dataclass
class Comparison:
    """What a form changes; grows by batches."""

    images: int = 0
    max_score_difference: float = 0.0
    label_flips: int = 0
    right: int = 0  # images that the form labels as they are labelled
    right_before: int = 0
    labelled: bool = False
    _sums: list[float] = field(default_factory=list)

    @property
    def mean_score_difference(self) -> float:
        """Over all images and classes."""
        return float(np.mean(self._sums)) if self._sums else 0.0

    @property
    def lost_points(self) -> float | None:
        """Accuracy lost, in per cent points."""
        return 100 * (self.right_before - self.right) / self.images if self.labelled else None

    @property
    def changed_points(self) -> float:
        """Share of images with another label, in per cent points."""
        return 100 * self.label_flips / max(self.images, 1)

    def add(
        self, expected: np.ndarray, actual: np.ndarray, labels: Sequence[int] | None = None
    ) -> None:
        """One more batch of scores (N, K)."""
        difference = np.abs(expected.astype(np.float64) - actual)
        # A form that answers nan differs, and by more than any limit.
        largest = float(difference.max()) if np.isfinite(difference).all() else float("inf")
        self.max_score_difference = max(self.max_score_difference, largest)
        self._sums += difference.mean(axis=1).tolist()
        before, after = expected.argmax(axis=1), actual.argmax(axis=1)
        self.label_flips += int((before != after).sum())
        self.images += len(expected)
        if labels is not None:
            self.labelled = True
            self.right_before += int((before == labels).sum())
            self.right += int((after == labels).sum())

    def refuse(self, where: str, precision: str, limit: float | None, max_loss: float) -> None:
        """Raise if the form may not be shipped.

        Raises:
            ExportError: a score differs by more than `limit` (default: that of the precision), or
                for int8 more than `max_loss` per cent points of accuracy are lost, or where nothing
                is labelled that share of labels changes.
        """
        if precision == "int8" and limit is None:
            lost = self.lost_points if self.labelled else self.changed_points
            assert lost is not None
            if lost > max_loss or not np.isfinite(self.max_score_difference):
                kind = "points of accuracy are lost" if self.labelled else "% of the labels change"
                what = f"{lost:.2f} {kind} on {self.images} images, accepted are {max_loss:g}"
                hint = "calibrate on more, or more typical, images, or accept it with --max-loss"
                raise ExportError(where, what, hint)
            return
        accepted = LIMITS.get(precision, np.inf) if limit is None else limit
        if not self.max_score_difference <= accepted:
            what = (
                f"scores differ by up to {self.max_score_difference:.3g} from model.onnx on "
                f"{self.images} images, {self.label_flips} labels change; accepted: {accepted:g}"
            )
            raise ExportError(where, what, "please report it, with the bundle")


def compare(
    manifest: Manifest, found: Images, exact: Session, forms: Mapping[str, Session]
) -> dict[str, Comparison]:
    """Show every image to `model.onnx` and to each form.

    Raises:
        ExportError: none of the images can be read.
    """
    results = {name: Comparison() for name in forms}
    for batch, which in batches(manifest, found):
        expected = exact.run(batch)
        labels = None if found.labels is None else [found.labels[i] for i in which]
        for name, session in forms.items():
            results[name].add(expected, session.run(batch), labels)
    if any(not result.images for result in results.values()):
        raise ExportError("--images", "none of the images can be read", "name others")
    return results

"""Labelled images of a list file or a folder, stored compactly, and the one way to read one."""

from __future__ import annotations

import bisect
import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from tinysight.errors import ImageError
from tinysight.transforms.base import Label
from tinysight.transforms.boxes import framed, padded, with_boxes
from tinysight.transforms.decode import decode

if TYPE_CHECKING:
    from tinysight.transforms import Compose

UNLABELLED = -1
_SHOWN = 10  # names in a message


def has_many(labels: np.ndarray) -> bool:
    """True for K labels of 0 or 1 an image, (N, K); False for one label an image, (N,)."""
    return labels.ndim > 1


class Sample(NamedTuple):
    """One image, its label, and the line of the list that names it (0: a folder does).

    `label` is a class id, an identity, a number, or (K,) int8 of 0 and 1 for several labels; -1 if
    unknown.
    """

    path: Path
    label: Label
    line: int


class ListSection(NamedTuple):
    """The part of a `SampleList` that came from one list file or folder.

    `start` is the place of its first image, `line` that image's line (0: none, a folder).
    """

    source: Path
    root: Path
    start: int = 0
    line: int = 1


@dataclass(frozen=True, eq=False, repr=False)
class SampleList(Sequence[Sample]):
    """The images of one split, in the order of its lists.

    The paths lie in one block of bytes and the numbers in a few arrays: a million entries are a
    handful of objects, which forked loader processes share and spawned ones receive in one piece.

    Attributes:
        sections: the lists and folders, in order; there is at least one.
        paths: the paths, one after the other.
        ends: place in `paths` where each one ends, (N,) int64.
        labels: class ids or identities, (N,) int32, numbers, (N,) float32, or 0 and 1 by label,
            (N, K) int8; -1 for an image without a label.
        cameras: ids of cameras, (N,) int32; None where the list names none.
        queries: images in front that are searched in the others, the gallery; None where there is no gallery.
        passed_over: paths in the folders that are no images by their names, or folders that are not entered.
    """

    sections: tuple[ListSection, ...]
    paths: bytes
    ends: np.ndarray
    labels: np.ndarray
    cameras: np.ndarray | None = None
    queries: int | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The first list file or folder: where a message says the problem is."""
        return self.sections[0].source

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # raises IndexError, counts from the end
        section = self.section(i)
        start = self.ends[i - 1] if i else 0
        path = self.paths[start : self.ends[i]].decode("utf-8", "surrogateescape")
        label = self.labels[i]
        line = section.line + i - section.start if section.line else 0
        return Sample(section.root / path, label if label.ndim else label.item(), line)

    @property
    def truth(self) -> np.ndarray:
        """What a metric compares predictions with, (N,) or (N, K); of boxes objects (N,) of rows (B + 1, 7)."""
        return self.labels

    def section(self, index: int) -> ListSection:
        """The list or folder that image `index`, from 0, came from."""
        return self.sections[bisect.bisect_right(self.sections, index, key=lambda s: s.start) - 1]

    def with_labels(self, labels: np.ndarray) -> SampleList:
        """The same images with other labels, (N,) int32 or (N, K) int8."""
        return replace(self, labels=labels)

    def path_hashes(self) -> np.ndarray:
        """A number for each path, (N,) int64; the same path has the same one, in this process."""
        ends = [section.start for section in self.sections[1:]] + [len(self)]
        numbers, start = np.empty(len(self), np.int64), 0
        for section in self.sections:
            root, stop = hash(section.root), ends.pop(0)
            for i in range(section.start, stop):
                path = self.paths[start : self.ends[i]]
                numbers[i] = hash((root, path))
                start = int(self.ends[i])
        return numbers

    def fingerprint(self) -> str:
        """SHA-256 of paths and labels: two lists with the same one train the same."""
        digest = hashlib.sha256(self.paths)
        digest.update(self.ends.astype("<i8").tobytes())
        number = "<f4" if self.labels.dtype.kind == "f" else "<i4"
        digest.update(self.labels.astype(number).tobytes())
        digest.update(b"" if self.queries is None else str(self.queries).encode())
        return digest.hexdigest()

    def with_gallery(self, other: SampleList) -> SampleList:
        """These images as queries, and behind them those of `other`, in which they are searched."""
        count, moved = len(self), len(self.paths)
        later = tuple(s._replace(start=s.start + count) for s in other.sections)
        cameras = None
        if self.cameras is not None and other.cameras is not None:
            cameras = np.concatenate([self.cameras, other.cameras])
        return SampleList(
            (*self.sections, *later),
            self.paths + other.paths,
            np.concatenate([self.ends, other.ends + moved]),
            np.concatenate([self.labels, other.labels]),
            cameras,
            count,
            (*self.passed_over, *other.passed_over),
        )

    def roles(self) -> dict[str, np.ndarray]:
        """What a metric of retrieval may ask about each image: `cameras`, `queries` (bool); each where it is known."""
        found = {} if self.cameras is None else {"cameras": self.cameras}
        if self.queries is not None:
            found["queries"] = np.arange(len(self)) < self.queries
        return found


class Gathered:
    """A `SampleList` being read: `begin` a section, then `add` its images."""

    def __init__(
        self, num_labels: int | None = None, typecode: str = "i", limit: int | None = None
    ) -> None:
        self.num_labels = num_labels  # K of several labels; 0: that of the first image
        self.limit = limit  # images to keep, the first ones; None: all
        self.sections: list[ListSection] = []
        self.paths = bytearray()
        self.ends = array("q")
        self.labels = array(typecode)
        self.cameras = array("i")
        self.passed_over: list[str] = []  # what else lies in the folders
        self.quiet = False  # whether the caller tells of it

    def __len__(self) -> int:
        return len(self.ends)

    def begin(self, source: Path, root: Path, line: int = 1) -> None:
        """What is added from now on comes from `source`."""
        self.sections.append(ListSection(source, root, len(self), line))

    def gap(self, line: int) -> None:
        """Something was left out: the next image is that of line `line`."""
        last = self.sections[-1]
        if last.start == len(self):
            self.sections.pop()
        self.sections.append(last._replace(start=len(self), line=line))

    def add(self, path: bytes, label: float | Sequence[int], camera: int = -1) -> None:
        """One image; a label of -1 stands for all K."""
        self.paths += path
        self.ends.append(len(self.paths))
        self.cameras.append(camera)
        if self.num_labels is None:
            self.labels.append(label)  # type: ignore[arg-type]
            return
        several = label if isinstance(label, Sequence) else [int(label)] * self.num_labels
        self.num_labels = self.num_labels or len(several)
        self.labels.extend(several)

    def done(self) -> SampleList:
        """Everything that was added, up to the limit."""
        shape = (-1,) if self.num_labels is None else (len(self), -1)
        labels = np.array(self.labels).reshape(shape)[: self.limit]
        cameras = np.array(self.cameras, np.int32)[: self.limit]
        ends = np.array(self.ends, np.int64)[: self.limit]
        known = cameras if len(cameras) and cameras.max() >= 0 else None
        paths = bytes(memoryview(self.paths)[: int(ends[-1]) if len(ends) else 0])
        first, *later = self.sections
        sections = (first, *(section for section in later if section.start < len(ends)))
        return SampleList(sections, paths, ends, labels, known, None, tuple(self.passed_over))


def are_boxes(label: Label) -> bool:
    """True for a label of boxes, rows (B, 7); see `transforms.boxes`."""
    return isinstance(label, np.ndarray) and label.ndim == 2


def stacked_labels(labels: Sequence[Label]) -> np.ndarray:
    """Labels of a batch as float32 (N,), (N, K) or boxes (N, G, 5), or as int64 (N,)."""
    if any(map(are_boxes, labels)):
        return padded(labels)  # type: ignore[arg-type]
    values = np.asarray(labels)
    continuous = has_many(values) or values.dtype.kind == "f"
    return values.astype(np.float32 if continuous else np.int64)


def collected_labels(labels: Sequence[Label]) -> np.ndarray:
    """Labels of an evaluation as float (N,), int64 (N,) or (N, K), or objects (N,) of boxes."""
    if any(map(are_boxes, labels)):
        found = np.empty(len(labels), object)
        found[:] = labels
        return found
    values = np.array(labels)
    return values if values.dtype.kind == "f" and len(values) else values.astype(np.int64)


def doubts(train: SampleList, others: Iterable[SampleList], names: Sequence[str]) -> list[str]:
    """What is probably not meant in the lists of a training, in words; only the lists are looked at, not the images.

    Args:
        train: the training images.
        others: the evaluation images.
        names: label names by class id.
    """
    found, paths, labels = [], train.path_hashes(), train.labels
    if not has_many(labels) and labels.dtype.kind == "i":
        known = labels >= 0  # the same image may be there without a label
        pairs = np.unique(np.stack([paths, labels.astype(np.int64)], axis=1)[known], axis=0)
        if several := len(pairs) - len(np.unique(paths[known])):
            found.append(f"{several} training images are listed again with another label")
        there = set(np.unique(labels).tolist())
        empty = [name for i, name in enumerate(names) if i not in there]
        if empty and known.any():
            shown = ", ".join(empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
            found.append(f"{len(empty)} of {len(names)} labels have no training image: {shown}")
    for other in others:
        if both := int(np.isin(other.path_hashes(), paths).sum()):
            what = f"{both} of {len(other)} evaluation images are also trained on"
            found.append(f"{what} ({other.source})")
    return found


def read_sample(
    sample: Sample, transforms: Compose, rng: np.random.Generator | None,
    shared: Sequence[int] | None = None,
) -> tuple[np.ndarray, Label]:  # fmt: skip
    """Decode and transform one image.

    Args:
        sample: the image and its label.
        transforms: from the image to an input.
        rng: of this image; None in an evaluation.
        shared: seed of what the images of a batch have in common, such as their size.

    Returns:
        The input (H, W, C) and its label, which a transform may have set. Boxes (B, 7) become rows (G, 5) of class id
        and corners in the input; in an evaluation they stay as they are, behind a row for the image.

    Raises:
        ImageError: the file is missing, not an image, or not one that the transforms can take.
    """
    image = decode(sample.path)
    try:
        if not are_boxes(sample.label):
            return transforms.with_label(image, sample.label, rng, shared)
        if rng is None:
            return transforms(image), framed(sample.label, image)  # type: ignore[arg-type]
        return with_boxes(transforms, image, sample.label, rng, shared)  # type: ignore[arg-type]
    except ImageError as error:
        where, what, hint = error.problems[0]
        raise ImageError(str(sample.path), f"{where}: {what}", hint) from None

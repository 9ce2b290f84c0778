"""Images with annotated boxes, of COCO and Pascal VOC, as the lists of a recipe have them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinysight.data.labels import roots
from tinysight.data.samples import Gathered, SampleList
from tinysight.data.targets import Form, RowReader, Target
from tinysight.errors import ConfigError, DataError, nearest
from tinysight.transforms.boxes import COLUMNS, framed

if TYPE_CHECKING:
    from tinysight.config.schema import Data, Split
    from tinysight.data.prepare.annotations import Photograph, Read

logger = logging.getLogger(__name__)

_SHOWN = 10  # boxes that a message names
_LEAST = 1e-2  # side of a box in pixels


@dataclass(frozen=True, eq=False, repr=False)
class BoxList(SampleList):
    """Images with boxes; `labels` are the numbers of boxes.

    Attributes:
        rows: all boxes, image by image, (M, 7) float64; see `transforms.boxes`.
    """

    rows: np.ndarray = field(default_factory=lambda: np.empty((0, COLUMNS)))

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if isinstance(index, slice):
            return found
        i = range(len(self))[index]
        return found._replace(label=self.rows[self._starts[i] : self._starts[i + 1]])

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.append(0, np.cumsum(self.labels, dtype=np.int64))

    @property
    def truth(self) -> np.ndarray:
        """Each image's boxes behind a frame of one pixel, so that shares of it are pixels."""
        found = np.empty(len(self), object)
        one = np.empty((1, 1))
        for i in range(len(self)):
            found[i] = framed(self[i].label, one)
        return found

    def with_labels(self, labels: np.ndarray) -> SampleList:
        """The same images without boxes, with other labels."""
        return SampleList(self.sections, self.paths, self.ends, labels)

    def fingerprint(self) -> str:
        """SHA-256 of paths and boxes."""
        return hashlib.sha256(super().fingerprint().encode() + self.rows.tobytes()).hexdigest()


class BoxTarget(Target):
    """The boxes of an image; they come from annotation files, not from lists."""

    typecode: ClassVar[str] = "i"

    def reader(self, form: Form) -> RowReader:
        """Refuse lists.

        Raises:
            ConfigError: always.
        """
        what = "boxes are in annotation files"
        raise ConfigError("data.train", what, "give coco or voc, not a list")

    def names(self, data: Data) -> tuple[str, ...]:
        """The names of the training images' boxes: in the order of COCO's category ids, or sorted."""
        from tinysight.data.prepare.annotations import coco_names

        if data.merge:
            return ("foreground",)
        found: dict[str, None] = {}
        for file in _files(data, data.train) if data.train.voc is None else ():
            found |= dict.fromkeys(coco_names(file))
        for _, (photographs, _) in _read(data, data.train) if not found else ():
            found |= dict.fromkeys(sorted({box.name for p in photographs for box in p.boxes}))
        return tuple(found)

    def read_split(self, data: Data, split: Split, names: Sequence[str]) -> BoxList:
        """The images of a split with their boxes.

        A box of no area, or with a number that is none, is left out; one that reaches out of its image is cut to it,
        and left out if it is outside. Each is counted and the first are named in the log. Images without boxes stay.

        Raises:
            DataError: an annotation cannot be read, or has a name that is no label.
        """
        ids = {name: i for i, name in enumerate(names)}
        into, rows, faults = Gathered(None, "i", split.limit), list[np.ndarray](), list[str]()
        for source, (photographs, problems) in _read(data, split):
            if problems:
                raise DataError.of(str(source), problems)
            into.begin(source, Path(), 0)
            for photograph in photographs:
                if split.limit is not None and len(into) >= split.limit:
                    break
                own = _rows(photograph, ids, data.merge, source, faults)
                into.add(str(photograph.path).encode("utf-8", "surrogateescape"), len(own))
                rows.append(own)
        if faults:
            more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            text = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
            logger.warning("%d boxes are cut or left out:%s%s", len(faults), text, more)
        if not rows:
            raise DataError(str(into.sections[0].source), "no images in this file")
        found = into.done()
        parts = found.sections, found.paths, found.ends, found.labels
        return BoxList(*parts, rows=np.concatenate(rows))


def _read(data: Data, split: Split) -> Iterable[tuple[Path, Read]]:
    """What each annotation file of a split holds."""
    from tinysight.data.prepare.annotations import read_coco, read_voc

    images = roots(data, split)[0] / split.images
    for path in _files(data, split):
        yield path, (read_voc(path, images) if split.voc else read_coco(path, images, crowds=True))


def _files(data: Data, split: Split) -> list[Path]:
    files = split.coco or split.voc
    if not files:
        what = "boxes are in annotation files"
        raise ConfigError("data", what, "give coco: train.json or voc: Annotations in each split")
    names = (files,) if isinstance(files, str) else files
    return [roots(data, split)[0] / name for name in names]


def _rows(
    photograph: Photograph, ids: dict[str, int], merge: bool, source: Path, faults: list[str]
) -> np.ndarray:
    """The boxes of an image, (B, 7); what was wrong with some is added to `faults`."""
    rows = []
    for box in photograph.boxes:
        label = 0 if merge else ids.get(box.name, -1)
        where = f"{photograph.path.name}: box {[round(v, 2) for v in box[1:5]]}"
        if label < 0:
            hint = f"{nearest(box.name, ids)}; data.merge: true makes one label of all"
            raise DataError(str(source), f"{where} is a {box.name!r}, which is no label", hint)
        low, high = np.array(box[1:3], np.float64), np.array(box[3:5], np.float64)
        if not np.isfinite([low, high]).all():
            faults.append(f"{where} has a number that is none")
            continue
        ends = np.array(photograph.size) if min(photograph.size) > 0 else np.inf
        cut = low.clip(0, ends), high.clip(0, ends)
        if (high - low).min() <= _LEAST or (cut[1] - cut[0]).min() <= _LEAST:
            outside = (high - low).min() > _LEAST
            faults.append(f"{where} {'is outside of its image' if outside else 'has no area'}")
            continue
        if (cut[0] - low).max() > 1 or (high - cut[1]).max() > 1:  # roundings are no faults
            faults.append(f"{where} reaches out of its image")
            low, high = cut
        size = high - low
        area = size.prod() if box.area is None else box.area
        rows.append([label, *low, *size, area, box.crowd])
    return np.array(rows, np.float64).reshape(-1, COLUMNS)

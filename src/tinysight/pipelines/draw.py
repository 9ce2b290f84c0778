"""Images with the boxes of their results drawn in."""

from __future__ import annotations

import colorsys
import logging
import os
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight.errors import DataError
from tinysight.files import write_atomic
from tinysight.tasks.results import BoxResult, RecognitionResult, Result
from tinysight.transforms.decode import decode

_FONT, _LINES = cv2.FONT_HERSHEY_SIMPLEX, cv2.LINE_AA
_LONGEST = 200  # bytes of a file's name; most disks take 255, and something is added
_TALL = 30  # pixels of a font's size for each unit of OpenCV's scale
logger = logging.getLogger(__name__)


@cache
def _font() -> Any:
    """OpenCV's font for every script; None where it has none."""
    try:
        return cv2.FontFace("uni")
    except (AttributeError, cv2.error):
        hint = "pip install 'opencv-python-headless>=5'"
        logger.warning(
            "OpenCV %s draws ASCII alone, other letters as '?'; %s", cv2.__version__, hint
        )
        return None


def _write(
    image: np.ndarray, text: str, at: tuple[int, int], size: float, thick: int, color: Any
) -> None:
    """A text on a bar of `color`, its lower left corner at `at`, or lower where it would be cut off."""
    font, own = None if text.isascii() else _font(), text.encode("ascii", "replace").decode()
    if font is None:
        (wide, tall), below = cv2.getTextSize(own, _FONT, size, thick)
    else:
        tall, below = round(_TALL * size), round(_TALL * size / 3)
        wide = cv2.getTextSize((0, 0), text, (0, 0), font, tall)[2]
    left, top = at[0], max(at[1], tall + below)
    cv2.rectangle(image, (left, top - tall - below), (left + wide, top), color, cv2.FILLED)
    place, white = (left, top - below // 2), (255, 255, 255)
    if font is None:
        cv2.putText(image, own, place, _FONT, size, white, thick, _LINES)
    else:
        cv2.putText(image, text, place, white, font, tall)


def drawn(image: np.ndarray, result: BoxResult | RecognitionResult) -> np.ndarray:
    """A copy of an image, uint8 RGB (H, W, 3), with boxes, labels and scores; a colour for each label."""
    found = np.ascontiguousarray(image.copy())
    height, width = found.shape[:2]
    thick = max(1, round(min(height, width) / 300))
    size = max(0.35, min(height, width) / 1000)
    ends = np.array([width - 1, height - 1] * 2)
    names = result.label_names
    labels = (
        result.label_ids.tolist() if isinstance(result, BoxResult)
        else [zlib.crc32(name.encode()) for name in names]
    )  # fmt: skip
    for label, score, name, box in zip(
        labels, result.scores, names, result.boxes_xyxy, strict=True
    ):
        hue = (label * 0.618034) % 1.0  # neighbours far apart
        color = tuple(int(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.9, 0.9))
        x1, y1, x2, y2 = np.rint(np.nan_to_num(box).clip(0, ends)).astype(int).tolist()
        cv2.rectangle(found, (x1, y1), (x2, y2), color, thick, _LINES)
        _write(found, f"{name} {score:.2f}", (x1, y1), size, thick, color)
    return found


class _Files:
    """A folder that gets a file an image, named as it is; a second of a name gets a number."""

    def __init__(self, folder: str | Path) -> None:
        self._folder, self._given = Path(folder), set[Path]()
        self._numbers = Counter[Path]()
        _make(self._folder)

    def place(self, source: str, suffix: str, folder: str = ".") -> Path:
        """Where the file of an image goes; raises `DataError` if it is where the image is."""
        where = self._folder / folder
        if where.resolve() == Path(source).parent.resolve():
            what = "is the folder of the images themselves, which would be overwritten"
            raise DataError(str(where), what, "give another folder")
        stem = os.fsdecode(os.fsencode(Path(source).stem)[:_LONGEST])
        path = first = where / f"{stem}{suffix}"
        while path in self._given:  # an image may be called like the second of another name
            self._numbers[first] += 1
            path = where / f"{stem}_{self._numbers[first] + 1}{suffix}"
        self._given.add(path)
        return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(str(folder), f"cannot be made: {error.strerror}") from None


class Drawings(_Files):
    """A folder of drawings, one PNG an image, named as it is; a second of a name gets a number.

    Args:
        folder: is made if it is not there.
    """

    def add(self, result: BoxResult | RecognitionResult) -> Path:
        """Draw the result of an image file; gives the drawing's path."""
        path = self.place(result.filename, ".png")
        pixels = cv2.cvtColor(drawn(decode(result.filename), result), cv2.COLOR_RGB2BGR)
        write_atomic(path, cv2.imencode(".png", pixels)[1].tobytes())
        return path


class Sorted(_Files):
    """A folder with a folder for each class, into which images are copied, as PaddleClas' pre-labelling does.

    Args:
        folder: is made if it is not there.
    """

    def add(self, result: Result) -> None:
        """Copy the image file of a result into the folder of its first class; nothing where there is none."""
        source, ids = Path(result.filename), [*getattr(result, "class_ids", ())]
        if ids and source.is_file():
            path = self.place(result.filename, source.suffix, str(int(ids[0])))
            _make(path.parent)
            write_atomic(path, source.read_bytes())

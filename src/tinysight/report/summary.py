"""The top of the page: warnings about the data, and the worst errors as images."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple

import cv2

from tinysight.errors import ImageError
from tinysight.evaluation.report import EvaluationReport
from tinysight.tasks.base import Misclassification
from tinysight.transforms import decode

_SHOWN = 12
_SEARCHES = 4  # of the best and of the worst
_SIDE = 224  # px, longer side; some 8 KB each
_QUALITY = 72
_PAIRS, _OF_PAIR, _LISTED = 12, 8, 108  # pairs of classes; images of each, and paths with them
_SMALL = 128  # px, longer side of these


def warnings(report: EvaluationReport) -> list[str]:
    """What the data does not support."""
    result, expected = report.threshold, report.expected_fpr
    found = list(result.warnings) if result else []
    if result is None and report.binary is not None:
        found.append(f"no threshold: {report.chosen}")
    if result and result.fpr and expected:
        rate = result.fpr.value
        if not expected.low <= rate <= expected.high:
            found.append(
                f"the false-positive rate here, {rate:.3g}, is not what the threshold was chosen for: expected were "
                f"{expected.low:.3g} to {expected.high:.3g} (95 %); these images differ from those"
            )
    return found


class WrongImage(NamedTuple):
    """A wrong decision with its image as a data URL, empty if the file has gone."""

    decision: Misclassification
    path: Path
    image: str


class Misclassified(NamedTuple):
    """The first of the wrong decisions, how many there are, and of how many decisions."""

    images: list[WrongImage]
    wrong: int
    total: int


def misclassified(report: EvaluationReport) -> Misclassified:
    """The wrong decisions of a report, the surest first."""
    wrong, total = report.misclassified()
    shown = [(each, Path(report.evaluation.paths[each.row])) for each in wrong[:_SHOWN]]
    images = [WrongImage(each, path, thumbnail(path)) for each, path in shown]
    return Misclassified(images, len(wrong), total)


class WrongPair(NamedTuple):
    """Wrong decisions that take one thing for another: how many, the surest as images, and more by path."""

    truth: str
    predicted: str
    number: int
    images: list[WrongImage]
    more: list[Path]


def wrong_pairs(report: EvaluationReport) -> list[WrongPair]:
    """The wrong decisions by what is true and what was predicted, the most frequent pairs first."""
    pairs: dict[tuple[str, str], list[Misclassification]] = {}
    for each in report.misclassified()[0]:
        pairs.setdefault((each.truth, each.predicted), []).append(each)
    found = []
    for names, wrong in sorted(pairs.items(), key=lambda pair: -len(pair[1]))[:_PAIRS]:
        paths = [Path(report.evaluation.paths[each.row]) for each in wrong[:_LISTED]]
        shown = zip(wrong, paths[:_OF_PAIR], strict=False)
        images = [WrongImage(each, path, thumbnail(path, _SMALL)) for each, path in shown]
        found.append(WrongPair(*names, len(wrong), images, paths[_OF_PAIR:]))
    return found


class SearchImages(NamedTuple):
    """A query as a data URL, its path and precision, and image, path, similarity and right or wrong of its nearest."""

    image: str
    path: Path
    precision: float
    nearest: list[tuple[str, Path, float, bool]]


def searches(report: EvaluationReport) -> list[SearchImages]:
    """The queries that find most and, behind them, those that find least."""
    paths = [Path(path) for path in report.evaluation.paths]
    return [
        SearchImages(
            thumbnail(paths[each.row]),
            paths[each.row],
            each.precision,
            [(thumbnail(paths[row]), paths[row], s, hit) for row, s, hit in each.nearest],
        )
        for each in report.task.searches(report.scored, _SEARCHES)
    ]


def thumbnail(path: str | Path, side: int = _SIDE) -> str:
    """The image as a small data URL, upright as its EXIF says; empty if it has gone since."""
    try:
        image = decode(path)
    except ImageError:
        return ""
    scale = min(1.0, side / max(image.shape[:2]))
    size = [max(1, round(n * scale)) for n in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")

"""What a person, a vehicle, a table or a face looks like, in PaddleClas' words.

Each takes independent probabilities (N, K), K and their order being those of PaddleClas'
networks. An attribute is there if its probability exceeds the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from tinysight.registry import postprocesses
from tinysight.tasks.postprocess import check_scores
from tinysight.tasks.results import AttributeResult

if TYPE_CHECKING:
    from annotated_types import Ge, Le


_HAT, _GLASSES, _SHORT, _LONG, _BOOTS, _HOLD, _FEMALE = 0, 1, 2, 3, 14, 18, 22
_UPPER = ("UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice")  # from 4
_LOWER = ("LowerStripe", "LowerPattern", "LongCoat", "Trousers", "Shorts", "Skirt&Dress")  # from 8
_BAGS = ("HandBag", "ShoulderBag", "Backpack")  # from 15
_YEARS = ("AgeLess18", "Age18-60", "AgeOver60")  # from 19
_SIDES = ("Front", "Side", "Back")  # from 23
_COLORS = ["yellow", "orange", "green", "gray", "red", "blue", "white", "golden", "brown", "black"]
_TYPES = ["sedan", "suv", "van", "hatchback", "mpv", "pickup", "bus", "truck", "estate"]
_TABLE = (
    ("Scanned", "Photo"), ("Little", "Numerous"), ("Black-and-White", "Multicolor"),
    ("Clear", "Blurry"), ("Without-Obstacles", "With-Obstacles"), ("Horizontal", "Tilted"),
)  # fmt: skip


@postprocesses.register("person_attribute")
@dataclass(frozen=True)
class PersonAttribute:
    """Ten words on a person from 26 probabilities.

    `output_threshold` is that of the 0/1 vector, glasses and things held apart; by default
    `threshold`. PaddleClas always takes 0.5.
    """

    threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    glasses_threshold: Annotated[float, Ge(0), Le(1)] = 0.3
    hold_threshold: Annotated[float, Ge(0), Le(1)] = 0.6
    output_threshold: Annotated[float, Ge(0), Le(1)] | None = None
    labels: tuple[str, ...] = ()

    result = AttributeResult

    def __call__(self, scores: np.ndarray) -> list[AttributeResult]:
        """Results for probabilities (N, 26)."""
        rows = check_scores(scores, self.labels, 26)
        output = self.output_threshold
        limits = np.full(26, self.threshold if output is None else output)
        limits[_GLASSES], limits[_HOLD] = self.glasses_threshold, self.hold_threshold
        return [AttributeResult("", tuple(self._words(row)), row > limits) for row in rows]

    def _words(self, row: np.ndarray) -> list[str]:
        sleeve = "LongSleeve" if row[_LONG] > row[_SHORT] else "ShortSleeve"
        upper = [w for w, p in zip(_UPPER, row[4:8], strict=True) if p > self.threshold]
        lower = [w for w, p in zip(_LOWER, row[8:14], strict=True) if p > self.threshold]
        bag = _BAGS[row[15:18].argmax()] if row[15:18].max() > self.threshold else "No bag"
        return [
            "Female" if row[_FEMALE] > self.threshold else "Male",
            _YEARS[row[19:22].argmax()],
            _SIDES[row[23:26].argmax()],
            f"Glasses: {row[_GLASSES] > self.glasses_threshold}",
            f"Hat: {row[_HAT] > self.threshold}",
            f"HoldObjectsInFront: {row[_HOLD] > self.hold_threshold}",
            bag,
            f"Upper: {' '.join([sleeve, *upper])}",
            f"Lower:  {' '.join(lower or [_LOWER[row[8:14].argmax()]])}",
            "Boots" if row[_BOOTS] > self.threshold else "No boots",
        ]


@postprocesses.register("vehicle_attribute")
@dataclass(frozen=True)
class VehicleAttribute:
    """Colour and type of a vehicle, the best of 10 and of 9 probabilities or unknown."""

    color_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    type_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    labels: tuple[str, ...] = ()

    result = AttributeResult

    def __call__(self, scores: np.ndarray) -> list[AttributeResult]:
        """Results for probabilities (N, 19); a best one at the threshold is known."""
        rows = check_scores(scores, self.labels, len(_COLORS) + len(_TYPES))
        limits = np.repeat([self.color_threshold, self.type_threshold], (10, 9))
        return [AttributeResult("", self._words(row), row > limits) for row in rows]

    def _words(self, row: np.ndarray) -> str:
        color = _best("Color", _COLORS, row[:10], self.color_threshold)
        return f"{color}, {_best('Type', _TYPES, row[10:], self.type_threshold)}"


@postprocesses.register("table_attribute")
@dataclass(frozen=True)
class TableAttribute:
    """Six properties of an image of a table.

    With `number_decides`, as in PaddleClas by mistake, `number_threshold` also stands for those
    of obstruction and angle, in the words but not in the 0/1 vector.
    """

    source_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    number_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    color_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    clarity_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    obstruction_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    angle_threshold: Annotated[float, Ge(0), Le(1)] = 0.5
    number_decides: bool = False
    labels: tuple[str, ...] = ()

    result = AttributeResult

    def __call__(self, scores: np.ndarray) -> list[AttributeResult]:
        """Results for probabilities (N, 6)."""
        rows = check_scores(scores, self.labels, len(_TABLE))
        limits = np.array([getattr(self, field.name) for field in fields(self)[: len(_TABLE)]])
        of_words = np.where(self.number_decides & (np.arange(6) > 3), self.number_threshold, limits)
        sides = [1 - (row > of_words) for row in rows]  # 0 for the first of two words
        said = [tuple(np.choose(side, np.transpose(_TABLE)).tolist()) for side in sides]
        return [AttributeResult("", w, row > limits) for w, row in zip(said, rows, strict=True)]


@postprocesses.register("face_attribute")
@dataclass(frozen=True)
class FaceAttribute:
    """What is there of the 40 CelebA attributes of a face; gender and age always, as one of two.

    `chinese` gives the words in Chinese.
    """

    threshold: Annotated[float, Ge(0), Le(1)] = 0.65
    chinese: bool = False
    labels: tuple[str, ...] = ()

    result = AttributeResult

    def __call__(self, scores: np.ndarray) -> list[AttributeResult]:
        """Results for probabilities (N, 40)."""
        said = check_scores(scores, self.labels, len(_face_words())) > self.threshold
        return [AttributeResult("", tuple(self._words(row.tolist())), row) for row in said]

    def _words(self, there: Sequence[bool]) -> Iterator[str]:
        for words, yes in zip(_face_words(), there, strict=True):
            word, *opposite = words[self.chinese].split("/")
            yield from [word] if yes else opposite


@lru_cache(maxsize=1)
def _face_words() -> list[list[str]]:
    """The 40 attributes of CelebA in its order, English and Chinese; `yes/no` where it is always one of two."""
    text = Path(__file__).with_name("face_attributes.txt").read_text("utf-8")
    return [line.split() for line in text.splitlines()]


def _best(title: str, words: Sequence[str], row: np.ndarray, limit: float) -> str:
    at = int(row.argmax())
    known = f"{title}: ({words[at]}, prob: {float(row[at])})"
    return f"{title} unknown" if row[at] < limit else known

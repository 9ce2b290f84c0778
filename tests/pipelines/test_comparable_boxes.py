"""Boxes of two engines: what is passed over as rounding, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from tinysight.pipelines.comparable import DecidedBoxes
from tinysight.tasks.results import Difference

A, B, C = (0.1, 0.1, 0.3, 0.3), (0.5, 0.5, 0.9, 0.9), (0.1, 0.6, 0.3, 0.8)


def boxes(*rows: tuple[float, tuple[float, ...]], label: int = 0) -> DecidedBoxes:
    scores = np.array([score for score, _ in rows])
    corners = np.array([box for _, box in rows], np.float64).reshape(-1, 4)
    names = ("thing",) * len(rows)
    return DecidedBoxes("", np.full(len(rows), label), scores, names, corners, 0.5)


def difference(one: DecidedBoxes, two: DecidedBoxes) -> Difference:
    found, back = one.difference(two), two.difference(one)
    assert found.flip == back.flip
    assert found.box == pytest.approx(back.box)
    return found


def moved(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(v + by for v in box)


def test_small_differences_are_numbers() -> None:
    found = difference(boxes((0.9, A), (0.8, B)), boxes((0.8001, B), (0.9, moved(A, 1e-4))))
    assert not found.flip
    assert found.score == pytest.approx(1e-4)
    assert found.box == pytest.approx(1e-4)


def test_a_box_at_the_threshold_may_be_missing_and_another_may_not() -> None:
    assert not difference(boxes((0.9, A), (0.5005, B)), boxes((0.9, A))).flip
    assert difference(boxes((0.9, A), (0.8, B)), boxes((0.9, A))).flip
    assert difference(boxes((0.9, A)), boxes()).flip
    assert difference(boxes((0.9, A)), boxes((0.9, A), label=1)).flip


def test_either_of_two_that_cover_each_other_may_be_chosen() -> None:
    other = moved(B, 0.05)
    rest = ((0.9, A), (0.9, C))
    assert difference(boxes(*rest, (0.8, B)), boxes(*rest, (0.8, other))) == Difference(
        False, 0.0, 0.0, 0.0
    )
    assert difference(boxes(*rest, (0.8, B)), boxes(*rest, (0.6, other))).flip  # it was not as sure


def test_boxes_that_all_moved_did_move() -> None:
    found = difference(boxes((0.9, B)), boxes((0.9, moved(B, 0.05))))
    assert not found.flip
    assert found.box == pytest.approx(0.05)
    found = difference(
        boxes((0.9, A), (0.9, B)), boxes((0.9, moved(A, 0.03)), (0.9, moved(B, 0.03)))
    )
    assert found.box == pytest.approx(0.03)


def test_the_last_of_many_equals() -> None:
    rows = [(1.0, (0.03 * i, 0.0, 0.03 * i + 0.005, 0.3)) for i in range(30)]
    assert not difference(boxes(*rows[:25]), boxes(*rows[5:])).flip
    assert difference(boxes(*rows[:15]), boxes(*rows[15:])).flip


def test_a_number_that_is_none_shows() -> None:
    assert np.isnan(boxes((0.9, (np.nan, 0, 1, 1))).difference(boxes((0.9, A))).score)
    assert np.isnan(boxes((0.9, A)).difference(boxes((np.nan, A))).score)

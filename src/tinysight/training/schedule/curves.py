"""The shapes: rates as pure functions of the unit, counted from 0 at the end of warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

Curve: TypeAlias = Callable[[int], float]


def warm_up(curve: Curve, units: int, start: float, peak: float) -> Curve:
    """`units` units on a line from `start` to `peak`, then `curve` from its beginning."""

    def rate(unit: int) -> float:
        return (peak - start) * unit / units + start if unit < units else curve(unit - units)

    return rate


def cosine_curve(peak: float, total: int, end: float) -> Curve:
    """Half a cosine wave from `peak` at unit 0 to `end` at unit `total`, and `end` from there
    on.
    """

    def rate(unit: int) -> float:
        if unit >= total:
            return end if total else peak
        return end + (peak - end) * (1.0 + math.cos(math.pi * unit / total)) / 2.0

    return rate


def cosine_part_curve(peak: float, total: int, cycles: float) -> Curve:
    """`peak` * cos(pi * cycles * unit / total), never below 0: less than a quarter wave at 7 / 16."""

    def rate(unit: int) -> float:
        return peak * max(0.0, math.cos(math.pi * cycles * unit / max(1, total)))

    return rate


def polynomial_curve(peak: float, total: int, end: float, power: float, cycle: bool) -> Curve:
    """(peak - end) * (1 - unit / total) ** power + end.

    After `total` units it stays at `end`, or with `cycle` starts again on a line to the next
    multiple of `total`.
    """

    def rate(unit: int) -> float:
        if total == 0:
            return peak
        length = total * max(1, math.ceil(unit / total)) if cycle else total
        return (peak - end) * float((1.0 - min(unit, length) / length) ** power) + end

    return rate


def one_cycle_curve(
    peak: float,
    total: int,
    start: float,
    end: float,
    rise: float,
    anneal: Literal["cos", "linear"],
    three_phase: bool,
) -> Curve:
    """Up from `start` to `peak` over the share `rise` of `total` units, then down to `end`.

    With `three_phase` it comes down as it went up, to `start`, and from there to `end`. Beyond the
    last unit the rate stays.
    """
    up, last = rise * total - 1.0, total - 1.0
    knots = [(0.0, start), (up, peak), (last, end)]
    if three_phase:
        knots.insert(2, (2.0 * rise * total - 2.0, start))

    def rate(unit: int) -> float:
        for (left, high), (right, low) in zip(knots, knots[1:], strict=False):
            if unit <= right:
                share = (unit - left) / (right - left)
                if anneal == "linear":
                    return (low - high) * share + high
                return low + (high - low) / 2.0 * (1.0 + math.cos(math.pi * share))
        return end

    return rate


def cyclic_curve(
    base: float,
    peak: float,
    up: int,
    down: int,
    mode: Literal["triangular", "triangular2", "exp_range"],
    gamma: float,
) -> Curve:
    """Lines from `base` up to `peak` in `up` units and down again in `down`, over and over.

    The height stays (triangular), halves with each cycle (triangular2), or is multiplied by
    `gamma` every unit (exp_range).
    """
    total, turn = up + down, up / (up + down)

    def rate(unit: int) -> float:
        cycle = unit // total
        place = unit / total - cycle
        height = place / turn if place <= turn else (1.0 - place) / (1.0 - turn)
        scale = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": gamma**unit}[mode]
        return base + (peak - base) * height * scale

    return rate

"""The geometry of charts; `templates/macros.html` draws them as SVG without script, font or network.

Colours come from the page, so they follow its theme. A screen reader gets the title and the description,
and the numbers of axes and marks stay text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Points = Sequence[tuple[float, float]]

_TICKS = 5
_BARS = 25


class Area(NamedTuple):
    """The drawing and the rectangle of the data in it, px."""

    width: int = 420
    height: int = 260
    left: int = 56
    top: int = 12
    right: int = 406
    bottom: int = 218


AREA = Area()


class Axis(NamedTuple):
    """A label, the ends in data units, and whether steps are factors of ten."""

    label: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def share(self, value: float) -> float:
        """Where `value` lies, from 0 at the low end to 1; beyond the ends it is put at the end."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return min(max((self._scaled(value) - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = [10.0**e for e in range(first, last + 1)]
            return [t for t in steps if self.low * 0.999 <= t <= self.high * 1.001]
        raw = (self.high - self.low) / _TICKS
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


class Mark(NamedTuple):
    """A point of interest, with an interval in x and in y if it has one."""

    name: str
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


class Chart(NamedTuple):
    """What a chart shows, in data units.

    Attributes:
        title: heading.
        x: the axis across.
        y: the axis up.
        series: points of lines, by name; each has a colour.
        shares: heights of bars at equal steps of x, by name; each has a colour.
        marks: drawn over everything.
        diagonal: True draws a dashed line where x equals y.
        dots: True draws a dot at every corner of the lines.
        radii: radii of dots at the points of a single series, px; empty for none.
        threshold: x of a vertical line; None without one.
        note: sentence below.
    """

    title: str
    x: Axis
    y: Axis
    series: Mapping[str, Points] = MappingProxyType({})
    shares: Mapping[str, Sequence[float]] = MappingProxyType({})
    marks: Sequence[Mark] = ()
    diagonal: bool = False
    dots: bool = False
    radii: Sequence[float] = ()
    threshold: float | None = None
    note: str = ""

    def across(self, value: float) -> float:
        """Where `value` lies, px from the left."""
        return round(AREA.left + self.x.share(value) * (AREA.right - AREA.left), 1)

    def down(self, value: float) -> float:
        """Where `value` lies, px from the top."""
        return round(AREA.bottom - self.y.share(value) * (AREA.bottom - AREA.top), 1)

    def lines(self) -> list[Points]:
        """Corners of each series, px."""
        places = [[(self.across(x), self.down(y)) for x, y in s] for s in self.series.values()]
        return [line if self.radii else _thinned(line) for line in places]

    def circles(self) -> list[tuple[int, tuple[float, float], float]]:
        """Number of the series, centre and radius of each dot, px."""
        shown = [line if self.dots or self.radii or len(line) == 1 else () for line in self.lines()]
        places = [(k, place) for k, line in enumerate(shown) for place in line]
        radii = self.radii or [3.0] * len(places)
        return [(*place, radius) for place, radius in zip(places, radii, strict=True)]

    def bars(self) -> list[tuple[int, float, float, float, float]]:
        """Number of the series, left, top, width and height of each bar, px."""
        found = []
        for i, row in enumerate(self.shares.values()):
            step = (AREA.right - AREA.left) / len(row)
            wide = step / len(self.shares) * 0.92
            for k, share in enumerate(row):
                if tall := share and max(self.y.share(share) * (AREA.bottom - AREA.top), 1.0):
                    left = AREA.left + k * step + i * wide
                    found.append((i, left, AREA.bottom - tall, wide, tall))
        return found

    def description(self) -> str:
        """The chart in words."""
        lines = {name: line for name, line in self.series.items() if line}
        said = [f"{n} from {at[0][1]:.3g} to {at[-1][1]:.3g}" for n, at in lines.items()]
        said += [*self.shares, *(f"{m.name} at {m.x:.3g}, {m.y:.3g}" for m in self.marks)]
        return f"{self.title}. {self.y.label} over {self.x.label}. {'; '.join(said)}. {self.note}"


def around(values: Sequence[float], label: str) -> Axis:
    """An axis that holds all of these."""
    low, high = min(values), max(values)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return Axis(label, low, high)


def histogram(
    title: str, label: str, values: Mapping[str, Any], threshold: float | None = None
) -> Chart:
    """Shares of each group's values in [0, 1] by equal bins, side by side; counts differ too much."""
    shares = {}
    for name, group in values.items():
        places = np.clip(np.asarray(group, float) * _BARS, 0, _BARS - 1).astype(int)
        counts = np.bincount(places, minlength=_BARS) / max(len(group), 1)
        shares[f"{name}: {len(group):,} images"] = counts.tolist()
    high = max((max(row) for row in shares.values()), default=0.0) or 1.0
    y = Axis("share of its images", 0.0, high)
    return Chart(title, Axis(label), y, shares=shares, threshold=threshold)


def _thinned(places: Points) -> list[tuple[float, float]]:
    """Without points that repeat their neighbours or lie on a straight line between them."""
    kept: list[tuple[float, float]] = []
    for place in places:
        if kept and place == kept[-1]:
            continue
        if len(kept) > 1 and any(kept[-2][i] == kept[-1][i] == place[i] for i in (0, 1)):
            kept.pop()
        kept.append(place)
    return kept

"""SVG charts without script, font or network; colours come from the page, so they follow its theme.

A screen reader gets the title and the description, and the numbers of axes and marks stay text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

Points = Sequence[tuple[float, float]]

_W, _H, _LEFT, _TOP, _RIGHT, _BOTTOM = 420, 260, 56, 12, 14, 42
_TICKS = 5


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
        count = math.floor(self.high / step + 1e-9) - math.ceil(self.low / step - 1e-9)
        start = math.ceil(self.low / step - 1e-9)
        return [round((start + i) * step, 12) for i in range(count + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


class Mark(NamedTuple):
    """A point of interest, with an interval in x and in y if it has one."""

    name: str
    x: float
    y: float
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


def around(values: Sequence[float], label: str) -> Axis:
    """An axis that holds all of these."""
    low, high = min(values), max(values)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return Axis(label, low, high)


def line_chart(
    title: str,
    x: Axis,
    y: Axis,
    series: Mapping[str, Points],
    marks: Sequence[Mark] = (),
    *,
    diagonal: bool = False,
    dots: bool = False,
    note: str = "",
) -> str:
    """Lines of (x, y) points in data units, a colour each; empty without points.

    Args:
        title: above the chart.
        x: the axis across.
        y: the axis up.
        series: points by name.
        marks: drawn over the lines.
        diagonal: a dashed line from corner to corner, where x equals y.
        dots: a dot on every point.
        note: a sentence below.
    """
    if not any(series.values()) and not marks:
        return ""
    body = [_axes(x, y)]
    if diagonal:
        x0, x1, y0, y1 = _LEFT, _W - _RIGHT, _H - _BOTTOM, _TOP
        body.append(f'<path class="guide" d="M{x0},{y0}L{x1},{y1}"/>')
    for i, line in enumerate(series.values()):
        places = _thinned([_place(x, y, point) for point in line])
        path = " ".join(f"{px:g},{py:g}" for px, py in places)
        body.append(f'<polyline class="line s{i % 5}" points="{path}"/>')
        if dots or len(places) == 1:
            body += [
                f'<circle class="dot s{i % 5}" cx="{a:g}" cy="{b:g}" r="3"/>' for a, b in places
            ]
    body += [_mark(x, y, mark) for mark in marks]
    ends = "; ".join(
        f"{name} from {line[0][1]:.3g} to {line[-1][1]:.3g}"
        for name, line in series.items()
        if line
    )
    points = "; ".join(f"{m.name} at {m.x:.3g}, {m.y:.3g}" for m in marks)
    said = f"{title}. {y.label} over {x.label}. {ends}. {points}"
    return _figure(title, said, body, list(series) if len(series) > 1 else [], note)


def histogram(
    title: str,
    label: str,
    values: Mapping[str, Sequence[float]],
    *,
    bins: int = 25,
    threshold: float | None = None,
) -> str:
    """Shares of each group's values in [0, 1] by equal bins, side by side; counts differ too much."""
    shares = {}
    for name, group in values.items():
        counts = [0] * bins
        for value in group:
            counts[min(max(int(value * bins), 0), bins - 1)] += 1
        shares[name] = [count / max(len(group), 1) for count in counts]
    high = max((max(row) for row in shares.values()), default=0.0) or 1.0
    x, y = Axis(label), Axis("share of its images", 0.0, high)
    body = [_axes(x, y)]
    step = (_W - _LEFT - _RIGHT) / bins
    wide = step / max(len(shares), 1) * 0.92
    for i, row in enumerate(shares.values()):
        for b, share in enumerate(row):
            tall = share / high * (_H - _TOP - _BOTTOM)
            if tall:
                left, top = _LEFT + b * step + i * wide, _H - _BOTTOM - max(tall, 1.0)
                body.append(
                    f'<rect class="bar s{i % 5}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" '
                    f'height="{max(tall, 1.0):.1f}"/>'
                )
    if threshold is not None:
        place = _place(x, y, (threshold, 0.0))[0]
        side = "end" if threshold > 0.7 else "start"
        body.append(
            f'<path class="cut" d="M{place:g},{_TOP}V{_H - _BOTTOM}"/><text class="strong" '
            f'x="{place + (-6 if side == "end" else 6):g}" y="{_TOP + 12}" text-anchor="{side}">'
            f"threshold {threshold:.4g}</text>"
        )
    sizes = ", ".join(f"{name}: {len(group)} images" for name, group in values.items())
    return _figure(title, f"{title}. {sizes}", body, list(values))


def reliability_chart(title: str, confidence: Points, bars: Sequence[float], note: str) -> str:
    """Confidence against accuracy; `bars` (0 to 1) is the share of samples at each point."""
    x, y = Axis("confidence"), Axis("right, share")
    body = [_axes(x, y)]
    body.append(f'<path class="guide" d="M{_LEFT},{_H - _BOTTOM}L{_W - _RIGHT},{_TOP}"/>')
    places = [_place(x, y, point) for point in confidence]
    path = " ".join(f"{px:g},{py:g}" for px, py in places)
    body.append(f'<polyline class="line s0" points="{path}"/>')
    for (px, py), share in zip(places, bars, strict=True):
        radius = 2.5 + 7 * math.sqrt(share)  # the area is the number of samples
        body.append(f'<circle class="dot s0" cx="{px:g}" cy="{py:g}" r="{radius:.1f}"/>')
    return _figure(title, f"{title}. {note}", body, [], note)


def _place(x: Axis, y: Axis, point: tuple[float, float]) -> tuple[float, float]:
    across = x.share(point[0]) * (_W - _LEFT - _RIGHT)
    up = y.share(point[1]) * (_H - _TOP - _BOTTOM)
    return round(_LEFT + across, 1), round(_H - _BOTTOM - up, 1)


def _thinned(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without points that repeat their neighbours or lie on a straight line between them."""
    kept: list[tuple[float, float]] = []
    for place in places:
        if kept and place == kept[-1]:
            continue
        if len(kept) > 1 and (
            kept[-2][0] == kept[-1][0] == place[0] or kept[-2][1] == kept[-1][1] == place[1]
        ):
            kept.pop()
        kept.append(place)
    return kept


def _mark(x: Axis, y: Axis, mark: Mark) -> str:
    px, py = _place(x, y, (mark.x, mark.y))
    parts = []
    if mark.x_ends:
        low, high = (_place(x, y, (end, mark.y))[0] for end in mark.x_ends)
        parts.append(f'<path class="whisker" d="M{low:g},{py:g}H{high:g}"/>')
    if mark.y_ends:
        low, high = (_place(x, y, (mark.x, end))[1] for end in mark.y_ends)
        parts.append(f'<path class="whisker" d="M{px:g},{low:g}V{high:g}"/>')
    side = "end" if px > _W * 0.6 else "start"
    below = py < _H / 2
    parts.append(
        f'<circle class="mark" cx="{px:g}" cy="{py:g}" r="5.5"/>'
        f'<text class="strong" x="{px + (-10 if side == "end" else 10):g}" '
        f'y="{py + (22 if below else -12):g}" text-anchor="{side}">{escape(mark.name)}</text>'
    )
    return "".join(parts)


def _axes(x: Axis, y: Axis) -> str:
    bottom, right = _H - _BOTTOM, _W - _RIGHT
    parts = []
    for tick in x.ticks():
        px = _place(x, y, (tick, y.low))[0]
        parts.append(f'<path class="grid" d="M{px:g},{_TOP}V{bottom}"/>')
        parts.append(f'<text x="{px:g}" y="{bottom + 15}" text-anchor="middle">{tick:.4g}</text>')
    for tick in y.ticks():
        py = _place(x, y, (x.low, tick))[1]
        parts.append(f'<path class="grid" d="M{_LEFT},{py:g}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{py + 4:g}" text-anchor="end">{tick:.4g}</text>')
    return (
        "".join(parts)
        + f'<path class="axis" d="M{_LEFT},{_TOP}V{bottom}H{right}"/>'
        + f'<text class="name" x="{(_LEFT + right) / 2:g}" y="{_H - 8}" text-anchor="middle">'
        + f"{escape(x.label)}</text>"
        + f'<text class="name" transform="translate(11 {(_TOP + bottom) / 2:g}) rotate(-90)" '
        + f'text-anchor="middle">{escape(y.label)}</text>'
    )


def _figure(
    title: str, said: str, body: Sequence[str], names: Sequence[str], note: str = ""
) -> str:
    legend = "".join(
        f'<span><i class="s{i % 5}"></i>{escape(name)}</span>' for i, name in enumerate(names)
    )
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}</h3></figcaption>'
        f'<svg viewBox="0 0 {_W} {_H}" role="img" aria-label="{escape(said, quote=True)}">'
        f"{''.join(body)}</svg>"
        + (f'<p class="legend">{legend}</p>' if legend else "")
        + (f'<p class="note">{escape(note)}</p>' if note else "")
        + "</figure>"
    )

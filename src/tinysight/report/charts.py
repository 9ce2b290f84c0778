"""Small SVG charts: no script, no font, no network; a screen reader gets the title and the numbers stay selectable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626")
_W, _H, _LEFT, _TOP, _RIGHT, _BOTTOM = 420, 250, 52, 28, 12, 40


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Points],
    marks: Mapping[str, tuple[float, float]] = {},
) -> str:
    """Lines of (x, y) points in data units, one colour a series, axes from the data; `marks` are labelled points."""
    points = [p for line in series.values() for p in line] + list(marks.values())
    if not points:
        return ""
    x_low, x_high = _span([x for x, _ in points])
    y_low, y_high = _span([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (_W - _LEFT - _RIGHT)
        up = (y - y_low) / (y_high - y_low) * (_H - _TOP - _BOTTOM)
        return _LEFT + across, _H - _BOTTOM - up

    body = [_axes(x_label, y_label, (x_low, x_high), (y_low, y_high))]
    for i, (name, line) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(*p) for p in line))
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(series) > 1:
            x = _LEFT + 8 + 120 * i
            body.append(f'<text x="{x}" y="{_TOP - 4}" fill="{colour}">{escape(name)}</text>')
    for name, point in marks.items():
        px, py = place(*point)
        anchor = "end" if px > _W / 2 else "start"
        body.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#111"/>')
        body.append(
            f'<text x="{px - 8 if anchor == "end" else px + 8:.1f}" y="{py + 14:.1f}" '
            f'text-anchor="{anchor}">{escape(name)}</text>'
        )
    return _svg(title, body)


def histogram(
    title: str, x_label: str, values: Mapping[str, Sequence[float]], bins: int = 20
) -> str:
    """Counts of values in [0, 1] in `bins` equal bins, one colour a group, drawn side by side."""
    counts = {
        name: [sum(1 for v in group if _bin(v, bins) == b) for b in range(bins)]
        for name, group in values.items()
    }
    high = max((max(c) for c in counts.values()), default=0) or 1
    body = [_axes(x_label, "pictures", (0.0, 1.0), (0.0, float(high)))]
    step = (_W - _LEFT - _RIGHT) / bins
    width = step / max(len(counts), 1) * 0.9
    for i, (name, row) in enumerate(counts.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        body.append(
            f'<text x="{_LEFT + 8 + 120 * i}" y="{_TOP - 4}" fill="{colour}">{escape(name)}</text>'
        )
        for b, count in enumerate(row):
            tall = count / high * (_H - _TOP - _BOTTOM)
            x, y = _LEFT + b * step + i * width, _H - _BOTTOM - tall
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{colour}"/>'
            )
    return _svg(title, body)


def matrix(counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix as an HTML table: rows are the truth, columns the answer, shade is the share of the row."""
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = sum(row) or 1
        cells = "".join(
            f'<td style="background:rgba(37,99,235,{c / total:.2f})">{c}</td>' for c in row
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<table class="matrix"><tr><th>truth \\ answer</th>{head}</tr>{"".join(rows)}</table>'


def _bin(value: float, bins: int) -> int:
    return min(max(int(value * bins), 0), bins - 1)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axes(x_label: str, y_label: str, x: tuple[float, float], y: tuple[float, float]) -> str:
    bottom, right = _H - _BOTTOM, _W - _RIGHT
    return (
        f'<path d="M{_LEFT},{_TOP}V{bottom}H{right}" fill="none" stroke="#999"/>'
        f'<text x="{_LEFT}" y="{bottom + 14}">{x[0]:.3g}</text>'
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{x[1]:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{bottom}" text-anchor="end">{y[0]:.3g}</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + 8}" text-anchor="end">{y[1]:.3g}</text>'
        f'<text x="{(_LEFT + right) / 2}" y="{_H - 8}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )


def _svg(title: str, body: Sequence[str]) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_W} {_H}" role="img">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )

"""A certificate as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from tinysight.certificate.compare import Compared, Row


def table(engines: Sequence[Compared]) -> list[list[str]]:
    """Rows of cells: a heading, one row for each kind of file, and all of them together."""
    heading = ["files", "count", *(f"{one.engine} {one.version}" for one in engines)]
    kinds = list(dict.fromkeys(kind for one in engines for kind in one.rows))
    rows = [
        [kind, str(max(one.rows[kind].pictures for one in engines if kind in one.rows))]
        + [_cell(one.rows.get(kind)) for one in engines]
        for kind in kinds
    ]
    total = ["all", str(max((one.total.pictures for one in engines), default=0))]
    return [heading, *rows, total + [_cell(one.total) for one in engines]]


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a bundle's card."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{row.label_flips} flips, {row.max_score_difference:.2g}"

"""A certificate as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from tinysight.certificate.compare import Compared
from tinysight.certificate.record import Certificate

HEADING = "## The same answers on every engine"
_SECTION = (
    "Files of every kind, from their bytes to the label, compared with {origin}: labels that change "
    "(flips) and the largest difference of a score. `tinysight verify` repeats it."
)


def table(engines: Sequence[Compared]) -> list[list[str]]:
    """Rows of cells: a heading, one row for each kind of file, and all of them together."""
    heading = ["files", "count", *map(_name, engines)]
    kinds = list(dict.fromkeys(kind for one in engines for kind in one.rows))
    rows = [
        [kind, str(max(one.rows[kind].images for one in engines if kind in one.rows))]
        + [one.rows[kind].cell() if kind in one.rows else "-" for one in engines]
        for kind in kinds
    ]
    count = max((one.total.images for one in engines), default=0)
    return [heading, *rows, ["all", str(count), *(one.total.cell() for one in engines)]]


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def section(certificate: Certificate) -> str:
    """What a bundle's card says about the certificate; Markdown."""
    rows = table(certificate.engines)
    heading, *cells = [f"| {' | '.join(row)} |" for row in rows]
    text = _SECTION.format(origin=certificate.origin)
    lines = [HEADING, "", text, "", heading, "|" + "---|" * len(rows[0]), *cells]
    lines += [f"\nNot run: {name}, {why}." for name, why in certificate.absent.items()]
    return "\n".join(lines)


def with_section(card: str, certificate: Certificate) -> str:
    """A card whose section about the certificate is this one; its other sections as they are."""
    before, _, old = card.partition(HEADING)
    _, after, rest = old.partition("\n## ")
    return before.rstrip() + "\n\n" + section(certificate) + "\n" + (after and f"\n## {rest}")


def _name(one: Compared) -> str:
    precision = "" if one.precision == "fp32" else one.precision
    return " ".join(filter(None, (one.engine, one.version, precision)))

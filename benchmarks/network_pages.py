"""The tables of docs/networks: what networks cost, what others published, which weights there are.

A page says between two comments which networks it has; what is between them is written anew:

    <!-- networks: pplcnet_* -->
    <!-- end of networks -->
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.catalog import artifacts
from tinysight.files import read_yaml, write_atomic
from tinysight.models import Cost, cost, create_model_without_weights, list_models

PUBLISHED = Path(__file__).with_name("published.yaml")
MARKED = re.compile(r"(<!-- networks: (\S+) -->\n).*?(<!-- end of networks -->)", re.DOTALL)
ENDINGS = ("", "ssld", "ssldstage1")
SPECIAL = {"pplcnetv2_base_shitu": ("PPShiTuV2_recogniser_pretrained",)}
HEAD = (
    "| network | parameters | MACs | input | top-1, % | top-1 distilled, % | weights | ms: least, median |",
    "|---|--:|--:|--:|--:|--:|---|--:|",
)


class Row(NamedTuple):
    """One network. `top1` by kind: percent, as printed, and source."""

    name: str
    parameters: int
    macs: int
    size: int
    top1: Mapping[str, tuple[str, str]]
    weights: tuple[str, ...]
    times: Sequence[float]


def rows(names: Sequence[str], times: Mapping[str, Sequence[float]]) -> list[Row]:
    """Costs as exported, published accuracy, weights and times of `names`; the cheapest first."""
    found = []
    for name in names:
        top1 = {kind: (v[0], v[1]) for kind, v in published()["top1"].get(name, {}).items()}
        found.append(Row(name, *exported_cost(name), top1, weights(name), times.get(name, ())))
    return sorted(found, key=lambda row: (row.macs, row.name))


@cache
def exported_cost(name: str) -> Cost:
    """Of a network after folding what only training needs."""
    model = create_model_without_weights(name)
    model.reparameterize()
    return cost(model)


@cache
def published() -> Any:
    """`published.yaml`."""
    return read_yaml(PUBLISHED)


def weights(name: str) -> tuple[str, ...]:
    """Names that `tinysight models show` and `fetch` know."""
    wanted = {_fold(name) + ending for ending in ENDINGS}
    found = [a.name for a in artifacts() if a.kind == "weights" and _fold(a.name) in wanted]
    return (*found, *SPECIAL.get(name, ()))


def table(found: Sequence[Row]) -> list[str]:
    """Lines of Markdown."""
    lines = list(HEAD)
    for row in found:
        plain = [_figure(row, "plain"), _figure(row, "in22k")]
        cells = (
            f"`{row.name}`",
            f"{row.parameters:,}",
            f"{row.macs:,}",
            str(row.size),
            ", ".join(filter(None, plain)) or "-",
            _figure(row, "ssld") or "-",
            ", ".join(f"`{w}`" for w in row.weights) or "-",
            f"{min(row.times):.1f}, {statistics.median(row.times):.1f}" if row.times else "-",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def sources(found: Sequence[Row]) -> list[str]:
    """Who published the figures of the table."""
    used = {source for row in found for _, source in row.top1.values()}
    return [
        f"- [{key}]: {publisher}, [{title}]({url})"
        for key, (publisher, title, url) in published()["sources"].items()
        if key in used
    ]


def rewrite(page: Path, measured: Mapping[str, Any]) -> None:
    """Write the marked part of a page anew; a page without marks stays."""

    def anew(match: re.Match[str]) -> str:
        found = rows(list_models(match[2]), measured["times"])
        lines = [
            "",
            *table(found),
            "",
            f"Times: {measured['on']};",
            f"{measured['rounds']} rounds, in turns with the networks of the other pages.",
            "The machine was shared with other work, which the median shows; the least time is nearer to "
            "that of an idle one.",
            "",
            *(
                ["Published by:", "", *sources(found)]
                if sources(found)
                else ["No figure is published."]
            ),
            "",
        ]
        return match[1] + "\n".join(lines) + "\n" + match[3]

    before = page.read_text("utf-8")
    after = MARKED.sub(anew, before)
    if after != before:
        write_atomic(page, after.encode())


def _figure(row: Row, kind: str) -> str:
    if kind not in row.top1:
        return ""
    value, source = row.top1[kind]
    more = " after ImageNet-22k" if kind == "in22k" else ""
    return f"{value}{more} [{source}]"


def _fold(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())

"""Put the page together. Everything is inline, so the file can be mailed and read offline."""

from __future__ import annotations

import shlex
from html import escape
from pathlib import Path
from typing import NamedTuple

from tinysight import __version__
from tinysight.evaluation.report import EvaluationReport
from tinysight.files import read_yaml, write_atomic
from tinysight.report.answer import answer, warnings
from tinysight.report.errors import worst_errors
from tinysight.report.history import environment, history
from tinysight.report.quality import overview, quality
from tinysight.report.trouble import trouble

_STYLE = Path(__file__).with_name("style.css")
# The browser itself refuses whatever is not in the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page(NamedTuple):
    """What the page is about.

    Attributes:
        title: name of the model.
        description: what it is for.
        command: that repeats it, as words.
        network: name of the backbone.
        folder: of a run, where history, environment, recipe and data check are looked for.
    """

    title: str
    description: str = ""
    command: tuple[str, ...] = ()
    network: str = ""
    folder: Path | None = None


def write_report(run: str | Path, report: EvaluationReport) -> Path:
    """Write `report.html` into the folder of a run, which holds at least recipe.yaml; returns the file."""
    folder = Path(run)
    recipe = read_yaml(folder / "recipe.yaml")
    command = ("tinysight", "train", "-c", str(folder / "recipe.yaml"), "--out", "another_folder")
    page = Page(
        str(recipe["task"]),
        str(recipe.get("description") or ""),
        command,
        str(recipe["model"]["backbone"]["name"]),
        folder,
    )
    return write_page(folder / "report.html", report, page)


def write_page(path: str | Path, report: EvaluationReport, page: Page) -> Path:
    """Write the page to `path`, whole or not at all; returns it."""
    path = Path(path)
    write_atomic(path, _page(report, page))
    return path


def _page(report: EvaluationReport, page: Page) -> str:
    title = escape(page.title)
    network = f"<small>{escape(page.network)}</small>" if page.network else ""
    lead = f'<p class="lead">{escape(page.description)}</p>' if page.description else ""
    parts = [
        answer(report),
        warnings(report),
        '<div class="two">',
        worst_errors(report),
        f'<section class="stack" aria-label="Overview">{overview(report)}</section></div>',
        quality(report),
        history(page.folder),
        trouble(report, page.folder),
        environment(report, page.folder),
        _repeat(page),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title} - report</title><style>{_STYLE.read_text('utf-8')}</style></head><body>"
        f"<header><h1>{title}{network}</h1>{lead}</header><main>{''.join(parts)}</main>"
        f"<footer>tinysight {__version__}</footer></body></html>\n"
    )


def _repeat(page: Page) -> str:
    parts = []
    if page.command:
        parts.append(f"<h2>Repeat it</h2><pre>{escape(shlex.join(page.command))}</pre>")
    recipe = page.folder and page.folder / "recipe.yaml"
    if recipe and recipe.is_file():
        text = escape(recipe.read_text("utf-8"))
        parts.append(
            f"<details><summary>Recipe, every default</summary><pre>{text}</pre></details>"
        )
    return f"<section>{''.join(parts)}</section>" if parts else ""

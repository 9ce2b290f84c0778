"""Put the page together. Everything is inline, so the file can be mailed and read offline."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from tinysight import __version__
from tinysight.errors import MissingDependency
from tinysight.evaluation.outcomes import METRICS, RECIPE
from tinysight.evaluation.report import EvaluationReport
from tinysight.files import read_yaml, write_atomic
from tinysight.report import quality
from tinysight.report.charts import AREA
from tinysight.report.history import data_check, environment, history
from tinysight.report.summary import misclassified, searches, warnings, wrong_pairs
from tinysight.validation import read_records

_FEW = 4  # classes whose tables share a card


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
    title, network = str(recipe["task"]), str(recipe["model"]["backbone"]["name"])
    page = Page(title, str(recipe.get("description") or ""), command, network, folder)
    return write_page(folder / "report.html", report, page)


def write_page(path: str | Path, report: EvaluationReport, page: Page) -> Path:
    """Write the page to `path`, whole or not at all; returns it.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    overview = [quality.roc(report), quality.scores(report)]
    labels = quality.label_table(report)
    recipe, metrics = (page.folder and page.folder / name for name in (RECIPE, METRICS))
    lines = read_records(metrics) if metrics and metrics.is_file() else []
    text = render(
        "page.html",
        page=page,
        report=report,
        warnings=warnings(report),
        errors=misclassified(report),
        pairs=wrong_pairs(report),
        last=lines[-1] if lines else {},
        searches=searches(report),
        overview=overview if any(overview) else [labels],
        sections=report.sections(),
        curves=[quality.precision_recall(report), quality.calibration_chart(report)],
        classes=[quality.confusion(report), labels if report.binary else None],
        together=len(report.labels) <= _FEW,
        history=history(page.folder),
        data_check=data_check(page.folder),
        environment=environment(report, page.folder),
        command=shlex.join(page.command),
        recipe=recipe.read_text("utf-8") if recipe and recipe.is_file() else "",
        version=__version__,
    )
    write_atomic(Path(path), text)
    return Path(path)


def render(name: str, **values: object) -> str:
    """A file of `templates/` with these values in it; text is escaped.

    Raises:
        MissingDependency: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingDependency("jinja2", "train", "the report") from error
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    templates.globals["area"] = AREA
    templates.filters["quoted"] = lambda path: shlex.quote(str(path))
    templates.filters["num"] = lambda value, spec="g": format(value, spec)
    return templates.get_template(name).render(values)

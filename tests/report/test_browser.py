"""The report in a real browser: nothing is asked of the network, and the answer is found at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

import tinysight.report
from support.browser import chromium
from tinysight.evaluation.latency import Latency, Percentiles
from tinysight.evaluation.predictor import Evaluation
from tinysight.evaluation.report import EvaluationReport
from tinysight.evaluation.threshold import threshold_scores
from tinysight.metrics.calibration import calibration
from tinysight.metrics.operating_point import at_target_fpr
from tinysight.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LAPTOP, PHONE = (1280, 800), (390, 844)
LABELS = ("no helmet is worn", "helmet")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it: many errors, long names, warnings, unreadable images."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "recipe.yaml").write_text(
        "task: safety_helmet\nmodel: {backbone: {name: pplcnet_x1_0}}\ndescription: Is a helmet worn?\n"
    )
    rows = [
        f'{{"epoch": {e}, "loss": {2 / e}, "lr": {0.01 * (21 - e)}, "metrics": {{"tpr": {1 - 0.7 / e}, "top1": 0.9}}}}'
        for e in range(1, 21)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "environment.json").write_text('{"torch": "2.0", "machine": "x86_64"}')
    item = '{"paths": ["a.jpg", "b.jpg"]}'
    finding = f'{{"kind": "duplicate", "severity": "warning", "count": 1, "items": [{item}]}}'
    (folder / "data_check.json").write_text(f'{{"findings": [{finding}]}}')
    rng = np.random.default_rng(0)
    labels = (rng.random(900) < 0.3).astype(np.int64)
    positive = 1 / (1 + np.exp(-rng.normal(np.where(labels, 2.5, -2.5), 1.6)))
    paths = []
    for i in range(900):
        path = folder / f"a_rather_long_name_of_a_image_from_a_camera_{i % 20:04d}.jpg"
        if i < 20:
            noise = cv2.resize(rng.integers(0, 255, (6, 9, 3), np.uint8), (320, 240 + 8 * i))
            cv2.imwrite(str(path), noise)
        paths.append(str(path))
    found = Evaluation(
        np.stack([1 - positive, positive], 1).astype(np.float32),
        labels,
        tuple(paths),
        {"tpr": 0.8, "fpr": 0.001, "threshold": 0.9, "top1": 0.93},
        (("broken.jpg", "an empty file"),),
        3.0,
    )
    about = threshold_scores(found, {"name": "threshold"}, LABELS)
    assert about
    decision = at_target_fpr(about.scores, about.truth, 0.005)
    assert decision.warnings
    times = Latency(50, *(Percentiles(m, 2 * m) for m in (1.0, 0.5, 2.0, 3.5)))
    chosen = "target_fpr 0.005 on 630 negatives and 270 positives"
    return write_report(
        folder,
        EvaluationReport(
            LABELS, found, about, decision, chosen,
            calibration(found.scores, found.labels), 1.4, latency=times,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Seen:
    """A page and everything that it asked for or complained about."""

    def __init__(
        self, browser: Browser, report: Path, size: tuple[int, int], **options: Any
    ) -> None:
        view = {"width": size[0], "height": size[1]}
        self.context = browser.new_context(viewport=view, offline=True, **options)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(report.as_uri())
        self.page.wait_for_load_state("load")

    def bottom(self, selector: str) -> float:
        """Where the first such element ends, in px from the top of the page."""
        box = self.page.locator(selector).first.bounding_box()
        assert box
        return box["y"] + box["height"]


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_answer_is_found_without_scrolling_twice(
    browser: Browser, report: Path, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    seen = Seen(browser, report, size, color_scheme=scheme)
    assert all(url == report.as_uri() or url.startswith("data:") for url in seen.requests)
    assert seen.requests[0] == report.as_uri()
    assert seen.complaints == []
    assert seen.bottom("#operating-point") <= size[1]
    assert seen.bottom("#worst-errors img") <= 2 * size[1]
    assert seen.bottom(".warnings") <= 2 * size[1]
    if size == LAPTOP:
        assert seen.bottom("#worst-errors img >> nth=3") <= size[1]  # the first row at once
        assert seen.bottom("#worst-errors") <= 2 * size[1]
        assert seen.bottom("svg") <= size[1]  # the ROC beside them
    wide = seen.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size[0]  # nothing hangs out to the side
    loaded = "Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)"
    assert seen.page.evaluate(loaded)  # those below, too, so that the page prints and saves whole
    seen.page.screenshot(path=tmp_path / "page.png", full_page=True)
    image = cv2.imread(str(tmp_path / "page.png"))
    assert image.shape[1] == size[0]
    assert (image.mean() > 128) == (scheme == "light")
    assert image.std() > 10
    seen.context.close()


def test_it_prints(browser: Browser, report: Path) -> None:
    seen = Seen(browser, report, LAPTOP)
    assert seen.page.pdf(format="A4")[:5] == b"%PDF-"
    seen.context.close()


def test_all_text_has_contrast() -> None:
    """WCAG AA asks for 4.5 between text and what is behind it, and 3 for lines that mean something."""
    style = (Path(tinysight.report.__file__).parent / "templates/style.css").read_text("utf-8")
    themes = [dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in style.split("@media")[:2]]
    assert len(themes) == 2
    for theme in themes:
        for text, behind in (
            ("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("soft", "faint"),
            ("ink", "faint"), ("warn-ink", "warn"),
        ):  # fmt: skip
            assert contrast(theme[text], theme[behind]) >= 4.5, (text, behind)
        for k in range(5):
            assert contrast(theme[f"s{k}"], theme["card"]) >= 3


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

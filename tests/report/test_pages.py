"""Reports of every kind in a real browser: nothing hangs out to the side, on a phone, a laptop and on paper."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from support.browser import chromium
from support.bundles import tiny_manifest
from tinysight.data.boxes import framed
from tinysight.evaluation.predictor import Evaluation, compute_metrics
from tinysight.evaluation.report import EvaluationReport, report_of
from tinysight.files import to_yaml
from tinysight.registry import tasks
from tinysight.report import write_report
from tinysight.runs import compare_runs, find_runs
from tinysight.runs.tables import write_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ANIMALS = ("ant", "bee", "long-haired guinea pig", "dog", "elephant", "fox", "goat")
KINDS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "two": ("classification", ("closed", "open"), {"name": "threshold", "positive": "open"}),
    "seven": ("classification", ANIMALS, {"name": "topk"}),
    "thirty": ("classification", tuple(f"article {i}" for i in range(30)), {"name": "topk"}),
    "forty": ("classification", tuple(f"a kind of thing {i}" for i in range(40)), {"name": "topk"}),
    "labels": ("multilabel", ANIMALS, {"name": "multilabel", "threshold": 0.5}),
    "embedding": ("embedding", (), {"name": "embedding"}),
    "detection": ("detection", ("car", "pedestrian on a pavement"), {"name": "boxes"}),
}


def images(folder: Path, count: int) -> list[str]:
    """Paths of `count` images, twelve files over and over."""
    rng = np.random.default_rng(0)
    for i in range(12):
        pixels = cv2.resize(rng.integers(0, 255, (5, 7, 3), np.uint8), (200 + 10 * i, 220))
        cv2.imwrite(str(folder / f"photograph_of_something_{i:04d}.jpg"), pixels)
    return [str(folder / f"photograph_of_something_{i % 12:04d}.jpg") for i in range(count)]


def scored(kind: str, task: str, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of 420 images, about one in five wrong."""
    rng, count = np.random.default_rng(1), 420
    if task == "classification":
        labels = np.minimum(rng.geometric(2 / (len(names) + 1), count) - 1, len(names) - 1)
        logits = rng.normal(0, 1, (count, len(names)))
        logits[np.arange(count), labels] += 3 + 0.03 * len(names)
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    elif task == "multilabel":
        labels = (rng.random((count, len(names))) < 0.3).astype(np.int64)
        scores = 1 / (1 + np.exp(-rng.normal(3 * labels - 1.5, 1.2)))
    elif task == "embedding":
        labels = np.arange(count) % 40
        vectors = rng.normal(0, 1, (40, 16))[labels] + rng.normal(0, 0.7, (count, 16))
        scores = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    else:
        labels, scores = np.empty(count, object), np.full((count, 3, 6), -1.0)
        for i in range(count):
            boxes = np.column_stack(
                [rng.integers(0, 2, 2), rng.uniform(0, 0.5, (2, 2)), np.full((2, 2), 0.4)]
            )
            boxes = np.column_stack([boxes, np.full(2, 0.16), np.zeros(2)])
            labels[i] = framed(boxes, np.empty((1, 1)))
            low = boxes[:, 1:3] + rng.normal(0, 0.03, (2, 2))
            scores[i, :2] = np.column_stack([boxes[:, 0], rng.random(2), low, low + 0.4])
    return scores.astype(np.float32), labels


def make_report(folder: Path, kind: str) -> tuple[Path, EvaluationReport]:
    """A run folder with a page of this kind."""
    task, names, postprocess = KINDS[kind]
    recipe = {
        "task": f"a_model_of_{kind}", "description": "What it is for, in a sentence of some length.",
        "model": {"backbone": {"name": "pplcnet_x1_0"}},
    }  # fmt: skip
    folder.mkdir()
    (folder / "recipe.yaml").write_text(to_yaml(recipe), "utf-8")
    scores, labels = scored(kind, task, names)
    built = tasks.build({"name": task})
    specs = [*built.default_metrics]
    metrics = compute_metrics(specs, scores, labels)
    rows = [
        {"epoch": e, "step": 9 * e, "loss": 2 / e, "lr": 0.01 * (13 - e), "best": e == 12,
         "metrics": {name: value * (1 - 0.7 / e) for name, value in metrics.items()}}
        for e in range(1, 13)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "environment.json").write_text('{"torch": "2.0", "machine": "x86_64"}', "utf-8")
    found = Evaluation(scores, labels, tuple(images(folder, len(labels))), metrics, (), 1.0, built)
    about = tiny_manifest(postprocess=postprocess, labels=names, threshold=None, metrics={})
    report = report_of(found, names, manifest=about)
    return write_report(folder, report), report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("pages") / request.param, request.param)[0]


SHOTS = [
    ("phone", 390, "light", "screen"), ("phone-dark", 390, "dark", "screen"),
    ("laptop", 1280, "light", "screen"), ("laptop-dark", 1280, "dark", "screen"),
    ("paper", 718, "light", "print"),  # A4 less its margins
]  # fmt: skip


def test_nothing_hangs_out_and_nothing_is_empty(
    browser: Browser, page: Path, tmp_path: Path
) -> None:
    """Screenshots on a phone and a laptop, light and dark, and as printed; kept where TINYSIGHT_SHOTS says."""
    shots = Path(os.environ.get("TINYSIGHT_SHOTS", tmp_path))
    context = browser.new_context(offline=True)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(page.as_uri())
    for name, width, scheme, media in SHOTS:
        tab.set_viewport_size({"width": width, "height": 844})
        tab.emulate_media(color_scheme=scheme, media=media)
        assert tab.evaluate(OUTSIDE, width) == [], name
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        assert tab.evaluate(EMPTY) == [], name
        file = shots / f"{page.parent.name}-{name}.png"
        tab.screenshot(path=file, full_page=True)
        image = cv2.imread(str(file))
        assert image.shape[1] == width
        assert (image.mean() > 128) == (scheme == "light"), name
    assert complaints == []
    assert tab.pdf(format="A4")[:5] == b"%PDF-"
    context.close()


# What reaches beyond the right edge, outside of what scrolls or shortens on purpose.
OUTSIDE = """width => [...document.querySelectorAll('main *')].filter(e => {
  if (e.closest('pre, .file, .many tbody th, svg, details:not([open]) > :not(summary)')) return false;
  if (e.closest('.scroll') && e.closest('.scroll') !== e) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && box.right > width + 0.5;
}).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))"""
EMPTY = """() => [...document.querySelectorAll('.card, h2')].filter(e => !e.textContent.trim())
  .map(e => e.className)"""


def test_a_comparison_fits_too(browser: Browser, tmp_path: Path) -> None:
    for name in ("a_first_run_of_a_model", "another_one", "seeds/seed_0", "seeds/seed_1"):
        make_report(tmp_path / name.replace("/", "_of_"), "seven")
    for path in tmp_path.iterdir():
        tree = {
            "task": "door",
            "data": {"root": "."},
            "train": {"epochs": 12, "lr": len(path.name)},
        }
        (path / "recipe.yaml").write_text(to_yaml(tree), "utf-8")
        rows = [
            json.loads(row) | {"seconds": 1}
            for row in (path / "metrics.jsonl").read_text().splitlines()
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        right = "".join(f"{i}.png,{i % len(path.name) > 1:d}\n" for i in range(300))
        (path / "outcomes.csv").write_text("image,right\n" + right)
    write_comparison(tmp_path / "compare.html", compare_runs(find_runs([tmp_path])))
    tab = browser.new_page()
    tab.goto((tmp_path / "compare.html").as_uri())
    for name, width, scheme, media in SHOTS:
        tab.set_viewport_size({"width": width, "height": 844})
        tab.emulate_media(color_scheme=scheme, media=media)
        assert tab.evaluate(OUTSIDE, width) == [], name
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, name
        tab.screenshot(
            path=Path(os.environ.get("TINYSIGHT_SHOTS", tmp_path)) / f"compare-{name}.png",
            full_page=True,
        )
    tab.close()


def test_a_page_of_many_errors_stays_small(tmp_path: Path) -> None:
    path, _ = make_report(tmp_path / "forty", "forty")
    assert path.stat().st_size < 5e6

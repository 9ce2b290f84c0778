"""The report is one file that reads offline, says what happened, and shows names as text."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from tinysight.evaluate import Evaluation
from tinysight.report import write_report
from tinysight.report.charts import histogram, line_chart, matrix

HOSTILE = "<script>alert(1)</script>.png"


class Outline(HTMLParser):
    """Collects tags, what is loaded from elsewhere, and the text; complains about stray tags."""

    VOID = ("meta", "img", "br", "path", "polyline", "circle", "rect")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    recipe = "task: door\nmodel: {backbone: {name: pplcnet_x0_25}}\ndescription: open or closed\n"
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    lines = [
        {"epoch": e, "step": e * 3, "loss": 1 / e, "lr": 0.1, "metrics": {"top1": e / 4}}
        for e in (1, 2, 3)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def evaluation(folder: Path, scores: list[list[float]], labels: list[int]) -> Evaluation:
    """An evaluation of pictures that exist, the last under a hostile name where the system has it."""
    paths = []
    for i in range(len(labels)):
        name = HOSTILE if i == len(labels) - 1 else f"{i}.png"
        path = folder / name.replace("/", "_")
        ok, data = cv2.imencode(".png", np.full((40, 60, 3), 20 * i, np.uint8))
        assert ok
        path.write_bytes(data.tobytes())
        paths.append(str(path))
    table = np.array(scores, np.float32)
    return Evaluation(
        table,
        np.array(labels, np.int64),
        tuple(paths),
        {"top1": 0.5},
        (("bad.jpg", "an empty file"),),
        1.0,
    )


def test_it_says_what_happened_and_loads_nothing(run: Path) -> None:
    scores = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.95, 0.05]]
    path = write_report(run, evaluation(run, scores, [0, 0, 1, 1]), ["closed", "open"])
    page = path.read_text("utf-8")
    outline = Outline(page)
    assert path == run / "report.html"
    assert len(page) < 5e6
    assert outline.tags.count("svg") == 5  # loss, metric, rate, ROC, scores
    assert "script" not in outline.tags
    assert [link[:23] for link in outline.loads] == ["data:image/jpeg;base64,"]
    assert "1 of 4 pictures are wrong" in outline.text
    assert "closed 0.950, is open: <script>alert(1)<_script>.png" in outline.text
    assert "bad.jpg: an empty file" in outline.text
    assert f"tinysight train -c {run}/recipe.yaml" in outline.text


def test_three_classes_and_no_errors(run: Path) -> None:
    found = evaluation(run, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], [0, 1, 2])
    outline = Outline(write_report(run, found, ["a", "b", "c & d"]).read_text("utf-8"))
    assert "None: every picture has its label." in outline.text
    assert "c & d" in outline.text
    assert outline.tags.count("svg") == 3


def test_charts_survive_odd_data() -> None:
    assert line_chart("t", "x", "y", {}) == ""
    assert "polyline" in line_chart("t", "x", "y", {"one": [(1.0, 2.0)]})
    assert histogram("t", "p", {"a": [0.0, 1.0, 0.999], "b": []}).count("<rect") == 40
    assert matrix([[2, 0], [1, 1]], ["<a>", "b"]).count("<td") == 4
    assert "<a>" not in matrix([[1]], ["<a>"])

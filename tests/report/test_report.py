"""The report is one file that reads offline, gives the answer first, and shows names as text."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from support.bundles import tiny_manifest
from tinysight.evaluation.latency import measure_latency
from tinysight.evaluation.predictor import Evaluation
from tinysight.evaluation.report import EvaluationReport, report_of
from tinysight.evaluation.threshold import choose_threshold, threshold_scores
from tinysight.metrics.calibration import calibration
from tinysight.report import Page, write_page, write_report
from tinysight.report.charts import Axis, Chart, Mark, around, histogram
from tinysight.report.page import render
from tinysight.report.summary import thumbnail
from tinysight.transforms import Compose

HOSTILE = "<script>alert(1)</script>.png"
THRESHOLD = {"name": "threshold", "threshold": 0.5}


class Outline(HTMLParser):
    """Collects tags, what is loaded from elsewhere, and the text; complains about stray tags."""

    VOID = ("meta", "img", "br", "path", "polyline", "circle", "rect")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

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
    (tmp_path / "environment.json").write_text('{"torch": "9.9", "starts": []}', encoding="utf-8")
    return tmp_path


def evaluation(folder: Path, scores: Any, labels: Any) -> Evaluation:
    """An evaluation of images that exist, the last under a hostile name where the system has it."""
    paths = []
    for i in range(len(labels)):
        name = HOSTILE if i == len(labels) - 1 else f"{i}.png"
        path = folder / name.replace("/", "_")
        ok, data = cv2.imencode(".png", np.full((40, 60, 3), 20 * i % 256, np.uint8))
        assert ok
        path.write_bytes(data.tobytes())
        paths.append(str(path))
    return Evaluation(
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        tuple(paths),
        {"top1": 0.5},
        (("bad.jpg", "an empty file"),),
        1.0,
    )


def report_on(
    found: Evaluation, names: list[str], spec: dict[str, Any] = THRESHOLD
) -> EvaluationReport:
    decision = choose_threshold(found, None, spec, names)
    return EvaluationReport(
        tuple(names),
        found,
        threshold_scores(found, spec, names),
        decision,
        "by hand",
        calibration(found.scores, found.labels),
        1.25,
    )


def test_it_says_what_happened_and_loads_nothing(run: Path) -> None:
    scores = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.95, 0.05]]
    found = evaluation(run, scores, [0, 0, 1, 1])
    path = write_report(run, report_on(found, ["closed", "open"]))
    page = path.read_text("utf-8")
    outline = Outline(page)
    assert path == run / "report.html"
    assert len(page) < 5e6
    assert outline.tags.count("svg") == 7  # ROC, PR, scores, calibration, loss, metric, rate
    assert "script" not in outline.tags
    assert [link[:23] for link in outline.loads] == ["data:image/jpeg;base64,"]
    assert not re.search(r"https?://|url\(|@import", page)
    assert "1 of 4 images are wrong at threshold 0.5; the surest first." in outline.text
    assert "closed 0.950, is open<script>alert(1)<_script>.png" in outline.text
    assert "bad.jpg: an empty file" in outline.text
    assert f"tinysight train -c {run}/recipe.yaml" in outline.text
    assert "torch9.9" in outline.text
    assert "“open” from this probability on; by hand" in outline.text
    for wanted in ("1 of 2; 95 %: 0.0126 to 0.987", "2 positives tell little", "open or closed"):
        assert wanted in outline.text


def test_it_can_be_read_without_seeing(run: Path) -> None:
    found = evaluation(run, [[0.9, 0.1], [0.2, 0.8]], [1, 0])
    outline = Outline(write_report(run, report_on(found, ["a", "b"])).read_text("utf-8"))
    levels = [int(tag[1]) for tag in outline.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    for tag, attributes in outline.attributes:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]
            assert attributes["role"] == "img"
    assert ("html", {"lang": "en"}) in outline.attributes


def test_three_classes_and_no_errors(run: Path) -> None:
    found = evaluation(run, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], [0, 1, 2])
    page = write_report(run, report_on(found, ["a", "b", "c & d"], {"name": "topk"}))
    outline = Outline(page.read_text("utf-8"))
    assert "None: every prediction is right." in outline.text
    assert "c & d" in outline.text
    assert outline.tags.count("svg") == 4  # calibration and three of the training


def test_several_labels_at_once(run: Path) -> None:
    """One label of the first image is wrong, one of the second is not known."""
    found = evaluation(run, [[0.9, 0.8, 0.1], [0.1, 0.9, 0.2]], [[1, 0, 0], [0, 1, -1]])
    of = report_on(found, ["hat", "bag", "coat"], {"name": "multilabel", "threshold": 0.5})
    (mistake,), total = of.misclassified()
    assert mistake[:4] == (0, "bag", pytest.approx(0.8), "not bag")
    assert total == 5
    outline = Outline(write_report(run, of).read_text("utf-8"))
    assert "1 of 5 decisions are wrong" in outline.text
    assert "bag 0.800, is not bag" in outline.text


def test_many_classes_show_what_is_confused_most(tmp_path: Path) -> None:
    scores = np.full((40, 40), 0.01) + np.eye(40) * 0.5
    scores[3, 7] = 0.9
    names = [f"class {i}" for i in range(40)]
    found = evaluation(tmp_path, scores, list(range(40)))
    path = write_page(tmp_path / "x.html", report_on(found, names, {"name": "topk"}), Page("many"))
    outline = Outline(path.read_text("utf-8"))
    assert "Most confused" in outline.text
    assert "class 3class 71" in outline.text
    assert "The 30 labels with the lowest F1" in outline.text


def test_a_broken_promise_is_a_warning(tmp_path: Path) -> None:
    found = evaluation(tmp_path, [[0.1, 0.9]] * 30 + [[0.1, 0.9]] * 30, [0] * 30 + [1] * 30)
    of = report_on(found, ["a", "b"])
    from tinysight.metrics.intervals import Interval

    of = replace(of, expected_fpr=Interval(0.0, 0.2))
    text = Outline(write_page(tmp_path / "x.html", of, Page("x")).read_text("utf-8")).text
    assert "the false-positive rate here, 1, is not what the threshold was chosen for" in text


def test_what_the_data_check_found_is_shown(run: Path) -> None:
    items = [{"paths": ["a.png", "<b>.png"], "side": "train"}] * 5
    findings = [{"count": 5, "kind": "duplicate", "severity": "warning", "items": items}]
    tree = {"sides": {"train": 9}, "balance": {}, "findings": findings}
    (run / "data_check.json").write_text(json.dumps(tree), encoding="utf-8")
    found = evaluation(run, [[0.9, 0.1], [0.2, 0.8]], [0, 1])
    text = Outline(write_report(run, report_on(found, ["a", "b"])).read_text("utf-8")).text
    assert "Data check" in text
    assert "duplicatewarning5paths a.png = <b>.png, side train; paths" in text
    tree["findings"] = []
    (run / "data_check.json").write_text(json.dumps(tree), encoding="utf-8")
    text = Outline(write_report(run, report_on(found, ["a", "b"])).read_text("utf-8")).text
    assert "Nothing is wrong with the lists" in text


def test_the_page_stays_small(tmp_path: Path) -> None:
    """Noise hardly compresses: fifteen errors of 4 megapixels each, 20,000 scores."""
    rng = np.random.default_rng(0)
    count = 20_000
    path = tmp_path / "noise.png"
    cv2.imwrite(str(path), rng.integers(0, 255, (1500, 2600, 3), np.uint8))
    positive = rng.beta(2, 2, count)
    found = Evaluation(
        np.stack([1 - positive, positive], 1).astype(np.float32),
        (rng.random(count) < positive).astype(np.int64),
        (str(path),) * count,
        {"top1": 0.5},
        (),
        1.0,
    )
    page = write_page(tmp_path / "x.html", report_on(found, ["a", "b"]), Page("noise"))
    assert page.stat().st_size < 2e6


def test_thumbnails_are_upright_and_small(tmp_path: Path) -> None:
    """An image whose EXIF says that it lies on its side; left in the file is up."""
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:, :300] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    data = thumbnail(path).removeprefix("data:image/jpeg;base64,")
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[:2] == (224, 112)
    assert shown[:90].mean() > 250
    assert shown[-90:].mean() < 5
    assert thumbnail(tmp_path / "gone.jpg") == ""


def test_a_image_that_has_gone_is_said_to_have(tmp_path: Path) -> None:
    found = evaluation(tmp_path, [[0.9, 0.1], [0.2, 0.8]], [1, 1])
    Path(found.paths[0]).unlink()
    page = write_page(tmp_path / "x.html", report_on(found, ["a", "b"]), Page("x"))
    assert "image has gone" in page.read_text("utf-8")


def drawn(chart: Chart) -> str:
    """The SVG of a chart."""
    return render("card.html", chart=chart)


def test_charts_survive_odd_data() -> None:
    x, y = Axis("x"), Axis("y")
    assert "polyline" not in drawn(Chart("t", x, y))
    single = Chart("t", around([1.0], "x"), around([2.0], "y"), {"a": [(1.0, 2.0)]})
    assert "polyline" in drawn(single)
    assert drawn(histogram("t", "p", {"a": [0.0, 1.0, 0.999], "b": []})).count("<rect") == 2
    log = Axis("fpr", 1e-4, 1.0, log=True)
    assert log.ticks() == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert (log.share(0.0), log.share(1e-2), log.share(1.0)) == (0.0, pytest.approx(0.5), 1.0)
    assert Axis("x", 0, 0.0021).ticks() == [0, 0.0005, 0.001, 0.0015, 0.002]
    series = {"<b>": [(0.0, 0.0)], "c": [(1.0, 1.0)]}
    text = drawn(Chart("<a>", x, y, series, marks=[Mark("<d>", 1, 1)]))
    assert not re.search("<[abd]>", text)
    assert all(f"&lt;{name}&gt;" in text for name in "abd")


def test_curves_are_drawn_with_no_more_points_than_show() -> None:
    steps = [(i / 10_000, i / 10_000) for i in range(10_000)]
    assert len(drawn(Chart("t", Axis("x"), Axis("y"), {"a": steps}))) < 60_000
    corner = drawn(Chart("t", Axis("x"), Axis("y"), {"a": [(0, 0), (0, 0.4), (0, 1), (1, 1)]}))
    assert re.search(r'points="([^"]*)"', corner)[1].count(",") == 3  # type: ignore[index]


def test_latency_times_what_can_be_read(tmp_path: Path) -> None:
    found = evaluation(tmp_path, [[0.9, 0.1]] * 3, [0, 0, 0])
    calls: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return np.zeros((len(images), 2), np.float32)

    prepare = Compose.from_specs([{"name": "resize", "size": [8, 8]}, {"name": "normalize"}])
    paths = [*found.paths, str(tmp_path / "gone.png")]
    latency = measure_latency(predict, paths, prepare)
    assert latency
    assert latency.images == 3
    assert set(calls) == {1}
    assert len(calls) == 6  # three to warm up
    for part in latency[1:]:
        assert 0 <= part.median <= part.p95
    assert measure_latency(predict, paths[3:], prepare) is None


def three_classes(folder: Path, wrong: int, metric: float = 0.5) -> EvaluationReport:
    """Of 40 images the first `wrong` are b and called a; the others are a, and one is c."""
    labels = [1] * wrong + [0] * (39 - wrong) + [2]
    scores = np.tile([0.7, 0.2, 0.1], (40, 1))
    scores[-1] = [0.1, 0.1, 0.8]
    found = evaluation(folder, scores, labels)
    names, spec = ["a", "b", "c"], {"name": "topk"}
    return report_of(
        found, names, manifest=tiny_manifest(postprocess=spec, labels=names, threshold=None)
    )


def test_the_accuracy_stands_beside_what_needs_no_network(run: Path) -> None:
    of = replace(three_classes(run, 10), calibration={})
    outline = Outline(write_report(run, of).read_text("utf-8"))
    assert "guessing: 0.333; always “a”: 0.725" in outline.text
    assert "Operating point" not in outline.text  # no empty box
    assert "It may be no better than always “a” (0.725): look for wrong labels" in outline.text
    assert "It may be no better than guessing" not in outline.text


def test_the_next_step_is_one_that_helps(run: Path) -> None:
    outline = Outline(write_report(run, three_classes(run, 10)).read_text("utf-8"))
    assert "10 of 10 errors take b for a: look at these first." in outline.text
    assert f"tinysight data check {run}/recipe.yaml" in outline.text
    assert "Fewer than 20 evaluation images of b, c: their rates say little." in outline.text
    assert f"tinysight export --run {run} --out {run}/bundle" in outline.text
    assert "more epochs may be better" not in outline.text
    line = {"epoch": 4, "loss": 0.1, "lr": 0.1, "metrics": {"top1": 1.0}, "best": True}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    outline = Outline(write_report(run, three_classes(run, 10)).read_text("utf-8"))
    wanted = f"train -c {run}/recipe.yaml -o train.epochs=8 --out {run} --resume"
    assert wanted in outline.text
    page = write_page(run / "x.html", three_classes(run, 0), Page("no run"))
    assert "tinysight export" not in page.read_text("utf-8")


def test_every_error_can_be_reached(run: Path) -> None:
    """Twenty errors of a kind: a dozen as the worst, eight as images of the kind, the others by name."""
    outline = Outline(write_report(run, three_classes(run, 20)).read_text("utf-8"))
    assert "b taken for a · 20" in outline.text
    assert outline.tags.count("img") == 12 + 8
    for i in range(20):
        assert f"{i}.png" in outline.text

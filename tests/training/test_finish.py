"""From a recipe's wish to the threshold that a bundle applies, and what it says about new images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.tiny import make_images, tiny_recipe, write_recipe
from tinysight.bundle import Bundle
from tinysight.cli import main
from tinysight.errors import ExportError
from tinysight.export.bundle import export_bundle
from tinysight.pipelines.pipeline import Classifier
from tinysight.training import fit
from tinysight.training.predictor import finish

THRESHOLD = "export.postprocess={name: threshold, positive: blue}"
FPR = "export.operating_point={target_fpr: 0.3}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that asks for a threshold and for calibrated scores."""
    root = tmp_path_factory.mktemp("finish")
    write_recipe(make_images(root / "pictures", eval_samples=24))
    words = ["-o", THRESHOLD, FPR, "export.calibrate=true", "train.epochs=3"]
    recipe = str(root / "pictures" / "recipe.yaml")
    assert main(["train", "-c", recipe, *words, "--out", str(root / "run")]) == 0
    return root / "run"


def test_a_run_ends_with_its_verdict(run: Path) -> None:
    tree = json.loads((run / "evaluation.json").read_text("utf-8"))
    point = tree["threshold"]
    assert 0 < point["value"] <= 1
    assert point["chosen"] == "target_fpr 0.3 on 12 negatives and 12 positives"
    assert (point["negatives"], point["positives"]) == (12, 12)
    assert point["fpr"]["value"] <= 0.3 <= point["fpr"]["high"]
    assert "12 negatives cannot support target_fpr 0.3" in point["warnings"][0]
    assert tree["calibrated"]
    assert tree["calibration"]["temperature"] > 0
    assert tree["latency_ms"]["pictures"] == 24
    assert tree["latency_ms"]["total"]["median"] <= tree["latency_ms"]["total"]["p95"]
    page = (run / "report.html").read_text("utf-8")
    assert f"{point['value']:.4g}" in page


def test_the_bundle_applies_it_and_says_how_sure_it_is(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = json.loads((run / "evaluation.json").read_text("utf-8"))
    bundle = export_bundle(run, tmp_path / "bundle")
    manifest = bundle.manifest
    assert manifest.threshold
    assert manifest.threshold.value == wanted["threshold"]["value"]
    assert manifest.threshold.chosen == wanted["threshold"]["chosen"]
    assert list(manifest.threshold.interval or ()) == wanted["threshold"]["interval"]
    assert manifest.postprocess["threshold"] == manifest.threshold.value
    assert manifest.recipe["temperature"] == wanted["calibration"]["temperature"]
    assert manifest.metrics["operating_point.fpr_high"] == wanted["threshold"]["fpr"]["high"]
    assert manifest.parity and manifest.parity.label_flips == 0
    card = (tmp_path / "bundle" / "card.md").read_text("utf-8")
    assert f"Threshold: {manifest.threshold.value:.6g}" in card
    assert "false positives" in card

    images = run.parent / "pictures"
    listed = ["--list", str(images / "val.txt")]
    capfd.readouterr()
    assert main(["eval", "--bundle", str(tmp_path / "bundle"), *listed, "--json"]) == 0
    seen = json.loads(capfd.readouterr().out)["threshold"]
    for name in ("true_positives", "false_positives", "value", "interval", "chosen"):
        assert seen[name] == wanted["threshold"][name]
    low, high = seen["promised_fpr"]
    assert low <= seen["fpr"]["value"] <= high

    names = [str(images / f"val_{i}.png") for i in range(24)]
    answers = [a for batch in Classifier(bundle).predict(names) for a in batch]
    blue = [a["label_names"] == ["blue"] for a in answers]
    assert sum(blue[1::2]) == seen["true_positives"]
    assert sum(blue[::2]) == seen["false_positives"]


def test_calibrated_scores_are_the_plain_ones_at_a_temperature(run: Path, tmp_path: Path) -> None:
    recipe = run.parent / "pictures" / "recipe.yaml"
    warm = Bundle.load(export_bundle(run, tmp_path / "warm").folder)
    temperature = warm.manifest.recipe["temperature"]
    plain = run.parent / "plain"
    words = ["-o", THRESHOLD, "train.epochs=3", "--out", str(plain)]
    assert main(["train", "-c", str(recipe), *words]) == 0
    cold = export_bundle(plain, tmp_path / "cold")
    names = [str(recipe.parent / f"val_{i}.png") for i in range(8)]
    (_, a), (_, b) = (next(Classifier(x, batch_size=8).scores(names)) for x in (cold, warm))
    odds = [np.log(s[:, 1].astype(float) / s[:, 0]) for s in (a, b)]
    assert odds[0] / temperature == pytest.approx(odds[1], rel=1e-3, abs=1e-4)
    assert cold.manifest.threshold
    assert cold.manifest.threshold.chosen == "set in the recipe (export.postprocess.threshold)"
    assert cold.manifest.threshold.interval is None


def test_what_has_no_operating_point_is_refused_before_training(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = str(write_recipe(make_images(tmp_path / "pictures")))
    out = tmp_path / "run"
    for words, message in (
        ([FPR], "topk has no threshold; two classes need export.postprocess {name: threshold}"),
        (
            [THRESHOLD, FPR, "data.labels=[red, blue, green]"],
            "3 classes have no false-positive rate",
        ),
        ([THRESHOLD, "export.operating_point={}"], "exactly one of target_fpr"),
        (
            [THRESHOLD, "export.operating_point={target_fpr: 0.1, threshold: 0.5}"],
            "exactly one of target_fpr, target_precision, threshold is needed",
        ),
    ):
        assert main(["train", "-c", recipe, "-o", *words, "--out", str(out)]) == 2
        assert message in capfd.readouterr().err
    assert not out.exists()


def test_a_point_that_cannot_be_had_ends_no_run_but_the_export(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures")
    (root / "val.txt").write_text("".join(f"val_{i}.png 1\n" for i in range(8)), "utf-8")
    recipe = tiny_recipe(root, THRESHOLD, FPR, "train.epochs=1")
    fit(recipe, tmp_path / "run")
    report = finish(tmp_path / "run")
    assert report.threshold is None
    assert "no negatives" in report.chosen
    assert "no negatives" in (tmp_path / "run" / "report.html").read_text("utf-8")
    with pytest.raises(ExportError, match="export.operating_point: target_fpr: no negatives"):
        export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_every_split_is_calibrated_by_the_temperature_of_the_first(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures", eval_samples=24)
    splits = "data.eval={first: {list: val.txt}, again: {list: val.txt}}"
    fit(tiny_recipe(root, splits, "export.calibrate=true", "train.epochs=1"), tmp_path / "run")
    report = finish(tmp_path / "run")
    assert report.temperature != pytest.approx(1)
    np.testing.assert_array_equal(report.others["again"].scores, report.evaluation.scores)


def test_a_given_threshold_goes_along_with_its_rates(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures")
    wish = "export.operating_point={threshold: 0.25}"
    fit(tiny_recipe(root, THRESHOLD, wish, "train.epochs=1"), tmp_path / "run")
    manifest = export_bundle(tmp_path / "run", tmp_path / "bundle").manifest
    assert manifest.threshold
    assert manifest.threshold.value == 0.25 == manifest.postprocess["threshold"]
    assert manifest.threshold.chosen == "set in the recipe (export.operating_point.threshold)"
    assert manifest.metrics["operating_point.negatives"] == 4

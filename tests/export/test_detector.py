"""A trained detector as a bundle: with and without suppression in its network, in other engines, in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from support.detectors import fill_detector, recorded_detector
from support.golden import Case, each_case, synth_input
from support.scenes import NAMES, trained_detector
from tinysight.bundle import Bundle
from tinysight.config.load import check_tree
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.errors import ExportError
from tinysight.evaluation.report import assess, images_of, subject_of_bundle
from tinysight.export.bundle import export_bundle
from tinysight.export.onnx import CELLS, to_onnx
from tinysight.export.variants import add_variants, evaluation_images, files_of
from tinysight.metrics.suppression import stacked
from tinysight.pipelines.detect import Detector
from tinysight.training.predictor import evaluate_run, find_checkpoint, load_model

SLOW = pytest.mark.slow  # an export runs the certificate's files through every engine


@pytest.mark.slow
@each_case("picodet_train", lambda case: "steps" in case and "tiny" in case["id"])
def test_the_graph_is_the_network(case: Case) -> None:
    """Suppression inside the graph gives the rows of the one beside it."""
    model = recorded_detector(case["arch"], clip=True)
    fill_detector(model, case)
    height, width = case["input"]
    images = torch.from_numpy(synth_input(2, height, width, name="picodet/input"))
    with torch.inference_mode():
        found = model.eval().outputs(images, None, ("detections",)).stages
    expected = found["detections"].numpy()
    about = {"opset": 18, "metadata": {}}
    graph = OnnxRuntime(to_onnx(model, (3, height, width), outputs=("boxes", "counts"), **about))
    rows, counts = graph.run_all({"images": images.numpy()})
    assert counts.tolist() == [int((own[:, 0] >= 0).sum()) for own in expected]
    found_rows = stacked(np.split(rows, np.cumsum(counts)[:-1]))
    found_rows[..., 2:] /= np.where(found_rows[..., :1] >= 0, [[[width, height] * 2]], 1)
    assert np.array_equal(found_rows[..., 0], expected[..., 0])
    assert np.abs(found_rows - expected).max() < 1e-4
    graph = OnnxRuntime(to_onnx(model, (3, height, width), outputs=CELLS, **about))
    boxes, scores = graph.run_all({"images": images.numpy()})
    assert np.abs(boxes - found["boxes"].numpy()).max() < 5e-3
    assert np.abs(scores - found["scores"].numpy().transpose(0, 2, 1)).max() < 2e-5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_detector(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    return export_bundle(run, run.parent / "bundle")


@SLOW
def test_it_gives_the_boxes_that_were_validated(run: Path, bundle: Bundle) -> None:
    about = bundle.manifest
    assert (about.output, about.more_outputs, about.labels) == ("boxes", ("counts",), NAMES)
    assert about.parity is not None and about.parity.max_score_difference < 1e-4
    recipe = load_model(run)[1]
    found = assess(subject_of_bundle(bundle, recipe)).evaluation
    expected = evaluate_run(run)
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-4)


@SLOW
def test_both_forms_give_the_same_rows(run: Path, bundle: Bundle) -> None:
    """Suppression inside the network and beside it."""
    model, recipe = load_model(run)
    tree = recipe.model_dump(mode="json")
    tree["export"]["nms"] = False
    plain, problems = check_tree(tree)
    assert plain is not None, problems
    other = export_bundle(find_checkpoint(run), run.parent / "plain", recipe=plain)
    assert other.manifest.output == "cells"
    images = [str(s.path) for s in images_of(subject_of_bundle(bundle, recipe))]
    first, second = (Detector(b, threshold=0.01) for b in (bundle, other))
    for one, two in zip(first.batch(images), second.batch(images), strict=True):
        assert len(one.scores)
        assert one.label_ids.tolist() == two.label_ids.tolist()
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-6)
        np.testing.assert_allclose(one.boxes_xyxy, two.boxes_xyxy, atol=1e-3)
        assert one.boxes_xyxy.min() >= 0
        assert one.boxes_xyxy[:, 2].max() <= 96
        assert one.boxes_xyxy[:, 3].max() <= 80


@SLOW
def test_int8_is_judged_by_its_boxes(run: Path, bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    images = evaluation_images(run)
    made = add_variants(
        bundle, ["openvino"], images, precision="int8", calibrate=images, max_loss=100,
        out=tmp_path / "int8",
    )  # fmt: skip
    variant = made.manifest.variants["openvino-int8"]
    assert variant.lost_points is not None
    result = Detector(made, engine="target/openvino-int8", threshold=0.01)(str(images[1].path))
    assert len(result.scores)
    with pytest.raises(ExportError, match="points of accuracy are lost"):
        add_variants(
            bundle, ["openvino"], images, precision="int8", calibrate=images, max_loss=-100,
            out=tmp_path / "no",
        )  # fmt: skip


@SLOW
def test_engines_that_cannot_choose_boxes_say_so(bundle: Bundle, run: Path) -> None:
    with pytest.raises(ExportError, match="our detectors for openvino"):
        add_variants(bundle, ["ncnn"], files_of(str(run.parent / "scenes" / "val")))

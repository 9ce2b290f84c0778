"""PicoDet: every recorded network, from the feature maps to the boxes that are left."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.detectors import close, expected_entries, fill_detector, recorded_detector
from support.golden import GOLDEN, Case, each_case, synth_input
from tinysight.errors import WeightsError
from tinysight.metrics.suppression import Suppression, multiclass_nms
from tinysight.models import count_parameters
from tinysight.models.detector import PicoDet, build_detector
from tinysight.models.detector.picodet import cells
from tinysight.models.weights import from_reference, reference_entries
from tinysight.transforms import Compose, decode, to_batch

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@each_case("picodet", lambda case: max(case["input_size"]) <= 416)
def test_network(case: Case) -> None:
    _check_network(case)


@pytest.mark.slow
@each_case("picodet", lambda case: max(case["input_size"]) > 416)
def test_large_network(case: Case) -> None:
    _check_network(case)


def _check_network(case: Case) -> None:
    model = recorded_detector(case["arch"])
    expected = expected_entries(case)
    assert {e.name: e.shape for e in reference_entries(model)} == expected
    fill_detector(model, case)
    model.eval()
    trained = sum(np.prod(s) for n, s in expected.items() if not n.endswith(("_mean", "_variance")))
    assert count_parameters(model) == trained
    _check(model, case, "synthetic", case["runs"]["synthetic"])


@pytest.mark.slow
@each_case("picodet")
def test_images(case: Case) -> None:
    model = recorded_detector(case["arch"])
    fill_detector(model, case)
    for name, run in case["runs"].items():
        if "file" in run:
            _check(model.eval(), case, name, run)


def _check(model: PicoDet, case: Case, name: str, run: dict[str, Any]) -> None:
    arrays = {k.split("|")[1]: v for k, v in case.file_arrays.items() if k.startswith(f"{name}|")}
    images = torch.from_numpy(_input(case, name, run))
    height, width = images.shape[2:]
    step = run["step"]
    with torch.inference_mode():
        stages = list(model.backbone.forward_stages(images).values())[-3:]
        pyramid = model.neck(stages)
        levels = [model.head.level(i, y) for i, y in enumerate(pyramid)]
        found = model(images).stages
    kinds = {"backbone": stages, "neck": pyramid}
    kinds |= {k: [level[i] for level in levels] for i, k in enumerate(("cls", "reg", "align"))}
    for kind, values in kinds.items():
        for i, value in enumerate(values):
            if (key := f"{kind}{i}") in arrays:
                own = value.reshape(-1)[:: step[key]]
                close(own, arrays[key].reshape(-1), 5e-4 if kind == "align" else 3e-4)
    scores = found["scores"].transpose(1, 2)
    boxes = found["boxes"]
    sampled = scores.reshape(-1)[:: step["scores"]].numpy()
    assert np.abs(sampled - arrays["scores"].reshape(-1)).max() < 2e-5
    rows = boxes[:, :: step["boxes_rows"]].numpy()
    assert np.abs(rows - arrays["boxes"]).max() < 5e-3
    _check_final(run, arrays, boxes.numpy(), scores.numpy(), (height, width), case["nms"])


def _check_final(
    run: dict[str, Any], arrays: dict[str, np.ndarray], boxes: np.ndarray, scores: np.ndarray,
    size: tuple[int, int], nms: dict[str, Any],
) -> None:  # fmt: skip
    """Rows after suppression, where noise does not change which there are."""
    rule = Suppression(
        nms["score_threshold"], nms["nms_top_k"], nms["nms_threshold"], nms["keep_top_k"],
        nms["normalized"], nms["nms_eta"],
    )  # fmt: skip
    high = rule._replace(min_score=run["high_threshold"])
    clipped = boxes.clip(0, np.array([size[1], size[0]] * 2, np.float32))
    kinds = {
        "final": (rule, boxes, "selection_unchanged_under_noise"),
        "final_high": (high, boxes, "high_selection_unchanged_under_noise"),
        "final_release23": (rule, clipped, "release23_selection_unchanged_under_noise"),
    }
    factors = np.array(run["scale_factor"], np.float32)
    for kind, (chosen, places, stable) in kinds.items():
        if kind not in arrays:
            continue
        ends = np.cumsum(arrays[f"{kind}_num"].reshape(-1))[:-1]
        for i, expected in enumerate(np.split(arrays[kind], ends)):
            if run[stable][i] < 1:
                continue
            rows, index = multiclass_nms(places[i], scores[i], chosen)
            rows[:, 2:] /= factors[i][[1, 0, 1, 0]]
            assert rows.shape == expected.shape
            assert np.array_equal(rows[:, 0], expected[:, 0])
            assert np.abs(rows[:, 1] - expected[:, 1]).max(initial=0) < 2e-5
            assert np.abs(rows[:, 2:] - expected[:, 2:]).max(initial=0) < 5e-3 / factors[i].min()
            if kind == "final" and f"final_anchor#{i}" in arrays:
                assert np.array_equal(index, arrays[f"final_anchor#{i}"].reshape(-1))


def _input(case: Case, name: str, run: dict[str, Any]) -> np.ndarray:
    height, width = case["input_size"]
    if "file" not in run:
        return synth_input(2, height, width, name="picodet/input")
    path = GOLDEN.parent / run["file"]
    if not path.is_file():
        pytest.skip(f"no image {path}")
    size = {"name": "resize", "size": [width, height], "interpolation": "bicubic"}
    steps = Compose.from_specs([size, {"name": "normalize", **IMAGENET}])
    return to_batch([steps(decode(path))])


def tiny(name: str = "picodet", classes: int = 3, **options: Any) -> PicoDet:
    """The smallest detector."""
    spec = {"name": name, "channels": 16, "convs": 1, **options}
    return build_detector({"name": "pplcnet_x0_25"}, spec, classes)


def test_cells_lie_in_the_middle() -> None:
    at = cells(64, 128)
    assert len(at.centres) == 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2
    assert at.centres[[0, 1, 16, -2, -1]].tolist() == [
        [4, 4], [12, 4], [4, 12], [32, 32], [96, 32],
    ]  # fmt: skip
    assert at.strides[[0, 127, 128, -1]].tolist() == [8, 8, 16, 64]


@pytest.mark.parametrize("name", ["picodet", "picodet_v2"])
def test_leftovers_of_a_state_dict_are_passed_over(name: str) -> None:
    model = tiny(name)
    weights = {e.name: np.zeros(e.shape, np.float32) for e in reference_entries(model)}
    more = {"head.p3_feat.scale_reg": np.ones(1, np.float32)}
    more["head.distribution_project.project"] = np.arange(8, dtype=np.float32)
    more["head.head_cls_list.0.weight"] = np.ones((3, 16, 1, 1), np.float32)
    assert from_reference(model, weights | more).keys() == from_reference(model, weights).keys()
    more["head.distribution_project.project"][3] = 9
    with pytest.raises(WeightsError, match="0 to 7"):
        from_reference(model, more)


@pytest.mark.parametrize("name", ["picodet", "picodet_v2"])
def test_fresh_scores_are_rare_and_boxes_inside(name: str) -> None:
    model = tiny(name).eval()
    with torch.inference_mode():
        found = model.outputs(torch.randn(2, 3, 64, 96), None, ("detections",)).stages
    assert found["scores"].shape == (2, 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2, 3)
    assert float(found["scores"].max()) < 0.1
    assert float(found["boxes"].min()) >= 0
    assert float(found["boxes"][..., 0].max()) <= 96
    assert float(found["boxes"][..., 3].max()) <= 64
    assert found["detections"].shape[2] == 6

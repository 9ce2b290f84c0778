"""Exported detectors in every form: recorded programs, and those of raw heads put together by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from support.golden import Case, cases, each, synth_input
from support.paddle import FORMS, op, write_detector, write_legacy
from tinysight.compat.paddle.bundle import import_paddle
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.errors import ConfigError
from tinysight.files import sha256, to_yaml
from tinysight.metrics.suppression import Suppression, multiclass_nms
from tinysight.pipelines.detect import Detector

PROGRAMS = [
    pytest.param((case, file), id=f"{case['id']}-{file}")
    for case in cases("picodet_program")
    for file in FORMS
    if (case.folder / file).is_file()
]


@each("program", PROGRAMS, "picodet_program")
def test_recorded(program: tuple[Case, str], tmp_path: Path) -> None:
    case, file = program
    weights = write_detector(case, file, tmp_path)
    form = "legacy" if file.endswith(".pdmodel") else "pir"
    assert sha256(weights) == case[form]["pdiparams_sha256"]
    model = paddle_to_onnx(tmp_path)
    session = onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    count = 1 if case["kind"] == "raw" else len(case["input"]["scale_factor"])
    size = [p.shape for p in session.get_inputs() if len(p.shape) == 4][0][2:]
    known = {"image": synth_input(2, *size, name="picodet/input")[:count]}
    known["scale_factor"] = np.array(case["input"].get("scale_factor", [[1, 1]]), np.float32)[
        :count
    ]
    known["im_shape"] = np.array([size] * count, np.float32)
    found = session.run(None, {p.name: known[p.name] for p in session.get_inputs()})
    expected = [case.arrays[f"output_{i}"] for i in range(len(found))]
    assert [list(a.shape) for a in found] == [list(shape) for shape in case["output_shapes"]]
    if case["kind"] == "nms":
        assert np.array_equal(found[1].reshape(-1), expected[1].reshape(-1))
        assert np.array_equal(found[0][:, 0], expected[0][:, 0])
        assert np.abs(found[0][:, 1] - expected[0][:, 1]).max() < 2e-5
        assert (
            np.abs(found[0][:, 2:] - expected[0][:, 2:]).max() < 5e-3 / known["scale_factor"].min()
        )
    elif case["kind"] == "nonms":
        assert np.abs(found[0] - expected[0]).max() < 5e-3
        assert np.abs(found[1] - expected[1]).max() < 2e-5
    else:
        half = len(found) // 2
        for one, other in zip(found[:half], expected[:half], strict=True):
            assert np.abs(one - other).max() < 2e-5
        for one, other in zip(found[half:], expected[half:], strict=True):
            assert np.abs(one - other).max() < 3e-4 * other.std()


@each("program", PROGRAMS, "picodet_program")
def test_as_a_bundle(program: tuple[Case, str], tmp_path: Path) -> None:
    """Whatever the form, it becomes rows of boxes in pixels of the images."""
    case, file = program
    write_detector(case, file, tmp_path / "export")
    done = import_paddle(tmp_path / "export", tmp_path / "bundle")
    detector = Detector(done.bundle, threshold=0.0)
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3)).astype(np.uint8)
    (found, again) = detector.batch([image, image])
    assert len(found.scores)
    assert found.named("") == again.named("")
    assert found.boxes_xyxy[:, 0].max() > 40


RAW = {"min_score": 0.025, "candidates": 1000, "max_iou": 0.6, "keep": 100}


def raw_export(folder: Path, side: int = 64, classes: int = 2) -> dict[str, np.ndarray]:
    """A program of raw heads: a convolution a level; gives its weights."""
    rng = np.random.default_rng(3)
    weights: dict[str, np.ndarray] = {}
    operators, scores, distances = list[bytes](), list[str](), list[str]()
    shapes: dict[str, tuple[int, ...]] = {}
    for i, stride in enumerate((8, 16, 32, 64)):
        for kind, width, out in (("s", classes, scores), ("d", 32, distances)):
            name = f"{kind}{i}"
            size = (width, 3, stride, stride)
            weights[f"{name}.w"] = rng.normal(0, 4 / stride, size).astype(np.float32)
            last = f"{name}.c"
            operators.append(
                op(
                    "conv2d", f"Input=image Filter={name}.w", f"Output={last}",
                    strides=[stride] * 2, paddings=[0, 0], dilations=[1, 1], groups=1,
                )
            )  # fmt: skip
            if kind == "s":
                operators.append(op("sigmoid", f"X={last}", f"Out={name}.p"))
                last = f"{name}.p"
            shape = {"shape": [1, width, -1]}
            operators.append(op("reshape2", f"X={last}", f"Out={name}.r", **shape))
            operators.append(op("transpose2", f"X={name}.r", f"Out={name}.t", axis=[0, 2, 1]))
            out.append(f"{name}.t")
            shapes[f"{name}.t"] = (1, (side // stride) ** 2, width)
    write_legacy(
        folder, operators, inputs={"image": (-1, 3, side, side)}, outputs=[*scores, *distances],
        weights=weights, shapes=shapes,
    )  # fmt: skip
    return weights


def config(**changes: Any) -> dict[str, Any]:
    steps = [
        {"type": "Resize", "interp": 2, "keep_ratio": False, "target_size": [64, 64]},
        {
            "type": "NormalizeImage",
            "is_scale": True,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
        {"type": "Permute"},
    ]
    return {"arch": "PicoDet", "Preprocess": steps, "label_list": ["cat", "dog"], **changes}


def test_raw_heads(tmp_path: Path) -> None:
    weights = raw_export(tmp_path / "export")
    (tmp_path / "export" / "infer_cfg.yml").write_text(to_yaml(config(draw_threshold=0.3)), "utf-8")
    bundle = import_paddle(tmp_path / "export", tmp_path / "bundle").bundle
    assert bundle.manifest.labels == ("cat", "dog")
    assert bundle.manifest.threshold is not None and bundle.manifest.threshold.value == 0.3
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    pixels = (image.astype(np.float32) / 255 - 0.5) / 0.5
    expected, _ = multiclass_nms(*by_hand(weights, pixels), Suppression())
    expected = expected[expected[:, 1] > 0.3]
    detector = Detector(bundle)
    for found in detector.batch([image, image]):
        assert found.label_ids.tolist() == expected[:, 0].astype(int).tolist()
        np.testing.assert_allclose(found.scores, expected[:, 1], atol=1e-5)
        np.testing.assert_allclose(found.boxes_xyxy, expected[:, 2:], atol=5e-3)


def by_hand(weights: dict[str, np.ndarray], pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes, scores = [], []
    for i, stride in enumerate((8, 16, 32, 64)):
        for y in range(64 // stride):
            for x in range(64 // stride):
                patch = pixels[y * stride :, x * stride :][:stride, :stride].transpose(2, 0, 1)
                score = np.tensordot(weights[f"s{i}.w"], patch, 3)
                bins = np.tensordot(weights[f"d{i}.w"], patch, 3).reshape(4, 8)
                share = np.exp(bins - bins.max(1, keepdims=True))
                sides = (share / share.sum(1, keepdims=True)) @ np.arange(8) * stride
                at = (np.array([x, y]) + 0.5) * stride
                boxes.append([*(at - sides[:2]), *(at + sides[2:])])
                scores.append(1 / (1 + np.exp(-score)))
    return np.array(boxes, np.float32), np.array(scores, np.float32).T


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Preprocess": None}, "list of steps"),
        ({"Preprocess": [{"type": "PadStride"}]}, "PadStride is not known"),
        (
            {"Preprocess": [{"type": "Resize", "keep_ratio": True, "target_size": [64, 64]}]},
            "keeps proportions",
        ),
        ({"Preprocess": [{"type": "Resize", "target_size": "640"}]}, "height, width"),
    ],
)
def test_configurations_that_are_not_understood(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    raw_export(tmp_path / "export")
    (tmp_path / "export" / "infer_cfg.yml").write_text(to_yaml(config(**change)), "utf-8")
    with pytest.raises(ConfigError, match=words):
        import_paddle(tmp_path / "export", tmp_path / "bundle")

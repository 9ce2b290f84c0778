"""The C++ command on detectors: the boxes, names and words of the Python one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_detector
from support.cpp import run_cpp
from tinysight.bundle import Bundle
from tinysight.pipelines.detect import Detector


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(2)
    for i, (height, width) in enumerate([(16, 32), (8, 8), (37, 21)]):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((height, width, 3), 255 - 40 * i, np.uint8))
    cv2.imwrite(str(folder / "noise.png"), rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    cv2.imwrite(str(folder / "dull.png"), np.zeros((8, 8, 3), np.uint8))
    return folder


def check(bundle: Bundle, images: Path, *words: str, **options: float) -> None:
    """Both commands say the same of every image."""
    detector = Detector(bundle, **options)  # type: ignore[arg-type]
    expected = {str(p): detector(str(p)) for p in sorted(images.iterdir())}
    done = run_cpp("predict", images, "--model", bundle.folder, "--json", *words)
    assert done.code == 0, done.errors
    assert [row["filename"] for row in done.rows] == sorted(expected)
    for row in done.rows:
        own = expected[row["filename"]].to_json()
        assert list(row) == list(own)
        assert row["label_ids"] == own["label_ids"]
        assert row["label_names"] == own["label_names"]
        assert row["scores"] == pytest.approx(own["scores"], abs=1e-5)
        np.testing.assert_allclose(row["boxes_xyxy"], own["boxes_xyxy"], atol=1e-3)
    done = run_cpp("predict", images, "--model", bundle.folder, *words)
    assert done.code == 0, done.errors
    lines = [line for name in sorted(expected) for line in expected[name].to_text().splitlines()]
    assert done.out.splitlines() == lines


@pytest.mark.parametrize("scaled", [True, False])
def test_boxes(scaled: bool, images: Path, tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b", scaled=scaled)
    check(bundle, images)
    check(bundle, images, "--threshold", "0.1", threshold=0.1)


def test_options_of_the_post_processor(images: Path, tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b")
    spec = {**bundle.manifest.postprocess, "keep": 0}
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    check(
        Bundle.write(tmp_path / "none", bundle.manifest._replace(postprocess=spec), files), images
    )
    spec = {**bundle.manifest.postprocess, "keep": 1, "equal": True}
    check(Bundle.write(tmp_path / "one", bundle.manifest._replace(postprocess=spec), files), images)


def test_what_it_does_not_do(images: Path, tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b")
    done = run_cpp("predict", images, "--model", bundle.folder, "--topk", "2")
    assert done.code == 2
    assert "its boxes" in done.errors
    spec = {**bundle.manifest.postprocess, "suppress": {"keep": 1}}
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    other = Bundle.write(tmp_path / "c", bundle.manifest._replace(postprocess=spec), files)
    done = run_cpp("predict", images, "--model", other.folder)
    assert done.code == 2
    assert "export.nms" in done.errors

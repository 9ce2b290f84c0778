"""Detectors and networks that describe images by vectors, compared between the engines."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_detector, tiny_manifest, tiny_onnx
from support.exports import export
from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.certificate.compare import readable
from tinysight.certificate.verify import OWN, verify
from tinysight.cli import main
from tinysight.compat.paddle.bundle import import_paddle


@pytest.mark.parametrize("scaled", [True, False])
def test_a_detector(scaled: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Allowed to decode reduced, which detectors never do, so that there is nothing to compare."""
    leave = ReducedDecode(1.0, 1000, 0, 0.01)
    bundle = tiny_detector(tmp_path / "b", scaled=scaled, decode=leave)
    (tmp_path / "own").mkdir()
    for i, level in enumerate((0, 255)):
        image = np.full((40, 60, 3), level, np.uint8)
        cv2.imwrite(str(tmp_path / "own" / f"{i}.jpg"), image)
    words = ["verify", str(bundle.folder), "--images", str(tmp_path / "own")]
    assert main([*words, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert (tree["pass"], tree["reference"], tree["reduced"]) == (True, None, None)
    for one in tree["engines"].values():
        assert one["total"]["pictures"] == len(readable()) + 2
        assert one["kinds"][OWN]["max_box_difference"] < 1e-5
    assert main(words) == 0
    assert "0 flips, 0, 0" in capsys.readouterr().out


def test_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tiny_manifest(postprocess={"name": "embedding"}, threshold=None, labels=())
    bundle = Bundle.write(tmp_path / "b", manifest, {MODEL: tiny_onnx(5)})
    assert main(["verify", str(bundle.folder)]) == 0
    shown = capsys.readouterr().out
    assert "flips" not in shown
    assert shown.endswith("the same answers\n")


@pytest.mark.golden
@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("DetectorLike", "boxes"),
        pytest.param("GeneralRecognitionV2_PPLCNetV2_base", "embedding", marks=pytest.mark.slow),
    ],
)
def test_networks_of_the_reference(case: str, answer: str, tmp_path: Path) -> None:
    export(tmp_path / "e", case)
    report = verify(import_paddle(tmp_path / "e", tmp_path / "b").bundle)
    assert report.problems == ()
    assert report.origin == ""
    for one in report.engines:
        assert (one.total.max_box_difference is None) is (answer == "embedding")
        assert one.total.images == len(readable())
        assert one.total.worst < 1e-4

"""Boxes drawn into images: what changes and what does not, and the command that does it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from support.commands import tinysight
from tinysight.errors import DataError
from tinysight.pipelines.draw import Drawings, drawn
from tinysight.tasks.results import BoxResult


def result(filename: str = "", *boxes: tuple[float, ...]) -> BoxResult:
    count = len(boxes)
    names = tuple(f"n{i}" for i in range(count))
    return BoxResult(filename, np.arange(count), np.full(count, 0.5), names, np.array(boxes))


def test_only_the_frame_and_its_label_change() -> None:
    image = np.full((200, 300, 3), 90, np.uint8)
    found = drawn(image, result("", (50, 60, 150, 160)))
    assert (image == 90).all()
    assert (found[62:158, 52:148] == 90).all()  # inside
    assert (found[165:] == 90).all()
    assert (found[100, 50] != 90).any()
    assert (drawn(image, result()) == image).all()


def test_boxes_beyond_the_border_and_of_no_number() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    found = drawn(image, result("", (-1e9, -5, 1e9, np.inf), (np.nan, 0, 3, 3)))
    assert found.shape == image.shape


def test_equal_names_do_not_collide(tmp_path: Path) -> None:
    names = ["a/x.jpg", "b/x.jpg", "a/x_2.jpg", "a/x.bmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((9, 9, 3), np.uint8))
    drawings = Drawings(tmp_path / "out")
    paths = [drawings.add(result(str(tmp_path / name), (1, 1, 5, 5))).name for name in names]
    assert paths == ["x.png", "x_2.png", "x_2_2.png", "x_3.png"]


def test_no_image_is_drawn_over(tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    cv2.imwrite(str(image), np.zeros((9, 9, 3), np.uint8))
    before = image.read_bytes()
    with pytest.raises(DataError, match="would be overwritten"):
        Drawings(tmp_path).add(result(str(image), (1, 1, 5, 5)))
    assert image.read_bytes() == before


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    image = tmp_path / ("\u00e9" * 120 + ".png")
    image.write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    assert Drawings(tmp_path / "out").add(result(str(image), (1, 1, 5, 5))).is_file()


def test_the_command(tmp_path: Path) -> None:
    bundle = tiny_detector(tmp_path / "b").folder
    cv2.imwrite(str(tmp_path / "bright.png"), np.full((64, 64, 3), 255, np.uint8))
    done = tinysight(
        "predict", tmp_path / "bright.png", "--model", bundle, "--draw", tmp_path / "out"
    )
    assert done.code == 0, done.err
    picture = cv2.imread(str(tmp_path / "out" / "bright.png"))
    assert picture.shape == (64, 64, 3)
    assert (picture != 255).any()
    plain = tiny_bundle(tmp_path / "c").folder
    done = tinysight(
        "predict", tmp_path / "bright.png", "--model", plain, "--draw", tmp_path / "no"
    )
    assert done.code == 2
    assert "no boxes to draw" in done.err
    assert not (tmp_path / "no").exists()

"""`tinysight data preview`: a sheet of augmented images, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from support.tiny import make_images, write_recipe
from tinysight.cli import main


def test_a_sheet_is_drawn_and_repeats_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_images(tmp_path)
    recipe = str(write_recipe(tmp_path))
    for name in ("a.png", "b.png"):
        words = ["data", "preview", "-c", recipe, "--out", str(tmp_path / name), "--rows", "2"]
        assert main(words) == 0
        assert capsys.readouterr().out.strip().endswith(name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    height, width = cv2.imread(str(tmp_path / "a.png")).shape[:2]
    assert width > 4 * height  # two rows of nine


def test_no_rows_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(tmp_path)
    words = ["data", "preview", "-c", str(write_recipe(tmp_path)), "--out", "x.png", "--rows", "0"]
    assert main(words) == 2
    assert "at least 1" in capsys.readouterr().err

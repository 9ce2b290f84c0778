"""The contact sheet of augmented images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tinysight.errors import ConfigError, ImageError
from tinysight.transforms import Compose, decode
from tinysight.transforms.preview import contact_sheet, visible, write_contact_sheet

SPECS = [
    {"name": "random_resized_crop", "size": 32},
    {"name": "rand_augment"},
    {"name": "normalize"},
    {"name": "random_erasing", "mode": "pixel"},
]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / "wide.png", tmp_path / "tall.png"]
    for path, shape in zip(paths, ((30, 60, 3), (60, 30, 3)), strict=True):
        cv2.imwrite(str(path), rng.integers(0, 256, shape, dtype=np.uint8))
    return paths


def test_a_row_shows_the_image_and_then_its_results(files: list[Path], tmp_path: Path) -> None:
    compose = Compose.from_specs(SPECS)
    out = write_contact_sheet(tmp_path / "sheet.png", files, compose, columns=3, cell=60)
    sheet = decode(out)
    assert sheet.shape == (2 * 64 + 4, 4 * 64 + 4, 3)
    assert np.array_equal(sheet[4:34, 4:64], decode(files[0]))
    assert np.array_equal(sheet[68:128, 4:34], decode(files[1]))
    assert (sheet[34:64, 4:64] == 255).all()
    assert np.array_equal(sheet, contact_sheet(files, compose, 3, 0, 60))
    other = contact_sheet(files, compose, 3, 1, 60)
    assert not np.array_equal(sheet, other)


def test_normalised_pixels_are_shown_as_they_were() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for specs in (
        [{"name": "normalize"}],
        [{"name": "normalize", "mean": [0.5], "std": [0.25], "scale": 0.01}],
        [{"name": "normalize", "mean": [0.0], "std": [1.0], "scale": 1.0}, {"name": "normalize"}],
        [{"name": "normalize"}, {"name": "append_channels"}],
        [{"name": "random_flip", "p": 0.0}],
    ):
        compose = Compose.from_specs(specs)
        assert np.array_equal(
            visible(compose(image, np.random.default_rng(0)), compose.specs), image
        )


def test_mistakes_are_named(files: list[Path], tmp_path: Path) -> None:
    compose = Compose.from_specs([])
    with pytest.raises(ConfigError, match=r"\.png or a \.jpg"):
        write_contact_sheet(tmp_path / "sheet.pdf", files, compose)
    with pytest.raises(ImageError, match="no images"):
        contact_sheet([], compose, 8, 0, 160)
    with pytest.raises(ImageError, match="no such file"):
        contact_sheet([tmp_path / "absent.png"], compose, 8, 0, 160)

"""Who stays with whom, and which side they are on."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.drawn import COLOURS, draw_classes, drawing
from tinysight.data.prepare.splits import divide
from tinysight.errors import DataError
from tinysight.starter.division import DividedImages, divide_images
from tinysight.starter.sources import LabelledImages, find_images


def sides(images: LabelledImages, found: DividedImages) -> tuple[set[str], set[str]]:
    """Names of the files on each side."""
    train, val = ({images.paths[i].name for i in places} for places in (found.train, found.val))
    return train, val


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def test_classes_are_on_both_sides_in_their_shares(tmp_path: Path) -> None:
    images = find_images(draw_classes(tmp_path / "set", 20))
    found = divide_images(images)
    for places, each in ((found.train, 16), (found.val, 4)):
        assert np.bincount(images.ids[places]).tolist() == [each] * 3
    assert sorted([*found.train, *found.val]) == list(range(60))
    assert (found.broken, found.leaked, found.conflicts, found.together) == ([], [], [], 0)
    assert divide_images(images) == found


def test_a_film_and_a_burst_stay_on_one_side(tmp_path: Path) -> None:
    """Two films of drifting pictures, three bursts, and single pictures; numbered by one camera."""
    root, rng = draw_classes(tmp_path / "set", 16, ("red", "blue")), np.random.default_rng(1)

    def scene(name: str, count: int) -> None:
        wide = cv2.GaussianBlur(drawing(rng, COLOURS["red"], 120), (0, 0), 2)
        for i in range(count):
            save(root / "red" / name.format(i), wide[i : i + 80, 2 * i : 2 * i + 80])

    scene("street_frame_{:03}.jpg", 9)
    scene("garden_frame_{:03}.jpg", 7)
    for start in (100, 200, 300):
        scene(f"IMG_{start // 100}{{:03}}.jpg", 3)
    images = find_images(root)
    train, val = sides(images, divide_images(images))
    for beginning in ("street", "garden", "IMG_1", "IMG_2", "IMG_3"):
        where = [any(n.startswith(beginning) for n in side) for side in (train, val)]
        assert sum(where) == 1, beginning


def test_variants_of_one_file_stay_on_one_side(tmp_path: Path) -> None:
    """`apple1`, `apple2`, and the copies that a labelling service makes, of which no two look alike."""
    rng, root = np.random.default_rng(2), tmp_path / "set"
    digest = "0123456789abcdef0123456789abcde"
    for name in ("apple", "pear", "plum", "fig", "lime", "kiwi", "nut", "date"):
        for i in range(1, 4):
            save(root / "fruit" / f"{name}{i}.png", drawing(rng, COLOURS["red"]))
            save(root / "other" / f"{name}_jpg.rf.{digest}{i}.png", drawing(rng, COLOURS["blue"]))
    images = find_images(root)
    train, val = sides(images, divide_images(images))
    stems = [{re.sub(r"[123]\.png$|\.rf.*", "", name) for name in side} for side in (train, val)]
    assert stems[1]
    assert not stems[0] & stems[1]


def test_a_class_numbered_through_is_divided(tmp_path: Path) -> None:
    """A number at the end of a name alone says nothing: 60 different pictures of one beginning."""
    images = find_images(draw_classes(tmp_path / "set", 60, ("red", "blue")))
    found = divide_images(images)
    assert len(found.val) == 24
    assert found.together == 0


def test_one_film_as_a_whole_class_is_divided_all_the_same(tmp_path: Path) -> None:
    root, rng = draw_classes(tmp_path / "set", 12, ("blue",)), np.random.default_rng(1)
    wide = cv2.GaussianBlur(rng.integers(0, 255, (160, 260, 3), np.uint8), (0, 0), 9)
    wide = cv2.normalize(wide, np.empty_like(wide), 0, 255, cv2.NORM_MINMAX)
    for i in range(12):
        save(root / "red" / f"frame{i:02}.png", wide[4 * i : 4 * i + 80, 12 * i : 12 * i + 80])
    images = find_images(root)
    found = divide_images(images)
    for places in (found.train, found.val):
        assert np.bincount(images.ids[places], minlength=2).min() > 0


def test_copies_stay_on_one_side_and_two_labels_are_told(tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set", 12, ("red", "blue"))
    for i in range(4):
        image = cv2.imread(str(root / "red" / f"red{i:02}.png"))
        save(root / "red" / f"again{'abcd'[i]}.jpg", cv2.resize(image, None, fx=1.4, fy=1.4))
    save(root / "blue" / "wrong.png", cv2.imread(str(root / "red" / "red05.png")))
    images = find_images(root)
    found = divide_images(images)
    train, val = sides(images, found)
    for i in range(4):
        assert len({name in val for name in (f"red{i:02}.png", f"again{'abcd'[i]}.jpg")}) == 1
    assert len({name in val for name in ("red05.png", "wrong.png")}) == 1
    assert len(found.conflicts) == 1
    assert found.together == 10
    assert not train & val


def test_a_name_that_no_list_can_hold_is_left_out(tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set", 6, ("red", "blue"))
    (root / "red" / "red00.png").rename(root / "red" / "line\nbreak.png")
    (root / "red" / "red01.png").rename(root / "red" / "a name with blanks 7.png")
    images = find_images(root)
    found = divide_images(images)
    assert [reason for _, reason in found.broken] == [
        "its name is no text, or has a line break or tab in it; rename it"
    ]
    assert len(found.train) + len(found.val) == 11


def test_a_class_that_cannot_be_divided_is_named(tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set", 6, ("red", "blue"))
    for path in sorted((root / "blue").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="blue: too few different images"):
        divide_images(find_images(root))


def test_a_rare_class_is_on_both_sides() -> None:
    """A fifth of two images is none; of two groups the smaller one goes to the test."""
    labels = [0] * 40 + [1, 1] + [2] * 30
    groups = [*map(str, range(42)), *(["a"] * 20 + ["b"] * 10)]
    found = divide(labels, groups, fraction=0.2)
    assert {labels[i] for i in found.train} == {labels[i] for i in found.test} == {0, 1, 2}
    assert [i for i in found.test if labels[i] == 2] == list(range(62, 72))
    assert sum(labels[i] == 0 for i in found.test) == 8

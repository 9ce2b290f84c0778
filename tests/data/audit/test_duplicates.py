"""Copies are found, look-alikes are not; a small version of benchmarks/duplicates.py."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tinysight.data.audit import candidates as candidates_module
from tinysight.data.audit.candidates import WINDOWS, Candidate, candidates, describe
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups
from tinysight.data.audit.inspect import inspect
from tinysight.data.audit.match import SAME, agreement

PHOTOS = sorted((Path(__file__).parents[3] / "samples" / "clarity" / "sharp").glob("*.jpg"))


def windows() -> list[np.ndarray]:
    """Windows of the sample photographs that do not overlap."""
    found = []
    for path in PHOTOS:
        image = cv2.imread(str(path))
        for y in range(0, image.shape[0] - 119, 120):
            for x in range(0, image.shape[1] - 159, 160):
                window = image[y : y + 120, x : x + 160]
                if cv2.Laplacian(window, cv2.CV_32F).std() > 8:
                    found.append(window)
    return found


def copy(image: np.ndarray, kind: int) -> np.ndarray:
    height, width = image.shape[:2]
    match kind:
        case 0:
            return image
        case 1:
            return cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        case 2:
            return image[2 : 2 + height * 9 // 10, 7 : 7 + width * 9 // 10]
        case 3:
            return cv2.flip(image, 1)
        case 4:
            return cv2.flip(image, 0)
    marked = image.copy()
    cv2.putText(marked, "SAMPLE", (4, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    return cv2.addWeighted(marked, 0.6, image, 0.4, 0)


def test_copies_are_found_and_look_alikes_are_not(tmp_path: Path) -> None:
    found = windows()
    assert len(found) > 100
    for i, image in enumerate(found):
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        if i % 3 == 0:
            options = [cv2.IMWRITE_JPEG_QUALITY, 75]
            cv2.imwrite(str(tmp_path / f"{i}-copy.jpg"), copy(image, i // 3 % 6), options)
    paths = sorted(tmp_path.iterdir())
    base = [path.stem.split("-")[0] for path in paths]
    pairs = find_duplicates(paths, threads=2)
    right = [p for p in pairs if base[p.a] == base[p.b]]
    planted = len(range(0, len(found), 3))
    assert len(right) >= 0.95 * planted
    assert len(right) >= 0.99 * len(pairs)


def test_files_of_the_same_bytes(tmp_path: Path) -> None:
    data = PHOTOS[0].read_bytes()
    for name in ("a.jpg", "b c.jpg", "d.jpg"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "broken.jpg").write_bytes(data[:500])
    (tmp_path / "also broken.jpg").write_bytes(data[:500])
    paths = [tmp_path / n for n in ("a.jpg", "broken.jpg", "b c.jpg", "d.jpg", "also broken.jpg")]
    exact = [(0, 2), (0, 3), (1, 4)]
    for near in (True, False):
        found = find_duplicates([*paths, tmp_path / "none.jpg"], near=near)
        assert [(p.a, p.b) for p in found] == exact
        assert {p.how for p in found} == {"exact"}


def test_what_was_done_is_said(tmp_path: Path) -> None:
    image = cv2.imread(str(PHOTOS[1]))
    cv2.imwrite(str(tmp_path / "0.png"), image)
    for i, flip in enumerate((1, 0, -1), 1):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), cv2.flip(image, flip))
    found = find_duplicates(sorted(tmp_path.iterdir()))
    how = {(p.a, p.b): p.how for p in found}
    assert how[0, 1] == "mirrored"
    assert how[0, 2] == "upside down"
    assert how[0, 3] == "turned by 180 degrees"


def test_images_that_show_nothing_are_not_called_the_same(tmp_path: Path) -> None:
    for i in range(4):
        sky = np.tile(np.linspace(90 + i, 160, 120)[:, None, None], (1, 160, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), sky)
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((1, 1, 3), np.uint8))
    assert find_duplicates(sorted(tmp_path.iterdir())) == []


def test_a_turned_photograph_is_the_same_as_its_pixels(tmp_path: Path) -> None:
    image = cv2.imread(str(PHOTOS[2]))
    turned = bytes(cv2.imencode(".jpg", cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE))[1])
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "turned.jpg").write_bytes(turned[:2] + segment + turned[2:])
    cv2.imwrite(str(tmp_path / "upright.png"), image)
    (found,) = find_duplicates(sorted(tmp_path.iterdir()))
    assert found.how == "similar"
    assert inspect(tmp_path / "turned.jpg")[2:4] == (image.shape[1], image.shape[0])


@pytest.mark.parametrize("side", [1100, 640, 200])
def test_a_large_jpeg_is_read_reduced_to_the_same_thumbnail(tmp_path: Path, side: int) -> None:
    image = cv2.resize(cv2.imread(str(PHOTOS[0])), (side + 3, side), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    cv2.imwrite(str(tmp_path / "a.png"), image)
    jpeg, png = inspect(tmp_path / "a.jpg").thumb, inspect(tmp_path / "a.png").thumb
    assert jpeg is not None
    assert png is not None
    assert np.abs(jpeg.astype(int) - png).mean() < 2


def test_groups_join_what_is_the_same_by_way_of_others() -> None:
    pairs = [Duplicate(a, b, "similar", 1.0) for a, b in ((1, 4), (4, 9), (2, 3))]
    assert groups(pairs) == [[1, 4, 9], [2, 3]]


def thumbs() -> np.ndarray:
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in windows()]
    return np.stack([cv2.resize(g, (64, 64), interpolation=cv2.INTER_AREA) for g in grey])


def test_a_large_set_in_groups_finds_what_comparing_all_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = thumbs()
    described = describe(np.concatenate([one, one[::2, :, ::-1]]))
    half = range(0, len(one), 2)
    planted = {(i, len(one) + n) for n, i in enumerate(half)}
    for limit in (20_000, 50):
        monkeypatch.setattr(candidates_module, "_ALL", limit)
        found = {(min(c.a, c.b), max(c.a, c.b)) for c in candidates(described, 2)}
        assert planted <= found


@pytest.mark.parametrize("window", range(len(WINDOWS) ** 2))
def test_each_window_agrees_with_the_part_it_names(window: int) -> None:
    image = cv2.cvtColor(cv2.imread(str(PHOTOS[1])), cv2.COLOR_BGR2GRAY)
    height, width = image.shape
    y, x = (WINDOWS[i] for i in divmod(window, len(WINDOWS)))
    part = image[
        round(y[0] * height) : round(y[1] * height), round(x[0] * width) : round(x[1] * width)
    ]
    both = np.stack([cv2.resize(i, (64, 64), interpolation=cv2.INTER_AREA) for i in (image, part)])
    assert agreement(*both, Candidate(0, 1, window, 0)) > 0.85
    other = np.stack([both[0], thumbs()[0]])
    assert agreement(*other, Candidate(0, 1, window, 0)) < SAME

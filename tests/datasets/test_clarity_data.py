"""The clarity data set scripts: kernels mean what they say, splits and labels are honest."""

from __future__ import annotations

import csv
import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "datasets" / "clarity"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"clarity_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build, fetch = _load("build"), _load("fetch")


@pytest.mark.parametrize("radius", [0, 0.3, 1, 1.7, 2.5, 6, 13.2, 20])
def test_disk_kernel(radius: float) -> None:
    kernel = build.disk_kernel(radius)
    assert len(kernel) % 2 == 1
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(kernel, kernel.T)
    if radius >= 1:
        expected = radius**2 / 4 + 1 / 12  # a disk's own variance and a pixel's
        away = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum(axis=0) @ away**2 == pytest.approx(expected, abs=0.15)


def test_down_up_by_one_is_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    assert build.down_up(image, 1.0) is image
    assert build.down_up(image[:1, :1], 50.0).shape == (1, 1, 3)


@pytest.mark.parametrize("family", ["gaussian", "motion", "disk", "rescale"])
def test_blur_keeps_size_and_brightness_and_loses_sharpness(family: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 410, 3), np.uint8)
    blurred = build.blur(image, family, 1.5, rng)
    assert blurred.shape == image.shape and blurred.dtype == np.uint8
    assert blurred.mean() == pytest.approx(image.mean(), abs=1.0)
    assert build.sharpness(blurred) < 0.7 * build.sharpness(image)


def _photographs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    folder.mkdir()
    for i in range(count):
        noise = rng.integers(0, 256, (480, 640, 3), np.uint8)
        cv2.imwrite(str(folder / f"p {i}.png"), noise)


def test_build_from_a_folder(tmp_path: Path) -> None:
    _photographs(tmp_path / "photos", 6)
    texts = []
    for name in ("a", "b"):
        sources = build.sources_from_folder(tmp_path / "photos", val=0.34, test=0.34, seed=3)
        build.build(sources, tmp_path / name, train_windows=2, test_windows=2, seed=3)
        texts.append((tmp_path / name / "windows.csv").read_text())
    assert texts[0] == texts[1], "the same seed gives the same data set"
    rows = list(csv.DictReader(texts[0].splitlines()))
    splits = {
        s: {r["photograph"] for r in rows if r["split"] == s} for s in ("train", "val", "test")
    }
    assert [len(splits[s]) for s in ("train", "val", "test")] == [2, 2, 2]
    assert not splits["train"] & splits["test"] and not splits["train"] & splits["val"]
    families = {s: {r["family"] for r in rows if r["split"] == s} for s in splits}
    assert families["train"] == {"clear"}
    assert families["val"] == {"clear", "gaussian", "motion"}
    assert families["test"] == {"clear", "gaussian", "motion", "disk", "rescale"}
    for line in (tmp_path / "a" / "train_list.txt").read_text().splitlines():
        path, label = line.split(" ")
        assert (tmp_path / "a" / path).is_file() and label == "0"
    eval_samples = (tmp_path / "a" / "test_held_out_list.txt").read_text()
    assert "gaussian" not in eval_samples and "motion" not in eval_samples


def test_build_names_an_unreadable_image(tmp_path: Path) -> None:
    _photographs(tmp_path / "photos", 2)
    (tmp_path / "photos" / "p 0.png").write_bytes(b"no image")
    sources = build.sources_from_folder(tmp_path / "photos", 0.5, 0, 0)
    with pytest.raises(build.BuildError, match="p 0.png"):
        build.build(sources, tmp_path / "out", 1, 1, 0)


def test_catalogue_splits_by_group_and_ships_no_test_photograph() -> None:
    rows = fetch.read_catalogue()
    assert len(rows) >= 100 and sum(r.split == "test" for r in rows) >= 30
    assert len({r.sha256 for r in rows}) == len(rows)
    groups: dict[str, set[str]] = {}
    for row in rows:
        assert row.split in ("train", "val", "test") and row.licence
        groups.setdefault(row.group, set()).add(row.split)
    assert all(len(splits) == 1 for splits in groups.values())
    assert all(r.split == "train" for r in rows if r.package.startswith(("lomiri", "scikit")))


def test_qt_resource_files_are_read() -> None:
    content = b"picture"
    name = struct.pack(">HI", 5, 0) + "a.jpg".encode("utf-16-be")
    tree = struct.pack(">IHIIQ", 0, 2, 1, 1, 0) + struct.pack(">IHIIQ", 0, 0, 0, 0, 0)
    data = struct.pack(">I", len(content)) + content
    header = b"qres" + struct.pack(">4I", 2, 20, 20 + len(tree), 20 + len(tree) + len(data))
    assert list(fetch.read_rcc(header + tree + data + name)) == [("a.jpg", content)]
    with pytest.raises(fetch.FetchError):
        list(fetch.read_rcc(b"none of it"))

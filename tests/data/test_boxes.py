"""Annotated boxes of COCO and VOC: what is read, what is wrong with it and what then becomes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.scenes import NAMES, detection_tree, make_scenes, write_coco
from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.data.labels import label_names, resolve_labels
from tinysight.data.lists import read_split
from tinysight.data.loader import TrainingBatches
from tinysight.data.samples import SampleList, read_sample
from tinysight.errors import ConfigError, DataError
from tinysight.transforms import Compose


def recipe_of(root: Path, **data: Any) -> Recipe:
    tree = detection_tree(root)
    tree["data"] |= data
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    return recipe


def read(root: Path, *annotations: dict[str, Any], size: tuple[int, int] = (20, 10)) -> SampleList:
    """One image of this size, whose boxes are given, and one without; ids as in `write_coco`."""
    write(root, *annotations, size=size)
    recipe = resolve_labels(recipe_of(root, labels=list(NAMES)))
    return read_split(recipe.data, recipe.data.train)


def write(root: Path, *annotations: dict[str, Any], size: tuple[int, int] = (20, 10)) -> None:
    (root / "train").mkdir(exist_ok=True)
    for name in "ab":
        cv2.imwrite(str(root / "train" / f"{name}.png"), np.zeros((size[1], size[0], 3), np.uint8))
    images = [
        {"id": 900, "file_name": "a.png", "width": size[0], "height": size[1]},
        {"id": 7, "file_name": "b.png", "width": size[0], "height": size[1]},
    ]
    rows = [{"id": i, "image_id": 900, "category_id": 4, **a} for i, a in enumerate(annotations, 3)]
    write_coco(root / "train.json", images, rows)
    write_coco(root / "val.json", images, rows)


def test_ids_with_gaps_and_images_without_boxes(tmp_path: Path) -> None:
    found = read(
        tmp_path, {"bbox": [1, 2, 3, 4]}, {"bbox": [5, 5, 5, 5], "category_id": 7, "area": 9}
    )
    assert [s.path.name for s in found] == ["a.png", "b.png"]
    assert found[0].label.tolist() == [[0, 1, 2, 3, 4, 12, 0], [1, 5, 5, 5, 5, 9, 0]]
    assert found[1].label.shape == (0, 7)
    assert found.labels.tolist() == [2, 0]
    assert found[-1].label.shape == (0, 7)
    assert [s.label.shape for s in found[:2]] == [(2, 7), (0, 7)]


@pytest.mark.parametrize(
    ("box", "words", "left"),
    [
        ([1, 2, 0, 4], "has no area", None),
        ([1, 2, -3, 4], "has no area", None),
        ([30, 2, 3, 4], "is outside of its image", None),
        ([1, float("nan"), 3, 4], "has a number that is none", None),
        ([1, 2, float("inf"), 4], "has a number that is none", None),
        ([-4, 2, 10, 4], "reaches out of its image", [0, 2, 6, 4]),
        ([15, 5, 50, 50], "reaches out of its image", [15, 5, 5, 5]),
        ([-0.4, 0, 20.4, 10], "", [-0.4, 0, 20.4, 10]),  # a rounding is no fault
    ],
)
def test_bad_boxes_are_counted_and_named(
    box: list[float], words: str, left: list[float] | None, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path, {"bbox": box}, {"bbox": [1, 1, 2, 2]})
    assert found[0].label[-1, 1:5].tolist() == [1, 1, 2, 2]
    assert len(found[0].label) == 1 + (left is not None)
    if left is not None:
        assert found[0].label[0, 1:5].tolist() == pytest.approx(left)
    if words:
        assert "1 boxes are cut or left out:\n  a.png: box" in caplog.text
        assert words in caplog.text
    else:
        assert not caplog.text


def test_many_bad_boxes_are_named_in_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path, *[{"bbox": [1, 1, 0, 1]}] * 25, {"bbox": [1, 1, 2, 2]})
    assert "25 boxes are cut" in caplog.text
    assert "and 15 more" in caplog.text


def test_mistakes_stop_a_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="annotation 0"):
        read(tmp_path, {"bbox": [1, 2, 3]})
    write(tmp_path, {"bbox": [1, 2, 3, 4]})
    recipe = resolve_labels(recipe_of(tmp_path, labels=["green", "blue"]))
    with pytest.raises(DataError, match="'red', which is no label") as caught:
        read_split(recipe.data, recipe.data.train)
    assert "data.merge" in str(caught.value)
    (tmp_path / "train.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="not readable as COCO"):
        label_names(recipe_of(tmp_path).data)
    recipe = recipe_of(tmp_path, train={"list": "x.txt"}, labels=["red"])
    with pytest.raises(ConfigError, match="give coco: train.json or voc"):
        read_split(recipe.data, recipe.data.train)
    recipe = recipe_of(tmp_path, target="class", labels=["red", "blue"])
    with pytest.raises(ConfigError, match="coco and voc are for boxes"):
        read_split(recipe.data, recipe.data.train)


def test_crowds_are_evaluated_and_not_learnt(tmp_path: Path) -> None:
    found = read(tmp_path, {"bbox": [1, 1, 9, 9], "iscrowd": 1}, {"bbox": [1, 1, 2, 2]})
    assert found[0].label[:, 6].tolist() == [1, 0]
    steps = Compose.from_specs([{"name": "random_flip", "p": 0.0}])
    _, rows = read_sample(found[0], steps, np.random.default_rng(0))
    assert np.asarray(rows).tolist() == [[0, 1, 1, 3, 3]]
    _, framed = read_sample(found[0], Compose.from_specs([]), None)
    assert np.asarray(framed)[0].tolist() == [-1, 0, 0, 20, 10, 200, 0]


def test_voc(tmp_path: Path) -> None:
    """One-based, both border pixels inside; names sorted."""
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>"
        "<object><name>dog</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object>"
        "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>10</ymax></bndbox></object>"
        "</annotation>",
        "utf-8",
    )
    split = {"voc": "Annotations", "images": "JPEGImages"}
    recipe = resolve_labels(recipe_of(tmp_path, train=split, eval=split))
    assert recipe.data.labels == ("cat", "dog")
    (sample,) = read_split(recipe.data, recipe.data.train)
    assert sample.path == tmp_path / "JPEGImages" / "a.png"
    assert sample.label.tolist() == [[1, 1, 2, 4, 4, 16, 0], [0, 0, 0, 20, 10, 200, 0]]


def test_a_limit_and_a_fingerprint(tmp_path: Path) -> None:
    first = read(tmp_path, {"bbox": [1, 1, 2, 2]})
    again, other = read(tmp_path, {"bbox": [1, 1, 2, 2]}), read(tmp_path, {"bbox": [1, 1, 2, 3]})
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    recipe = resolve_labels(recipe_of(tmp_path, train={"coco": "train.json", "limit": 1}))
    assert len(read_split(recipe.data, recipe.data.train)) == 1


def batches(root: Path, **options: Any) -> TrainingBatches:
    recipe = resolve_labels(recipe_of(root))
    samples = read_split(recipe.data, recipe.data.train)
    steps = Compose.from_specs(
        [
            {"name": "random_box_crop"},
            {"name": "random_size", "sizes": [32, 64, 96]},
            {"name": "normalize"},
        ]
    )
    return TrainingBatches(samples, steps, 4, 3, 0, **options)


def test_a_batch_has_one_size_and_padded_boxes(tmp_path: Path) -> None:
    data = batches(make_scenes(tmp_path))
    sizes = set()
    for number in range(len(data)):
        batch = data[number]
        assert not batch.failure
        n, _, height, width = batch.images.shape
        sizes.add(height)
        boxes = batch.targets
        assert boxes.shape[0] == n
        assert boxes.shape[2] == 5
        real = boxes[boxes[..., 0] >= 0]
        assert float(real[:, 1:].min()) >= 0
        assert float(real[:, 1:].max()) <= max(height, width)
        assert bool(((real[:, 3:] - real[:, 1:3]) > 0).all())
        assert bool((boxes[boxes[..., 0] < 0] == -1).all())
    assert len(sizes) > 1
    again = batches(tmp_path)[5]
    assert again.images.equal(data[5].images)
    assert again.targets.equal(data[5].targets)


def test_no_boxes_at_all_in_the_evaluation_is_said(tmp_path: Path) -> None:
    from tinysight.training import fit

    write(tmp_path)
    with pytest.raises(DataError, match="ap of perfect answers is -1"):
        fit(recipe_of(tmp_path, labels=list(NAMES)), tmp_path / "run")
    assert json.loads((tmp_path / "train.json").read_text())["annotations"] == []

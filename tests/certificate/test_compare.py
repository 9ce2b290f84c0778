"""Comparison of answers, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_manifest
from tinysight.bundle.manifest import Manifest
from tinysight.certificate.answers import Answers, as_array, labels
from tinysight.certificate.compare import Compared, Row, compare, installed_engines
from tinysight.certificate.files import edge_case_files
from tinysight.pipelines.sources import ImageInput
from tinysight.transforms import decode

# The tiny manifest says "bright" from a second score of 0.5 on.
EXPECTED = {"a": [0.9, 0.1], "b": [0.2, 0.8], "c": [0.501, 0.499], "d": [0.3, 0.7]}
KINDS = {"first": ["a", "b"], "second": ["c", "d"]}


def scores(values: dict[str, list[float]], partial: bool = False) -> Answers:
    return Answers({k: np.array(v, np.float32) for k, v in values.items()}, partial)


def test_flips_and_differences_by_kind() -> None:
    found = {**EXPECTED, "b": [0.25, 0.75], "c": [0.499, 0.501]}
    rows, apart = compare(tiny_manifest(), scores(EXPECTED), scores(found), KINDS)
    assert rows["first"] == (2, 0, pytest.approx(0.05), 0)
    assert rows["second"] == (2, 1, pytest.approx(0.002, rel=1e-4), 0)
    assert apart == ()


def test_files_that_one_side_reads() -> None:
    found = {k: v for k, v in EXPECTED.items() if k != "b"}
    rows, apart = compare(tiny_manifest(), scores(EXPECTED), scores(found), KINDS)
    assert rows["first"].images == 1
    assert apart == ("b",)
    problem = Compared("x", "1", rows, apart).problems()[0]
    assert "1 files are read by one side and refused by the other: b" in str(problem)


def test_a_score_that_is_no_number_is_a_breach() -> None:
    found = {**EXPECTED, "d": [float("nan"), 0.7]}
    rows, _ = compare(tiny_manifest(), scores(EXPECTED), scores(found), KINDS)
    one = Compared("x", "1", rows)
    assert len(one.problems()) == 1
    assert np.isnan(one.total.max_score_difference)


def test_scores_that_were_not_kept_are_not_compared() -> None:
    manifest = tiny_manifest(
        postprocess={"name": "topk", "k": 2}, threshold=None, labels=("a", "b", "c")
    )
    nan = float("nan")
    kept = {"a": [nan, 0.6, 0.3]}
    rows, _ = compare(manifest, scores(kept, True), scores({"a": [0.1, 0.6, 0.3]}), {"k": ["a"]})
    assert rows["k"] == (1, 0, 0, 0)
    rows, _ = compare(manifest, scores(kept, True), scores({"a": [0.7, 0.2, 0.1]}), {"k": ["a"]})
    assert rows["k"] == (1, 1, pytest.approx(0.4), 0)


def test_limits() -> None:
    assert Compared("x", "1", {"k": Row(9, 0, 1e-3)}).problems() == []
    assert len(Compared("x", "1", {"k": Row(9, 0, 1.1e-3)}).problems()) == 1
    assert len(Compared("x", "1", {"k": Row(9, 1, 0.0)}).problems()) == 1
    coarse = Compared("x", "1", {"k": Row(9, 1, 0.1), "l": Row(1, 0, float("nan"))}, (), "int8")
    assert [problem.where for problem in coarse.problems()] == ["x, l"]
    assert Compared("x", "1", {"k": Row(9, 0, 0.1), "l": Row(1, 2, 0.2)}).total == (10, 2, 0.2, 0)


def test_labels_are_what_the_bundle_says() -> None:
    table = np.array([[0.6, 0.4], [0.5, 0.5]], np.float32)
    assert [said["class_ids"] for said in labels(tiny_manifest(), table)] == [[0], [1]]
    best = tiny_manifest(postprocess={"name": "topk", "k": 2}, threshold=None)
    assert labels(best, table) == [0, 1], "the last of equals, as in the answers of topk"


def test_engines(tmp_path: Path) -> None:
    ready, absent = installed_engines(tiny_bundle(tmp_path / "b"))
    assert next(iter(ready)) == "onnxruntime"
    assert not ready.keys() & absent.keys()


def test_what_a_side_says_of_itself_is_its_label() -> None:
    """Its scores speak for "b", its own words against it."""
    said = {"a": {"class_ids": [0], "label_names": ["dark"]}}
    said |= {"b": {"class_ids": [0], "label_names": ["dark"]}}
    found = scores(EXPECTED)._replace(said=said)
    rows, _ = compare(tiny_manifest(), scores(EXPECTED), found, {"k": ["a", "b"]})
    assert rows["k"] == (2, 1, 0, 0)


def of_kind(name: str) -> Manifest:
    return tiny_manifest(postprocess={"name": name}, threshold=None, labels=())


def test_vectors_by_their_length() -> None:
    expected = scores({"a": [3.0, 4.0], "b": [0.0, 0.0], "c": [1.0, 0.0]})
    found = scores({"a": [3.0, 4.01], "b": [0.0, 0.0], "c": [1.0, 0.0, 0.0]})
    kinds = {"same size": ["a", "b"], "other size": ["c"]}
    rows, _ = compare(of_kind("embedding"), expected, found, kinds)
    assert rows["same size"] == (2, 0, pytest.approx(0.002, rel=1e-4), 0)
    assert rows["other size"].max_score_difference == np.inf
    found = [str(p) for p in Compared("x", "1", rows, answer="embedding").problems()]
    assert found == [
        "x, same size: the vectors of 2 images differ by up to 0.002; accepted are 0.001",
        "x, other size: the vectors of 1 images differ by up to inf; accepted are 0.001",
    ]


BOXES = [[0, 0.9, 0.1, 0.1, 0.4, 0.5], [0, 0.8, 0.6, 0.1, 0.9, 0.5], [2, 0.7, 0.2, 0.3, 0.4, 0.6]]


def changed(box: int, column: int, by: float) -> np.ndarray:
    boxes = np.array(BOXES)
    boxes[box, column] += by
    return boxes


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (np.array(BOXES), (1, 0, 0, 0)),
        (np.array(BOXES)[[1, 0, 2]], (1, 0, 0, 0)),
        (changed(1, 1, 0.05), (1, 0, pytest.approx(0.05), 0)),
        (changed(0, 4, -0.02), (1, 0, 0, pytest.approx(0.02))),
        (changed(2, 0, -1), (1, 1, 0, 0)),
        (np.array(BOXES)[:2], (1, 1, 0, 0)),
        (changed(2, 3, 0.3), (1, 0, 0, 0)),  # the least sure one may lie elsewhere
        (changed(2, 1, 0.003), (1, 0, pytest.approx(0.003), 0)),  # but is as sure
    ],
)
def test_boxes(found: np.ndarray, row: tuple[object, ...]) -> None:
    expected, other = Answers({"a": np.array(BOXES)}), Answers({"a": found})
    rows, _ = compare(of_kind("boxes"), expected, other, {"k": ["a"]})
    assert rows["k"] == row


def test_where_all_boxes_are_as_sure_each_has_its_place() -> None:
    one = Answers({"a": np.array(BOXES)[:1], "none": np.zeros((0, 6))})
    other = Answers({"a": changed(0, 2, 0.3)[:1], "none": np.zeros((0, 6))})
    rows, _ = compare(of_kind("boxes"), one, other, {"k": ["a"], "none": ["none"]})
    assert rows == {"k": (1, 0, 0, pytest.approx(0.3)), "none": (1, 0, 0, 0)}
    (problem,) = Compared("x", "1", rows, answer="boxes").problems()
    assert problem.what == (
        "other boxes in 0 of 1 images, scores differ by up to 0, corners by up to 0.3 of the "
        "image; accepted are 0 and 0.001"
    )


def test_a_corner_that_is_no_number_is_a_breach() -> None:
    other = Answers({"a": changed(0, 2, np.nan)})
    rows, _ = compare(of_kind("boxes"), Answers({"a": np.array(BOXES)}), other, {"k": ["a"]})
    assert len(Compared("x", "1", rows, answer="boxes").problems()) == 1


def test_corners_are_shares_of_the_image() -> None:
    answer = {"label_ids": [3], "scores": [0.5], "boxes_xyxy": [[8.0, 2.0, 24.0, 10.0]]}
    image = ImageInput("a", np.zeros((16, 32, 3), np.uint8))
    expected = [[3, 0.5, 0.25, 0.125, 0.75, 0.625]]
    assert as_array("boxes", answer, image).tolist() == expected
    with pytest.raises(ValueError, match="expected numbers"):
        as_array("boxes", {**answer, "scores": ["0.5"]}, image)


def test_the_image_of_a_turned_file_is_turned() -> None:
    """Every one: its size as it is shown is that of the decoded image."""
    answer = {"label_ids": [0], "scores": [1.0], "boxes_xyxy": [[0.0, 0.0, 1.0, 1.0]]}
    for file in edge_case_files():
        if file.kind == "exif":
            height, width = decode(file.data).shape[:2]
            found = as_array("boxes", answer, ImageInput(file.name, file.data))
            assert found[0, 4:].tolist() == [1 / width, 1 / height], file.name

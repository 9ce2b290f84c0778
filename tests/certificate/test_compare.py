"""Comparison of answers, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_manifest
from tinysight.bundle.manifest import Manifest
from tinysight.certificate.compare import (
    Compared,
    compare_kinds,
    edge_case_files,
    installed_engines,
)
from tinysight.evaluation.compare import Comparison, compare
from tinysight.pipelines.comparable import DecidedScores, comparable, decide
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks.results import BoxResult, EmbeddingResult, Result, ScoreResult
from tinysight.transforms import decode

# The tiny manifest says "bright" from a second score of 0.5 on.
EXPECTED = {"a": [0.9, 0.1], "b": [0.2, 0.8], "c": [0.501, 0.499], "d": [0.3, 0.7]}
KINDS = {"first": ["a", "b"], "second": ["c", "d"]}
TINY = tiny_manifest()
BEST = tiny_manifest(postprocess={"name": "topk", "k": 2}, threshold=None, labels=("a", "b", "c"))


def scores(
    values: dict[str, list[float]], manifest: Manifest = TINY, partial: bool = False
) -> dict[str, Result]:
    rows = decide(manifest, np.array(list(values.values()), np.float32), partial)
    return dict(zip(values, rows, strict=True))


def row(images: int, flips: int | None, score: float, box: float | None = None) -> object:
    """A comparison, whatever its mean."""
    return pytest.approx((images, flips, score), rel=1e-4, abs=1e-7), box and pytest.approx(box)


def seen(comparison: Comparison) -> object:
    return tuple(comparison[:3]), comparison.max_box_difference


def test_flips_and_differences_by_kind() -> None:
    found = {**EXPECTED, "b": [0.25, 0.75], "c": [0.499, 0.501]}
    rows, apart = compare_kinds(scores(EXPECTED), scores(found), KINDS)
    assert seen(rows["first"]) == row(2, 0, 0.05)
    assert rows["first"].mean_score_difference == pytest.approx(0.025)
    assert seen(rows["second"]) == row(2, 1, 0.002)
    assert apart == ()


def test_files_that_one_side_reads() -> None:
    found = {k: v for k, v in EXPECTED.items() if k != "b"}
    rows, apart = compare_kinds(scores(EXPECTED), scores(found), KINDS)
    assert rows["first"].images == 1
    assert apart == ("b",)
    problem = Compared("x", "1", rows, apart).problems()[0]
    assert "1 files are read by one side and refused by the other: b" in str(problem)


def test_a_score_that_is_no_number_is_a_breach() -> None:
    found = {**EXPECTED, "d": [float("nan"), 0.7]}
    rows, _ = compare_kinds(scores(EXPECTED), scores(found), KINDS)
    one = Compared("x", "1", rows)
    assert len(one.problems()) == 1
    assert np.isnan(one.total.max_score_difference)


def test_scores_that_were_not_kept_are_not_compared() -> None:
    kept = scores({"a": [float("nan"), 0.6, 0.3]}, BEST, partial=True)
    rows, _ = compare_kinds(kept, scores({"a": [0.1, 0.6, 0.3]}, BEST), {"k": ["a"]})
    assert seen(rows["k"]) == row(1, 0, 0)
    rows, _ = compare_kinds(kept, scores({"a": [0.7, 0.2, 0.1]}, BEST), {"k": ["a"]})
    assert seen(rows["k"]) == row(1, 1, 0.4)


def test_limits() -> None:
    assert Compared("x", "1", {"k": Comparison(9, 0, 1e-3)}).problems() == []
    assert len(Compared("x", "1", {"k": Comparison(9, 0, 1.1e-3)}).problems()) == 1
    assert len(Compared("x", "1", {"k": Comparison(9, 1, 0.0)}).problems()) == 1
    rows = {"k": Comparison(9, 1, 0.1), "l": Comparison(1, 0, float("nan"))}
    coarse = Compared("x", "1", rows, (), "int8")
    assert [problem.where for problem in coarse.problems()] == ["x, l"]
    rows = {"k": Comparison(9, 0, 0.1), "l": Comparison(1, 2, 0.2)}
    assert seen(Compared("x", "1", rows).total) == row(10, 2, 0.2)


def test_decisions_are_what_the_bundle_says() -> None:
    table = np.array([[0.6, 0.4], [0.5, 0.5]], np.float32)
    assert [r.decision()["class_ids"] for r in decide(TINY, table)] == [[0], [1]]
    table = np.array([[0.2, 0.4, 0.4]], np.float32)
    (best,) = decide(BEST, table)
    assert best.decision() == {"class_ids": [2], "label_names": ["c"]}, "the last of equals"
    flipped = [ScoreResult("", table[0, ::-1])]
    expected = (1, 1, pytest.approx(0.2), pytest.approx(0.4 / 3), None)
    assert compare([ScoreResult("", table[0])], flipped) == expected


def test_engines(tmp_path: Path) -> None:
    ready, absent = installed_engines(tiny_bundle(tmp_path / "b"))
    assert next(iter(ready)) == "onnxruntime"
    assert not ready.keys() & absent.keys()


def test_what_a_side_says_of_itself_is_its_decision() -> None:
    """Its scores speak for "b", its own words against it."""
    dark = {"class_ids": [0], "label_names": ["dark"]}
    found = {name: DecidedScores("", EXPECTED[name], dark) for name in "ab"}
    rows, _ = compare_kinds(scores(EXPECTED), found, {"k": ["a", "b"]})
    assert seen(rows["k"]) == row(2, 1, 0)


def test_vectors_by_their_length() -> None:
    expected = {"a": [3.0, 4.0], "b": [0.0, 0.0], "c": [1.0, 0.0]}
    found = {"a": [3.0, 4.01], "b": [0.0, 0.0], "c": [1.0, 0.0, 0.0]}
    kinds = {"same size": ["a", "b"], "other size": ["c"]}
    sides = ({k: EmbeddingResult(k, v) for k, v in side.items()} for side in (expected, found))
    rows, _ = compare_kinds(*sides, kinds)
    assert seen(rows["same size"])[0] == (2, None, pytest.approx(0.002, rel=1e-4))
    assert rows["other size"].max_score_difference == np.inf
    problems = [str(p) for p in Compared("x", "1", rows).problems()]
    assert problems == [
        "x, same size: the vectors of 2 images differ by up to 0.002; accepted are 0.001",
        "x, other size: the vectors of 1 images differ by up to inf; accepted are 0.001",
    ]


BOXES = [[0, 0.9, 0.1, 0.1, 0.4, 0.5], [0, 0.8, 0.6, 0.1, 0.9, 0.5], [2, 0.7, 0.2, 0.3, 0.4, 0.6]]


def boxes(rows: np.ndarray) -> dict[str, Result]:
    ids = rows[:, 0].astype(int)
    return {"a": BoxResult("a", ids, rows[:, 1], tuple(map(str, ids)), rows[:, 2:])}


def changed(box: int, column: int, by: float) -> np.ndarray:
    rows = np.array(BOXES)
    rows[box, column] += by
    return rows


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.array(BOXES), (1, 0, 0, 0)),
        (np.array(BOXES)[[1, 0, 2]], (1, 0, 0, 0)),
        (changed(1, 1, 0.05), (1, 0, 0.05, 0)),
        (changed(0, 4, -0.02), (1, 0, 0, 0.02)),
        (changed(2, 0, -1), (1, 1, 0, 0)),
        (np.array(BOXES)[:2], (1, 1, 0, 0)),
        (changed(2, 3, 0.3), (1, 0, 0, 0)),  # the least sure one may lie elsewhere
        (changed(2, 1, 0.003), (1, 0, 0.003, 0)),  # but is as sure
    ],
)
def test_boxes(found: np.ndarray, expected: tuple[int, int, float, float]) -> None:
    rows, _ = compare_kinds(boxes(np.array(BOXES)), boxes(found), {"k": ["a"]})
    assert seen(rows["k"]) == row(*expected)


def test_where_all_boxes_are_as_sure_each_has_its_place() -> None:
    one, other = boxes(np.array(BOXES)[:1]), boxes(changed(0, 2, 0.3)[:1])
    none = boxes(np.zeros((0, 6)))["a"]
    kinds = {"k": ["a"], "none": ["none"]}
    rows, _ = compare_kinds(one | {"none": none}, other | {"none": none}, kinds)
    assert seen(rows["k"]) == row(1, 0, 0, 0.3)
    assert seen(rows["none"]) == row(1, 0, 0, 0)
    (problem,) = Compared("x", "1", rows).problems()
    assert problem.what == (
        "other boxes in 0 of 1 images, scores differ by up to 0, corners by up to 0.3 of the "
        "image; accepted are 0 and 0.001"
    )


def test_a_corner_that_is_no_number_is_a_breach() -> None:
    rows, _ = compare_kinds(boxes(np.array(BOXES)), boxes(changed(0, 2, np.nan)), {"k": ["a"]})
    assert len(Compared("x", "1", rows).problems()) == 1


def corners(box: list[float], image: ImageInput) -> list[float]:
    result = comparable(BoxResult("", [3], [0.5], ("x",), [box]), image)
    assert isinstance(result, BoxResult)
    found: list[float] = result.boxes_xyxy[0].tolist()
    return found


def test_corners_are_shares_of_the_image() -> None:
    image = ImageInput("a", np.zeros((16, 32, 3), np.uint8))
    assert corners([8.0, 2.0, 24.0, 10.0], image) == [0.25, 0.125, 0.75, 0.625]


def test_the_image_of_a_turned_file_is_turned() -> None:
    """Every one: its size as it is shown is that of the decoded image."""
    for file in edge_case_files():
        if file.kind == "exif":
            height, width = decode(file.data).shape[:2]
            found = corners([0.0, 0.0, 1.0, 1.0], ImageInput(file.name, file.data))
            assert found[2:] == [1 / width, 1 / height], file.name

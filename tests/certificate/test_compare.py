"""Comparison of answers, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector, tiny_manifest
from tinysight.certificate.compare import (
    Answers,
    Compared,
    Row,
    check_kind,
    compare,
    installed_engines,
    labels,
)
from tinysight.errors import ConfigError

# The tiny manifest says "bright" from a second score of 0.5 on.
EXPECTED = {"a": [0.9, 0.1], "b": [0.2, 0.8], "c": [0.501, 0.499], "d": [0.3, 0.7]}
KINDS = {"first": ["a", "b"], "second": ["c", "d"]}


def scores(values: dict[str, list[float]], partial: bool = False) -> Answers:
    return Answers({k: np.array(v, np.float32) for k, v in values.items()}, partial)


def test_flips_and_differences_by_kind() -> None:
    found = {**EXPECTED, "b": [0.25, 0.75], "c": [0.499, 0.501]}
    rows, apart = compare(tiny_manifest(), scores(EXPECTED), scores(found), KINDS)
    assert rows["first"] == (2, 0, pytest.approx(0.05))
    assert rows["second"] == (2, 1, pytest.approx(0.002, rel=1e-4))
    assert apart == ()


def test_files_that_one_side_reads() -> None:
    found = {k: v for k, v in EXPECTED.items() if k != "b"}
    rows, apart = compare(tiny_manifest(), scores(EXPECTED), scores(found), KINDS)
    assert rows["first"].pictures == 1
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
    assert rows["k"] == (1, 0, 0)
    rows, _ = compare(manifest, scores(kept, True), scores({"a": [0.7, 0.2, 0.1]}), {"k": ["a"]})
    assert rows["k"] == (1, 1, pytest.approx(0.4))


def test_limits() -> None:
    assert Compared("x", "1", {"k": Row(9, 0, 1e-3)}).problems() == []
    assert len(Compared("x", "1", {"k": Row(9, 0, 1.1e-3)}).problems()) == 1
    assert len(Compared("x", "1", {"k": Row(9, 1, 0.0)}).problems()) == 1
    coarse = Compared("x", "1", {"k": Row(9, 1, 0.1), "l": Row(1, 0, float("nan"))}, (), "int8")
    assert [problem.where for problem in coarse.problems()] == ["x, l"]
    assert Compared("x", "1", {"k": Row(9, 0, 0.1), "l": Row(1, 2, 0.2)}).total == (10, 2, 0.2)


def test_labels_are_what_the_bundle_says() -> None:
    table = np.array([[0.6, 0.4], [0.5, 0.5]], np.float32)
    assert [said["class_ids"] for said in labels(tiny_manifest(), table)] == [[0], [1]]
    best = tiny_manifest(postprocess={"name": "topk", "k": 2}, threshold=None)
    assert labels(best, table) == [0, 0]


def test_engines(tmp_path: Path) -> None:
    ready, absent = installed_engines(tiny_bundle(tmp_path / "b"))
    assert next(iter(ready)) == "onnxruntime"
    assert not ready.keys() & absent.keys()


def test_boxes_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="boxes; the certificate compares labels"):
        check_kind(tiny_detector(tmp_path / "b").manifest, "b")

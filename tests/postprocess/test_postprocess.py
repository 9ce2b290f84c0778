"""Post-processing against the recorded answers of the reference and against cases by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import GOLDEN, cases, ids, not_built, read_npz
from tinysight.errors import ConfigError
from tinysight.manifest import NO_CLASSES
from tinysight.postprocess import Threshold, TopK
from tinysight.registry import postprocesses

CASES = cases("postprocess")


@pytest.mark.golden
def test_there_are_recorded_cases() -> None:
    assert CASES, f"no postprocess cases in {GOLDEN}"


def _label_map(name: str, delimiter: str) -> tuple[str, ...]:
    lines = (GOLDEN / "postprocess" / name).read_text("utf-8").splitlines()
    rows = dict(line.split(delimiter, 1) for line in lines if line)
    return tuple(rows[str(i)] for i in range(len(rows)))


def _ours(case: dict[str, Any]) -> Any:
    """The post-processor of ours that a recorded case asks for."""
    options = dict(case["kwargs"])
    if case["name"] == "build_postprocess":
        not_built("several post-processors side by side")
    labels: tuple[str, ...] = ()
    if file := options.pop("class_id_map_file", None):
        labels = _label_map(file, options.pop("delimiter", None) or " ")
    if "label_0" in options:
        labels = (options.pop("label_0"), options.pop("label_1"))
    match case["name"]:
        case "Topk":
            return TopK(k=options.pop("topk"), labels=labels, **options)
        case "ThreshOutput":
            default = options.pop("default_label_index", 0)
            return Threshold(default=default, labels=labels, **options)
    return not_built(f"post-processor {case['name']}")


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_as_recorded(case: dict[str, Any]) -> None:
    ours = _ours(case)
    scores = read_npz("postprocess", "data.npz")[case["id"]]
    if case["side"] == "train":  # that side is given logits
        scores = np.exp(scores - scores.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
    answers = ours(scores)
    assert len(answers) == len(case["output"])
    for answer, recorded in zip(answers, case["output"], strict=True):
        assert answer["class_ids"] == recorded["class_ids"]
        assert answer["label_names"] == recorded["label_names"]
        assert answer["scores"] == pytest.approx(recorded["scores"], abs=1e-6)


def test_topk_by_hand() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
    first, tied = TopK(k=2, labels=("a", "b", "c"))(scores)
    assert first == {"class_ids": [1, 2], "scores": [0.5, 0.3], "label_names": ["b", "c"]}
    assert tied["class_ids"] == [1, 0]


def test_ties_of_many_classes_come_highest_id_first() -> None:
    (answer,) = TopK(k=4)(np.full((1, 1000), 0.001, np.float32))
    assert answer["class_ids"] == [999, 998, 997, 996]


def test_the_positive_class_may_be_the_first_one() -> None:
    rule = Threshold(threshold=0.75, positive="blurred", labels=("blurred", "sharp"))
    at, below = rule(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    assert at == {"class_ids": [0], "scores": [0.75], "label_names": ["blurred"]}
    assert below == {"class_ids": [1], "scores": [0.5], "label_names": ["sharp"]}


def test_at_the_threshold_two_classes_say_yes_and_more_say_no() -> None:
    two = Threshold(threshold=0.5)(np.array([[0.5, 0.5]], np.float32))
    three = Threshold(threshold=0.5)(np.array([[0.25, 0.5, 0.25]], np.float32))
    assert (two[0]["class_ids"], three[0]["class_ids"]) == ([1], [0])


@pytest.mark.parametrize("rule", [TopK(), Threshold()], ids=["topk", "threshold"])
def test_no_pictures_no_answers(rule: Any) -> None:
    assert rule(np.zeros((0, 2), np.float32)) == []


@pytest.mark.parametrize("name", sorted(set(postprocesses.names()) - set(NO_CLASSES)))
def test_a_wrong_number_of_labels_is_named(name: str) -> None:
    rule = postprocesses.build({"name": name}, labels=("a", "b", "c"))
    with pytest.raises(ConfigError, match="3 labels for 2 classes"):
        rule(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"positive": "blury"}, "no label 'blury'; labels: sharp, blurred"),
        ({"positive": 2}, "no class 2"),
        ({"default": -1}, "no class -1"),
    ],
)
def test_a_class_that_is_not_there_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Threshold(labels=("sharp", "blurred"), **options)


def test_one_column_is_refused() -> None:
    with pytest.raises(ConfigError, match="two classes or more"):
        Threshold()(np.ones((1, 1), np.float32))


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "threshold", "threshold": 1.5},
        {"name": "topk", "k": 0},
        {"name": "topk", "labels": ["a"]},
        {"name": "threshold", "positiv": 1},
    ],
)
def test_a_recipe_cannot_ask_for_nonsense(spec: dict[str, Any]) -> None:
    assert postprocesses.check(spec, "export.postprocess")[1]


def test_a_checked_spec_has_every_default() -> None:
    full, problems = postprocesses.check({"name": "Threshold", "positive": "yes"}, "")
    assert not problems
    assert full == {"name": "threshold", "threshold": 0.5, "positive": "yes", "default": 0}

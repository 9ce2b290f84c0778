"""Post-processing against the recorded answers of PaddleClas and against cases by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from tinysight.errors import ConfigError
from tinysight.registry import postprocesses
from tinysight.tasks.attributes import (
    FaceAttribute,
    PersonAttribute,
    TableAttribute,
    VehicleAttribute,
)
from tinysight.tasks.classification import AllScores, Threshold, TopK
from tinysight.tasks.embedding import Binarize
from tinysight.tasks.multilabel import MultiLabel
from tinysight.tasks.postprocess import has_scores
from tinysight.tasks.results import Result

NAMES = {
    "Binarize": "binarize",
    "FaceAttribute": "face_attribute",
    "MultiLabelThreshOutput": "multilabel",
    "PersonAttribute": "person_attribute",
    "ScoreOutput": "scores",
    "TableAttribute": "table_attribute",
    "ThreshOutput": "threshold",
    "Topk": "topk",
    "VehicleAttribute": "vehicle_attribute",
}
WORDS = {
    "convert_cn": "chinese",
    "decimal_places": "decimals",
    "default_label_index": "default",
    "topk": "k",
}
KEYS = {"attr": "attributes", "pred": "output"}  # the training side of VehicleAttribute


def _label_map(path: Path, delimiter: str) -> tuple[str, ...]:
    lines = path.read_text("utf-8").splitlines()
    rows = dict(line.split(delimiter, 1) for line in lines if line)
    return tuple(rows[str(i)] for i in range(len(rows)))


def _ours(case: Case) -> Any:
    """The post-processor of ours that a recorded case asks for."""
    name, options = case["name"], dict(case["kwargs"])
    if name == "build_postprocess":  # several side by side: one of them answers
        name = options["main_indicator"]
        options = dict(options[name])
    labels: tuple[str, ...] = ()
    if file := options.pop("class_id_map_file", None):
        labels = _label_map(case.folder / file, options.pop("delimiter", None) or " ")
    if "label_0" in options:
        labels = (options.pop("label_0"), options.pop("label_1"))
    if name == "ThreshOutput" and case["side"] == "deploy":
        options.setdefault("threshold", 0.0)  # a default of that side
    if name not in NAMES:
        not_built(f"post-processor {name}")
    spec = {"name": NAMES[name], **{WORDS.get(k, k): v for k, v in options.items()}}
    if name == "PersonAttribute":
        spec["output_threshold"] = 0.5
    if name == "TableAttribute":
        spec["number_decides"] = True
    checked, problems = postprocesses.check(spec, "postprocess")
    assert problems == []
    return postprocesses.build(checked, labels=labels)


@each_case("postprocess")
def test_as_recorded(case: Case) -> None:
    ours = _ours(case)
    scores = case.file_arrays[case["id"]]
    if case["side"] == "train":  # that side is given logits
        scores = _activated(scores, case["name"])
    answers = [plain(result) for result in ours(scores)]
    assert len(answers) == len(case["output"])
    for answer, recorded in zip(answers, case["output"], strict=True):
        if case["name"] == "Binarize":
            recorded = {"code": recorded}
        recorded = {KEYS.get(k, k): v for k, v in recorded.items() if k != "file_name"}
        assert answer.keys() == recorded.keys()
        if "scores" in recorded:
            assert answer.pop("scores") == pytest.approx(recorded.pop("scores"), abs=1e-6)
        if case["name"] == "VehicleAttribute":
            found, expected = (x.pop("attributes") for x in (answer, recorded))
            _check_numbers_apart(found, expected)
        assert answer == recorded


def plain(result: Result) -> dict[str, Any]:
    """The JSON form without the file name, which a post-processor leaves empty."""
    row = result.to_json()
    assert row.pop("filename") == ""
    return row


def _activated(scores: np.ndarray, name: str) -> np.ndarray:
    if name == "ScoreOutput":
        return scores
    if name in ("Topk", "ThreshOutput"):
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(scores / scores.sum(1, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-scores)))


def _check_numbers_apart(found: str, expected: str) -> None:
    """Equal words, and probabilities within 1e-6."""
    number = re.compile(r"prob: ([^)]*)")
    assert number.sub("", found) == number.sub("", expected)
    values = [[float(n) for n in number.findall(text)] for text in (found, expected)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_topk_by_hand() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]], np.float32)
    first, tied = TopK(k=2, labels=("a", "b", "c"))(scores)
    assert plain(first) == {"class_ids": [1, 2], "scores": [0.5, 0.3], "label_names": ["b", "c"]}
    assert tied.class_ids.tolist() == [1, 0]


def test_ties_of_many_classes_come_highest_id_first() -> None:
    (answer,) = TopK(k=4)(np.full((1, 1000), 0.001, np.float32))
    assert answer.class_ids.tolist() == [999, 998, 997, 996]


def test_the_positive_class_may_be_the_first_one() -> None:
    rule = Threshold(threshold=0.75, positive="blurred", labels=("blurred", "sharp"))
    at, below = rule(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32))
    assert plain(at) == {"class_ids": [0], "scores": [0.75], "label_names": ["blurred"]}
    assert plain(below) == {"class_ids": [1], "scores": [0.5], "label_names": ["sharp"]}


def test_at_the_threshold_two_classes_say_yes_and_more_say_no() -> None:
    two = Threshold(threshold=0.5)(np.array([[0.5, 0.5]], np.float32))
    three = Threshold(threshold=0.5)(np.array([[0.25, 0.5, 0.25]], np.float32))
    assert (two[0].class_ids, three[0].class_ids) == ([1], [0])


@pytest.mark.parametrize("rule", [TopK(), Threshold(), MultiLabel(), AllScores()], ids=repr)
def test_no_images_no_answers(rule: Any) -> None:
    assert rule(np.zeros((0, 2), np.float32)) == []


LABELLED = sorted(
    name
    for name in postprocesses.names()
    if has_scores({"name": name}) and hasattr(postprocesses.get(name), "labels")
)  # the others have no class scores


@pytest.mark.parametrize("name", LABELLED)
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


def test_multilabel_by_hand() -> None:
    rule = MultiLabel(threshold=0.5, labels=("a", "b", "c"))
    some, none = rule(np.array([[0.5, 0.25, 0.75], [0.1, 0.2, 0.3]], np.float32))
    assert plain(some) == {"class_ids": [0, 2], "scores": [0.5, 0.75], "label_names": ["a", "c"]}
    assert plain(none) == {"class_ids": [], "scores": [], "label_names": []}
    assert MultiLabel(decimals=1)(np.array([[0.77]]))[0].scores == [0.8]
    assert AllScores(decimals=1)(np.array([[0.77, 0.1]]))[0].scores.tolist() == [0.8, 0.1]


def test_bits_by_hand() -> None:
    x = np.array([[0.5, 0.1, 0.0, -1, 0.4, 0.6, 0.0, 2.0]])
    assert [r.code for r in Binarize()(x)] == [[0b10000101]]
    assert [r.code for r in Binarize(method="sign")(x)] == [[0b11001101]]
    with pytest.raises(ConfigError, match="by eight"):
        Binarize()(np.zeros((1, 9)))


def test_the_vector_of_a_person_has_the_threshold_of_the_words() -> None:
    row = np.full((1, 26), 0.55)
    (answer,) = PersonAttribute(threshold=0.6)(row)
    assert [i for i, on in enumerate(answer.output) if on] == [1]  # glasses: more than 0.3
    assert answer.attributes[:2] == ("Male", "AgeLess18")
    assert answer.attributes[6:] == (
        "No bag", "Upper: ShortSleeve", "Lower:  LowerStripe", "No boots",
    )  # fmt: skip
    (parity,) = PersonAttribute(threshold=0.6, output_threshold=0.5)(row)
    assert [i for i, on in enumerate(parity.output) if not on] == [18]  # held: not above 0.6


def test_a_table_has_a_threshold_for_every_word() -> None:
    row = np.full((1, 6), 0.5)
    options = {"number_threshold": 0.25, "obstruction_threshold": 0.75, "angle_threshold": 0.75}
    (ours,) = TableAttribute(**options)(row)
    (theirs,) = TableAttribute(**options, number_decides=True)(row)
    assert ours.attributes[4:] == ("With-Obstacles", "Tilted")
    assert theirs.attributes[4:] == ("Without-Obstacles", "Horizontal")
    assert ours.output.tolist() == theirs.output.tolist() == [0, 1, 0, 0, 0, 0]


def test_words_of_vehicles_and_faces() -> None:
    row = np.zeros((1, 19))
    row[0, [5, 16]] = 0.5, 0.25
    (answer,) = VehicleAttribute()(row)
    assert plain(answer) == {
        "attributes": "Color: (blue, prob: 0.5), Type unknown",
        "output": [0] * 19,
    }
    face = np.zeros((1, 40))
    face[0, [15, 20]] = 1
    assert FaceAttribute()(face)[0].attributes == ("Eyeglasses", "Male", "Old")


def test_a_decision_is_without_how_sure_it_is() -> None:
    """Two engines whose scores differ in the seventh digit decide the same."""
    row = np.zeros((3, 19))
    row[0, [5, 16]], row[1, [5, 16]], row[2, [4, 16]] = (
        (0.75, 0.625),
        (0.7500001, 0.6250001),
        (1, 1),
    )
    one, other, red = VehicleAttribute()(row)
    assert one != other
    assert one.difference(other).flip is False
    assert one.difference(red).flip is True
    assert one.decision()[0] == ["Color: (blue", "Type: (bus"]
    (best,) = TopK(k=1, labels=("a", "b"))(np.array([[0.25, 0.75]]))
    assert best.decision() == {"class_ids": [1], "label_names": ["b"]}


@pytest.mark.parametrize(
    "rule", [PersonAttribute(), VehicleAttribute(), TableAttribute(), FaceAttribute()], ids=repr
)
def test_attributes_of_another_network(rule: Any) -> None:
    with pytest.raises(ConfigError, match="outputs, the network has 7"):
        rule(np.zeros((1, 7)))

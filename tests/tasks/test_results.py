"""One result, written down, read back and compared in each of the ways."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.errors import DataError
from tinysight.tasks.results import (
    AttributeResult,
    BoxResult,
    ClassResult,
    CodeResult,
    Difference,
    EmbeddingResult,
    Result,
    ScoreResult,
    Unreadable,
    csv_table,
    result_from_json,
)

DEMO = "pulc_demo_imgs/clarity_assessment/blured_demo.jpg"
SCORE = 0.9955421453341842


def classes(filename: str, ids: Any, scores: Any, names: Any = ()) -> ClassResult:
    return ClassResult(filename, np.array(ids, int), np.array(scores, float), tuple(names))


DEMO_RESULT = classes(DEMO, [1], [SCORE], ["blured"])
ATTRIBUTES = AttributeResult("d/a.jpg", ("Male", "Hat: True"), np.array([0, 1, 1]))
BOX = BoxResult(
    "a.jpg", np.array([2]), np.float32([0.5]), ("dog",), np.float32([[8, 2, 24, 10.25]])
)
EACH = [
    DEMO_RESULT,
    ATTRIBUTES,
    AttributeResult("b.jpg", "Color unknown, Type unknown", np.array([0, 0])),
    ScoreResult("c.jpg", np.array([0.5, 0.25])),
    EmbeddingResult("d.jpg", np.float32([0.6, 0.8])),
    CodeResult("e.jpg", np.uint8([19, 176])),
    BOX,
    BoxResult("none.jpg", np.array([]), np.array([]), (), np.array([])),
    Unreadable("f.jpg", "no image"),
]


def test_the_line_of_the_package_word_for_word() -> None:
    assert DEMO_RESULT.to_text() == (
        "class_ids: [1], scores: [0.9955421453341842], label_names: ['blured'], "
        "filename: pulc_demo_imgs/clarity_assessment/blured_demo.jpg"
    )


def test_the_line_of_the_deployment_script_word_for_word() -> None:
    line = "blured_demo.jpg:\tclass id(s): [1], score(s): [1.00], label_name(s): ['blured']"
    assert DEMO_RESULT.to_deploy_text() == line


def test_the_dictionary_of_the_documents() -> None:
    assert repr(DEMO_RESULT.to_json()) == (
        "{'class_ids': [1], 'scores': [0.9955421453341842], 'label_names': ['blured'], "
        f"'filename': '{DEMO}'}}"
    )
    assert DEMO_RESULT["scores"] == [SCORE]


@pytest.mark.parametrize("result", EACH, ids=lambda r: f"{type(r).__name__} {r.filename}")
def test_json_comes_back(result: Result | Unreadable) -> None:
    back = result_from_json(json.loads(json.dumps(result.to_json())))
    assert type(back) is type(result)
    assert back == result


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(name=TEXT, label=TEXT.filter(lambda t: ";" not in t), score=st.floats(0, 1))
def test_csv_comes_back(name: str, label: str, score: float) -> None:
    file = io.StringIO(newline="")
    csv_table(file)(classes(name, [3, 0], [score, 0.0], [label, "x"]))
    file.seek(0)
    (row,) = csv.DictReader(file)
    assert row["filename"].removeprefix("./") == name.removeprefix("./")
    assert row["class_ids"] == "3;0"
    assert [float(s) for s in row["scores"].split(";")] == [score, 0.0]
    assert row["label_names"].removeprefix("'") == f"{label};x".removeprefix("'")
    assert row["error"] == ""
    for cell in (row["filename"], row["label_names"]):
        assert cell[0] not in "=+-@\t\r", "a spreadsheet would take it for a formula"


def test_a_failure_is_a_row_too() -> None:
    file = io.StringIO(newline="")
    csv_table(file)(Unreadable("=1+1.jpg", "-broken"))
    assert file.getvalue().splitlines() == [
        '"filename","class_ids","scores","label_names","error"',
        '"./=1+1.jpg","","","","\'-broken"',
    ]


def test_attributes_in_each_of_the_ways() -> None:
    words = "['Male', 'Hat: True']"
    assert ATTRIBUTES.to_text() == f"attributes: {words}, output: [0, 1, 1], filename: d/a.jpg"
    line = f"a.jpg:\t {{'attributes': {words}, 'output': [0, 1, 1]}}"
    assert ATTRIBUTES.to_deploy_text() == line
    assert [result.to_csv() for result in (*EACH[1:4], EACH[5])] == [
        ["d/a.jpg", "1;2", "", "Male;Hat: True", ""],
        ["b.jpg", "", "", "Color unknown, Type unknown", ""],
        ["c.jpg", "", "0.5;0.25", "", ""],
        ["e.jpg", "19;176", "", "", ""],
    ]


def test_several_labels_or_none_in_each_of_the_ways() -> None:
    several = classes("a.jpg", [0, 2], [0.75, 0.5], ["a", "c"])
    line = "a.jpg:\tclass id(s): [0, 2], score(s): [0.75, 0.50], label_name(s): ['a', 'c']"
    assert several.to_deploy_text() == line
    none = classes("a.jpg", [], [])
    assert none.to_deploy_text() == "a.jpg:\tclass id(s): [], score(s): [], label_name(s): []"
    assert none.to_text() == "class_ids: [], scores: [], label_names: [], filename: a.jpg"


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        (classes("", [1], [0.5]), classes("", [1], [0.25]), (False, 0.25, 0.25, None)),
        (classes("", [1], [0.5]), classes("", [0], [0.75]), (True, 0.25, 0.25, None)),
        (classes("", [1], [0.5]), classes("", [0, 1], [0.5, 0.5]), (True, 0, 0, None)),
        (ScoreResult("", [0.5, 0.5]), ScoreResult("", [0.25, 0.5]), (False, 0.25, 0.125, None)),
        (ScoreResult("", [0.5, 0.5]), ScoreResult("", [0.75, 0.5]), (True, 0.25, 0.125, None)),
        (CodeResult("", [1, 2]), CodeResult("", [1, 3]), (True, 0, 0, None)),
        (EmbeddingResult("", [3, 4.0]), EmbeddingResult("", [3, 5.0]), (None, 0.2, 0.1, None)),
        (EmbeddingResult("", [1.0]), EmbeddingResult("", [1, 0.0]), (None, np.inf, np.inf, None)),
        (BOX, BOX, (False, 0, 0, 0)),
        (BOX, EACH[7], (True, 0, 0, 0)),
    ],
)
def test_differences_by_hand(one: Result, other: Result, difference: tuple[Any, ...]) -> None:
    assert one.difference(other) == Difference(*difference)


def test_a_score_that_is_no_number_shows() -> None:
    nan = float("nan")
    assert np.isnan(classes("", [1], [0.5]).difference(classes("", [1], [nan])).score)
    assert np.isnan(EmbeddingResult("", [1.0]).difference(EmbeddingResult("", [nan])).score)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClassResult("", [1.5], [0.5]),
        lambda: ClassResult("", [1], ["0.5"]),
        lambda: ClassResult("", [1, 2], [0.5]),
        lambda: ClassResult("", [1], [0.5], ("a", "b")),
        lambda: ScoreResult("", [[0.5]]),
        lambda: BoxResult("", [1], [0.5], ("a",), [[1, 2, 3]]),
        lambda: result_from_json({"filename": "a.jpg"}),
        lambda: result_from_json({"error": "no file name"}),
        lambda: result_from_json({"filename": 5, "scores": [0.5]}),
        lambda: result_from_json({"filename": "a.jpg", "error": 5}),
        lambda: result_from_json(["a.jpg"]),  # type: ignore[arg-type]
        lambda: result_from_json({"filename": "a.jpg", "code": [[1], [1, 2]]}),
        lambda: ClassResult("", [1], [0.5], "a"),  # type: ignore[arg-type]
        lambda: ClassResult("", [1], [0.5], (3,)),  # type: ignore[arg-type]
        lambda: ClassResult("", [1], [0.5], None),  # type: ignore[arg-type]
        lambda: AttributeResult("", 5, [1]),  # type: ignore[arg-type]
        lambda: result_from_json({"filename": "a.jpg", "halves": "x"}),
        lambda: result_from_json({"filename": "a.jpg", "scores": [0.5], "other": 1}),
    ],
)
def test_what_is_no_result_is_refused(make: Any) -> None:
    with pytest.raises(DataError):
        make()


def test_arrays_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        DEMO_RESULT.scores[0] = 1


@dataclass(frozen=True, eq=False)
class Number(Result):
    """A result of a user's own."""

    value: float


@dataclass(frozen=True, eq=False)
class Halves(Result):
    """A result of a user's own that checks its value, whatever holds it."""

    halves: Any

    def __post_init__(self) -> None:
        if isinstance(self.halves, str):
            raise TypeError("no text")


def test_numbers_of_numpy_anywhere_in_a_result_of_a_users_own() -> None:
    half, one = np.float32(0.5), np.int64(1)
    for value, plain in (
        (half, 0.5),
        ((half, one), [0.5, 1]),
        ([{"a": (half, np.array([half, 1]))}], [{"a": [0.5, [0.5, 1.0]]}]),
    ):
        assert json.loads(json.dumps(Halves("a", value).to_json()))["halves"] == plain
    assert Halves("a", half).difference(Halves("a", np.float32(0.25))) == (False, 0.25, 0.25, None)
    assert Halves("a", (half, 1.0)).difference(Halves("a", [0.5, 0.5])) == (False, 0.5, 0.25, None)
    assert Halves("a", ()).difference(Halves("a", ("x",))).flip


def test_a_result_of_a_users_own_needs_its_fields_only() -> None:
    one, other = Number("a.jpg", 2.5), Number("a.jpg", 2.25)
    assert one.to_text() == "value: 2.5, filename: a.jpg"
    assert one.to_deploy_text() == "a.jpg:\t {'value': 2.5}"
    assert one.to_csv() == ["a.jpg", "", "2.5", "", ""]
    assert one.difference(other) == (False, 0.25, 0.25, None)
    assert result_from_json(one.to_json()) == one.named("a.jpg") != other

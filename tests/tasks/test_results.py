"""One result, written down in each of the ways."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from tinysight.tasks import Answer
from tinysight.tasks.results import (
    Result,
    Unreadable,
    as_deploy_line,
    as_line,
    csv_table,
    result,
)

DEMO = "pulc_demo_imgs/clarity_assessment/blured_demo.jpg"


def demo() -> Result:
    answer = Answer(class_ids=[1], scores=[0.9955421453341842], label_names=["blured"])
    return result(answer, DEMO)


def test_the_line_of_the_package_word_for_word() -> None:
    assert as_line(demo()) == (
        "class_ids: [1], scores: [0.9955421453341842], label_names: ['blured'], "
        "filename: pulc_demo_imgs/clarity_assessment/blured_demo.jpg"
    )


def test_the_line_of_the_deployment_script_word_for_word() -> None:
    line = "blured_demo.jpg:\tclass id(s): [1], score(s): [1.00], label_name(s): ['blured']"
    assert as_deploy_line(demo()) == line


def test_the_dictionary_of_the_documents() -> None:
    assert repr(demo()) == (
        "{'class_ids': [1], 'scores': [0.9955421453341842], 'label_names': ['blured'], "
        f"'filename': '{DEMO}'}}"
    )
    assert json.loads(json.dumps(demo())) == demo()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(name=TEXT, label=TEXT.filter(lambda t: ";" not in t), score=st.floats(0, 1))
def test_csv_comes_back(name: str, label: str, score: float) -> None:
    answer = Answer(class_ids=[3, 0], scores=[score, 0.0], label_names=[label, "x"])
    file = io.StringIO(newline="")
    csv_table(file)(result(answer, name))
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


ATTRIBUTES = result({"attributes": ["Male", "Hat: True"], "output": [0, 1, 1]}, "d/a.jpg")


def test_attributes_in_each_of_the_ways() -> None:
    words = "['Male', 'Hat: True']"
    assert as_line(ATTRIBUTES) == f"attributes: {words}, output: [0, 1, 1], filename: d/a.jpg"
    line = f"a.jpg:\t {{'attributes': {words}, 'output': [0, 1, 1]}}"
    assert as_deploy_line(ATTRIBUTES) == line
    out = io.StringIO()
    write = csv_table(out)
    write(ATTRIBUTES)
    write(result({"attributes": "Color unknown, Type unknown", "output": [0, 0]}, "b.jpg"))
    write(result({"scores": [0.5, 0.25]}, "c.jpg"))
    write(result({"code": [19, 176]}, "e.jpg"))
    rows = list(csv.reader(io.StringIO(out.getvalue())))[1:]
    assert rows == [
        ["d/a.jpg", "1;2", "", "Male;Hat: True", ""],
        ["b.jpg", "", "", "Color unknown, Type unknown", ""],
        ["c.jpg", "", "0.5;0.25", "", ""],
        ["e.jpg", "19;176", "", "", ""],
    ]


def test_several_labels_or_none_in_each_of_the_ways() -> None:
    answer = Answer(class_ids=[0, 2], scores=[0.75, 0.5], label_names=["a", "c"])
    line = "a.jpg:\tclass id(s): [0, 2], score(s): [0.75, 0.50], label_name(s): ['a', 'c']"
    assert as_deploy_line(result(answer, "a.jpg")) == line
    none = result(Answer(class_ids=[], scores=[], label_names=[]), "a.jpg")
    assert as_deploy_line(none) == "a.jpg:\tclass id(s): [], score(s): [], label_name(s): []"
    assert as_line(none) == "class_ids: [], scores: [], label_names: [], filename: a.jpg"

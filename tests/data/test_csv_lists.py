from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tinysight.data.lists import SampleList, read_list
from tinysight.errors import DataError

NAMES = ("cat", "dog")


def read(folder: Path, text: str, **options: Any) -> SampleList:
    path = folder / "list.csv"
    path.write_text(text, "utf-8")
    return read_list(path, folder, **{"num_classes": 2, "names": NAMES, **options})


@pytest.mark.parametrize("labels", [("cat", "dog"), ("0", "1")])
def test_columns_by_name_ids_or_label_names(tmp_path: Path, labels: tuple[str, str]) -> None:
    text = f'label,width,Path\n{labels[0]},3,"a, b.jpg"\n{labels[1]},4,图 c.jpg\n'
    samples = read(tmp_path, text)
    assert [(s.path, s.label, s.line) for s in samples] == [
        (tmp_path / "a, b.jpg", 0, 2),
        (tmp_path / "图 c.jpg", 1, 3),
    ]


def column(folder: Path, *labels: str, names: tuple[str, ...]) -> list[int]:
    rows = "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels))
    return read(folder, f"path,label\n{rows}", names=names, num_classes=len(names)).labels.tolist()


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (("1", "2", "3"), "012", r"csv:3: label 1 is the id of one class and the name of another"),
        (("1", "2", "3"), "123", "label [12] is the id of one class"),  # names, in truth
        (("1", "0"), "1", "label 1 is the id of one class"),
        (("cat", "dog"), ("cat", "1"), r"names \('cat', line 2\) and ids \(1, line 3\)"),
        (("cat", "dog", "7"), ("7", "dog", "1"), r"names \('dog', line 3\) and ids \(1, line 4\)"),
        (("cat", "dog"), ("1", "2", "dog"), r"names \('dog', line 4\) and ids \(1, line 2\)"),
    ],
)
def test_one_rule_holds_for_a_column(
    tmp_path: Path, names: tuple[str, ...], labels: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        column(tmp_path, *labels, names=names)


def test_names_that_are_numbers_but_no_ids_of_others(tmp_path: Path) -> None:
    assert column(tmp_path, "20", "10", "20", names=("10", "20")) == [1, 0, 1]
    assert column(tmp_path, "1", "0", "2", names=("0", "1", "2")) == [1, 0, 2]
    assert column(tmp_path, "01", "00", names=("00", "01")) == [1, 0]
    assert column(tmp_path, "1", "0", names=("3", "4")) == [1, 0]


def test_the_rule_is_that_of_the_whole_column_whatever_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names"):
        read(tmp_path, "path,label\na,1\nb,cat\n", limit=1)


@pytest.mark.parametrize(
    "columns",
    [
        "xmin,ymin,xmax,ymax",
        "x_min,y_min,x_max,y_max",
        "X1,Y1,X2,Y2",
        "left,top,width,height",
        "bbox",
        "x,y,w,h",
    ],
)
def test_a_table_of_boxes_is_no_list_of_images(tmp_path: Path, columns: str) -> None:
    values, named = ",".join("1" for _ in columns.split(",")), columns.replace(",", ", ")
    with pytest.raises(DataError, match=rf"not of images \(columns {named}\).*data prepare"):
        read(tmp_path, f"path,{columns},label\na.jpg,{values},cat\n")


@pytest.mark.parametrize("between", [";", "\t", ","])
def test_the_delimiter_is_found(tmp_path: Path, between: str) -> None:
    rows = ["\ufefffile_name|class", "a b.jpg|dog", ""]
    assert read(tmp_path, "\r\n".join(rows).replace("|", between))[0].label == 1


def test_lines_are_counted_through_breaks_and_blanks(tmp_path: Path) -> None:
    text = 'path,label,text\na,0,"two\nlines"\n\nb,1,x\n'
    assert [s.line for s in read(tmp_path, text)] == [2, 5]


def test_several_labels(tmp_path: Path) -> None:
    one = read(tmp_path, 'path,labels\na,"0,1"\n', target="multilabel")
    each = read(tmp_path, "path,dog,cat\na,1,0\n", target="multilabel")
    assert one.labels.tolist() == each.labels.tolist() == [[0, 1]]


def test_identities(tmp_path: Path) -> None:
    text = "image,id,camera\na,70,2\n"
    samples = read(tmp_path, text, target="identity", num_classes=None, names=())
    assert samples.cameras is not None
    assert (samples.labels.tolist(), samples.cameras.tolist()) == ([70], [2])


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a.jpg,0\n", ":1", "no column of paths"),
        ("path,width\na,0\n", ":1", "no column of labels"),
        ("path,label\na,0\nb,bird\n", ":3", "label 'bird' is not a whole number"),
        ("path,label\na,2\n", ":2", "label 2 is not one of 0 to 1"),
        ("path,label\na,0,1\n", ":2", "expected 2 columns, got 3"),
        ("path,label\n,0\n", ":2", "no path"),
        ('path,label\n"a,0\n', ":2", "not readable as CSV"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, where: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    problem = caught.value.problems[0]
    assert problem.where.endswith(f"list.csv{where}")
    assert what in problem.what


def test_the_first_rows_only(tmp_path: Path) -> None:
    assert len(read(tmp_path, "path,label\na,0\nb,1\nc,0\n", limit=2)) == 2


def test_several_labels_are_counted_in_the_first_row(tmp_path: Path) -> None:
    samples = read(tmp_path, 'path,labels\na,"0,1,1"\n', target="multilabel", num_classes=None)
    assert samples.labels.tolist() == [[0, 1, 1]]

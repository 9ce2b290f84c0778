"""Every form of list file, read and refused; splits of several lists, roots and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.tiny import recipe_tree
from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.config.schema import Data
from tinysight.data.lists import SampleList, read_list, read_split
from tinysight.data.rows import BadLines
from tinysight.data.samples import doubts
from tinysight.errors import ConfigError, DataError
from tinysight.tasks.base import task_of_labels


def label_ratio(samples: SampleList, num_classes: int) -> np.ndarray:
    return task_of_labels(samples.labels).label_ratio(samples.labels, num_classes)


def listed(folder: Path, text: str | bytes, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def recipe(root: Any, **data: Any) -> Recipe:
    tree = recipe_tree(Path())
    tree["data"] |= {"root": root, **data}
    found, problems = check_tree(tree)
    assert found is not None, problems
    return found


def train(root: Any, **data: Any) -> SampleList:
    found = recipe(root, **data)
    return read_split(found.data, found.data.train)


def names(samples: SampleList) -> list[str]:
    return [sample.path.name for sample in samples]


@pytest.mark.parametrize(
    ("text", "path", "label"),
    [
        ("a.jpg 1\n", "a.jpg", 1),
        ("a.jpg\t0", "a.jpg", 0),
        ("  my cat.jpg 1\r\n", "my cat.jpg", 1),
        ("a \t 1  \n", "a", 1),
        ("图片/猫 1.jpg\t1\n", "图片/猫 1.jpg", 1),
        ("\ufeffa.jpg 1\n\n\n", "a.jpg", 1),
        ("/elsewhere/a.jpg 1", "/elsewhere/a.jpg", 1),
        ("a.jpg, 1\n", "a.jpg", 1),
        ("a.jpg,\t1\n", "a.jpg", 1),
        ("a b.jpg; 1\n", "a b.jpg", 1),
    ],
)
def test_a_line_is_path_and_label(tmp_path: Path, text: str, path: str, label: int) -> None:
    (sample,) = read_list(listed(tmp_path, text), tmp_path, 2)
    assert sample == (tmp_path / path, label, 1)


def test_a_delimiter_of_ones_own(tmp_path: Path) -> None:
    samples = read_list(listed(tmp_path, "a 3,1\nb 4,0\n"), tmp_path, 2, ",")
    assert names(samples) == ["a 3", "b 4"]
    assert samples.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("a.jpg", "no blank or tab", "path label"),
        ("a.jpg,1", "no blank or tab", 'data.delimiter: ","'),
        ("a.jpg 2", "label 2 is not one of 0 to 1", "data.labels"),
        ("a.jpg -1", "label -1 is not one of 0 to 1", "data.labels"),
        ("a.jpg 99999999999999", "is not one of 0 to 1", "data.labels"),
        ("a.jpg 0000000001", "is not one of 0 to 1", "data.labels"),
        ("a.jpg " + "1" * 5000, "is not one of 0 to 1", "data.labels"),
        ("a.jpg cat", "label 'cat' is not a whole number", "a .csv file may have names"),
        ("a.jpg 1 0", "expected one label, got 2", "keep one"),
        ("a.jpg 1,0", "expected one label, got 2", "multilabel"),
        ("", "blank line", "remove"),
        (b"\xff\xfe.jpg 1", "not UTF-8", "UTF-8"),
        (b"a\0.jpg 1", "not UTF-8", "UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str | bytes, what: str, hint: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    path = listed(tmp_path, b"x.jpg 0\n" + raw + b"\ny.jpg 1\n")
    with pytest.raises(DataError) as caught:
        read_list(path, tmp_path, 2)
    (problem,) = caught.value.problems
    assert problem.where == f"{path}:2"
    assert what in problem.what
    assert hint in problem.hint


def test_all_bad_lines_come_in_one_message(tmp_path: Path) -> None:
    path = listed(tmp_path, "a 0\n" + "b 7\n" * 30 + "c\n")
    with pytest.raises(DataError) as caught:
        read_list(path, tmp_path, 2)
    text = str(caught.value)
    assert "2 problems" in text
    assert f"{path}:2: label 7" in text
    assert "and 20 more" in text
    assert f"{path}:32: no blank or tab" in text


def test_bad_lines_can_be_left_out(tmp_path: Path) -> None:
    bad: list[BadLines] = []
    path = listed(tmp_path, "a 0\nb\nc 1\n\nd 1\n")
    samples = read_list(path, tmp_path, 2, bad=bad)
    assert [(s.path.name, s.line) for s in samples] == [("a", 1), ("c", 3), ("d", 5)]
    assert [lines.count for lines in bad] == [2]
    assert {s.source for s in samples.sections} == {path}


def test_several_labels(tmp_path: Path) -> None:
    samples = read_list(
        listed(tmp_path, "a b.jpg\t0,1,0\nc.jpg 1,1,0\n"), tmp_path, 3, target="multilabel"
    )
    assert samples.labels.tolist() == [[0, 1, 0], [1, 1, 0]]
    assert names(samples) == ["a b.jpg", "c.jpg"]
    assert samples[0].label.tolist() == [0, 1, 0]
    assert label_ratio(samples, 3).tolist() == [0.5, 1.0, 0.0]
    assert label_ratio(samples, 3).dtype == np.float32


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("c.jpg\t0,1", "expected 3 labels, got 2"),
        ("c.jpg\t0,1,0,1", "expected 3 labels, got 4"),
        ("c.jpg\t0,1,2", "not 0 or 1 each"),
        ("c.jpg", "no labels after the path"),
    ],
)
def test_a_bad_line_of_several_labels(tmp_path: Path, line: str, what: str) -> None:
    path = listed(tmp_path, f"a.jpg\t0,1,0\n{line}\n")
    for count in (3, None):  # None: the first line counts
        with pytest.raises(DataError) as caught:
            read_list(path, tmp_path, count, target="multilabel")
        assert caught.value.problems[0].where == f"{path}:2"
        assert what in caught.value.problems[0].what


def test_identities_and_cameras(tmp_path: Path) -> None:
    path = listed(tmp_path, "a.jpg 7 2\nb c.jpg 3 1\n")
    samples = read_list(path, tmp_path, None, target="identity")
    assert names(samples) == ["a.jpg", "b c.jpg"]
    assert samples.labels.tolist() == [7, 3]
    assert samples.cameras is not None
    assert samples.cameras.tolist() == [2, 1]
    plain = read_list(listed(tmp_path, "a.jpg 7\nb.jpg 3\n"), tmp_path, None, target="identity")
    assert plain.cameras is None
    mixed = listed(tmp_path, "a.jpg 7 2\nb.jpg 3\n")
    with pytest.raises(DataError, match=r"list.txt:2: expected a path, an identity and a camera"):
        read_list(mixed, tmp_path, None, target="identity")


def test_paths_alone(tmp_path: Path) -> None:
    path = listed(tmp_path, "a.jpg\nmy cat 3.jpg\nc.jpg\trest\n")
    samples = read_list(path, tmp_path, 2, target="transform")
    assert names(samples) == ["a.jpg", "my cat 3.jpg", "c.jpg"]
    assert samples.labels.tolist() == [-1, -1, -1]
    commas = listed(tmp_path, "a.jpg,1\n")
    assert names(read_list(commas, tmp_path, 2, ",", target="transform")) == ["a.jpg"]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=("C", "Z")), min_size=1).map(
                lambda s: f"{s}.jpg"
            ),
            st.integers(0, 9),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    text = "".join(f"{path}\t{label}\n" for path, label in pairs)
    samples = read_list(listed(folder, text), folder, 10)
    assert [(s.path, s.label) for s in samples] == [(folder / p, n) for p, n in pairs]
    assert [s.line for s in samples] == list(range(1, len(pairs) + 1))


def test_a_missing_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this folder is empty"):
        read_list(tmp_path / "none.txt", tmp_path, 2)
    with pytest.raises(DataError, match="no such folder"):
        read_list(tmp_path / "none.txt", tmp_path / "none", 2)
    listed(tmp_path, "")
    with pytest.raises(DataError, match="no such list file"):
        read_list(tmp_path / "none.txt", tmp_path, 2)
    with pytest.raises(DataError, match="no images in this list file"):
        read_list(tmp_path / "list.txt", tmp_path, 2)


def test_several_lists_of_one_root(tmp_path: Path) -> None:
    listed(tmp_path, "a.jpg 0\nb.jpg 1\n", "one.txt")
    listed(tmp_path, "c.jpg 1\n", "two.txt")
    samples = train(str(tmp_path), train={"list": ["one.txt", "two.txt"]})
    assert [(s.path, s.label, s.line) for s in samples] == [
        (tmp_path / "a.jpg", 0, 1),
        (tmp_path / "b.jpg", 1, 2),
        (tmp_path / "c.jpg", 1, 1),
    ]
    assert samples.section(2).source == tmp_path / "two.txt"
    assert names(train(str(tmp_path), train={"list": ["one.txt", "two.txt"], "limit": 2})) == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_root_a_list(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        listed(tmp_path / name, f"{name}.jpg 0\n")
    roots = [str(tmp_path / "one"), str(tmp_path / "two")]
    samples = train(roots, train={"list": ["list.txt", "list.txt"]})
    assert [s.path for s in samples] == [
        tmp_path / "one" / "one.jpg",
        tmp_path / "two" / "two.jpg",
    ]
    assert names(train(roots, train={"list": "list.txt"})) == ["one.jpg"]
    with pytest.raises(ConfigError, match="2 roots for 3 lists"):
        train(roots, train={"list": ["list.txt"] * 3})


def test_unlabelled_images_follow_the_labelled(tmp_path: Path) -> None:
    listed(tmp_path, "a.jpg 0\nb.jpg 1\n")
    listed(tmp_path, "c.jpg\nd e.jpg 5\n", "more.txt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "f.png").touch()
    unlabelled = ["more.txt", "folder"]
    samples = train(str(tmp_path), train={"list": "list.txt", "unlabelled": unlabelled})
    assert names(samples) == ["a.jpg", "b.jpg", "c.jpg", "d e.jpg", "f.png"]
    assert samples.labels.tolist() == [0, 1, -1, -1, -1]
    assert samples[4].path.parent == tmp_path / "folder"
    assert label_ratio(samples, 2).tolist() == [0.5, 0.5]


def test_unlabelled_images_beside_several_labels(tmp_path: Path) -> None:
    listed(tmp_path, "a.jpg\t0,1\n")
    listed(tmp_path, "c.jpg\n", "more.txt")
    split = {"list": "list.txt", "unlabelled": ["more.txt"]}
    samples = train(str(tmp_path), train=split, target="multilabel")
    assert samples.labels.tolist() == [[0, 1], [-1, -1]]
    assert label_ratio(samples, 2).tolist() == [0, 1]


def test_relabelled_from_zero_by_the_training_list(tmp_path: Path) -> None:
    listed(tmp_path, "a.jpg 40\nb.jpg 7\nc.jpg 40\n", "train.txt")
    listed(tmp_path, "d.jpg 40\n", "val.txt")
    data = recipe(str(tmp_path), relabel=True, labels=None).data
    assert read_split(data, data.train).labels.tolist() == [1, 0, 1]
    assert read_split(data, data.eval).labels.tolist() == [1]
    listed(tmp_path, "d.jpg 40\ne.jpg 8\n", "val.txt")
    with pytest.raises(DataError, match=r"val.txt:2: label 8 is not in the training lists"):
        read_split(data, data.eval)
    three = recipe(str(tmp_path), relabel=True, labels=["a", "b", "c"]).data
    with pytest.raises(ConfigError, match="3 names for the 2 ids"):
        read_split(three, three.train)


def test_identities_of_the_evaluation_are_their_own(tmp_path: Path) -> None:
    listed(tmp_path, "a.jpg 40\nb.jpg 7\n", "train.txt")
    listed(tmp_path, "d.jpg 1000 3\n", "val.txt")
    data = recipe(str(tmp_path), relabel=True, labels=None, target="identity").data
    assert read_split(data, data.train).labels.tolist() == [1, 0]
    assert read_split(data, data.eval).labels.tolist() == [1000]


def test_a_list_or_a_folder(tmp_path: Path) -> None:
    tree = recipe_tree(tmp_path)
    for split in ({}, {"list": "a.txt", "folder": "b"}):
        tree["data"]["eval"] = split
        _, problems = check_tree(tree)
        assert [(p.where, p.what) for p in problems] == [
            ("data.eval", "give either list, folder, coco, voc, or query with gallery")
        ]


def test_the_fingerprint_follows_paths_and_labels(tmp_path: Path) -> None:
    one = read_list(listed(tmp_path, "a 0\nb 1\n"), tmp_path, 2)
    moved = read_list(listed(tmp_path, "a 0\nb 1\n", "x.txt"), tmp_path / "there", 2)
    other = read_list(listed(tmp_path, "a 0\nb 0\n"), tmp_path, 2)
    assert one.fingerprint() == moved.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    "text",
    [
        "a.jpg 0\n\ufeffb.jpg 1\n",  # two files of Windows, joined
        "a.jpg 0\rb.jpg 1\r",
        "a.jpg 0\rb.jpg 1",
        "a.jpg 0\r\nb.jpg 1\r\n",
        "a.jpg 0\rb.jpg 1\r\n",
        "a.jpg, 0\nb.jpg, 1\n",
    ],
)
def test_what_is_not_seen_in_a_list_is_no_part_of_a_path(tmp_path: Path, text: str) -> None:
    samples = read_list(listed(tmp_path, text), tmp_path, 2)
    assert [(s.path.name, s.label, s.line) for s in samples] == [("a.jpg", 0, 1), ("b.jpg", 1, 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a.jpg" 0\n', r':1: quotes around the path "a.jpg"; remove them'),
        ("'a b.jpg' 0\n", r":1: quotes around the path 'a b.jpg'"),
        (
            "a.jpg\u00a00\n",
            r"no blank or tab between path and label; it has U\+00A0, which is not seen",
        ),
        ("a.jpg 0\u200b\n", r"it has U\+200B, which is not seen"),
    ],
)
def test_what_is_not_seen_in_a_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_list(listed(tmp_path, text), tmp_path, 2)


def test_lines_that_are_all_bad_are_named_where_bad_lines_are_collected(tmp_path: Path) -> None:
    bad: list[BadLines] = []
    with pytest.raises(DataError, match="quotes around the path"):
        read_list(listed(tmp_path, '"a.jpg" 0\n'), tmp_path, 2, bad=bad)


def test_sections_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / "all" / "xy"[i % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / "xy"[i % 2] / f"{i}.png").touch()
    (tmp_path / "more.txt").write_text("more.png\n", "utf-8")
    train = {"folder": "all", "unlabelled": ("more.txt",), "limit": 3}
    data = Data.model_validate({"root": str(tmp_path), "train": train, "eval": {"folder": "all"}})
    found = read_split(data, data.train)
    assert [len(found), len(found.sections), len(found.path_hashes())] == [3, 1, 3]


def test_what_is_probably_not_meant_in_the_lists_of_a_training(tmp_path: Path) -> None:
    rows = "a.jpg 0\nb.jpg 1\na.jpg 1\nc.jpg 0\nc.jpg 0\n"
    first = read_list(listed(tmp_path, rows), tmp_path, 3)
    other = read_list(listed(tmp_path, "c.jpg 0\nd.jpg 1\n", "val.txt"), tmp_path, 3)
    elsewhere = read_list(listed(tmp_path, "a.jpg 0\n", "third.txt"), tmp_path / "x", 3)
    assert doubts(first, [other, elsewhere], ("x", "y", "z")) == [
        "1 training images are listed again with another label",
        "1 of 3 labels have no training image: z",
        f"1 of 2 evaluation images are also trained on ({tmp_path / 'val.txt'})",
    ]
    assert doubts(other, [elsewhere], ("x", "y")) == []
    again = first.with_labels(np.array([0, 1, -1, -1, -1], np.int32))  # listed as unlabelled, too
    assert doubts(again, [], ("x", "y")) == []
    none = first.with_labels(np.full(5, -1, np.int32))  # a transform sets the labels
    assert doubts(none, [], ("x", "y")) == []

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.tiny import recipe_tree
from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.data.labels import label_names, read_label_names, resolve_labels
from tinysight.errors import ConfigError


def recipe(root: Path, **data: Any) -> Recipe:
    tree = recipe_tree(root)
    tree["data"] |= {"labels": None, **data}
    found, problems = check_tree(tree)
    assert found is not None, problems
    return found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0 no helmet\n1 helmet\n", ("no helmet", "helmet")),
        ("1\thelmet\n0\tno helmet\n\n", ("no helmet", "helmet")),
        ("\ufeffcat\n dog \n", ("cat", "dog")),
        ("0 猫\n1 狗", ("猫", "狗")),
        ("cat\n2 dogs\n", ("cat", "2 dogs")),
    ],
)
def test_names_of_a_file(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text, "utf-8")
    assert read_label_names(path) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 a\n0 b\n", r"labels.txt:2: class 0 where 1 is due"),
        ("0 a\n2 b\n", r"labels.txt:2: class 2 where 1 is due"),
        ("0 a\n1 b\nc\n", r"labels.txt:3: 'c' has no id, as other lines have"),
        ("a\n1 b\n", r"labels.txt:1: 'a' has no id, as other lines have"),
        ("\n", "no label in it"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_bad_file_of_names(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message):
        read_label_names(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_label_names(tmp_path / "none.txt")


def test_a_delimiter_of_the_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0:a b\n1:c\n", "utf-8")
    assert read_label_names(path, ":") == ("a b", "c")


def test_a_recipe_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n", "utf-8")
    found = resolve_labels(recipe(tmp_path, labels="names.txt"))
    assert found.data.labels == ("cat", "dog")
    assert resolve_labels(found) is found


def test_the_folders_are_the_names(tmp_path: Path) -> None:
    for name in ("b", "a", ".git"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert label_names(recipe(tmp_path, train={"folder": "train"}).data) == ("a", "b")


def test_ids_that_occur_are_the_names(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a 30\nb 4\n", "utf-8")
    assert label_names(recipe(tmp_path, relabel=True).data) == ("4", "30")
    people = label_names(recipe(tmp_path, target="identity").data)
    assert len(people) == 31
    with pytest.raises(ConfigError, match=r"data.labels: the label names are missing"):
        label_names(recipe(tmp_path).data)


def test_several_labels_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\t0,1,1\n", "utf-8")
    assert label_names(recipe(tmp_path, target="multilabel").data) == ("0", "1", "2")


def test_one_label_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2 names"):
        label_names(recipe(tmp_path, labels=["a"]).data)


@pytest.mark.parametrize("text", ["a\nb\na\n", "0 a\n1 b\n2 a\n"])
def test_two_classes_of_one_name_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.txt").write_text(text)
    for labels in ("labels.txt", ["a", "b", "a"]):
        with pytest.raises(ConfigError, match="data.labels: classes 0, 2 are all named 'a'"):
            label_names(recipe(tmp_path, labels=labels).data)

"""Queries and a gallery as one list: what is read, what is said of bad ones, and what a metric is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny import recipe_tree
from tinysight.config.load import check_tree
from tinysight.data.lists import SampleList, read_split
from tinysight.errors import ConfigError, DataError


def written(root: Path, **lists: str) -> dict[str, Any]:
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text, "utf-8")
    tree = recipe_tree(root)
    tree["data"] |= {"target": "identity", "labels": None}
    tree["metrics"] = [{"name": "retrieval"}]
    tree["export"] = {"postprocess": {"name": "embedding"}}
    return tree


def read(tree: dict[str, Any], eval_: dict[str, Any]) -> SampleList:
    recipe, problems = check_tree({**tree, "data": {**tree["data"], "eval": eval_}})
    assert recipe is not None, problems
    return read_split(recipe.data, recipe.data.first_eval)


TRAIN = "a.png 0\nb.png 0\nc.png 1\n"
BOTH = {"query": "q.txt", "gallery": "g.txt"}


def test_queries_come_first_and_may_have_other_roots_and_unknown_ids(tmp_path: Path) -> None:
    tree = written(
        tmp_path, train=TRAIN, q="q0.png 7\nq1.png 300\n", g="g0.png 300\ng1.png 7\ng2.png 8\n"
    )
    found = read(tree, {"product": BOTH})
    assert [s.path.name for s in found] == ["q0.png", "q1.png", "g0.png", "g1.png", "g2.png"]
    assert found.labels.tolist() == [7, 300, 300, 7, 8]
    assert found[4].line == 3
    assert found.roles()["queries"].tolist() == [True, True, False, False, False]
    assert found.queries == 2
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "g.txt").rename(other / "g.txt")
    moved = read(tree, {**BOTH, "root": [str(tmp_path), str(other)]})
    assert moved[2].path == other / "g0.png"
    assert read(
        tree, {**BOTH, "root": [str(tmp_path), str(other)], "limit": 1}
    ).labels.tolist() == [7, 300]


def test_cameras_of_both_or_neither(tmp_path: Path) -> None:
    lists = {"q": "q0.png 7 1\n", "g": "g0.png 7 2\ng1.png 7 1\n", "plain": "g0.png 7\n"}
    tree = written(tmp_path, train=TRAIN, **lists, half="g0.png 7 1\ng1.png 7\ng2.png 8\n")
    found = read(tree, BOTH)
    assert found.roles()["cameras"].tolist() == [1, 2, 1]
    with pytest.raises(DataError, match="one of the queries and the gallery names cameras"):
        read(tree, {**BOTH, "gallery": "plain.txt"})
    # A column that is half empty names its lines; nothing is guessed.
    with pytest.raises(
        DataError, match=r"half\.txt:2: expected a path, an identity and a camera.*also lines 3"
    ):
        read(tree, {**BOTH, "gallery": "half.txt"})


def test_a_gap_in_the_ids_needs_no_new_numbers_for_evaluation(tmp_path: Path) -> None:
    tree = written(tmp_path, train="a.png 5\nb.png 9\n", q="q0.png 40\n", g="g0.png 40\n")
    tree["data"]["relabel"] = True
    found = read(tree, BOTH)
    assert found.labels.tolist() == [40, 40]
    recipe, _ = check_tree({**tree, "data": {**tree["data"], "eval": BOTH}})
    assert recipe is not None
    assert read_split(recipe.data, recipe.data.train).labels.tolist() == [0, 1]


def test_identities_of_an_evaluation_need_no_training_list(tmp_path: Path) -> None:
    """Nor do they become those that the training numbers anew: 9 is 9, whatever else is called 1."""
    lists = {"q": "path,identity\nq0.png,9\nq1.png,1\n", "g": "path,identity\ng0.png,1\ng1.png,9\n"}
    for name, text in lists.items():
        (tmp_path / f"{name}.csv").write_text(text, "utf-8")
    tree = written(tmp_path, train="a.png 5\nb.png 9\n")
    tree["data"]["relabel"] = True
    both = {"query": "q.csv", "gallery": "g.csv"}
    assert read(tree, both).labels.tolist() == [9, 1, 1, 9]
    (tmp_path / "train.txt").unlink()
    assert read(tree, both).labels.tolist() == [9, 1, 1, 9]


@pytest.mark.parametrize(
    ("eval_", "message"),
    [
        ({"query": "q.txt"}, "query and gallery belong together"),
        ({**BOTH, "list": "q.txt"}, "give either list, folder, or query with gallery"),
        ({}, "give either list, folder, or query with gallery"),
        ({"a": BOTH, "b": {"gallery": "g.txt"}}, "query and gallery belong together"),
    ],
)
def test_half_a_search_is_refused_with_the_recipe(
    tmp_path: Path, eval_: dict[str, Any], message: str
) -> None:
    tree = written(tmp_path, train=TRAIN)
    recipe, problems = check_tree({**tree, "data": {**tree["data"], "eval": eval_}})
    assert recipe is None
    assert message in "; ".join(map(str, problems))


def test_classes_have_no_queries(tmp_path: Path) -> None:
    tree = written(tmp_path, train=TRAIN, q="q0.png 1\n", g="g0.png 1\n")
    tree["data"] |= {"target": "class", "labels": ["x", "y"]}
    with pytest.raises(ConfigError, match=r"data\.eval: queries and a gallery are of identities"):
        read(tree, BOTH)


def test_another_gallery_is_another_list(tmp_path: Path) -> None:
    tree = written(tmp_path, train=TRAIN, q="q0.png 7\n", g="g0.png 7\n")
    both, one = read(tree, BOTH), read(tree, {"list": ["q.txt", "g.txt"]})
    assert np.array_equal(both.labels, one.labels)
    assert both.fingerprint() != one.fingerprint()

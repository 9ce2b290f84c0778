"""PaddleClas' YAML and its overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.paddleclas import write_deployed, write_training
from tinysight.compat.paddle.dialect.tree import kind_of, read_tree
from tinysight.errors import ConfigError
from tinysight.foreign import is_foreign


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_of_the_older_kind_with_anchors_and_literals_in_text(tmp_path: Path) -> None:
    text = "Arch: {class_num: &n 2, deep: {n: *n}, lr: 1e-5, on: yes, list: [1e-5, None]}\n"
    text += "Global: {a: 'None', b: '0,1'}"
    tree = read_tree(write(tmp_path, text))
    # YAML 1.1 reads `on` and `yes` as true; a key is a text all the same.
    assert tree["Arch"] == {
        "class_num": 2,
        "deep": {"n": 2},
        "lr": 1e-5,
        "True": True,
        "list": ["1e-5", "None"],
    }
    assert tree["Global"] == {"a": None, "b": [0, 1]}


def test_a_section_that_an_alias_names_is_changed_alone(tmp_path: Path) -> None:
    text = "Global: &g {a: {b: 1}}\nArch: *g\nInfer: {<<: *g, c: 2}"
    assert read_tree(write(tmp_path, text), ["Arch.a.b=2"]) == {
        "Global": {"a": {"b": 1}},
        "Arch": {"a": {"b": 2}},
        "Infer": {"a": {"b": 1}, "c": 2},
    }


def test_overrides_go_in_order_through_lists_and_make_sections(tmp_path: Path) -> None:
    path = write_training(tmp_path)
    tree = read_tree(
        path,
        [
            "Global.epochs=1",
            "Global.epochs=2",
            "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=[24, 16]",
            "AMP.use_amp=False",
            "Global.output_dir=a=b",
        ],
    )
    assert tree["Global"]["epochs"] == 2
    assert tree["DataLoader"]["Train"]["dataset"]["transform_ops"][1]["RandCropImage"]["size"] == [
        24,
        16,
    ]
    assert tree["AMP"] == {"use_amp": False}
    assert tree["Global"]["output_dir"] == "a=b"  # where PaddleClas fails


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Global.epochs", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("Loss.Train.7.CELoss.epsilon=0", "'7' is no index of a list of 1"),
        ("Loss.Train.-1=0", "'-1' is no index"),
        ("Global.epochs.x=1", "Global.epochs is a value, not a section"),
    ],
)
def test_overrides_that_cannot_be_applied(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_tree(write_training(tmp_path), [override])
    assert f"-o {override}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Global: [", "x.yaml:"),
        ("- Global", "a mapping of sections"),
        ("Global: {a: 1, a: 2}", "appears twice"),
        ("Global: &g {a: *g}", r"the alias \*g stands inside"),
        ("Global: !!python/object/apply:os.getcwd []", "constructor"),
    ],
)
def test_what_is_no_configuration(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_tree(write(tmp_path, text))


def test_it_is_told_from_a_recipe(tmp_path: Path) -> None:
    assert is_foreign(write_training(tmp_path))
    assert is_foreign(write_deployed(tmp_path))
    assert not is_foreign(
        write(tmp_path, "base: _base/pulc.yaml\ntask: a\n# Global: no\ndata: {Arch: 1}\n")
    )
    kinds = {
        "deploy": {"Global": {}, "PreProcess": {}},
        "search": {"base_config_file": "a.yaml"},
        "old": {"TRAIN": {}},
        "training": {"Global": {}, "Arch": {}},
    }
    assert {kind: kind_of(tree) for kind, tree in kinds.items()} == {kind: kind for kind in kinds}

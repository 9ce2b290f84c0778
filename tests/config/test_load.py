"""Recipes: base, overrides, every problem in one message, resolved form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import python
from tinysight.config import list_recipes, load_recipe, recipe_yaml
from tinysight.config.json_schema import recipe_schema
from tinysight.errors import ConfigError

MINIMAL = """
task: test
base: _base/pulc.yaml
data:
  root: images
  labels: [clear, blurred]
  train: {list: train.txt}
  eval: {list: val.txt}
"""


def write(folder: Path, text: str, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_base_is_merged_and_defaults_are_written_out(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL + "train: {epochs: 3}\n"))
    assert recipe.train.epochs == 3
    assert recipe.train.lr == 0.01
    assert recipe.train.optimizer.spec["nesterov"] is False
    assert recipe.model.backbone.name == "pplcnet_x1_0"


def test_anchors_and_merge_keys_are_read(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + "transforms: {train: &same [{name: resize, size: 32}, {name: normalize}], eval: *same}\n"
    )
    recipe = load_recipe(write(tmp_path, text), ["transforms.train.0.size=64"])
    assert recipe.transforms.train[0].spec["size"] == 64
    assert recipe.transforms.eval[0].spec["size"] == 32


def test_a_component_of_another_name_replaces_its_options(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL + "train: {schedule: {name: constant}}\n"))
    assert recipe.train.schedule.name == "constant"
    assert recipe.train.epochs == 20


def test_overrides_reach_lists_and_keep_equals_signs(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    recipe = load_recipe(
        path,
        ["train.lr=1e-3", "transforms.train.0.size=96", "data.root=a=b", "data.labels=[x, y, z]"],
    )
    assert recipe.train.lr == 0.001
    assert recipe.transforms.train[0].spec["size"] == 96
    assert recipe.data.root == "a=b"
    assert recipe.data.labels == ("x", "y", "z")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epocs=3", r"-o train\.epocs: unknown key; did you mean 'epochs'\?"),
        ("train.epochs=abc", r"-o train\.epochs: should be a valid integer.*got 'abc'"),
        ("train.epochs", r"expected KEY=VALUE"),
        ("transforms.eval.9.size=3", r"'9' is no index of a list of 3"),
        ("train.epochs.x=3", r"train\.epochs is a value, not a section"),
        (
            "model.backbone.name=pplcnet_x1_1",
            r"-o model\.backbone\.name: unknown backbone .*did you mean",
        ),
        ("train.lr=__import__('os')", r"-o train\.lr: should be a valid number"),
        ("train.lr=[1", r"-o train\.lr=\[1"),
    ],
)
def test_a_wrong_override_is_one_message(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path, MINIMAL), [override])


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        MINIMAL
        + """
train: {epochs: "5", epocs: 5, optimizer: {name: sgd, clip_grad: 1}}
transforms: {eval: [{name: resize, shrt: 256}, {name: centre_crop, size: 224}]}
loss: {name: cross_entropy, label_smoothing: 2}
""",
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: {len(lines) - 1} problems"
    for start in (
        "  train.epochs: should be a valid integer",
        "  train.epocs: unknown key; did you mean 'epochs'?",
        "  train.optimizer.clip_grad: unknown key",
        "  transforms.eval.0.shrt: unknown key; did you mean 'short'?",
        "  transforms.eval.1.name: unknown transform 'centre_crop'; did you mean 'center_crop'?",
        "  loss.label_smoothing: should be less than",
    ):
        assert any(line.startswith(start) for line in lines), start


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'pulc/clarity_assessment'"):
        load_recipe("pulc/clarity_assesment")
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file"):
        load_recipe("gone.yaml")


def test_bases_are_bounded_and_must_exist(tmp_path: Path) -> None:
    write(tmp_path, "base: r.yaml\n")
    with pytest.raises(ConfigError, match="more than 2 levels"):
        load_recipe(tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match=r"base: no such file 'none\.yaml'"):
        load_recipe(write(tmp_path, "base: none.yaml\n"))


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_loads_and_round_trips(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert load_recipe(write(tmp_path, recipe_yaml(recipe))) == recipe


def test_the_committed_schema_is_current() -> None:
    committed = Path(__file__).parents[2] / "docs" / "recipe.schema.json"
    assert json.loads(committed.read_text("utf-8")) == recipe_schema(), (
        "run `tinysight recipe schema > docs/recipe.schema.json`"
    )


def test_a_native_recipe_imports_nothing_of_another_framework() -> None:
    code = (
        "import sys; from tinysight.config import load_recipe; load_recipe('pulc/safety_helmet')\n"
        "assert not [name for name in sys.modules if 'compat' in name and 'tinysight' in name]"
    )
    done = python("-c", code)
    assert done.code == 0, done.err

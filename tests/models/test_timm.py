"""Networks of timm: an optional source, which is not installed with the test suite."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from support.tiny import make_images, tiny_recipe
from tinysight.errors import ConfigError, MissingDependency, UnknownName
from tinysight.export.bundle import export_bundle
from tinysight.models import create_model, list_models
from tinysight.training import fit

installed = importlib.util.find_spec("timm") is not None


@pytest.mark.skipif(installed, reason="timm is installed")
def test_absent_timm_is_named() -> None:
    with pytest.raises(MissingDependency) as caught:
        create_model("timm/resnet18", num_classes=2)
    (problem,) = caught.value.problems
    assert problem.where == "create_model('timm/resnet18')"
    assert problem.what == "needs timm, which is not installed"
    assert problem.hint == "pip install timm"


@pytest.mark.skipif(installed, reason="timm is installed")
def test_a_recipe_without_timm_says_what_is_missing(tmp_path: Path) -> None:
    where = "model.backbone.name"
    with pytest.raises(ConfigError, match=f"{where}: needs timm.*; pip install timm"):
        tiny_recipe(make_images(tmp_path), "model.backbone.name=timm/resnet18")


@pytest.mark.skipif(not installed, reason="needs timm")
def test_a_recipe_trains_and_exports_a_network_of_timm(tmp_path: Path) -> None:
    data = make_images(tmp_path / "data")
    change = "model.backbone={name: timm/mobilenetv3_small_050, drop_rate: 0.1}"
    recipe = tiny_recipe(data, change, "train.epochs=1")
    assert recipe.model.backbone.spec["drop_rate"] == 0.1
    fit(recipe, tmp_path / "run", progress=False)
    parity = export_bundle(tmp_path / "run", tmp_path / "bundle").manifest.parity
    assert parity
    assert parity.max_score_difference < 1e-4
    wrong = {"resnet18x": "did you mean 'resnet18", "resnet18, depth: 3": "unknown key"}
    for text, words in wrong.items():
        with pytest.raises(ConfigError, match=words):
            tiny_recipe(data, f"model.backbone={{name: timm/{text}}}")


def test_the_prefix_alone_selects_timm() -> None:
    with pytest.raises(UnknownName, match="timm_resnet18"):
        create_model("timm_resnet18")
    assert not [n for n in list_models() if n.startswith("timm")]


@pytest.mark.skipif(not installed, reason="needs timm")
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_installed_timm(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(f"timm/{name}", num_classes=3).eval()
    images = torch.randn(2, 3, model.input_size, model.input_size)
    vector = model.pre_logits(model.forward_features(images))
    assert vector.shape == (2, model.features)
    assert torch.equal(model.get_submodule(model.classifier_name)(vector), model(images))
    assert create_model(f"timm/{name}", num_classes=0).eval()(images).shape == vector.shape
    with pytest.raises(UnknownName, match="did you mean"):
        create_model(f"timm/{name}x")
    with pytest.raises(ConfigError, match="no_such_option"):
        create_model(f"timm/{name}", no_such_option=1)
    with pytest.raises(ConfigError, match="stage"):
        model.forward_stages(images)

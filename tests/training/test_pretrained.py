from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from support.tiny import tiny_recipe
from tinysight.errors import CheckpointError, ConfigError
from tinysight.models import Backbone, create_model
from tinysight.training import FitResult, fit
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.pretrained import load_pretrained


def network(num_classes: int = 2, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return create_model("pplcnet_x0_25", num_classes=num_classes)


def stored(path: Path, model: Backbone, **changes: torch.Tensor | None) -> Path:
    """The weights of `model`; a change of None leaves an entry out."""
    tensors = {**model.state_dict(), **{k.replace("__", "."): v for k, v in changes.items()}}
    save_file({k: v for k, v in tensors.items() if v is not None}, path)
    return path


def same(a: Backbone, b: Backbone, *, but: str = "-") -> bool:
    other = b.state_dict()
    return all(
        torch.equal(value, other[name])
        for name, value in a.state_dict().items()
        if not name.startswith(but)
    )


def test_weights_are_loaded(tmp_path: Path) -> None:
    there, here = network(seed=1), network(seed=2)
    assert not same(there, here)
    load_pretrained(here, stored(tmp_path / "w.safetensors", there))
    assert same(there, here)


def test_a_trunk_takes_them_without_the_classifier(tmp_path: Path) -> None:
    """Also a variant for recognition, but for the parts that differ."""
    there, here = network(1000, seed=1), network(0, seed=2)
    load_pretrained(here, stored(tmp_path / "w.safetensors", there))
    assert same(here, there)
    base = create_model("pplcnetv2_base", 1000)
    trunk = create_model("pplcnetv2_base_shitu", 0, last_channels=512)
    fresh = trunk.state_dict()["last_conv.weight"].clone()
    weights = stored(tmp_path / "base.safetensors", base)
    load_pretrained(trunk, weights, skip=["last_conv", "stages.3.0.dw_conv_list.2"])
    assert torch.equal(trunk.state_dict()["last_conv.weight"], fresh)
    assert same(trunk, base, but=("last_conv.", "stages.3.0.dw_conv_list.2."))  # type: ignore[arg-type]


def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    there, here = network(seed=1), network(seed=2)
    names = [k for k in there.state_dict() if k.endswith("num_batches_tracked")]
    assert names
    absent = {name.replace(".", "__"): None for name in names}
    load_pretrained(here, stored(tmp_path / "w.safetensors", there, **absent))
    assert same(there, here)


def test_another_number_of_classes_is_an_error_that_explains(tmp_path: Path) -> None:
    there, here = network(1000, seed=1), network(seed=2)
    with pytest.raises(
        CheckpointError, match=r"fc.weight .*begin with a new classifier: skip: \[classifier\]"
    ):
        load_pretrained(here, stored(tmp_path / "w.safetensors", there))


@pytest.mark.parametrize("classes", [1000, 2])
def test_a_skipped_classifier_stays_fresh(
    classes: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it would fit: the recipe says so, not the shapes."""
    there, here = network(classes, seed=1), network(seed=2)
    before = here.fc.weight.detach().clone()
    with caplog.at_level(logging.INFO, "tinysight"):
        load_pretrained(here, stored(tmp_path / "w.safetensors", there), skip=["classifier"])
    assert same(here, there, but="fc.")
    assert torch.equal(here.fc.weight, before)
    assert not torch.equal(here.fc.weight, there.fc.weight[:2])
    assert "loaded, but for classifier, which is new" in caplog.text


def test_a_part_that_is_not_there_cannot_be_skipped(tmp_path: Path) -> None:
    path = stored(tmp_path / "w.safetensors", network())
    with pytest.raises(ConfigError, match="no part 'clasifier'; did you mean 'classifier'"):
        load_pretrained(network(), path, skip=["clasifier"])


def test_names_that_do_not_fit_are_all_listed(tmp_path: Path) -> None:
    there, here = network(1000, seed=1), network(seed=2)
    before = {k: v.clone() for k, v in here.state_dict().items()}
    path = stored(
        tmp_path / "w.safetensors",
        there,
        conv1__bn__weight=None,
        conv1__bn__bias=torch.ones(3),
        head__weight=torch.ones(1),
    )
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(here, path)
    message = str(caught.value)
    assert "1 missing (conv1.bn.weight)" in message
    assert "1 left over (head.weight)" in message
    assert "conv1.bn.bias (3,) for (8,)" in message
    assert "fc.weight (1000, 1280) for (2, 1280)" in message
    assert all(torch.equal(v, before[k]) for k, v in here.state_dict().items())  # untouched


def test_the_list_of_names_is_capped(tmp_path: Path) -> None:
    tensors = {f"layer{i}": torch.ones(1) for i in range(9)}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="layer4 and 4 more"):
        load_pretrained(network(), tmp_path / "w.safetensors")


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_bytes(b"weights")
    with pytest.raises(CheckpointError, match=r"w\.txt: not a whole safetensors file"):
        load_pretrained(network(), tmp_path / "w.txt")
    with pytest.raises(CheckpointError, match="no such file"):
        load_pretrained(network(), tmp_path / "gone.safetensors")


def test_a_run_begins_with_the_weights_of_another(
    tiny_images: Path, tiny_run: FitResult, tmp_path: Path
) -> None:
    """With every stage frozen and the learning rate tiny, the trunk stays what was loaded."""
    root, first = tiny_images, tiny_run
    frozen = "model.backbone.lr_mults=[0, 0, 0, 0, 0, 0]"
    recipe = tiny_recipe(root, "train.epochs=1", f"model.pretrained={first.last}", frozen)
    second = fit(recipe, tmp_path / "second")
    there, here = load_checkpoint(first.last).model, load_checkpoint(second.last).model
    moved = [k for k in there if not torch.equal(there[k], here[k]) and "running_" not in k]
    moved = [k for k in moved if not k.endswith("num_batches_tracked")]
    assert moved
    assert all(k.startswith(("fc.", "last_conv.")) for k in moved), moved

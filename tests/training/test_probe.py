"""The classifier that fine-tuning begins with, against scikit-learn and in whole runs."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from support.tiny import make_images, make_weights, tiny_recipe
from tinysight.config import load_recipe
from tinysight.errors import ConfigError, DataError
from tinysight.training import fit
from tinysight.training.checkpoint import load_checkpoint
from tinysight.training.networks import initial_model
from tinysight.training.probe import fit_probe


def blobs(
    count: int, classes: int, width: int, spread: float
) -> tuple[torch.Tensor, torch.Tensor, np.random.Generator]:
    """Features (N, D) around one centre a class, of uneven scale and offset; labels (N,)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    points = rng.normal(size=(classes, width))[labels] + rng.normal(0, spread, (count, width))
    points = points * rng.uniform(0.1, 9, width) + rng.normal(0, 5, width)
    return torch.from_numpy(points), torch.from_numpy(labels), rng


@pytest.mark.parametrize("classes", [2, 5])
def test_class_ids_as_scikit_learn(classes: int) -> None:
    features, labels, _ = blobs(97, classes, 13, 1.0)
    found = fit_probe(features, labels, classes)
    scaled = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    # Its softmax for two classes has one vector for both, which the same penalty holds less.
    decay = found.decay / (2 if classes == 2 else 1)
    peer = LogisticRegression(C=1 / (decay * 97), max_iter=10_000, tol=1e-10)
    peer.fit(scaled, labels.numpy())
    ours = torch.softmax(features @ found.weight.T + found.bias, dim=1).numpy()
    np.testing.assert_allclose(ours, peer.predict_proba(scaled), atol=1e-4)


def test_each_label_by_itself_as_scikit_learn() -> None:
    features, first, rng = blobs(80, 2, 7, 1.5)
    second = torch.from_numpy(rng.integers(0, 2, 80))
    labels = torch.stack([first, second], dim=1)
    found = fit_probe(features, labels, 2)
    scaled = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    for k in range(2):  # the mean is over both labels, so each has half the weight
        peer = LogisticRegression(C=1 / (2 * found.decay * 80), max_iter=10_000, tol=1e-10)
        peer.fit(scaled, labels[:, k].numpy())
        ours = torch.sigmoid(features @ found.weight[k] + found.bias[k]).numpy()
        np.testing.assert_allclose(ours, peer.predict_proba(scaled)[:, 1], atol=1e-4)


def test_an_unknown_label_counts_for_nothing() -> None:
    features, first, rng = blobs(60, 2, 5, 1.0)
    labels = torch.stack([first, torch.full((60,), -1)], dim=1)
    alone = fit_probe(features, first[:, None], 1)
    both = fit_probe(features, labels, 2)
    torch.testing.assert_close(both.weight[0], alone.weight[0], atol=1e-4, rtol=1e-3)
    assert both.weight[1].abs().max() < 1e-9


def test_noise_is_penalised_more_than_what_separates() -> None:
    features, labels, rng = blobs(200, 3, 20, 0.3)
    clear = fit_probe(features, labels, 3)
    noise = fit_probe(torch.from_numpy(rng.normal(size=(200, 20))), labels, 3)
    assert noise.decay > 10 * clear.decay
    assert clear.held_out_loss < 0.05 < noise.held_out_loss < 1.3  # as good as log 3 at chance


@pytest.mark.parametrize(("labels", "classes"), [([0, 1], 2), ([0, 0, 0], 2), ([0, 1, 2, 2], 4)])
def test_few_images_and_absent_classes(labels: list[int], classes: int) -> None:
    features = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0))
    features[:, 2] = 4.0  # a feature that never varies
    found = fit_probe(features, torch.tensor(labels), classes)
    assert torch.isfinite(found.weight).all() and torch.isfinite(found.bias).all()
    answers = (features.double() @ found.weight.T + found.bias).argmax(1)
    assert len(set(labels)) > 1 or answers.tolist() == labels


def pretrained(tmp_path: Path, *overrides: str) -> tuple[Path, list[str]]:
    """Images, and the overrides of a run that begins with weights of three other classes."""
    root = make_images(tmp_path / "pictures")
    weights = make_weights(tmp_path / "weights.pth")
    return root, [
        f"model.pretrained={weights}",
        "model.skip=[classifier]",
        "model.linear_probe=true",
        *overrides,
    ]


def test_a_run_begins_with_it_and_leaves_the_features(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, overrides = pretrained(tmp_path, "train.epochs=1", "train.lr=1e-12")
    recipe = tiny_recipe(root, *overrides, "model.freeze_statistics=true")
    with caplog.at_level(logging.INFO):
        result = fit(recipe, tmp_path / "run")
    assert "the classifier begins fitted to 21 images" in caplog.text
    assert "the probe alone: top1 " in caplog.text
    assert "worse than the linear probe" not in caplog.text
    begun, before = load_checkpoint(result.last).model, initial_model(recipe).state_dict()
    for name, value in before.items():
        if not name.startswith("fc.") and "num_batches" not in name:
            torch.testing.assert_close(begun[name], value, rtol=0, atol=1e-6)
    assert not torch.allclose(begun["fc.weight"], before["fc.weight"])
    assert result.metrics["top1"] > 0.85  # red and blue, before anything was learned


def test_a_run_that_loses_what_it_began_with_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, overrides = pretrained(tmp_path, "train.epochs=1", "train.lr=0.1")
    result = fit(tiny_recipe(root, *overrides), tmp_path / "run")
    probe = load_checkpoint(result.last).state.probe
    assert probe["top1"] > 0.85 > result.metrics["top1"]
    assert f"(top1 {result.metrics['top1']:.4f}) is worse than the linear probe" in caplog.text
    assert "lower train.lr (0.1)" in caplog.text


def test_averaged_weights_begin_with_it_too(tmp_path: Path) -> None:
    root, overrides = pretrained(tmp_path, "train.epochs=1", "train.lr=1e-12")
    result = fit(tiny_recipe(root, *overrides, "train.ema.decay=0.999"), tmp_path / "run")
    found = load_checkpoint(result.last)
    torch.testing.assert_close(
        found.model["fc.weight"], found.training["fc.weight"], rtol=0, atol=1e-6
    )


def test_unreadable_images_count(tmp_path: Path) -> None:
    root, overrides = pretrained(tmp_path, "data.max_bad_fraction=0.01")
    path = root / (root / "train.txt").read_text("utf-8").split()[0]
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match="images are unreadable"):
        fit(tiny_recipe(root, *overrides), tmp_path / "run")


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    root, overrides = pretrained(tmp_path, "data.max_bad_fraction=1.0")
    for path in root.glob("train_*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match="0 images with a label could be read, two are needed"):
        fit(tiny_recipe(root, *overrides), tmp_path / "run")


def test_it_needs_pretrained_weights(tmp_path: Path) -> None:
    root = make_images(tmp_path)
    with pytest.raises(ConfigError, match="linear_probe needs pretrained weights"):
        tiny_recipe(root, "model.linear_probe=true")


def test_the_base_for_a_few_images(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures", 64, 32)
    weights = make_weights(tmp_path / "weights.pth")
    (tmp_path / "door.yaml").write_text(
        f"base: _base/finetune.yaml\ntask: door\ndata:\n  root: {root}\n  labels: [red, blue]\n"
        "  train: {list: train.txt}\n  eval: {list: val.txt}\n  workers: 0\n"
        f"model: {{backbone: {{name: pplcnet_x0_25}}, pretrained: {weights}}}\n",
        "utf-8",
    )
    sizes = [
        "transforms.train.0.size=32",
        "transforms.eval.0.short=36",
        "transforms.eval.1.size=32",
    ]
    recipe = load_recipe(tmp_path / "door.yaml", ["train.epochs=2", *sizes])
    result = fit(recipe, tmp_path / "run")
    assert result.metrics["top1"] > 0.85

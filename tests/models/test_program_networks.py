"""Exported programs as networks that learn: equal to their programs, trained, exported, with another classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from support.exports import export
from support.golden import Case, case_named, read_npz, synth_input
from support.paddle import each_program, write_program
from support.tiny import make_images, tiny_recipe
from tinysight.errors import ConfigError, TinysightError, WeightsError
from tinysight.export.bundle import export_bundle
from tinysight.export.onnx import to_onnx
from tinysight.models import create_model, set_batch_norm_variance
from tinysight.models.layers import BatchNorm2d
from tinysight.registry import engines
from tinysight.training import fit
from tinysight.training.optim import param_groups

QUICK = ("OldStyleOps", "PPLCNet_x0_5")
# Whose programs hold scales of attention and small numbers of normalisations in float32:
ROUNDED = ("ConvNeXt_tiny", "DeiT_tiny_patch16_224", "MobileViT_XXS_200", "SwinTransformer_tiny")
EXACT = read_npz("programs", "exact.npz")  # PaddleClas in float64: benchmarks/exact_programs.py


def classes_of(case: Case) -> int:
    logits = case.arrays.get("logits")
    return 0 if logits is None else int(logits.shape[1])


def network(case: Case, file: str, folder: Path, **options: Any) -> Any:
    write_program(case, file, folder)
    return create_model(f"program/{folder}", **{"num_classes": classes_of(case), **options})


@each_program(lambda case: case["id"] in QUICK)
def test_it_is_its_program_learns_and_is_exported(
    program: tuple[Case, str], tmp_path: Path
) -> None:
    case, file = program
    if "logits" not in case.arrays:
        write_program(case, file, tmp_path / "x")
        with pytest.raises(WeightsError, match="is a detector"):
            create_model(f"program/{tmp_path / 'x'}")
        return
    model = network(case, file, tmp_path / "x").eval()
    n, _, h, w = case["input"]
    x, recorded = synth_input(n, h, w), case.arrays["logits"]
    with torch.no_grad():
        found = model(torch.from_numpy(x)).numpy()
    distance, std = np.abs(found - recorded).max(), recorded.std()
    exact = _in_double(model, x)
    if case["id"] in EXACT:  # in float64 nothing is left between PaddleClas' network and ours
        limit = 1e-7 if case["id"] in ROUNDED else 1e-12
        np.testing.assert_allclose(exact, EXACT[case["id"]], rtol=0, atol=limit * std)
    if distance > 1e-5 * std:  # rounding: the recording's own, or what moves the network as far
        near = np.abs(found - exact).max() <= 1e-5 * std
        assert near or distance <= 2 * _moved_by_one_ulp(model, x)
    exported = to_onnx(model, (3, h, w), opset=18, metadata={}, activation="identity")
    session = engines.build({"name": "onnxruntime"}, model=exported, threads=1)
    limit = max(1e-4 * float(np.abs(found).max()), 3 * distance)  # it rounds as the recording does
    np.testing.assert_allclose(session.run(x), found, rtol=0, atol=limit)
    _learns(model.train(), torch.from_numpy(synth_input(4, h, w, name="train")), found.shape[1])


def _in_double(model: Any, x: np.ndarray) -> np.ndarray:
    """What the network computes in float64; it is in float32 again afterwards."""
    with torch.no_grad():
        found = model.double()(torch.from_numpy(x).double()).numpy()
    model.float()
    return found


def _moved_by_one_ulp(model: Any, x: np.ndarray) -> float:
    """The largest change of a logit in float32 when each second weight takes the next larger number."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    generator, moved = torch.Generator().manual_seed(0), 0.0
    with torch.no_grad():
        found = model(torch.from_numpy(x))
        for _ in range(4):
            changed = dict(state)
            for name, value in state.items():
                if value.is_floating_point():
                    some = torch.randint(0, 2, value.shape, generator=generator).bool()
                    above = torch.nextafter(value, torch.full_like(value, torch.inf))
                    changed[name] = torch.where(some, above, value)
            model.load_state_dict(changed)
            moved = max(moved, float((model(torch.from_numpy(x)) - found).abs().max()))
    model.load_state_dict(state)
    return moved


def _learns(model: Any, x: torch.Tensor, classes: int) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), torch.arange(4) % classes)
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    after = model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert {k for k, _ in model.named_parameters()} - moved == set() or len(moved) > len(before) / 2
    statistics = {k for k in before if k.endswith(("running_mean", "running_var"))}
    assert statistics <= moved


def test_parameters_have_the_programs_names(tmp_path: Path) -> None:
    case = case_named("programs", "PPLCNet_x0_5")
    model = network(case, "inference.json", tmp_path / "x")
    internal = {row[0] for row in case["records"]}
    leaves = {"weight": "w_0", "bias": "b_0", "running_mean": "w_1", "running_var": "w_2"}
    found = set()
    for name in model.state_dict():
        head, _, leaf = name.rpartition(".")
        if head == "classifier" or leaf == "num_batches_tracked":
            continue
        norm = isinstance(model.get_submodule(head), BatchNorm2d)
        found.add(f"{head}.{leaves[leaf]}" if norm else name)
    assert internal - found == {n for n in internal if n.startswith("linear")}  # the classifier
    assert found <= internal
    set_batch_norm_variance(model, "biased")
    groups = param_groups(model, 0.5)
    decayed = {n for g in groups if g["weight_decay"] for n in g["names"]}
    assert not any("batch_norm" in n for n in decayed)
    assert any("conv2d" in n for n in decayed)


@pytest.mark.parametrize("name", ["OldStyleOps"])
def test_gradients_are_those_of_finite_differences(name: str, tmp_path: Path) -> None:
    case = case_named("programs", name)
    model = network(case, "inference.pdmodel", tmp_path / "x").double().train()
    n, _, h, w = case["input"]
    x = torch.from_numpy(synth_input(4, h, w)).double()
    generator = torch.Generator().manual_seed(0)
    directions = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()
    ]

    def loss() -> torch.Tensor:
        return F.cross_entropy(model(x), torch.arange(4) % classes_of(case))

    loss().backward()
    along = sum(
        float((p.grad * d).sum()) for p, d in zip(model.parameters(), directions, strict=True)
    )
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(model.parameters(), directions, strict=True):
                p.add_(d, alpha=sign * step)
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(along, rel=1e-4)


def test_another_classifier(tmp_path: Path) -> None:
    case = case_named("programs", "PPLCNet_x0_5")
    whole = network(case, "inference.json", tmp_path / "x").eval()
    other = network(case, "inference.json", tmp_path / "x", num_classes=3).eval()
    bare = network(case, "inference.json", tmp_path / "x", num_classes=0).eval()
    n, _, h, w = case["input"]
    x = torch.from_numpy(synth_input(n, h, w))
    with torch.no_grad():
        vectors = bare(x)
        assert vectors.shape == (n, whole.features)
        assert torch.equal(whole.classifier(vectors), whole(x))
        assert torch.equal(other.classifier(vectors), other(x))
        assert other(x).shape == (n, 3)
    conv = case_named("programs", "SqueezeNet1_1")
    with pytest.raises(ConfigError, match=r"ends in no linear layer, so it keeps its \d+ classes"):
        network(conv, "inference.pdmodel", tmp_path / "y", num_classes=3)


@pytest.mark.slow
def test_a_recipe_trains_and_exports_a_program(tmp_path: Path) -> None:
    folder = export(tmp_path / "exported")
    change = f"model.backbone={{name: 'program/{folder}'}}"
    recipe = tiny_recipe(make_images(tmp_path / "data"), change, "train.epochs=1")
    fit(recipe, tmp_path / "run", progress=False)
    bundle = export_bundle(tmp_path / "run", tmp_path / "bundle")
    assert bundle.manifest.parity is not None
    with pytest.raises(TinysightError, match="no such file or folder"):
        tiny_recipe(tmp_path / "data", f"model.backbone={{name: 'program/{tmp_path / 'gone'}'}}")

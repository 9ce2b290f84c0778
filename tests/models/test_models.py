"""The networks as torch modules: shapes, options, names, gradients, export."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from support.weights import load_reference, to_reference
from tinysight.errors import CheckpointError, ConfigError, UnknownName
from tinysight.models import count_parameters, create_model, list_models, set_batch_norm_variance
from tinysight.models.layers import BatchNorm2d, DownscaleDropout, HardSigmoid, make_divisible
from tinysight.models.weights import reference_entries, reference_name, torch_name

SMALL = "pplcnet_x0_25"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(4, 8), (11.2, 16), (12, 16), (19, 24), (20, 24), (22.4, 24), (89.6, 88), (128, 128)],
)
def test_make_divisible_by_hand(value: float, expected: int) -> None:
    assert make_divisible(value) == expected  # 11.2: nearest is 8, which is below 90 %; 19 likewise


@pytest.mark.parametrize("size", [(64, 64), (176, 176), (224, 224), (80, 160), (33, 97)])
def test_any_size(size: tuple[int, int]) -> None:
    model = create_model(SMALL, num_classes=3).eval()
    images = torch.randn(2, 3, *size)
    features = model.forward_features(images)
    assert features.shape == (2, 128, -(-size[0] // 32), -(-size[1] // 32))
    assert model.pre_logits(features).shape == (2, 1280)
    assert model(images).shape == (2, 3)


def test_stages() -> None:
    maps = create_model(SMALL).eval().forward_stages(torch.randn(1, 3, 64, 64))
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {
        "blocks2": (8, 32, 32),
        "blocks3": (16, 16, 16),
        "blocks4": (32, 8, 8),
        "blocks5": (64, 4, 4),
        "blocks6": (128, 2, 2),
    }


def test_strides() -> None:
    model = create_model(SMALL, strides=[2, [2, 1], [2, 1], 1, [1, 2]]).eval()
    assert model.forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 128, 8, 16)
    with pytest.raises(ConfigError, match="strides"):
        create_model(SMALL, strides=[2, 2])


def test_head_options() -> None:
    assert create_model(SMALL, use_last_conv=False).features == 128
    assert create_model(SMALL, last_channels=64, num_classes=5).fc.weight.shape == (5, 64)
    bare = create_model(SMALL, num_classes=0).eval()
    assert bare(torch.randn(1, 3, 64, 64)).shape == (1, 1280)
    assert not [n for n in bare.state_dict() if n.startswith("fc")]
    # 1.0 without the last convolution, two classes: the count that PaddleClas documents
    assert count_parameters(create_model("pplcnet_x1_0", 2, use_last_conv=False)) == 1_017_186


def test_every_parameter_gets_a_gradient() -> None:
    model = create_model(SMALL, num_classes=3)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_unknown_names_and_options() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pplcnet_x0_25'"):
        create_model("pplcnet_x025x")
    with pytest.raises(ConfigError, match="did you mean 'dropout'"):
        create_model(SMALL, dropuot=0.1)
    with pytest.raises(ConfigError, match="less than 1"):
        create_model(SMALL, dropout=1.0)
    with pytest.raises(ConfigError, match="num_classes"):
        create_model(SMALL, num_classes=-1)
    with pytest.raises(ConfigError, match="lr_mults"):
        create_model(SMALL, lr_mults=[1.0, 1.0])
    assert create_model("PPLCNet_x0_25", 2).features == 1280


def test_list_models() -> None:
    assert list_models("PPLCNet_x?_0") == ["pplcnet_x1_0", "pplcnet_x2_0"]
    assert set(list_models("pplcnet_*")) <= set(list_models())
    assert list_models("nothing*") == []


def test_names_map_by_rule_and_back() -> None:
    model = create_model(SMALL, num_classes=4)
    entries = reference_entries(model)
    assert {torch_name(e.name) for e in entries} == {e.ours for e in entries}
    assert all(reference_name(e.ours) == e.name for e in entries)
    weights = to_reference(model)
    assert weights["fc.weight"].shape == (1280, 4)
    other = create_model(SMALL, num_classes=4)
    assert load_reference(other, weights, "here") == ([], [])
    for name, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_loading_refuses_what_does_not_fit() -> None:
    model = create_model(SMALL, num_classes=4)
    before = copy.deepcopy(model.state_dict())
    weights = to_reference(create_model(SMALL, num_classes=7))
    with pytest.raises(CheckpointError, match=r"fc\.weight has shape \(1280, 7\)"):
        load_reference(model, weights, "w.pdparams")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    missing, unknown = load_reference(model, weights | {"extra": np.zeros(1)}, "w", strict=False)
    assert (sorted(missing), unknown) == (["fc.bias", "fc.weight"], ["extra"])
    assert torch.equal(model.fc.weight, before["fc.weight"])
    del weights["conv1.conv.weight"]
    with pytest.raises(CheckpointError, match="1 entries missing, 1 unknown"):
        load_reference(create_model(SMALL, 7), weights | {"extra": np.zeros(1)}, "w")


def test_downscale_dropout() -> None:
    layer = DownscaleDropout(0.25)
    x = torch.ones(100_000)
    assert torch.equal(layer.eval()(x), x * 0.75)
    torch.manual_seed(0)
    y = layer.train()(x)
    assert set(y.unique().tolist()) == {0.0, 1.0}  # dropped or untouched, never rescaled
    assert float(y.mean()) == pytest.approx(0.75, abs=0.01)


def test_hard_sigmoid_slopes() -> None:
    x = torch.linspace(-4, 4, 1001)
    for slope in (1 / 6, 0.2):
        expected = (x * slope + 0.5).clamp(0, 1)
        torch.testing.assert_close(HardSigmoid(slope)(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (1, 3, 1, 2), (1, 3, 1, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_biased_running_variance(shape: tuple[int, ...], channels_last: bool) -> None:
    layer = BatchNorm2d(3)
    layer.running_var.copy_(torch.tensor([0.5, 1.0, 2.0]))
    layer.running_mean.copy_(torch.tensor([0.5, 1.0, 2.0]))
    set_batch_norm_variance(layer, "biased")
    x = torch.randn(shape, requires_grad=True)
    mean = x.detach().mean((0, 2, 3))
    variance = x.detach().var((0, 2, 3), correction=0)
    expected_var = 0.9 * layer.running_var + 0.1 * variance
    expected_mean = 0.9 * layer.running_mean + 0.1 * mean
    given = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    y = layer(given)
    torch.testing.assert_close(layer.running_var, expected_var)
    torch.testing.assert_close(layer.running_mean, expected_mean)
    by_hand = (x - mean.view(1, 3, 1, 1)) / (variance.view(1, 3, 1, 1) + layer.eps).sqrt()
    torch.testing.assert_close(y, by_hand, atol=1e-4, rtol=1e-5)
    y.square().sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert int(layer.num_batches_tracked) == 1


def test_variance_convention_changes_nothing_else() -> None:
    torch.manual_seed(0)
    biased, unbiased = create_model(SMALL, 3, dropout=0.0), create_model(SMALL, 3, dropout=0.0)
    unbiased.load_state_dict(biased.state_dict())
    set_batch_norm_variance(biased, "biased")
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(biased(x), unbiased(x), atol=1e-5, rtol=1e-5)
    ours, theirs = biased.state_dict(), unbiased.state_dict()
    name = "blocks6.1.pw_conv.bn"  # 4 x 2 x 2 values a channel: 15/16 of the unbiased variance
    torch.testing.assert_close(ours[f"{name}.running_mean"], theirs[f"{name}.running_mean"])
    gained = (ours[f"{name}.running_var"] - 0.9) / (theirs[f"{name}.running_var"] - 0.9)
    torch.testing.assert_close(gained, torch.full_like(gained, 15 / 16), atol=1e-3, rtol=0)
    biased.load_state_dict(unbiased.state_dict())
    assert torch.equal(biased.eval()(x), unbiased.eval()(x))
    with torch.autocast("cpu", torch.bfloat16):
        y = biased.train()(x)
    y.float().sum().backward()
    assert all(b.dtype == torch.float32 for n, b in biased.named_buffers() if "running" in n)


def test_variance_convention_refuses_foreign_layers() -> None:
    with pytest.raises(ValueError, match="BatchNorm2d"):
        set_batch_norm_variance(torch.nn.Sequential(torch.nn.BatchNorm2d(3)), "biased")
    with pytest.raises(ValueError, match="'biased' or 'unbiased'"):
        set_batch_norm_variance(BatchNorm2d(3), "population")  # type: ignore[arg-type]


def test_fresh_weights() -> None:
    torch.manual_seed(0)
    model = create_model("pplcnet_x1_0")
    convolution = model.blocks6[1].pw_conv.conv.weight.detach()
    assert float(convolution.std()) == pytest.approx((2 / 512) ** 0.5, rel=0.01)
    depthwise = model.blocks5[1].dw_conv.conv.weight.detach()  # fan-in of one group: 25
    assert float(depthwise.std()) == pytest.approx((2 / 25) ** 0.5, rel=0.05)
    limit = (6 / (1280 + 1000)) ** 0.5
    assert float(model.fc.weight.detach().abs().max()) == pytest.approx(limit, rel=0.01)
    assert not model.fc.bias.any()


def test_onnx_agrees_and_keeps_fused_operators(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(SMALL, num_classes=3)
    set_batch_norm_variance(model, "biased")
    model(torch.randn(8, 3, 64, 64))
    model.eval()
    images = torch.randn(2, 3, 64, 96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (images,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},),
            opset_version=18, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "model.onnx")
    kinds = {n.op_type for n in onnx.load(tmp_path / "model.onnx").graph.node}
    assert {"HardSwish", "HardSigmoid"} <= kinds
    assert not kinds & {"Clip", "BatchNormalization"}
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    batch = torch.randn(5, 3, 64, 96)
    (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(batch).numpy(), atol=1e-4)

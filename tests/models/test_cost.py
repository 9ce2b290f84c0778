"""Parameters and multiply-accumulates."""

from __future__ import annotations

import pytest
import torch

from tinysight.models import cost, create_model, create_model_without_weights, list_models
from tinysight.models.efficientnet_lite import VARIANTS


def test_by_hand() -> None:
    """The first three layers of PP-LCNet x0.25, and its two last, worked out on paper."""
    model = create_model("pplcnet_x0_25", num_classes=10)
    seen: list[int] = []
    for layer in (model.conv1.conv, model.last_conv, model.fc):
        layer.register_forward_hook(lambda _m, _i, y: seen.append(y.shape[-1]))
    found = cost(model, 64)
    assert seen == [32, 1, 10]  # the stem halves 64; the head works on one pixel
    stem, head = 32 * 32 * 8 * 3 * 3 * 3, 128 * 1280 + 1280 * 10
    everything = cost(create_model("pplcnet_x0_25", num_classes=0), 64)
    assert found.macs == everything.macs + 1280 * 10
    assert found.macs > stem + head
    assert found.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet50", 4.09e9),
        ("mobilenetv1", 569e6),
        ("mobilenetv3_large_x1_0", 219e6),
        ("efficientnet_lite0", 385e6),
    ],
)
def test_against_the_papers(name: str, published: float) -> None:
    """ResNet: 4.09 G (torchvision's table); MobileNets: 569 M and 219 M; EfficientNet-Lite0: about 385 M."""
    assert cost(create_model_without_weights(name)).macs == pytest.approx(published, rel=0.01)


def test_counting_leaves_the_network_alone() -> None:
    model = create_model("pplcnet_x0_25").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cost(model, 32)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("name", list_models("*lcnet*"))
def test_without_weights_as_with_them(name: str) -> None:
    assert cost(create_model_without_weights(name), 64) == cost(create_model(name), 64)


def test_networks_know_their_image_size() -> None:
    for name, row in VARIANTS.items():
        assert create_model_without_weights(name).input_size == row.size
    swin = create_model_without_weights("swintransformer_base_patch4_window12_384")
    assert swin.input_size == 384

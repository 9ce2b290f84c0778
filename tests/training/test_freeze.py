from __future__ import annotations

import pytest
import torch

from tinysight.errors import ConfigError
from tinysight.models import create_model
from tinysight.training.freeze import Frozen, norms_in_training


def test_frozen_parts_take_no_gradient_and_stay_in_evaluation_mode() -> None:
    model = create_model("pplcnet_x0_25", 2)
    frozen = Frozen(model, ("conv1", "blocks2.0.dw_conv"))
    model.train()
    frozen.hold()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    for name, parameter in model.named_parameters():
        held = name.startswith(("conv1.", "blocks2.0.dw_conv."))
        assert (parameter.grad is None) == held, name
    after = model.state_dict()
    assert torch.equal(after["conv1.bn.running_mean"], before["conv1.bn.running_mean"])
    moved = "blocks2.0.pw_conv.bn.running_mean"
    assert not torch.equal(after[moved], before[moved])
    names = {id(m): n for n, m in model.named_modules()}
    found = {names[id(m)] for m in norms_in_training(model, frozen)}
    assert "conv1.bn" not in found
    assert "blocks2.0.pw_conv.bn" in found


def test_statistics_stay_and_their_factors_learn() -> None:
    model = create_model("pplcnet_x0_25", 2)
    frozen = Frozen(model, ("conv1",), statistics=True)
    model.train()
    frozen.hold()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    after = model.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in after if "running" in k)
    assert norms_in_training(model, frozen) == []
    grads = {k: p.grad is not None for k, p in model.named_parameters()}
    assert {k for k, there in grads.items() if not there} == {
        k for k in grads if k.startswith("conv1.")
    }


def test_the_classifier_by_its_role() -> None:
    model = create_model("pplcnet_x0_25", 2)
    Frozen(model, ("classifier",))
    assert not model.fc.weight.requires_grad
    assert model.conv1.conv.weight.requires_grad


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("conv2",), r"model\.freeze\.0: the network has no part 'conv2'; did you mean 'conv1'"),
        (("conv1", "blocks2.0.dwconv"), r"model\.freeze\.1: .* did you mean 'blocks2\.0\.dw_conv'"),
        (
            ("conv1", "blocks2", "blocks3", "blocks4", "blocks5", "blocks6", "last_conv", "fc"),
            "every parameter is frozen",
        ),
    ],
)
def test_parts_that_cannot_be_frozen(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Frozen(create_model("pplcnet_x0_25", 2), parts)

from __future__ import annotations

import pytest
import torch

from tinysight.errors import ConfigError
from tinysight.models import create_model
from tinysight.training.networks import freeze
from tinysight.training.objective import Supervised
from tinysight.training.step import running_statistics


def test_frozen_parts_take_no_gradient_and_stay_in_evaluation_mode() -> None:
    model = create_model("pplcnet_x0_25", 2)
    objective = Supervised(model, {}, freeze(model, ("conv1", "blocks2.0.dw_conv")))
    objective.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    for name, parameter in model.named_parameters():
        held = name.startswith(("conv1.", "blocks2.0.dw_conv."))
        assert (parameter.grad is None) == held, name
    after = model.state_dict()
    assert torch.equal(after["conv1.bn.running_mean"], before["conv1.bn.running_mean"])
    moved = "blocks2.0.pw_conv.bn.running_mean"
    assert not torch.equal(after[moved], before[moved])
    names = {v.data_ptr(): n for n, v in model.named_buffers()}
    found = {names[v.data_ptr()] for v in running_statistics(objective)}
    assert "conv1.bn.running_mean" not in found
    assert "blocks2.0.pw_conv.bn.running_var" in found


def test_statistics_stay_and_their_factors_learn() -> None:
    model = create_model("pplcnet_x0_25", 2)
    objective = Supervised(model, {}, freeze(model, ("conv1",), statistics=True))
    objective.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    after = model.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in after if "running" in k)
    assert running_statistics(objective) == []
    grads = {k: p.grad is not None for k, p in model.named_parameters()}
    assert {k for k, there in grads.items() if not there} == {
        k for k in grads if k.startswith("conv1.")
    }


def test_the_classifier_by_its_role() -> None:
    model = create_model("pplcnet_x0_25", 2)
    freeze(model, ("classifier",))
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
        freeze(create_model("pplcnet_x0_25", 2), parts)

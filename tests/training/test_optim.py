"""Parameter groups, and the optimisers against steps worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinysight.errors import ConfigError
from tinysight.models import create_model
from tinysight.registry import optimizers
from tinysight.training.checkpoint import optimizer_tensors, restore_optimizer
from tinysight.training.optim import clip_each_norm, param_groups, set_lr


def test_groups_of_pplcnet() -> None:
    model = create_model("pplcnet_x0_25", 3, lr_mults=[0.0, 0.2, 1.0, 1.0, 1.0, 1.0])
    groups = param_groups(model, 0.25)
    where = {n: (g["weight_decay"], g["lr_mult"]) for g in groups for n in g["names"]}
    assert set(where) == {n for n, _ in model.named_parameters()}
    assert sum(len(g["params"]) for g in groups) == len(where)
    assert where["conv1.conv.weight"] == (0.25, 0.0)
    assert where["conv1.bn.weight"] == (0.0, 0.0)  # not decayed
    assert where["blocks2.0.pw_conv.bn.bias"] == (0.0, 0.2)
    assert where["blocks6.0.se.conv1.bias"] == (0.25, 1.0)  # biases of convolutions are
    assert where["last_conv.weight"] == (0.25, 1.0)
    assert where["fc.bias"] == (0.25, 1.0)


def test_groups_leave_out_what_is_not_trained() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    groups = param_groups(model, 0.5)
    found = [(g["names"], g["weight_decay"], g["one_dimensional"]) for g in groups]
    assert found == [(["0.bias"], 0.5, True), (["1.weight", "1.bias"], 0.0, True)]


@pytest.mark.parametrize(
    ("nesterov", "expected"),
    # p = 1, gradient 2 then 2, decay 1/2 of p, momentum 1/2, rate 0.1 times a multiplier of 2.
    # plain:    g 2.5, v 2.5, p 1 - .2 * 2.5 = .5;  g 2.25, v 3.5, p .5 - .2 * 3.5 = -.2
    # nesterov: g 2.5, v 2.5, p 1 - .2 * 3.75 = .25; g 2.125, v 3.375, p .25 - .2 * 3.8125
    [(False, (0.5, -0.2)), (True, (0.25, -0.5125))],
)
def test_sgd_by_hand(nesterov: bool, expected: tuple[float, float]) -> None:
    p = nn.Parameter(torch.tensor([1.0]))
    group = {"params": [p], "weight_decay": 0.5, "lr_mult": 2.0}
    spec = {"name": "sgd", "momentum": 0.5, "nesterov": nesterov}
    optimizer = optimizers.build(spec, params=[group])
    found = []
    for _ in range(2):
        p.grad = torch.tensor([2.0])
        set_lr(optimizer, 0.1)
        optimizer.step()
        found.append(float(p.detach()))
    assert found == pytest.approx(expected, rel=1e-6)


def test_no_step_before_a_rate_is_set() -> None:
    p = nn.Parameter(torch.ones(1))
    optimizer = optimizers.build({"name": "sgd"}, params=[{"params": [p]}])
    p.grad = torch.ones(1)
    optimizer.step()
    assert float(p.detach()) == 1.0


def test_adamw_by_hand() -> None:
    # First step: the moments cancel, so p moves by the rate against the sign of the gradient, after
    # the decay by rate * decay * p. The vector is not decayed unless asked for.
    for decay_vectors, expected in ((False, 0.9), (True, 1 - 0.1 * 0.5 - 0.1)):
        matrix, vector = (nn.Parameter(torch.ones(s)) for s in ((1, 1), (1,)))
        model = nn.ParameterDict({"m": matrix, "v": vector})
        spec = {"name": "adamw", "decay_one_dimensional": decay_vectors}
        optimizer = optimizers.build(spec, params=param_groups(model, 0.5))
        matrix.grad, vector.grad = torch.full((1, 1), 3.0), torch.full((1,), 3.0)
        set_lr(optimizer, 0.1)
        optimizer.step()
        assert float(matrix.detach()) == pytest.approx(0.85, rel=1e-6)
        assert float(vector.detach()) == pytest.approx(expected, rel=1e-6)


def test_nesterov_needs_momentum() -> None:
    spec = {"name": "sgd", "momentum": 0.0, "nesterov": True}
    with pytest.raises(Exception, match="[Nn]esterov"):
        optimizers.build(spec, params=[{"params": [nn.Parameter(torch.ones(1))]}])


def test_clip_each_norm_by_hand() -> None:
    a, b, c = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clip_each_norm([a, b, c], 1.0)
    assert a.grad.tolist() == pytest.approx([0.6, 0.8])  # norm 5 becomes 1
    assert b.grad.tolist() == pytest.approx([0.3, 0.4])  # norm 0.5 stays
    assert c.grad is None
    clip_each_norm([c], 1.0)


def _step(optimizer: torch.optim.Optimizer, p: nn.Parameter, gradient: float, lr: float) -> float:
    p.grad = torch.full_like(p, gradient)
    set_lr(optimizer, lr)
    optimizer.step()
    return float(p.detach())


def test_adam_couples_its_decay() -> None:
    # g = 1 + 1/2 * 2 = 2 at first: m / (1 - .5) = 2, the root of v / (1 - .75) = 2, a step of lr.
    # Then g = 0 - 1 + 1/2 * (2 - lr) = -.05: m = .5 * 1 + .5 * -.05, v = .75 * 1 + .25 * .0025.
    p = nn.Parameter(torch.tensor([2.0]))
    spec = {"name": "adam", "betas": [0.5, 0.75], "weight_decay": 0.5}
    optimizer = optimizers.build(spec, params=[{"params": [p]}])
    assert _step(optimizer, p, 1.0, 0.1) == pytest.approx(1.9, rel=1e-6)
    m, v = 0.475 / 0.75, 0.750625 / 0.4375
    assert _step(optimizer, p, -1.0, 0.1) == pytest.approx(1.9 - 0.1 * m / v**0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("centered", "first", "second"),
    # rho 1/2, eps 1, momentum 1/2; gradient 2, then 0, at rates 1 and 1/2.
    # s = 2: 2 / sqrt(3); then s = 1: v = 1/2 of that, whatever the rate. Centred: s - 1^2 = 1.
    [(False, 2 / 3**0.5, 1 / 3**0.5), (True, 2 / 2**0.5, 1 / 2**0.5)],
)
def test_rmsprop_by_hand(centered: bool, first: float, second: float) -> None:
    p = nn.Parameter(torch.tensor([5.0]))
    spec = {"name": "rmsprop", "rho": 0.5, "momentum": 0.5, "eps": 1.0, "centered": centered}
    optimizer = optimizers.build(spec, params=[{"params": [p], "weight_decay": 0.0}])
    assert _step(optimizer, p, 2.0, 1.0) == pytest.approx(5 - first, rel=1e-6)
    assert _step(optimizer, p, 0.0, 0.5) == pytest.approx(5 - first - second, rel=1e-6)


def test_rmsprop_decays_through_the_gradient() -> None:
    p, q = (nn.Parameter(torch.tensor([5.0])) for _ in range(2))
    optimizers_ = [
        optimizers.build({"name": "rmsprop"}, params=[{"params": [x], "weight_decay": decay}])
        for x, decay in ((p, 0.2), (q, 0.0))
    ]
    assert _step(optimizers_[0], p, 2.0, 0.1) == _step(optimizers_[1], q, 3.0, 0.1)


def test_rmsprop_goes_on_from_what_a_checkpoint_keeps() -> None:
    def fresh() -> tuple[nn.Parameter, torch.optim.Optimizer]:
        p = nn.Parameter(torch.tensor([5.0]))
        spec = {"name": "rmsprop", "momentum": 0.9, "centered": True}
        return p, optimizers.build(spec, params=[{"params": [p]}])

    (p, through), (q, before) = fresh(), fresh()
    for g in (1.0, -2.0):
        _step(through, p, g, 0.1)
    _step(before, q, 1.0, 0.1)
    r, after = fresh()
    r.data.copy_(q.data)
    restore_optimizer([after], optimizer_tensors([before]))
    assert _step(after, r, -2.0, 0.1) == float(p.detach())


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_recipe_may_except_parameters_by_name(name: str) -> None:
    model = nn.ModuleDict({"stem": nn.Linear(2, 2), "norm": nn.Linear(2, 2), "fc": nn.Linear(2, 2)})
    spec = {
        "name": name,
        "undecayed": ["norm"],
        "decay_one_dimensional": False,
        "lr_mults": {"stem": 0.0, "stem.b": 0.5, "norm": 0.25},
    }
    checked, problems = optimizers.check(spec, "")
    assert problems == []
    optimizer = optimizers.build(checked, params=param_groups(model, 0.5))
    set_lr(optimizer, 1.0)
    groups = optimizer.param_groups
    found = {n: (g["weight_decay"], g["lr"]) for g in groups for n in g["names"]}
    assert sum(len(g["params"]) for g in groups) == 6
    assert found == {
        "stem.weight": (0.5, 0.0),
        "stem.bias": (0.0, 0.5),
        "norm.weight": (0.0, 0.25),
        "norm.bias": (0.0, 0.25),
        "fc.weight": (0.5, 1.0),
        "fc.bias": (0.0, 1.0),
    }


def test_exceptions_of_the_swin_recipes() -> None:
    model = create_model("swintransformer_tiny_patch4_window7_224", 3)
    words = ["absolute_pos_embed", "relative_position_bias_table", ".bias", "norm"]
    spec = {"name": "adamw", "undecayed": words}
    optimizer = optimizers.build(spec, params=param_groups(model, 0.05))
    decay = {n: g["weight_decay"] for g in optimizer.param_groups for n in g["names"]}
    assert set(decay) == {n for n, _ in model.named_parameters()}
    assert {v for n, v in decay.items() if n.endswith("bias")} == {0.0}
    assert {v for n, v in decay.items() if "bias_table" in n or "norm" in n} == {0.0}
    assert {v for n, v in decay.items() if n.endswith(("qkv.weight", "head.weight"))} == {0.05}


def test_a_multiplier_of_nothing_is_named() -> None:
    groups = param_groups(nn.ModuleDict({"stem": nn.Linear(2, 2)}), 0.5)
    with pytest.raises(ConfigError, match="begins with 'steem'"):
        optimizers.build({"name": "sgd", "lr_mults": {"steem": 0.1}}, params=groups)

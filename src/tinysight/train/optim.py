"""Optimisers and what each parameter is optimised with.

`param_groups` sorts the parameters of a network by weight decay and learning-rate multiplier, an
optimiser takes the groups, and `set_lr` hands it the rate of the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from tinysight.registry import optimizers

Groups: TypeAlias = Sequence[dict[str, Any]]
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters in groups that share how they are optimised.

    Gain and bias of a normalisation are not decayed unless the family says so (`decays_norm`: the
    ResNets); biases of convolutions and linear layers are. Parameters that do not require a
    gradient are left out.

    Args:
        model: a network; `lr_multiplier(name)` and `decays_norm` are used where it has them.
        weight_decay: coefficient of the decayed parameters.

    Returns:
        Groups with `params`, `names`, `weight_decay`, `lr_mult` (factor on the learning rate) and
        `one_dimensional` (biases, gains and other vectors or scalars), in the order of the first
        parameter of each.
    """
    decays_norm = getattr(model, "decays_norm", False)
    multiplier = getattr(model, "lr_multiplier", lambda name: 1.0)
    norms = {
        id(p) for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)
    }
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = weight_decay if decays_norm or id(parameter) not in norms else 0.0
        key = (decay, float(multiplier(name)), parameter.ndim <= 1)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "names": [],
                "weight_decay": key[0],
                "lr_mult": key[1],
                "one_dimensional": key[2],
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group the learning rate `lr` times the group's `lr_mult`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_mult", 1.0)


@optimizers.register("sgd")
def sgd(
    params: Groups,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    nesterov: bool = False,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum and coupled L2 decay.

    g += weight_decay * p; v = momentum * v + g; p -= lr * v (Nesterov: p -= lr * (g + momentum *
    v)), v starting at 0. The learning rate is 0 until `set_lr`. `weight_decay` is for groups that
    bring none.

    Raises:
        ValueError: Nesterov without momentum.
    """
    return torch.optim.SGD(
        params, lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


@optimizers.register("adamw")
def adamw(
    params: Groups,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Annotated[float, Ge(0)] = 0.01,
    decay_one_dimensional: bool = False,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay, arXiv:1711.05101.

    The learning rate is 0 until `set_lr`. `weight_decay` is for groups that bring none.

    Args:
        params: groups of `param_groups`.
        betas: of the running mean of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: multiplied by the learning rate, also by its per-group factor.
        decay_one_dimensional: decay biases, gains and scalars too.
    """
    groups = [dict(group) for group in params]
    for group in groups:
        if group.get("one_dimensional") and not decay_one_dimensional:
            group["weight_decay"] = 0.0
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay)


@torch.no_grad()
def clip_each_norm(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each gradient, on its own, to an L2 norm of at most `max_norm`; in place.

    The reference's clipping. `torch.nn.utils.clip_grad_norm_` measures all gradients together.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    norms = torch._foreach_norm(grads)
    torch._foreach_mul_(grads, [max_norm / n.clamp(min=max_norm) for n in norms])

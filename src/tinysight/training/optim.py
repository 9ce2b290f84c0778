"""Optimisers and what each parameter is optimised with.

`param_groups` sorts the parameters of a network by weight decay and learning-rate multiplier, an
optimiser takes the groups, and `set_lr` hands it the rate of the step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from tinysight.registry import optimizers

Groups: TypeAlias = Sequence[dict[str, Any]]
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)


def param_groups(model: nn.Module, weight_decay: float, taken: Container[int] = ()) -> Groups:
    """Trainable parameters in groups that share how they are optimised.

    Gain and bias of a normalisation are not decayed unless the family says so (`decays_norm`: the
    ResNets); biases of convolutions and linear layers are. Parameters that do not require a
    gradient are left out.

    Args:
        model: a network; its `lr_multiplier(name)`, `decays_norm` (or `decays_norm_of(name)`) and `undecayed` are
            used where it has them.
        weight_decay: coefficient of the decayed parameters.
        taken: `id` of parameters that are in other groups already.

    Returns:
        Groups with `params`, `names`, `weight_decay`, `lr_mult` (factor on the learning rate) and
        `one_dimensional` (biases, gains and other vectors or scalars), in the order of the first
        parameter of each.
    """
    decays_norm = getattr(model, "decays_norm", False)
    undecayed = getattr(model, "undecayed", ())
    multiplier = getattr(model, "lr_multiplier", lambda name: 1.0)
    decays_norm_of = getattr(model, "decays_norm_of", lambda name: decays_norm)
    layers = (m for m in model.modules() if isinstance(m, _NORMS))
    norms = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad or id(parameter) in taken:
            continue
        exempt = name.endswith(undecayed) or (id(parameter) in norms and not decays_norm_of(name))
        decay = 0.0 if exempt else weight_decay
        key = (decay, float(multiplier(name)), parameter.ndim <= 1)
        kind = dict(zip(("weight_decay", "lr_mult", "one_dimensional"), key, strict=True))
        group = groups.setdefault(key, {"params": [], "names": [], **kind})
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group the learning rate `lr` times the group's `lr_mult`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_mult", 1.0)


def adjusted(
    groups: Groups,
    undecayed: Sequence[str] = (),
    decay_one_dimensional: bool = True,
    lr_mults: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """`groups`, split where a recipe treats some of their parameters in its own way.

    Args:
        groups: of `param_groups`; a group without `names` is taken as it is.
        undecayed: parameters with one of these in their name are not decayed. One that fits none
            changes nothing: a family's recipes name parts that not each of its members has.
        decay_one_dimensional: False: biases, gains and other vectors and scalars are not decayed.
        lr_mults: factor on the learning rate of the parameters whose name begins so; the longest
            beginning that fits counts.
        layer_decay: see `adamw`.

    Raises:
        ValueError: a beginning in `lr_mults` that fits no name, or a `layer_decay` of a network without blocks.
    """
    mults = {"": 1.0, **(lr_mults or {})}
    names = [name for group in groups for name in group.get("names", ())]
    for start in lr_mults or ():
        if not any(name.startswith(start) for name in names):
            raise ValueError(f"lr_mults: no parameter's name begins with {start!r}")
    depth = _blocks(names) if layer_decay != 1 else 0
    result: list[dict[str, Any]] = []
    for group in groups:
        parts: dict[tuple[bool, float], dict[str, Any]] = {}
        flat = group.get("one_dimensional", False) and not decay_one_dimensional
        for name, parameter in zip(group.get("names", ()), group["params"], strict=False):
            exempt = flat or any(word in name for word in undecayed)
            mult = mults[max(filter(name.startswith, mults), key=len, default="")]
            changes = {"weight_decay": 0.0} if exempt else {}
            mult *= layer_decay ** _below(name, depth)
            changes["lr_mult"] = group.get("lr_mult", 1.0) * mult
            part = parts.setdefault((exempt, mult), {**group, **changes, "params": [], "names": []})
            part["params"].append(parameter)
            part["names"].append(name)
        result += parts.values() if "names" in group else [dict(group)]
    return result


_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_FIRST = ("embed", "token", "conv1", "ln_pre")  # in the names of what lies before the blocks


def _blocks(names: Sequence[str]) -> int:
    """The number of blocks of a network."""
    found = [int(match[1]) for name in names if (match := _BLOCK.search(name))]
    if not found:
        raise ValueError("layer_decay: the network has no parameters called blocks.0...")
    return max(found) + 1


def _below(name: str, depth: int) -> int:
    """How many steps a parameter lies below the end of `depth` blocks."""
    if match := _BLOCK.search(name):
        return depth - int(match[1])
    return depth + 1 if any(word in name for word in _FIRST) else 0


Decay: TypeAlias = Annotated[float, Ge(0)]
Words: TypeAlias = tuple[str, ...]
Mults: TypeAlias = dict[str, Annotated[float, Ge(0)]]


@optimizers.register("sgd")
def sgd(
    params: Groups,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9,
    nesterov: bool = False,
    weight_decay: Decay = 0.0,
    undecayed: Words = (),
    decay_one_dimensional: bool = True,
    lr_mults: Mults | None = None,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum and coupled L2 decay.

    g += weight_decay * p; v = momentum * v + g; p -= lr * v (Nesterov: p -= lr * (g + momentum *
    v)), v starting at 0. The learning rate is 0 until `set_lr`. `weight_decay` is for groups that
    bring none; for the last three see `adjusted`.

    Raises:
        ValueError: Nesterov without momentum.
    """
    groups = adjusted(params, undecayed, decay_one_dimensional, lr_mults)
    return torch.optim.SGD(
        groups, lr=0.0, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
    )


@optimizers.register("adam")
def adam(
    params: Groups,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Decay = 0.0,
    undecayed: Words = (),
    decay_one_dimensional: bool = True,
    lr_mults: Mults | None = None,
) -> torch.optim.Adam:
    """Adam, arXiv:1412.6980, with coupled L2 decay (`adamw` decays beside the moments).

    The learning rate is 0 until `set_lr`. `weight_decay` is for groups that bring none; for the last
    three arguments see `adjusted`.

    Args:
        params: groups of `param_groups`.
        betas: of the running mean of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: times the parameter, added to its gradient.
        undecayed: parameters with one of these in their name are not decayed.
        decay_one_dimensional: decay biases, gains and scalars too.
        lr_mults: factors on the learning rate, by the beginning of a name.
    """
    groups = adjusted(params, undecayed, decay_one_dimensional, lr_mults)
    return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay)


@optimizers.register("adamw")
def adamw(
    params: Groups,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, Gt(0)] = 1e-8,
    weight_decay: Decay = 0.01,
    decay_one_dimensional: bool = False,
    undecayed: Words = (),
    lr_mults: Mults | None = None,
    layer_decay: Annotated[float, Gt(0), Le(1)] = 1.0,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay, arXiv:1711.05101.

    The learning rate is 0 until `set_lr`. `weight_decay` is for groups that bring none.

    Args:
        params: groups of `param_groups`.
        betas: of the running mean of the gradient and of its square.
        eps: added to the root of the latter.
        weight_decay: multiplied by the learning rate, also by its per-group factor.
        decay_one_dimensional: decay biases, gains and scalars too.
        undecayed: parameters with one of these in their name are not decayed.
        lr_mults: factors on the learning rate, by the beginning of a name.
        layer_decay: factor on the learning rate for each block that lies above; for networks of `blocks`, such as
            vision transformers (PaddleClas' AdamWDL).
    """
    groups = adjusted(params, undecayed, decay_one_dimensional, lr_mults, layer_decay)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=weight_decay)


@optimizers.register("rmsprop")
def rmsprop(
    params: Groups,
    rho: Annotated[float, Ge(0), Lt(1)] = 0.95,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.0,
    eps: Annotated[float, Gt(0)] = 1e-6,
    centered: bool = False,
    weight_decay: Decay = 0.0,
    undecayed: Words = (),
    decay_one_dimensional: bool = True,
    lr_mults: Mults | None = None,
) -> RMSProp:
    """Gradients divided by the root of their running mean square, with momentum and L2 decay.

    The learning rate is 0 until `set_lr`. See `RMSProp` for the rule, `adjusted` for the last three.

    Args:
        params: groups of `param_groups`.
        rho: share of the old mean that stays.
        momentum: share of the last change that goes on.
        eps: added inside the root.
        centered: divide by the deviation from the mean gradient instead.
        weight_decay: times the parameter, added to its gradient.
        undecayed: parameters with one of these in their name are not decayed.
        decay_one_dimensional: decay biases, gains and scalars too.
        lr_mults: factors on the learning rate, by the beginning of a name.
    """
    groups = adjusted(params, undecayed, decay_one_dimensional, lr_mults)
    own = {"rho": rho, "momentum": momentum, "eps": eps, "centered": centered}
    return RMSProp(groups, {"lr": 0.0, "weight_decay": weight_decay, **own})


class RMSProp(torch.optim.Optimizer):
    """RMSProp as the published mobile networks were trained with it.

    g += weight_decay * p; s = rho * s + (1 - rho) * g^2; v = momentum * v + lr * g / sqrt(s + eps);
    p -= v.

    With `centered` the mean of g, squared, is taken off s under the root. Everything starts at 0.
    `torch.optim.RMSprop` differs twice: it adds eps outside the root, which at the usual 1e-3
    matters, and applies the learning rate to all of v, so that a fall of the rate also slows what
    goes on from before.

    Source: PaddlePaddle's and TensorFlow's rule.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return loss

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            names = ["square", "velocity"] + ["mean"] * group["centered"]
            state.update({name: torch.zeros_like(parameter) for name in names})
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        rho, square = group["rho"], state["square"]
        square.mul_(rho).addcmul_(gradient, gradient, value=1.0 - rho)
        spread = square
        if group["centered"]:
            mean = state["mean"].mul_(rho).add_(gradient, alpha=1.0 - rho)
            spread = square.addcmul(mean, mean, value=-1.0)
        change = gradient / spread.add(group["eps"]).sqrt_()
        velocity = state["velocity"].mul_(group["momentum"]).add_(change, alpha=group["lr"])
        parameter.sub_(velocity)


@torch.no_grad()
def clip_each_norm(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each gradient, on its own, to an L2 norm of at most `max_norm`; in place.

    PaddleClas' clipping. `torch.nn.utils.clip_grad_norm_` measures all gradients together.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return
    norms = torch._foreach_norm(grads)
    torch._foreach_mul_(grads, [max_norm / n.clamp(min=max_norm) for n in norms])

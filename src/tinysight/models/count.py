"""The cost of a network: parameters, and multiply-accumulates per image."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tinysight.models.base import Backbone


class Cost(NamedTuple):
    """Parameters, multiply-accumulates at a square input of `size` pixels."""

    parameters: int
    macs: int
    size: int


def cost(model: Backbone, size: int | None = None) -> Cost:
    """Count what convolutions and linear layers multiply for one image.

    What is not counted: activations, pooling, and the products between queries and keys in attention.

    Args:
        model: on any device, `meta` too, where nothing is computed.
        size: of the square image, pixels; default: the network's own.
    """
    size = size or model.input_size
    counts: list[int] = []

    def count(module: nn.Module, _: Any, y: Tensor) -> None:
        weight: Any = module.weight
        positions = y.numel() // (y.shape[1] if isinstance(module, nn.Conv2d) else y.shape[-1])
        counts.append(positions * weight.numel())

    counted = (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    hooks = [module.register_forward_hook(count) for module in counted]
    was = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    return Cost(count_parameters(model), sum(counts), size)


def count_parameters(model: nn.Module, *, batch_norm_statistics: bool = False) -> int:
    """How many numbers the parameters of `model` hold.

    Args:
        model: any network.
        batch_norm_statistics: count running means and variances too, as PaddleClas'
            `parameters()` does.
    """
    count = sum(p.numel() for p in model.parameters())
    if batch_norm_statistics:
        count += sum(
            b.numel()
            for n, b in model.named_buffers()
            if n.endswith(("running_mean", "running_var"))
        )
    return count


def cost_of(name: str) -> Cost:
    """The cost of a network as it is exported, its branches fused; built without memory, whatever its size.

    Raises:
        UnknownName: no such network.
    """
    from tinysight.models import create_model_without_weights

    model = create_model_without_weights(name)
    model.reparameterize()
    return cost(model)

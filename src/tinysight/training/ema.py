"""A running mean of a network's weights, which often generalises better than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tinysight.config.schema import Ema


class Average:
    """The mean of the weights, weighted towards the last ones; a network of its own.

    After each step: mean = decay * mean + (1 - decay) * weights. The running statistics of batch
    normalisation are averaged in the same way, so that they lag behind as the weights do; whole numbers
    (counters) are copied.

    Args:
        model: the network in training; the mean begins as it is now.
        settings: `decay`; with `warmup` it is min(decay, (1 + step) / (10 + step)), since the first weights
            are far from the last.
    """

    def __init__(self, model: nn.Module, settings: Ema) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = settings.decay
        self._warmup = settings.warmup
        pairs = list(zip(_state(self.model), _state(model), strict=True))
        self._means = [mean for mean, _ in pairs if mean.is_floating_point()]
        self._weights = [weight for _, weight in pairs if weight.is_floating_point()]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step)) if self._warmup else self._decay
        torch._foreach_lerp_(self._means, self._weights, 1.0 - decay)
        for mean, weight in self._counts:
            mean.copy_(weight)


def _state(model: nn.Module) -> list[Tensor]:
    """The tensors themselves, in the order of the names."""
    return [value.detach() for value in model.state_dict(keep_vars=True).values()]

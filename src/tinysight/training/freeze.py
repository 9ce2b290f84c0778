"""Parts of a network that do not learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tinysight.errors import ConfigError
from tinysight.models import Backbone
from tinysight.training.pretrained import part_names


class Frozen:
    """The frozen parts of `model`: no gradient, and evaluation mode whatever the rest does.

    Batch normalisation in them uses its running statistics and leaves them as they are; dropout in them is off.

    Args:
        model: changed at once: its frozen parameters require no gradient.
        parts: of `model.freeze`: `classifier`, or the beginning of an entry's name up to a dot.
        statistics: hold every batch normalisation in evaluation mode; its weight and bias learn where
            their part does.

    Raises:
        ConfigError: a part that the network does not have, or nothing is left to learn.
    """

    def __init__(self, model: Backbone, parts: Sequence[str], statistics: bool = False) -> None:
        stems = part_names(model, parts, "model.freeze")
        for name, parameter in model.named_parameters():
            if f"{name}.".startswith(stems):
                parameter.requires_grad_(False)
        if parts and not any(p.requires_grad for p in model.parameters()):
            raise ConfigError("model.freeze", "every parameter is frozen, so nothing can learn")
        self._modules = [
            module
            for name, module in model.named_modules()
            if f"{name}.".startswith(stems) or (statistics and isinstance(module, _BatchNorm))
        ]

    def hold(self) -> None:
        """To be called after `model.train()`, which reaches every part."""
        for module in self._modules:
            module.training = False

    def __contains__(self, module: object) -> bool:
        return any(module is frozen for frozen in self._modules)


def norms_in_training(model: nn.Module, frozen: Frozen) -> list[_BatchNorm]:
    """The batch normalisations whose running statistics change in training."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and module not in frozen
    ]

"""From a network's outputs to scores, as training evaluates and a bundle ships them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinysight.models.base import Backbone
from tinysight.models.outputs import run_network
from tinysight.models.recognizer import Recognizer

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: torch.softmax(outputs, dim=1),
    "sigmoid": torch.sigmoid,
    "normalize": lambda outputs: F.normalize(outputs, dim=1),
    "identity": lambda outputs: outputs,
}


def network_output(network: nn.Module, images: Tensor, source: str = "logits") -> Tensor:
    """What a task takes of a network, and no more computed than that needs.

    Args:
        network: any network that `run_network` runs.
        images: normalised, (N, C, H, W).
        source: "logits", or "embedding" for the vector that is compared, (N, E).

    Raises:
        KeyError: the network has no such output.
    """
    if source == "embedding" and isinstance(network, Backbone):
        return network.pre_logits(network.forward_features(images))
    if source == "embedding" and isinstance(network, Recognizer):
        return network.vector(images)
    return run_network(network, images, wanted=(source,)).get(source)


def activate(outputs: Tensor, activation: str = "softmax", temperature: float = 1.0) -> Tensor:
    """Scores of a network's outputs.

    Args:
        outputs: logits, an embedding or numbers, (N, K).
        activation: a name in `ACTIVATIONS`, as a task gives it.
        temperature: divides the outputs; 1 leaves the graph of an export without the division.
    """
    if temperature != 1.0:
        outputs = outputs / temperature
    return ACTIVATIONS[activation](outputs)

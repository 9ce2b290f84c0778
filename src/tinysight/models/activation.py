"""From a network's outputs to scores, as training evaluates and a bundle ships them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: torch.softmax(outputs, dim=1),
    "sigmoid": torch.sigmoid,
    "normalize": lambda outputs: F.normalize(outputs, dim=1),
    "identity": lambda outputs: outputs,
}


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

"""From logits to probabilities, as training evaluates and a bundle ships them."""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(logits: Tensor, target: str = "class", temperature: float = 1.0) -> Tensor:
    """Softmax over the classes; of several labels at once (`multilabel`) a sigmoid each.

    Args:
        logits: (N, K).
        target: `data.target` of the recipe.
        temperature: divides the logits; 1 leaves the graph of an export without the division.
    """
    if temperature != 1.0:
        logits = logits / temperature
    return torch.sigmoid(logits) if target == "multilabel" else torch.softmax(logits, dim=1)

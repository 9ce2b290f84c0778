"""Mixing the pictures of a batch and their labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor


def apply_one(
    transforms: Sequence[Callable[..., Any]],
    images: Tensor,
    targets: Tensor,
    rng: np.random.Generator,
    num_classes: int,
) -> tuple[Tensor, Tensor]:
    """At most one of `transforms`, each with its own probability `p`; the batch as it is otherwise."""
    draw = rng.random()
    for transform in transforms:
        p = float(getattr(transform, "p", 1.0))
        if draw < p:
            mixed: tuple[Tensor, Tensor] = transform(images, targets, rng, num_classes)
            return mixed
        draw -= p
    return images, targets

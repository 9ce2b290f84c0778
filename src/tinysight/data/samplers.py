"""The order in which an epoch takes the pictures: pure functions of the labels, the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinysight.registry import samplers

Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # labels (N,) or (N, K) -> indices


@samplers.register("shuffle")
def shuffle() -> Order:
    """Each picture once, in an order of its own every epoch."""
    return lambda labels, rng: rng.permutation(len(labels))

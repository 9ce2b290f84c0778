"""Vectors that are harder to search than random ones: identities on a bent surface of 64 dimensions, with noise."""

from __future__ import annotations

import numpy as np


class Identities:
    """Draws images of identities, as unit vectors of 512 numbers.

    A vector is tanh(P(centre + 0.6 N)) + 0.05 N, divided by its length; P is (64, 512).
    """

    def __init__(self, count: int, seed: int = 0, dim: int = 512) -> None:
        self._rng = np.random.default_rng(seed)
        self._turn = self._rng.standard_normal((64, dim)).astype(np.float32) / 8
        self._centres = self._rng.standard_normal((count, 64)).astype(np.float32)

    def draw(self, identities: np.ndarray) -> np.ndarray:
        """One new image (float32, length 1) of each of these identities."""
        centres = self._centres[identities]
        centres = centres + 0.6 * self._rng.standard_normal(centres.shape, np.float32)
        vectors = np.tanh(centres @ self._turn)
        vectors += 0.05 * self._rng.standard_normal(vectors.shape, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

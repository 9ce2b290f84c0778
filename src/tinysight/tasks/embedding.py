"""An image as a vector, for comparing images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinysight.errors import ConfigError
from tinysight.registry import postprocesses
from tinysight.tasks.results import EmbeddingResult


@postprocesses.register("embedding")
@dataclass(frozen=True)
class Embedding:
    """The network's output, brought to length 1 by `normalize` as PaddleClas' galleries expect it."""

    normalize: bool = True

    result = EmbeddingResult

    def __call__(self, scores: np.ndarray) -> list[EmbeddingResult]:
        """Vectors for the outputs (N, D); a vector of zeros stays one."""
        if scores.ndim != 2:
            raise ConfigError("embedding", f"expected (N, D), got shape {scores.shape}")
        if self.normalize:
            lengths = np.sqrt(np.square(scores, dtype=np.float64).sum(1, keepdims=True))
            scores = (scores / np.maximum(lengths, 1e-30)).astype(np.float32)
        return [EmbeddingResult("", row) for row in scores]

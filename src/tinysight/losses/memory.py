"""Losses against embeddings of earlier batches too: cross-batch memory, arXiv:1912.06798."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.losses.pairs import contrastive
from tinysight.losses.pairwise import check_batch, prepared
from tinysight.losses.triplet import TripletAngularMargin
from tinysight.registry import embedding_losses


class Memory(nn.Module):
    """The newest embeddings and their labels, in buffers that a checkpoint keeps.

    A batch that does not fit at the end takes the last places, and the next one begins in front, as
    in PaddleClas.

    Args:
        size: how many.
        features: width of an embedding.
    """

    embeddings: Tensor
    labels: Tensor
    used: Tensor
    place: Tensor

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(size, features))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep embeddings (N, D), without their gradient, and labels (N,).

        Raises:
            ValueError: more than there is room for.
        """
        size, count, place = len(self.labels), len(labels), int(self.place)
        if count > size:
            raise ValueError(f"a memory of {size} does not hold a batch of {count}")
        wraps = place + count > size
        start = size - count if wraps else place
        self.embeddings[start : start + count] = embeddings.detach()
        self.labels[start : start + count] = labels
        self.place.fill_(0 if wraps else place + count)
        self.used.fill_(max(int(self.used), start + count))

    def content(self) -> tuple[Tensor, Tensor]:
        """Embeddings (M, D) and labels (M,) that are kept."""
        used = int(self.used)
        return self.embeddings[:used].clone(), self.labels[:used].clone()


class _WithMemory(nn.Module):
    """Counts batches; from `start` on they go into the memory."""

    seen: Tensor

    def __init__(self, size: int, features: int, start: int, weight: float) -> None:
        super().__init__()
        self.memory, self.start, self.weight = Memory(size, features), start, weight
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def remembered(self, unit: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """The memory with this batch in it, or None in the batches before `start`."""
        before = int(self.seen)
        self.seen += 1
        if before < self.start:
            return None
        self.memory.add(unit, labels)
        return self.memory.content()


@embedding_losses.register("triplet_angular_margin_xbm")
class TripletAngularMarginXBM(_WithMemory):
    """`triplet_angular_margin` in the batch, plus the same between the batch and the memory.

    Args:
        features: width of the embedding.
        size: embeddings that are remembered.
        start: batches before the memory is used.
        weight: of the second part.
        margin: see `triplet_angular_margin`, also for the rest.
        normalize: embeddings of length 1.
        absolute_weight: of the absolute term.
        positive_bound: what the least similar positive should exceed.
        negative_bound: what the most similar negative should not exceed.
        count_satisfied: a negative within its bound adds 1 to the absolute term.
    """

    def __init__(
        self,
        features: Annotated[int, Ge(1)],
        size: Annotated[int, Ge(1)] = 8192,
        start: Annotated[int, Ge(0)] = 0,
        weight: Annotated[float, Ge(0)] = 1.0,
        margin: Annotated[float, Ge(0)] = 0.5,
        normalize: bool = True,
        absolute_weight: Annotated[float, Ge(0)] = 0.0,
        positive_bound: float = 0.9,
        negative_bound: float = 0.5,
        count_satisfied: bool = False,
    ) -> None:
        super().__init__(size, features, start, weight)
        self.loss = TripletAngularMargin(
            margin, normalize, absolute_weight, positive_bound, negative_bound, count_satisfied
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64 -> ()."""
        check_batch(embeddings, labels)
        unit = prepared(embeddings, self.loss.normalize)
        value = self.loss.between(unit, labels, unit, labels)
        remembered = self.remembered(unit, labels)
        if remembered is None:
            return value
        return value + self.weight * self.loss.between(unit, labels, *remembered)


@embedding_losses.register("contrastive_xbm")
class ContrastiveXBM(_WithMemory):
    """`contrastive` in the batch, plus the same between the batch and the memory.

    Args:
        features: width of the embedding.
        size: embeddings that are remembered.
        start: batches before the memory is used.
        weight: of the second part.
        margin: cosine up to which a negative counts nothing.
        normalize: embeddings of length 1.
        identical: positives nearer to 1 than this are taken for the same sample.
    """

    def __init__(
        self,
        features: Annotated[int, Ge(1)],
        size: Annotated[int, Ge(1)] = 8192,
        start: Annotated[int, Ge(0)] = 0,
        weight: Annotated[float, Gt(0)] = 1.0,
        margin: float = 0.5,
        normalize: bool = True,
        identical: Annotated[float, Ge(0)] = 1e-5,
    ) -> None:
        super().__init__(size, features, start, weight)
        self.margin, self.normalize, self.identical = margin, normalize, identical

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64 -> ()."""
        check_batch(embeddings, labels)
        unit = prepared(embeddings, self.normalize)
        value = contrastive(unit, labels, unit, labels, self.margin, self.identical)
        remembered = self.remembered(unit, labels)
        if remembered is None:
            return value
        return value + self.weight * contrastive(
            unit, labels, *remembered, self.margin, self.identical
        )

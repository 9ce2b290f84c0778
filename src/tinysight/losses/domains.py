"""Several sources of images: embeddings that do not tell where an image comes from.

Source: MetaBIN, arXiv:2011.14670, as PaddleClas has it. Its cross-entropy is `cross_entropy` with
a smoothing of epsilon * K / (K - 1), its triplet loss is `triplet`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.losses.pairwise import check_batch, distances, masked_max, masked_min, prepared, same
from tinysight.registry import embedding_losses


@embedding_losses.register("domain_scatter")
class DomainScatter(nn.Module):
    """Mean cosine of the embeddings of a domain to their mean, over domains; to be minimised.

    Args:
        normalize: embeddings of length 1 before their mean is taken.
    """

    def __init__(self, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, embeddings: Tensor, domains: Tensor) -> Tensor:
        """Embeddings (N, D), domains (N,) int64 -> ()."""
        check_batch(embeddings, domains)
        unit = prepared(embeddings, self.normalize)
        cosines = []
        for domain in torch.unique(domains):
            own = unit[domains == domain]
            cosines.append(F.cosine_similarity(own.mean(0, keepdim=True), own).mean())
        return torch.stack(cosines).mean()


@embedding_losses.register("domain_shuffle")
class DomainShuffle(nn.Module):
    """The farthest sample of another domain should be nearer than one's nearest other identity at home.

    log(1 + exp(farthest - nearest)) of the Euclidean distances.

    Args:
        normalize: embeddings of length 1.
    """

    def __init__(self, normalize: bool = True) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,), domains (N,) -> ().

        Raises:
            ValueError: a sample has no other identity in its domain.
        """
        check_batch(embeddings, labels)
        unit, home = prepared(embeddings, self.normalize), same(domains)
        rivals = home & ~same(labels)
        if not bool(rivals.any(1).all()):
            raise ValueError("every domain of a batch needs two identities")
        distance = distances(unit, unit)
        oneself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        return F.softplus(
            masked_max(distance, ~home | oneself) - masked_min(distance, rivals)
        ).mean()

"""Losses of embeddings: pairs of a batch, measured, mined and weighted, and pairs with the memory of earlier batches.

A loss is a function of `Pairs` inside a `PairLoss`, which checks and normalises the embeddings and, with a `Memory`,
adds the same function of the pairs between the batch and the memory. Every sample of a batch is an anchor; its
positives are the samples of its label, itself among them unless a loss says otherwise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from tinysight.registry import embedding_losses

Count: TypeAlias = Annotated[int, Ge(1)]
Weight: TypeAlias = Annotated[float, Ge(0)]
Positive: TypeAlias = Annotated[float, Gt(0)]
Measure: TypeAlias = Callable[..., Tensor]
Reduction: TypeAlias = Literal["mean", "sum", "none"]

_TINY = 1e-12  # below it a squared distance has no root that can be differentiated


class Pairs(NamedTuple):
    """Anchors and candidates, and which of them belong together.

    Attributes:
        x: anchors, (N, D).
        y: candidates, (M, D): the anchors again, or what a memory holds.
        labels: of the anchors, (N,); or (N, K) of 0 and 1.
        others: labels of the candidates, likewise.
    """

    x: Tensor
    y: Tensor
    labels: Tensor
    others: Tensor

    @property
    def positive(self) -> Tensor:
        """True where anchor and candidate have a label in common, (N, M) bool."""
        if self.labels.ndim == 2:
            return (self.labels > 0).float() @ (self.others > 0).float().T > 0
        return self.labels[:, None] == self.others

    @property
    def cosine(self) -> Tensor:
        """Scalar products, (N, M): cosines where the embeddings have length 1."""
        return self.x @ self.y.T

    @property
    def squared(self) -> Tensor:
        """Squared distances, (N, M), at least 0; by differences, so that near neighbours stay exact."""
        return (self.x[:, None] - self.y[None]).square().sum(2)

    @property
    def distance(self) -> Tensor:
        """Distances, (N, M), at least 1e-6."""
        lengths = self.x.square().sum(1)[:, None] + self.y.square().sum(1)
        return (lengths - 2.0 * self.cosine).clamp(min=_TINY).sqrt()

    @property
    def oneself(self) -> Tensor:
        """True where the anchors of a batch are their own candidates, (N, N) bool."""
        return torch.eye(len(self.x), dtype=torch.bool, device=self.x.device)

    def mined(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squared distances, positives without oneself, (N, N); farthest positive, nearest negative, (N,).

        Raises:
            ValueError: an anchor lacks one of them.
        """
        distance, positive = self.squared, self.positive & ~self.oneself
        if not bool(positive.any(1).all()) or bool(self.positive.all()):
            raise ValueError("every identity of a batch needs two samples, and there must be two")
        return distance, positive, largest(distance, positive), smallest(distance, ~self.positive)


def largest(values: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each row where `mask` is true, (N,); rows without any give minus infinity."""
    return values.masked_fill(~mask, -torch.inf).amax(1)


def smallest(values: Tensor, mask: Tensor) -> Tensor:
    """Smallest value of each row where `mask` is true, (N,); rows without any give infinity."""
    return values.masked_fill(~mask, torch.inf).amin(1)


def check_batch(embeddings: Tensor, labels: Tensor) -> None:
    """Refuse anything but embeddings (N, D) with labels (N,).

    Raises:
        ValueError: another shape.
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        shapes = f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"embeddings (N, D) and labels (N,), got {shapes}")


class Memory(nn.Module):
    """The newest embeddings and their labels, in buffers: cross-batch memory, arXiv:1912.06798.

    A batch that does not fit at the end takes the last places, and the next one begins in front, as
    in PaddleClas.

    Args:
        size: embeddings that are remembered.
        features: width of an embedding.
        start: batches before the memory is used.
        weight: weight of the pairs with the memory beside those of the batch.
    """

    embeddings: Tensor
    labels: Tensor
    used: Tensor
    place: Tensor
    seen: Tensor

    def __init__(self, size: int, features: int, start: int = 0, weight: float = 1.0) -> None:
        super().__init__()
        self.start, self.weight = start, weight
        self.register_buffer("embeddings", torch.zeros(size, features))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        for name in ("used", "place", "seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

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


class PairLoss(nn.Module):
    """A function of the pairs of a batch, and of those with the memory.

    Args:
        measure: from `Pairs`, and what else the loss is called with, to ().
        normalize: True makes the embeddings of length 1.
        memory: of earlier batches; None without.
        several: labels may be (N, K) of 0 and 1.
    """

    def __init__(
        self, measure: Measure, normalize: bool = True, memory: Memory | None = None,
        several: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.measure, self.normalize, self.memory = measure, normalize, memory
        self.several = several

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of what the loss is called with besides embeddings and labels."""
        return tuple(inspect.signature(self.measure).parameters)[1:]

    def forward(self, embeddings: Tensor, labels: Tensor, *more: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64, and what the loss needs besides -> ().

        Raises:
            ValueError: another shape, or a batch that the loss cannot be computed of.
        """
        check_batch(embeddings, labels[:, 0] if self.several and labels.ndim == 2 else labels)
        x, memory = embeddings.float(), self.memory
        x = F.normalize(x) if self.normalize else x
        value = self.measure(Pairs(x, x, labels, labels), *more)
        if memory is None:
            return value
        memory.seen += 1
        if int(memory.seen) > memory.start:
            memory.add(x, labels)
            y, others = memory.content()
            value = value + memory.weight * self.measure(Pairs(x, y, labels, others))
        return value


# Triplets: the farthest positive against the nearest negative.


@embedding_losses.register("triplet")
def triplet(margin: Weight = 0.5, normalize: bool = True) -> PairLoss:
    """Batch-hard triplet loss, arXiv:1703.07737: relu(farthest positive - nearest negative + margin).

    An anchor without a negative in the batch counts 0.

    Args:
        margin: of the Euclidean distances.
        normalize: embeddings of length 1.

    Source: PaddleClas' `TripletLossV2`, and `TripletLoss` (not normalised, margin 1). Deviation:
    identities may have different numbers of samples.
    """

    def measure(pairs: Pairs) -> Tensor:
        distance, positive = pairs.distance, pairs.positive
        gap = largest(distance, positive) - smallest(distance, ~positive)
        return (gap + margin).clamp(min=0.0).mean()

    return PairLoss(measure, normalize)


@embedding_losses.register("trihard")
def trihard(margin: Weight = 0.1, normalize: bool = True) -> PairLoss:
    """As `triplet`, but of squared distances; an anchor is no positive of its own.

    Every identity of a batch needs two samples.

    Args:
        margin: of the squared distances.
        normalize: embeddings of length 1.
    """

    def measure(pairs: Pairs) -> Tensor:
        _, _, far, near = pairs.mined()
        return (far - near + margin).clamp(min=0.0).mean()

    return PairLoss(measure, normalize)


@embedding_losses.register("msm")
def msm(margin: Weight = 0.1, normalize: bool = True) -> PairLoss:
    """The one hardest pair of positives against the one hardest of negatives, arXiv:1710.00478.

    Every identity of a batch needs two samples.

    Args:
        margin: of the squared distances.
        normalize: embeddings of length 1.
    """

    def measure(pairs: Pairs) -> Tensor:
        _, _, far, near = pairs.mined()
        return (far.amax() - near.amin() + margin).clamp(min=0.0)

    return PairLoss(measure, normalize)


@embedding_losses.register("eml")
def eml(beta: Positive = 1e5, threshold: Positive = 20.0, normalize: bool = False) -> PairLoss:
    """Means of e^distance over positives times means of e^-distance over negatives, on a log scale.

    With t the product of the two means: log(1 + beta * t) / log(1 + beta), which flattens out for
    triplets that are solved. The distances are squared ones. Every identity of a batch needs two samples.

    Args:
        beta: of the logarithm.
        threshold: exponent from which on log(1 + beta * t) is taken for log(beta * t).
        normalize: embeddings of length 1.

    Source: PaddleClas' `EmlLoss`.
    """

    def exact(mean: Tensor, gap: Tensor) -> Tensor:
        return (1.0 + beta * mean * gap.exp()).log() / math.log(1.0 + beta)

    def large(mean: Tensor, gap: Tensor) -> Tensor:
        return (mean.log() + gap + math.log(beta)) / math.log(1.0 + beta)

    def measure(pairs: Pairs) -> Tensor:
        distance, positive, ap, an = pairs.mined()
        negative = ~pairs.positive
        # The extremes are taken out of the means, which stay between 1 / count and 1.
        near = ((distance - ap[:, None]).masked_fill(~positive, -torch.inf)).exp().sum(1)
        far = ((an[:, None] - distance).masked_fill(~negative, -torch.inf)).exp().sum(1)
        mean = near / positive.sum(1) * far / negative.sum(1)
        gap, limit = ap - an, torch.full_like(ap, threshold)
        value = exact(mean, gap.minimum(limit)) + large(mean, gap.maximum(limit))
        return (value - exact(mean, limit)).mean()

    return PairLoss(measure, normalize)


def _angular(
    margin: float, absolute_weight: float, bounds: tuple[float, float], counts: bool,
    reduction: str = "mean",
) -> Measure:  # fmt: skip
    positive_bound, negative_bound = bounds

    def measure(pairs: Pairs) -> Tensor:
        cosine, positive = pairs.cosine, pairs.positive
        both = positive.any(1) & ~positive.all(1)
        if not bool(both.any()):
            return pairs.x.sum() * 0.0
        ap, an = smallest(cosine, positive)[both], largest(cosine, ~positive)[both]
        hinge = (an - ap + margin).clamp(min=0.0)
        if reduction == "none" and not absolute_weight:
            return hinge
        value = hinge.sum() if reduction == "sum" else hinge.mean() * (len(ap) / len(cosine))
        if absolute_weight:
            over = an - negative_bound
            far = torch.where(over > 0, over, torch.full_like(over, float(counts)))
            near = (positive_bound - ap).clamp(min=0.0)
            value = value + absolute_weight * (near + far).sum() / len(cosine)
        return value

    return measure


@embedding_losses.register("triplet_angular_margin")
def triplet_angular_margin(
    margin: Weight = 0.5,
    normalize: bool = True,
    absolute_weight: Weight = 0.0,
    positive_bound: float = 0.9,
    negative_bound: float = 0.5,
    count_satisfied: bool = False,
    reduction: Reduction = "mean",
) -> PairLoss:
    """Triplets of cosines with a margin, and bounds that hold by themselves.

    An anchor without a positive or without a negative counts 0.

    Args:
        margin: by which the least similar positive should exceed the most similar negative.
        normalize: embeddings of length 1; otherwise the cosines are scalar products.
        absolute_weight: of the absolute term; 0 for none.
        positive_bound: what the least similar positive should exceed.
        negative_bound: what the most similar negative should not exceed.
        count_satisfied: a negative within its bound adds 1 to the absolute term, as in
            PaddleClas by mistake; the gradient is the same.
        reduction: the "mean" over anchors or the "sum"; "none" gives each anchor's value, where there is no
            absolute term. The absolute term is always a mean.

    Source: PaddleClas' `TripletAngularMarginLoss` of PP-ShiTuV2.
    """
    bounds = (positive_bound, negative_bound)
    measure = _angular(margin, absolute_weight, bounds, count_satisfied, reduction)
    return PairLoss(measure, normalize)


@embedding_losses.register("triplet_angular_margin_xbm")
def triplet_angular_margin_xbm(
    features: Count,
    size: Count = 8192,
    start: Annotated[int, Ge(0)] = 0,
    memory_weight: Weight = 1.0,
    margin: Weight = 0.5,
    normalize: bool = True,
    absolute_weight: Weight = 0.0,
    positive_bound: float = 0.9,
    negative_bound: float = 0.5,
    count_satisfied: bool = False,
    reduction: Reduction = "mean",
) -> PairLoss:
    """`triplet_angular_margin` in the batch, plus the same between the batch and the memory.

    Args:
        features: width of the embedding.
        size: embeddings that are remembered.
        start: batches before the memory is used.
        memory_weight: weight of the pairs with the memory.
        margin: see `triplet_angular_margin`, also for the rest.
        normalize: embeddings of length 1.
        absolute_weight: of the absolute term.
        positive_bound: what the least similar positive should exceed.
        negative_bound: what the most similar negative should not exceed.
        count_satisfied: a negative within its bound adds 1 to the absolute term.
        reduction: of the relative term.
    """
    bounds, memory = (positive_bound, negative_bound), Memory(size, features, start, memory_weight)
    measure = _angular(margin, absolute_weight, bounds, count_satisfied, reduction)
    return PairLoss(measure, normalize, memory)


# All pairs: attract those of one label, repel the others.


def _contrastive(margin: float, identical: float) -> Measure:
    def measure(pairs: Pairs) -> Tensor:
        cosine, positive = pairs.cosine, pairs.positive
        attracted = positive & (cosine < 1.0 - identical)
        repelled = ~positive & (cosine > margin)
        return ((1.0 - cosine) * attracted + cosine * repelled).sum() / len(cosine)

    return measure


@embedding_losses.register("contrastive")
def contrastive(margin: float = 0.5, normalize: bool = True, identical: Weight = 1e-5) -> PairLoss:
    """All pairs: 1 - cosine for positives, the cosine for negatives above a margin; their sum / N.

    Args:
        margin: cosine up to which a negative counts nothing.
        normalize: embeddings of length 1.
        identical: positives nearer to 1 than this are taken for the same sample, and left out.
    """
    return PairLoss(_contrastive(margin, identical), normalize)


@embedding_losses.register("contrastive_xbm")
def contrastive_xbm(
    features: Count,
    size: Count = 8192,
    start: Annotated[int, Ge(0)] = 0,
    memory_weight: Positive = 1.0,
    margin: float = 0.5,
    normalize: bool = True,
    identical: Weight = 1e-5,
) -> PairLoss:
    """`contrastive` in the batch, plus the same between the batch and the memory.

    Args:
        features: width of the embedding.
        size: embeddings that are remembered.
        start: batches before the memory is used.
        memory_weight: weight of the pairs with the memory.
        margin: cosine up to which a negative counts nothing.
        normalize: embeddings of length 1.
        identical: positives nearer to 1 than this are taken for the same sample, and left out.
    """
    memory = Memory(size, features, start, memory_weight)
    return PairLoss(_contrastive(margin, identical), normalize, memory)


@embedding_losses.register("npairs")
def npairs(l2_weight: Weight = 0.01) -> PairLoss:
    """N-pair loss, NIPS 2016: of all second samples, each first one's own should be most similar.

    A batch is pairs: samples 0 and 1 have one label, 2 and 3, and so on; another is refused.

    Args:
        l2_weight: of the mean squared lengths of first and second samples, divided by four.
    """

    def measure(pairs: Pairs) -> Tensor:
        if len(pairs.x) % 2 or not bool(pairs.positive.diagonal(1)[::2].all()):
            raise ValueError("npairs takes batches of pairs: two samples of each label in turn")
        first, second = pairs.x[::2], pairs.x[1::2]
        together = pairs.positive[::2, ::2].float()
        targets = together / together.sum(1, keepdim=True)
        lengths = first.square().sum(1).mean() + second.square().sum(1).mean()
        return F.cross_entropy(first @ second.T, targets) + 0.25 * l2_weight * lengths

    return PairLoss(measure, normalize=False)


@embedding_losses.register("supcon")
def supcon(
    temperature: Positive = 0.07, base_temperature: Positive = 0.07, normalize: bool = True
) -> PairLoss:
    """Supervised contrastive loss, arXiv:2004.11362: log-softmax over all others, mean of positives.

    A sample that is alone with its label counts 0.

    Args:
        temperature: of the cosines.
        base_temperature: the result is multiplied by temperature / base_temperature.
        normalize: embeddings of length 1.
    """

    def measure(pairs: Pairs) -> Tensor:
        positive = pairs.positive & ~pairs.oneself
        logits = (pairs.cosine / temperature).masked_fill(pairs.oneself, -torch.inf)
        logs = logits.log_softmax(1).masked_fill(~positive, 0.0).sum(1)
        return -(temperature / base_temperature * logs / positive.sum(1).clamp(min=1)).mean()

    return PairLoss(measure, normalize)


@embedding_losses.register("pairwise_cosface")
def pairwise_cosface(margin: float = 0.35, gamma: Positive = 64.0) -> PairLoss:
    """Softplus of the hardest positive and the hardest negative cosine, both softened.

    softplus(logsumexp(-gamma * positives) + logsumexp(gamma * (negatives + margin))).

    Args:
        margin: added to the cosines of negatives.
        gamma: sharpness.
    """

    def measure(pairs: Pairs) -> Tensor:
        cosine, positive = pairs.cosine, pairs.positive & ~pairs.oneself
        # A large number instead of infinity: a row without any pair then has a gradient of 0.
        near = (-gamma * cosine).masked_fill(~positive, -1e8)
        far = (gamma * (cosine + margin)).masked_fill(pairs.positive, -1e8)
        return F.softplus(near.logsumexp(1) + far.logsumexp(1)).mean()

    return PairLoss(measure)


@embedding_losses.register("center")
class Center(nn.Module):
    """Squared distance to the centre of one's identity, which is learnt; ECCV 2016.

    Its parameters belong to the optimiser, and its weight beside other losses is small (5e-4).

    Args:
        num_classes: identities, K.
        features: width of the embedding, D.
    """

    def __init__(self, num_classes: Count, features: Count) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, features))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Embeddings (N, D), labels (N,) int64 -> ()."""
        check_batch(embeddings, labels)
        return (embeddings.float() - self.centers[labels]).square().sum(1).mean()


# Several sources of images: embeddings that do not tell where an image comes from. MetaBIN,
# arXiv:2011.14670, as PaddleClas has it. Its cross-entropy is `cross_entropy` with a smoothing of
# epsilon * K / (K - 1), its triplet loss is `triplet`.


@embedding_losses.register("domain_scatter")
def domain_scatter(normalize: bool = True) -> PairLoss:
    """Mean cosine of the embeddings of a domain to their mean, over domains; to be minimised.

    Called with domains (N,) int64 in place of labels.

    Args:
        normalize: embeddings of length 1 before their mean is taken.
    """

    def measure(pairs: Pairs) -> Tensor:
        share = 1.0 / pairs.positive.sum(1)  # a sample's part of its domain
        means = share[:, None] * (pairs.positive.float() @ pairs.x)
        return (share * F.cosine_similarity(means, pairs.x)).sum() / share.sum()

    return PairLoss(measure, normalize)


@embedding_losses.register("domain_shuffle")
def domain_shuffle(normalize: bool = True) -> PairLoss:
    """The farthest sample of another domain should be nearer than one's nearest other identity at home.

    log(1 + exp(farthest - nearest)) of the Euclidean distances. Called with embeddings, labels and
    domains (N,); every domain of a batch needs two identities.

    Args:
        normalize: embeddings of length 1.
    """

    def measure(pairs: Pairs, domains: Tensor) -> Tensor:
        home, distance = domains[:, None] == domains, pairs.distance
        rivals = home & ~pairs.positive
        if not bool(rivals.any(1).all()):
            raise ValueError("every domain of a batch needs two identities")
        far = largest(distance, ~home | pairs.oneself)
        return F.softplus(far - smallest(distance, rivals)).mean()

    return PairLoss(measure, normalize)


# Deep hashing: embeddings whose signs are codes, near for one label and far for two.


@embedding_losses.register("dshsd")
def dshsd(distance_weight: Weight = 0.05, several_labels: bool = False) -> PairLoss:
    """Deep supervised hashing of a stable distribution: squared distances, up to a margin of twice the width.

    Called with embeddings, labels and logits (N, K): their classification is the other part.

    Args:
        distance_weight: weight of the distances.
        several_labels: classify by independent labels, the sum of whose cross-entropies is averaged over samples;
            the labels may then be rows (N, K) of 0 and 1, and samples that share one belong together.

    Source: PaddleClas' `DSHSDLoss` (`multi_label`).
    """

    def measure(pairs: Pairs, logits: Tensor) -> Tensor:
        distance = pairs.squared
        apart = (2.0 * pairs.x.shape[1] - distance).clamp(min=0.0)
        value = torch.where(pairs.positive, distance, apart).mean() / 2.0
        if not several_labels:
            return F.cross_entropy(logits, pairs.labels) + distance_weight * value
        rows = pairs.labels if pairs.labels.ndim == 2 else F.one_hot(pairs.labels, logits.shape[1])
        each = F.binary_cross_entropy_with_logits(logits, rows.to(logits), reduction="none")
        return each.sum(1).mean() + distance_weight * value

    return PairLoss(measure, normalize=False, several=several_labels)


@embedding_losses.register("lcdsh")
def lcdsh(sign_weight: Weight = 3.0) -> PairLoss:
    """Locality-constrained deep supervised hashing: likelihood of pairs, and of those of the signs.

    Args:
        sign_weight: weight of the difference between embeddings and their signs.

    Source: PaddleClas' `LCDSHLoss`.
    """

    def measure(pairs: Pairs) -> Tensor:
        sign = torch.where(pairs.positive, 1.0, -1.0)
        product = (pairs.cosine * 0.5).clamp(-50.0, 50.0)
        codes = pairs.x.detach().sign()
        difference = product.sigmoid() - (codes @ codes.T * 0.5).sigmoid()
        return F.softplus(-sign * product).mean() + sign_weight * difference.square().mean()

    return PairLoss(measure, normalize=False)


@embedding_losses.register("dch")
def dch(gamma: Positive = 20.0, code_weight: Weight = 0.1) -> PairLoss:
    """Deep Cauchy hashing, CVPR 2018: distances of codes on a Cauchy scale, both kinds of pairs equal.

    Args:
        gamma: scale of the distance, in bits.
        code_weight: weight of how far the embeddings are from codes.

    Source: PaddleClas' `DCHLoss`.
    """

    def measure(pairs: Pairs) -> Tensor:
        x, together = pairs.x, pairs.positive.float()
        apart, scale = 1.0 - together, torch.ones_like(together)
        if bool(apart.any()):  # a sample is together with itself, so those pairs are there
            scale = together.numel() * (together / together.sum() + apart / apart.sum())
        distance = _bits(x, x)
        # log(1 + gamma / d), and for pairs that belong together log(d / gamma) more
        cauchy = together * (distance / gamma).log() + (1.0 + gamma / distance).log()
        codes = (1.0 + _bits(x.abs(), torch.ones_like(x)) / gamma).log()
        return (scale * cauchy).mean() + code_weight * codes.mean()

    return PairLoss(measure, normalize=False)


def _bits(x: Tensor, y: Tensor) -> Tensor:
    """Hamming distance that a cosine stands for, (N, M); never quite 0, so that it has a logarithm."""
    lengths = x.norm(dim=1)[:, None] * y.norm(dim=1)
    cosine = x @ y.T / lengths.clamp(min=1e-4)
    distance: Tensor = (1.0 - cosine.clamp(max=0.99)) * (x.shape[1] / 2.0)
    return distance

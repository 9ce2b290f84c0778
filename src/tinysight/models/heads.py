"""Necks and heads of recognition: from the vector of a backbone to the embedding, and to one score for each identity.

Names and layouts follow PaddleClas' state dicts.
"""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from tinysight.models.layers import BatchNorm1d
from tinysight.registry import heads, necks

Positive: TypeAlias = Annotated[float, Gt(0)]
Chord: TypeAlias = Annotated[float, Ge(0), Le(2)]
Share: TypeAlias = Annotated[float, Ge(0), Le(1)]
Sampled: TypeAlias = Annotated[float, Gt(0), Le(1)] | None

_EPS = 1e-3


class Head(nn.Module):
    """From embeddings (N, in_features) and, in training, labels (N,) to scores (N, K).

    With `sampled` a training step computes the scores of a share of the identities alone: those of the batch, and
    others at random (Partial FC, arXiv:2010.05222). With millions of identities that is most of a step's time and of
    the memory of its scores; weights, gradients and the optimiser's memory stay whole.
    """

    sampled: float | None = None
    num_classes: int

    def choose(self, labels: Tensor | None) -> Tensor | None:
        """Ids of the identities whose scores this step computes, ascending, (M,) int64; None for all."""
        if self.sampled is None or labels is None or not self.training or not len(labels):
            return None
        wanted = math.ceil(self.sampled * self.num_classes)
        chances = torch.rand(self.num_classes, device=labels.device)
        chances[labels] = 2.0  # those of the batch come first
        count = max(wanted, int((chances > 1.0).sum()))
        return chances.topk(count).indices.sort().values

    def forward(
        self, x: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> Tensor:
        """See the subclasses; with `classes` of `choose`, labels are places in them."""
        raise NotImplementedError


@heads.register("fc")
class LinearHead(Head):
    """Linear classifier.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        bias: whether it has one.
        init_std: standard deviation of fresh weights; None draws Xavier normal ones.
        sampled: share of the identities that a training step compares with; see `Head`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        init_std: Positive | None = None,
        sampled: Sampled = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.sampled = num_classes, sampled
        self.fc = nn.Linear(in_features, num_classes, bias=bias)
        if init_std is None:
            nn.init.xavier_normal_(self.fc.weight)
        else:
            nn.init.normal_(self.fc.weight, 0.0, init_std)
        if bias:
            nn.init.zeros_(self.fc.bias)

    def forward(
        self, x: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> Tensor:
        """(N, E) -> (N, K), of `classes` (N, M); labels change nothing."""
        if classes is None:
            y: Tensor = self.fc(x)
            return y
        bias = None if self.fc.bias is None else self.fc.bias[classes]
        return F.linear(x, self.fc.weight[classes], bias)


class _Directions(Head):
    """One direction for each identity, the columns of a parameter (E, K); scores are cosines to them.

    In training with labels a subclass makes it harder to match one's own, and all scores are scaled; otherwise, as in
    PaddleClas, they are plain cosines without the scale.
    """

    parameter = "weight"  # (E, K) and no linear layer, as in PaddleClas

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Share = 0.35,
        scale: Positive = 64.0,
        sampled: Sampled = None,
    ) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.num_classes, self.sampled = num_classes, sampled
        directions = nn.Parameter(torch.empty(in_features, num_classes))
        self.register_parameter(self.parameter, directions)
        nn.init.xavier_normal_(directions)

    def forward(
        self, x: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> Tensor:
        """(N, E), labels (N,) int64 -> (N, K): scaled and with the margin in training with labels."""
        directions: Tensor = self.get_parameter(self.parameter)
        if classes is not None:
            directions = directions[:, classes]
        cosine = F.normalize(x, dim=1) @ F.normalize(directions, dim=0)
        if labels is None or not self.training:
            return cosine
        return self.harder(cosine.float(), x, labels) * self.scale

    def harder(self, cosine: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Cosines (N, K) of embeddings (N, E) with the margin applied."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Sizes and margin."""
        features, classes = self.get_parameter(self.parameter).shape
        return f"{features}, {classes}, margin={self.margin:g}, scale={self.scale:g}"


@heads.register("arc_margin")
class ArcMargin(_Directions):
    """ArcFace, arXiv:1801.07698: the angle to an identity's own direction is made harder by
    `margin`.

    With t the angle between embedding and direction, the score is scale * cos(t), and of the label's
    own identity scale * cos(t + margin). Where t + margin passes pi, the latter continues as
    cos(t) - margin * sin(margin), so that it keeps falling with the cosine.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: radians.
        scale: of the cosines in training.
        easy_margin: apply the margin only where cos(t) is positive.
        sampled: share of the identities that a training step compares with; see `Head`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Annotated[float, Ge(0), Le(math.pi)] = 0.5,
        scale: Positive = 80.0,
        easy_margin: bool = False,
        sampled: Sampled = None,
    ) -> None:
        super().__init__(in_features, num_classes, margin, scale, sampled)
        self.easy_margin = easy_margin

    def harder(self, cosine: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The margin on the own angle."""
        own = cosine.gather(1, labels[:, None])
        # Half precision may leave a cosine beyond 1; 1e-6 keeps the slope of the root finite there.
        sine = ((1.0 - own.square()).clamp(min=0.0) + 1e-6).sqrt()
        harder = own * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            harder = torch.where(own > 0.0, harder, own)
        else:
            beyond = own - self.margin * math.sin(self.margin)
            harder = torch.where(own > -math.cos(self.margin), harder, beyond)
        return cosine.scatter(1, labels[:, None], harder)


@heads.register("cos_margin")
class CosMargin(_Directions):
    """CosFace, arXiv:1801.09414: the cosine to one's own identity is lowered by `margin`.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: of the cosine.
        scale: of the cosines in training.
        sampled: share of the identities that a training step compares with; see `Head`.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Chord = 0.35,
        scale: Positive = 64.0,
        sampled: Sampled = None,
    ) -> None:
        super().__init__(in_features, num_classes, margin, scale, sampled)

    def harder(self, cosine: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The margin off the own cosine."""
        own = cosine.gather(1, labels[:, None])
        return cosine.scatter(1, labels[:, None], own - self.margin)


@heads.register("circle_margin")
class CircleMargin(_Directions):
    """Circle loss, arXiv:2002.10857: a cosine counts the more the farther it is from its best.

    With m the margin, the own cosine s becomes max(0, 1 + m - s) * (s - (1 - m)), any other
    max(0, s + m) * (s - m); the first factors carry no gradient.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: of the cosine.
        scale: of the result in training.
        sampled: share of the identities that a training step compares with; see `Head`.
    """

    def harder(self, cosine: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Every cosine with its own weight."""
        fixed, m = cosine.detach(), self.margin
        other = (fixed + m).clamp(min=0.0) * (cosine - m)
        own = (1.0 + m - fixed).clamp(min=0.0) * (cosine - (1.0 - m))
        return other.scatter(1, labels[:, None], own.gather(1, labels[:, None]))


@heads.register("ada_margin")
class AdaMargin(_Directions):
    """AdaFace, arXiv:2204.00964: the margin depends on the length of the embedding.

    A long embedding, of a good image, has its margin in the cosine, a short one in the angle.
    Lengths are compared with the running mean and deviation of those seen.

    Args:
        in_features: width of the embedding.
        num_classes: identities, K.
        margin: m. With q between -1 and 1 for the length, the angle grows by -m * q and the cosine
            falls by m + m * q.
        concentration: q of a length one deviation above the mean.
        scale: of the cosines in training.
        memory: weight of the newest batch in the running mean and deviation.
        sampled: share of the identities that a training step compares with; see `Head`.

    Attributes:
        batch_mean: running mean of the lengths, (1,).
        batch_std: running deviation of the lengths, (1,).
    """

    parameter = "kernel"
    batch_mean: Tensor
    batch_std: Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        margin: Share = 0.4,
        concentration: Positive = 0.333,
        scale: Positive = 64.0,
        memory: Annotated[float, Gt(0), Le(1)] = 1.0,
        sampled: Sampled = None,
    ) -> None:
        super().__init__(in_features, num_classes, margin, scale, sampled)
        self.concentration, self.memory = concentration, memory
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def harder(self, cosine: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """The margin that suits its length off each own cosine."""
        cosine = cosine.clamp(-1.0 + _EPS, 1.0 - _EPS)  # keeps the slope of acos finite
        quality = self._quality(x.detach().float().norm(dim=1, keepdim=True))
        own = cosine.gather(1, labels[:, None])
        angle = (own.acos() - self.margin * quality).clamp(_EPS, math.pi - _EPS)
        # PaddleClas takes every cosine through its angle; the clamp bites there too.
        others = cosine.acos().clamp(_EPS, math.pi - _EPS).cos()
        harder = angle.cos() - (self.margin + self.margin * quality)
        return others.scatter(1, labels[:, None], harder)

    @torch.no_grad()
    def _quality(self, lengths: Tensor) -> Tensor:
        """The q of each embedding, (N, 1), after the running statistics took in this batch."""
        lengths = lengths.clamp(1e-3, 100.0)
        if len(lengths) > 1:  # one length has no deviation
            self.batch_mean.lerp_(lengths.mean()[None], self.memory)
            self.batch_std.lerp_(lengths.std()[None], self.memory)
        quality = (lengths - self.batch_mean) / (self.batch_std + _EPS) * self.concentration
        return quality.clamp(-1.0, 1.0)


class Neck(nn.Module):
    """From (N, in_features) to (N, features)."""

    features: int


@necks.register("bn_neck")
class BNNeck(Neck):
    """Batch normalisation of the vector, arXiv:1903.07071: losses on distances before it, on
    classes behind it.

    Args:
        in_features: width of the vector, which it keeps.
        train_bias: whether the bias is learnt. The paper and PaddleClas' recipe, which gives it
            a learning rate of 1e-20, keep it at 0; PaddleClas' class alone would train it.
    """

    def __init__(self, in_features: int, train_bias: bool = False) -> None:
        super().__init__()
        self.features = in_features
        self.feat_bn = BatchNorm1d(in_features)
        self.feat_bn.bias.requires_grad_(train_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        y: Tensor = self.feat_bn(x)
        return y


@necks.register("fc")
class LinearNeck(Neck):
    """Linear layer; Xavier uniform, bias 0.

    Args:
        in_features: width of the vector.
        features: width of the embedding.
        bias: whether it has one.
        tanh: bring each number between -1 and 1, for embeddings whose signs become bits.
    """

    def __init__(
        self,
        in_features: int,
        features: Annotated[int, Ge(1)] = 512,
        bias: bool = True,
        tanh: bool = False,
    ) -> None:
        super().__init__()
        self.features, self.tanh = features, tanh
        self.fc = nn.Linear(in_features, features, bias)
        nn.init.xavier_uniform_(self.fc.weight)
        if bias:
            nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, features)."""
        y: Tensor = self.fc(x)
        return y.tanh() if self.tanh else y


@necks.register("conv")
class ConvNeck(Neck):
    """1 x 1 convolution of the vector, with bias: a linear layer under PaddleClas' name of it (VehicleNeck).

    Args:
        in_features: width of the vector.
        features: width of the embedding.
    """

    def __init__(self, in_features: int, features: Annotated[int, Ge(1)] = 512) -> None:
        super().__init__()
        self.features = features
        self.conv = nn.Conv2d(in_features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, features)."""
        y: Tensor = self.conv(x[:, :, None, None])
        return y.flatten(1)


@necks.register("mlp")
class MLPNeck(Neck):
    """Two linear layers with a leaky ReLU between them, to length 1 (PaddleClas' FRFNNeck).

    Args:
        in_features: width of the vector, also between the two.
        features: width of the embedding.
    """

    def __init__(self, in_features: int, features: Annotated[int, Ge(1)] = 128) -> None:
        super().__init__()
        self.features = features
        self.fc1 = nn.Linear(in_features, in_features)
        self.fc2 = nn.Linear(in_features, features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, features)."""
        return F.normalize(self.fc2(F.leaky_relu(self.fc1(x), 0.1)), dim=1)

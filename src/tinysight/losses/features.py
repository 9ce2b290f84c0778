"""Distillation losses of feature maps that learn: they hold layers of their own, which the run optimises.

The layers are made for the shapes of the outputs that a term is between: `student_shapes` and `teacher_shapes` are one
shape without the batch, (C, h, w) or (C,), for each output of that side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from tinysight.losses.distillation import Weight
from tinysight.models.layers import BatchNorm1d
from tinysight.registry import distillation_losses

Shapes: TypeAlias = Sequence[tuple[int, ...]]


@distillation_losses.register("mgd")
class MaskedGeneration(nn.Module):
    """Masked generative distillation, arXiv:2205.01529: the teacher's map from the student's with channels missing.

    (N, C, h, w) of both, of the same h and w -> (): mean squared difference of two 3 x 3 convolutions of the masked
    student's map to the teacher's. Another number of channels is first brought to the teacher's by a 1 x 1 convolution.

    Args:
        student_shapes: of the one output of the student.
        teacher_shapes: of that of the teacher.
        factor: of the mean; the paper multiplies a sum by 2e-5.
        masked: chance of each channel of an image to be left out.
    """

    decays_norm = True

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes, factor: Weight = 1.756,
        masked: Annotated[float, Ge(0), Lt(1)] = 0.15,
    ) -> None:  # fmt: skip
        super().__init__()
        student, teacher = student_shapes[0], teacher_shapes[0]
        if len(student) != 3 or student[1:] != teacher[1:]:
            raise ValueError(f"maps of one size are needed, got {student} and {teacher}")
        own, width = student[0], teacher[0]
        self.align = nn.Identity() if own == width else nn.Conv2d(own, width, 1)
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.generation = nn.Sequential(first, nn.ReLU(), second)
        self.factor, self.masked = factor, masked

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The maps (N, C, h, w) -> ()."""
        drawn = torch.rand((*teacher.shape[:2], 1, 1), device=teacher.device)
        found = self.generation(self.align(student) * (drawn >= self.masked))
        return F.mse_loss(found, teacher) * self.factor


class Projector(nn.Module):
    """Linear, ReLU; (N, in) -> (N, out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Linear(width, out)  # its name in PaddleClas

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        return F.relu(self.conv(x))


@distillation_losses.register("pefd")
class ProjectorEnsemble(nn.Module):
    """Ensemble of projectors, arXiv:2210.15274: 1 - cosine of the mean of their vectors and the teacher's vector.

    Args:
        student_shapes: of the one output of the student.
        teacher_shapes: of that of the teacher.
        projectors: number of them; each starts from weights of its own.
        pool: how a map becomes a vector: all of its numbers (`flatten`), or the mean of each channel (`mean`).
    """

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes,
        projectors: Annotated[int, Ge(1)] = 3, pool: Literal["flatten", "mean"] = "flatten",
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool = pool
        shapes = (student_shapes[0], teacher_shapes[0])
        own, width = (math.prod(shape) if pool == "flatten" else shape[0] for shape in shapes)
        self.projectors = nn.ModuleList(Projector(own, width) for _ in range(projectors))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(N, C, h, w) or (N, D) of both -> ()."""
        both = (student, teacher)
        own, truth = (x.flatten(1) if self.pool == "flatten" else _mean(x) for x in both)
        found = torch.stack([project(own) for project in self.projectors]).mean(0)
        return (1.0 - F.cosine_similarity(found, truth, dim=1, eps=1e-12)).mean()


class LinearNorm(nn.Module):
    """Linear layer and batch normalisation; (N, in) -> (N, out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear, self.bn = nn.Linear(width, out), BatchNorm1d(out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        y: Tensor = self.bn(self.linear(x))
        return y


@distillation_losses.register("afd")
class AttentionDistillation(nn.Module):
    """Attention-based feature distillation, arXiv:2102.02973: it learns which layers of the student learn from which.

    Of S maps of the student and T of the teacher: queries and keys are made of channel means, what is compared are maps
    of squares, averaged over channels, at the teacher's size and of length 1. -> (): for each map of the teacher the
    mean squared difference to all of the student, weighted by attention; their sum.

    Args:
        student_shapes: of the S maps.
        teacher_shapes: of the T maps.
        width: of queries and keys.
    """

    decays_norm = True

    def __init__(
        self, student_shapes: Shapes, teacher_shapes: Shapes, width: Annotated[int, Gt(0)] = 128
    ) -> None:
        super().__init__()
        if any(len(shape) != 3 for shape in (*student_shapes, *teacher_shapes)):
            raise ValueError("afd compares feature maps, not vectors")
        self.width, count = width, len(teacher_shapes)
        self.queries = nn.ModuleList(LinearNorm(shape[0], width) for shape in teacher_shapes)
        self.keys = nn.ModuleList(LinearNorm(shape[0], width) for shape in student_shapes)
        self.bilinear = LinearNorm(width, width * count)
        self.p_t = nn.Parameter(torch.empty(count, width))
        self.p_s = nn.Parameter(torch.empty(len(student_shapes), width))
        for parameter in (self.p_t, self.p_s):
            nn.init.xavier_normal_(parameter)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """S and T maps (N, C, h, w) -> ()."""
        queries = [layer(_mean(x)) for layer, x in zip(self.queries, teacher, strict=True)]
        keys = [F.relu(layer(_mean(x))) for layer, x in zip(self.keys, student, strict=True)]
        joined = torch.stack(keys, 1)
        sizes = (*joined.shape[:2], len(queries), self.width)
        both = self.bilinear(joined.flatten(0, 1)).view(sizes)
        logits = torch.einsum("bstq,btq->bts", both, torch.stack(queries, 1))
        attention = ((logits + self.p_t @ self.p_s.T) / math.sqrt(self.width)).softmax(2)
        terms = []
        for i, x in enumerate(teacher):
            truth = F.normalize(x.square().mean(1).flatten(1), dim=1)
            size = (int(x.shape[2]), int(x.shape[3]))
            maps = [F.adaptive_avg_pool2d(y.square().mean(1, keepdim=True), size) for y in student]
            own = F.normalize(torch.stack([m.flatten(1) for m in maps], 1), dim=2)
            apart = (own - truth[:, None]).square().mean(2)
            terms.append((apart * attention[:, i]).sum(1).mean())
        return torch.stack(terms).sum()


def _mean(x: Tensor) -> Tensor:
    """Mean of each channel; (N, C, ...) -> (N, C)."""
    return x.flatten(2).mean(2) if x.ndim > 2 else x

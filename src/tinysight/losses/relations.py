"""Relational distillation, arXiv:1904.05068: distances and angles among the samples of a batch.

The widths of the two networks' embeddings may differ.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.losses.pairwise import squared_distances
from tinysight.registry import distillation_losses


@distillation_losses.register("rkd_distance")
class RelationalDistance(nn.Module):
    """Distances between samples, in units of their mean, as the teacher has them.

    Args:
        mean_of_all: the unit is the mean with each sample's distance to itself in it, as in the
            reference, where it depends on the batch size.
    """

    def __init__(self, mean_of_all: bool = False) -> None:
        super().__init__()
        self.mean_of_all = mean_of_all

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(N, ...), (N, ...) -> ()."""
        return F.smooth_l1_loss(self._relative(student), self._relative(teacher))

    def _relative(self, x: Tensor) -> Tensor:
        x, count = x.flatten(1).float(), len(x)
        distance = squared_distances(x, x).clamp(min=1e-12).sqrt()
        pairs = count * (count if self.mean_of_all else max(count - 1, 1))
        return distance / (distance.sum() / pairs)


@distillation_losses.register("rkd_angle")
class RelationalAngle(nn.Module):
    """Cosines of the angles that any two samples make as seen from a third, as the teacher has them."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """(N, ...), (N, ...) -> ()."""
        return F.smooth_l1_loss(_angles(student.flatten(1)), _angles(teacher.flatten(1)))


def _angles(x: Tensor) -> Tensor:
    difference = F.normalize(x[None] - x[:, None], dim=2)
    return difference @ difference.transpose(1, 2)

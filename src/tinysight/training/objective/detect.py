"""A detector trained on boxes, with what its loss is divided by shared by all processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tinysight.config import Recipe
from tinysight.data.loader import Batch
from tinysight.data.samples import SampleList
from tinysight.errors import ConfigError
from tinysight.losses.detection import TERMS, DetectionLoss, Heads
from tinysight.models.detector.picodet import cells, expected_distances, to_boxes
from tinysight.registry import losses as loss_registry
from tinysight.training.networks import freeze, initial_model
from tinysight.training.objective.base import Objective, Term, Terms

_OUTPUTS = ("scores", "distances")


class Detect(Objective):
    """Scores, boxes and distances of a detector's cells.

    Args:
        network: to be trained.
        loss: which cell learns which box, and how wrong it is.
        frozen: modules that stay in evaluation mode.
    """

    def __init__(
        self, network: nn.Module, loss: DetectionLoss, frozen: Iterable[nn.Module] = ()
    ) -> None:
        super().__init__({"model": network}, TERMS, frozen=frozen)
        self.loss = loss

    def forward(self, batch: Batch) -> Terms:
        """The three terms of a batch with boxes (N, G, 5)."""
        sums = self.loss(self.heads(batch), batch.targets, self.epoch)
        count = len(batch.targets)
        whole = self._summed(torch.cat([sums.divisors, sums.divisors.new_tensor([count])]))
        divisors = whole[:-1].clamp(min=1.0) if self.loss.bounded else whole[:-1]
        # A step weighs each process by its share of the images, which the whole sum must not feel.
        values = sums.values / (divisors * (count / whole[-1]))
        return {name: Term(1.0, v) for name, v in zip(TERMS, values.unbind(), strict=True)}

    def heads(self, batch: Batch) -> Heads:
        """What the network gives of a batch, in float32."""
        found = self.outputs("model", batch, _OUTPUTS)
        distances = found.get("distances")
        height, width = batch.images.shape[2:]
        at = cells(height, width, distances.device)
        sides = expected_distances(distances)
        boxes = to_boxes(sides * at.strides[:, None], at.centres)
        return Heads(found.get("scores"), distances, found.logits, boxes, sides, *at)

    def join(self, images: Tensor) -> Tensor | None:
        """Take part in the sum of the divisors, too."""
        zero = super().join(images)
        self._summed(torch.zeros(4, device=images.device))
        return zero

    def join_normalisation(self, images: Tensor) -> Tensor:
        """As the base, of what a detector gives."""
        found = self.outputs("model", Batch(images, images.new_zeros(0), ()), _OUTPUTS)
        return (found.get("scores").sum() + found.get("distances").sum()) * 0.0

    def _summed(self, values: Tensor) -> Tensor:
        if self._processes is not None and self._processes.world > 1:
            self._processes.sum(values)
        return values


def detect(recipe: Recipe, samples: SampleList) -> Detect:
    """The detector and the loss of a recipe, fresh or with the pretrained weights that it names.

    Args:
        recipe: resolved, with its label names.
        samples: the training images.

    Raises:
        ConfigError: the loss is not one of boxes, or images are to be mixed.
        CheckpointError: the pretrained weights do not fit.
    """
    if recipe.transforms.batch:
        raise ConfigError("transforms.batch", "images with boxes cannot be mixed", "remove it")
    loss = loss_registry.build(recipe.loss.spec, "loss") if recipe.loss else None
    if not isinstance(loss, DetectionLoss):
        hint = "loss: {name: simota}, or task_aligned"
        raise ConfigError("loss", "a detector needs one loss of boxes", hint)
    network = initial_model(recipe)
    frozen = freeze(network, recipe.model.freeze, recipe.model.freeze_statistics)
    return Detect(network, loss, frozen)

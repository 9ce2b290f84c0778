"""Recognition networks: backbone, neck and head, as PP-ShiTu composes them.

The head knows the identities of the training data and is left behind afterwards; what a gallery
compares is the embedding, of length 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from tinysight.errors import join
from tinysight.models.base import Backbone
from tinysight.models.outputs import Outputs
from tinysight.registry import backbones, heads, necks

if TYPE_CHECKING:
    from tinysight.models.detector import PicoDet
    from tinysight.models.heads import Head, Neck


class RecognitionNetwork(nn.Module):
    """Backbone, neck and head. The names of its weights start with `backbone.`, `neck.`, `head.`.

    Args:
        backbone: without a classifier (`num_classes=0`).
        neck: takes `backbone.features`; None leaves the backbone's vector as it is.
        head: takes `features`; None for a network that only embeds.

    Attributes:
        features: width of the embedding, E.
    """

    classifier_name = "head"
    takes_labels = True

    def __init__(
        self, backbone: Backbone, neck: Neck | None = None, head: Head | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.features = neck.features if neck else backbone.features
        self.decays_norm, self.undecayed = backbone.decays_norm, backbone.undecayed

    def lr_multiplier(self, name: str) -> float:
        """The factor that the learning rate of parameter `name` is multiplied by."""
        inside = name.removeprefix("backbone.")
        return self.backbone.lr_multiplier(inside) if inside != name else 1.0

    def outputs(
        self, x: Tensor, labels: Tensor | None = None, stages: Collection[str] = ()
    ) -> Outputs:
        """(N, 3, H, W) normalised images, and labels (N,) int64 for a head with a margin.

        The embedding may have any length. `stages` are names of the backbone's.
        """
        found = self.backbone.outputs(x, None, stages)
        assert found.pooled is not None
        embedding = self.neck(found.pooled) if self.neck else found.pooled
        if self.head is None:
            return Outputs(None, embedding, found.pooled, found.stages)
        classes = self.head.choose(labels)
        if classes is not None and labels is not None:
            labels = torch.searchsorted(classes, labels)
        logits = self.head(embedding, labels, classes)
        return Outputs(logits, embedding, found.pooled, found.stages, classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Outputs:
        """`outputs` without the feature maps."""
        return self.outputs(x, labels)

    def vectors(self, x: Tensor) -> Outputs:
        """`outputs` without the logits: the head is not computed."""
        pooled: Tensor = self.backbone(x)
        return Outputs(None, self.neck(pooled) if self.neck else pooled, pooled)

    def own_name(self, name: str) -> str:
        """`name`, but for the classifier of PaddleClas' backbone, which is a linear neck here.

        `origin_layer` is what its networks with tanh at their end call their classifier.
        """
        stem = f"backbone.{self.backbone.classifier_name}."
        if not (hasattr(self.neck, "fc") and name.startswith(stem)):
            return name
        return f"neck.fc.{name.removeprefix(stem).removeprefix('origin_layer.')}"

    def reparameterize(self) -> None:
        """Fold the branches of the backbone that only training needs; in place."""
        self.backbone.reparameterize()


Network: TypeAlias = "Backbone | RecognitionNetwork | PicoDet"
"""What a recipe's `model` describes: a classifier, a backbone with neck and head, or a detector."""


def build_recognizer(
    backbone: Mapping[str, Any],
    neck: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None,
    num_classes: int,
    where: str = "",
) -> RecognitionNetwork:
    """A recogniser with fresh weights from the specs of its parts: a name and options each.

    Args:
        backbone: spec of the network, whose classifier is left out.
        neck: spec of the neck, if there is one.
        head: spec of the head, if there is one.
        num_classes: identities that the head tells apart.
        where: place of the three in a recipe, for messages.

    Raises:
        ConfigError: an unknown name, or an option that the part does not have.
    """
    trunk: Backbone = backbones.build(backbone, join(where, "backbone"), num_classes=0)
    middle: Neck | None = None
    if neck is not None:
        middle = necks.build(neck, join(where, "neck"), in_features=trunk.features)
    found = RecognitionNetwork(trunk, middle)
    if head is not None:
        sizes = {"in_features": found.features, "num_classes": num_classes}
        found.head = heads.build(head, join(where, "head"), **sizes)
    return found

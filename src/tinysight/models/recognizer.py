"""Recognition networks: backbone, neck and head, as PP-ShiTu composes them.

The head knows the identities of the training data and is left behind afterwards; what a gallery
compares is the embedding, of length 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.errors import UnknownName, join
from tinysight.models.base import Backbone
from tinysight.models.outputs import Outputs
from tinysight.registry import backbones, fold, heads, necks

if TYPE_CHECKING:
    from tinysight.models.heads import Head, Neck


class Variant(NamedTuple):
    """Specs of the three parts, as a recipe would give them."""

    backbone: Mapping[str, Any]
    neck: Mapping[str, Any]
    head: Mapping[str, Any]
    identities: int


VARIANTS = {
    "generalrecognition_pplcnet_x2_5": Variant(
        {"name": "pplcnet_x2_5"},
        {"name": "fc", "features": 512},
        {"name": "arc_margin", "margin": 0.2, "scale": 30.0},
        185_341,
    ),
    "generalrecognitionv2_pplcnetv2_base": Variant(
        {"name": "pplcnetv2_base_shitu", "last_channels": 512},
        {"name": "bn_neck"},
        {"name": "fc", "bias": False, "init_std": 0.001},
        192_612,
    ),
}
"""PP-ShiTu and PP-ShiTuV2, with the number of identities that their published weights know."""


class Recognizer(nn.Module):
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

        The embedding may have any length; `normalize` makes it 1. `stages` are names of the backbone's.
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

    def embed(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E) embeddings of length 1; the head is not computed."""
        return normalize(self.vectors(x).get("embedding"))

    def reparameterize(self) -> None:
        """Fold the branches of the backbone that only training needs; in place."""
        self.backbone.reparameterize()


Network: TypeAlias = Backbone | Recognizer
"""What a recipe's `model` describes: a classifier, or a backbone with neck and head."""


def normalize(features: Tensor) -> Tensor:
    """(N, E) -> the same directions with Euclidean length 1; their products are cosines."""
    return F.normalize(features, dim=1)


def build_recognizer(
    backbone: Mapping[str, Any],
    neck: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None,
    num_classes: int,
    where: str = "",
) -> Recognizer:
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
    found = Recognizer(trunk, middle)
    if head is not None:
        sizes = {"in_features": found.features, "num_classes": num_classes}
        found.head = heads.build(head, join(where, "head"), **sizes)
    return found


def create_recognizer(name: str, num_classes: int | None = None) -> Recognizer:
    """A published recognition network with fresh weights, in training mode.

    Args:
        name: of `VARIANTS`; case and separators do not matter.
        num_classes: identities that the head tells apart; 0 leaves the head out, None takes the
            number of the published weights, whose head alone has 100 million parameters.

    Raises:
        UnknownName: no such network; the error names the nearest.
    """
    found = next((n for n in VARIANTS if fold(n) == fold(name)), None)
    if found is None:
        raise UnknownName("recognition network", name, VARIANTS, "create_recognizer")
    row = VARIANTS[found]
    count = row.identities if num_classes is None else num_classes
    return build_recognizer(row.backbone, row.neck, row.head if count else None, count)

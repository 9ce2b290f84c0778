"""Recognition networks: backbone, neck and head, as PP-ShiTu composes them.

The head knows the identities of the training data and is left behind afterwards; what a gallery
compares is the embedding, of length 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from tinysight.errors import UnknownName
from tinysight.models.base import Backbone
from tinysight.models.heads import Head
from tinysight.models.necks import Neck
from tinysight.registry import backbones, fold, heads, necks


class Recognition(NamedTuple):
    """What a recognition network computes of N images."""

    backbone: Tensor
    """(N, D): before the neck."""
    features: Tensor
    """(N, E): behind it, of any length; `normalize` makes embeddings of them."""
    logits: Tensor | None
    """(N, K): the head's; None without one."""


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
        neck: takes `backbone.features`.
        head: takes `neck.features`; None for a network that only embeds.
    """

    classifier_name = "head"

    def __init__(self, backbone: Backbone, neck: Neck, head: Head | None = None) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.decays_norm, self.undecayed = backbone.decays_norm, backbone.undecayed

    def lr_multiplier(self, name: str) -> float:
        """The factor that the learning rate of parameter `name` is multiplied by."""
        inside = name.removeprefix("backbone.")
        return self.backbone.lr_multiplier(inside) if inside != name else 1.0

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Recognition:
        """(N, 3, H, W) normalised images, and labels (N,) int64 for a head with a margin."""
        vector = self.backbone(x)
        features = self.neck(vector)
        logits = None if self.head is None else self.head(features, labels)
        return Recognition(vector, features, logits)

    def embed(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E) embeddings of length 1; the head is not computed."""
        return normalize(self.neck(self.backbone(x)))

    def reparameterize(self) -> None:
        """Fold the branches of the backbone that only training needs; in place."""
        self.backbone.reparameterize()


def normalize(features: Tensor) -> Tensor:
    """(N, E) -> the same directions with Euclidean length 1; their products are cosines."""
    return F.normalize(features, dim=1)


def build_recognizer(
    backbone: Mapping[str, Any],
    neck: Mapping[str, Any],
    head: Mapping[str, Any] | None,
    num_classes: int,
) -> Recognizer:
    """A recogniser with fresh weights from the specs of its parts: a name and options each.

    Raises:
        ConfigError: an unknown name, or an option that the part does not have.
    """
    trunk: Backbone = backbones.build(backbone, "backbone", num_classes=0)
    middle: Neck = necks.build(neck, "neck", in_features=trunk.features)
    if head is None:
        return Recognizer(trunk, middle)
    top: Head = heads.build(head, "head", in_features=middle.features, num_classes=num_classes)
    return Recognizer(trunk, middle, top)


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

"""What every backbone offers: logits, feature maps by stage, the vector before the classifier."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, get_type_hints

from torch import Tensor, nn

from tinysight.models.layers import Activation, DownscaleDropout, init_weights
from tinysight.models.outputs import Outputs
from tinysight.registry import backbones


class Backbone(nn.Module):
    """A classification network in three parts: trunk, pooled vector, linear classifier.

    A family sets the class variables and `features` (the width of the vector before the
    classifier), and calls `build_classifier` where its state dict has the classifier.
    """

    trunk: tuple[str, ...]
    """Sub-modules from image to last feature map, in order."""
    stage_names: tuple[str, ...]
    """Those of the trunk that end a stage: what a detector or a distillation loss taps."""
    stage_prefixes: tuple[tuple[str, ...], ...] = ()
    """Name prefixes of the parameters that each value of `lr_mults` belongs to."""
    classifier_name: ClassVar[str] = "fc"
    decays_norm: ClassVar[bool] = False
    """Whether weight decay reaches the gain and bias of batch normalisation; PaddleClas decides
    by family.
    """

    undecayed: ClassVar[tuple[str, ...]] = ()
    """Endings of the names of further parameters that weight decay does not reach."""

    input_size: int = 224
    """Side of the square images, pixels, that the published numbers of the network are for."""

    left_out: tuple[str, ...] = ()
    """Beginnings of the names of entries that weights of the whole network have besides."""

    features: int
    lr_mults: tuple[float, ...] | None = None

    def build_classifier(self, num_classes: int) -> nn.Module:
        """Linear layer to `num_classes`; 0 classes make the network return the vector before it,
        (N, D).
        """
        if num_classes < 0:
            raise ValueError(f"num_classes is at least 0, got {num_classes}")
        return nn.Linear(self.features, num_classes) if num_classes else nn.Identity()

    def build_pooled_classifier(
        self, channels: int, num_classes: int, uniform: bool = False
    ) -> None:
        """Add the average over the map and the classifier, and draw all weights; call it last.

        Args:
            channels: width of the pooled vector.
            num_classes: width of the logits; 0 leaves the classifier out.
            uniform: draw the classifier's weights within 1 / sqrt(channels), not as `init_weights` does.
        """
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.features = channels
        classifier = self.build_classifier(num_classes)
        self.add_module(self.classifier_name, classifier)
        init_weights(self)
        if uniform and isinstance(classifier, nn.Linear):
            nn.init.uniform_(classifier.weight, -(channels**-0.5), channels**-0.5)

    def set_lr_mults(self, values: tuple[float, ...] | None) -> None:
        """Learning-rate multipliers by stage; 0 keeps the weights of a stage as they are.

        Raises:
            ValueError: not one value for each of `stage_prefixes`, or a negative one.
        """
        if values is not None and len(values) != len(self.stage_prefixes):
            raise ValueError(f"lr_mults has {len(self.stage_prefixes)} values, got {len(values)}")
        if values is not None and min(values) < 0:
            raise ValueError(f"lr_mults are at least 0, got {list(values)}")
        self.lr_mults = values

    def lr_multiplier(self, name: str) -> float:
        """The factor that the learning rate of parameter `name` is multiplied by."""
        for prefixes, value in zip(self.stage_prefixes, self.lr_mults or (), strict=False):
            if name.startswith(prefixes):
                return value
        return 1.0

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, h, w): the last feature map."""
        for _, y in self._walk(x):
            x = y
        return x

    def forward_stages(self, x: Tensor) -> Mapping[str, Tensor]:
        """(N, 3, H, W) -> feature map by stage name, finest first."""
        return {name: y for name, y in self._walk(x) if name in self.stage_names}

    def outputs(
        self, x: Tensor, labels: Tensor | None = None, stages: Collection[str] = ()
    ) -> Outputs:
        """(N, 3, H, W) -> the logits of `forward` and what they are computed from.

        Args:
            x: normalised images.
            labels: of no use to a backbone.
            stages: names of the feature maps to keep, of `stage_names`.
        """
        kept = {}
        if stages:
            for name, y in self._walk(x):
                x = y
                if name in stages:
                    kept[name] = y
        else:
            x = self.forward_features(x)
        vector = self.pre_logits(x)
        return Outputs(self.get_submodule(self.classifier_name)(vector), vector, vector, kept)

    def vectors(self, x: Tensor) -> Outputs:
        """`outputs` without the logits: the classifier is not computed."""
        vector = self.pre_logits(self.forward_features(x))
        return Outputs(None, vector, vector)

    def _walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name in self.trunk:
            x = self.get_submodule(name)(x)
            yield name, x

    def reparameterize(self) -> None:
        """Fold branches that only training needs, where the family has some; in place.

        The output in evaluation stays, up to rounding. Training on is no longer the same.
        """
        for module in list(self.modules()):
            fold = getattr(module, "reparameterize", None)
            if module is not self and callable(fold):
                fold()

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) of `forward_features` -> (N, D), exactly what the classifier takes."""
        x: Tensor = self.avg_pool(features)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> logits (N, num_classes)."""
        vector = self.pre_logits(self.forward_features(x))
        return self.get_submodule(self.classifier_name)(vector)  # type: ignore[no-any-return]


class LastConvBackbone(Backbone):
    """The head that PaddleClas' light families share, behind a trunk of a family's own.

    Average over the map, 1 x 1 convolution without normalisation, activation, dropout, classifier.
    """

    def build_head(
        self,
        channels: int,
        num_classes: int,
        last_channels: int | None,
        dropout: float,
        act: Activation = nn.ReLU,
        bias: bool = False,
    ) -> None:
        """Add the head and draw all weights; call it last.

        Args:
            channels: of the last feature map.
            num_classes: width of the logits; 0 leaves the classifier out.
            last_channels: width of the 1 x 1 convolution; None leaves it, its activation and the
                dropout out.
            dropout: share of its outputs dropped in training (see `DownscaleDropout`).
            act: activation behind it.
            bias: whether it has one.
        """
        self.last_conv: nn.Module = nn.Identity()
        self.last_act: nn.Module = nn.Identity()
        self.dropout: nn.Module = nn.Identity()
        if last_channels is not None:
            self.last_conv = nn.Conv2d(channels, last_channels, 1, bias=bias)
            self.last_act = act()
            self.dropout = DownscaleDropout(dropout)
        self.build_pooled_classifier(last_channels or channels, num_classes)

    def pre_logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D), in evaluation already scaled by 1 - dropout."""
        x: Tensor = self.dropout(self.last_act(self.last_conv(self.avg_pool(features))))
        return x.flatten(1)


def register_variant(
    name: str,
    network: type[Backbone],
    summary: str,
    fixed: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Register `network` with `fixed` arguments as `name`; the other parameters stay a recipe's to set.

    Args:
        name: the registered name.
        network: the class; the ranges in its constructor's signature are those of the recipe.
        summary: what the variant is, for the documentation.
        fixed: arguments that no recipe may change.
        defaults: parameters with a default of this variant's own.
    """
    hints = get_type_hints(network.__init__, include_extras=True)
    own = dict(defaults or {})
    parameters = [
        p.replace(annotation=hints[p.name], default=own.get(p.name, p.default))
        for p in list(inspect.signature(network).parameters.values())
        if p.name not in fixed
    ]

    def build(*args: Any, **options: Any) -> Backbone:
        given = dict(zip((p.name for p in parameters), args, strict=False))
        return network(**{**own, **given, **options, **fixed})

    build.__name__, build.__module__ = name, network.__module__
    build.__doc__ = f"{summary}; the arguments are those of `{network.__name__}`."
    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    build.__annotations__ = {p.name: p.annotation for p in parameters}
    backbones.register(name)(build)

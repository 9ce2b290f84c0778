"""Networks of the package timm, where it is installed, behind the interface of ours.

timm is no dependency: it needs torchvision. Nothing here is imported from it before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from annotated_types import Ge, Lt
from torch import Tensor

from tinysight.errors import ConfigError, MissingDependency, UnknownName
from tinysight.models.base import Backbone
from tinysight.registry import backbones

PREFIX = "timm"


class TimmBackbone(Backbone):
    """A network of timm. The names of its weights are timm's, behind `network.`.

    Feature maps by stage and learning-rate multipliers are not offered; the last feature map has the
    shape that timm gives it, (N, positions, C) for some transformers.

    Args:
        network: as `timm.create_model` returns it.
    """

    trunk = ()
    stage_names = ()

    network: Any

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        about = network.default_cfg
        self.features = int(getattr(network, "head_hidden_size", network.num_features))
        self.input_size = int(about["input_size"][-1])
        # Of the instance: each network of timm names its classifier in its own way.
        self.classifier_name = f"network.{about['classifier']}"  # type: ignore[misc]

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the last feature map, in timm's layout."""
        y: Tensor = self.network.forward_features(x)
        return y

    def forward_stages(self, x: Tensor) -> Mapping[str, Tensor]:
        """Not offered.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("forward_stages", "a network of timm has no feature maps by stage here")

    def pre_logits(self, features: Tensor) -> Tensor:
        """The last feature map -> (N, D), what the classifier takes."""
        y: Tensor = self.network.forward_head(features, pre_logits=True)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> logits (N, num_classes)."""
        logits: Tensor = self.network(x)
        return logits


def create_timm(
    name: str, num_classes: int, options: Mapping[str, Any], where: str = ""
) -> TimmBackbone:
    """The network that timm calls `name`, with fresh weights.

    Args:
        name: as in `timm.list_models()`, without our prefix.
        num_classes: width of the logits; 0 leaves the classifier out.
        options: keyword arguments of `timm.create_model`, such as `drop_path_rate`.
        where: for messages; default: the call of `create_model`.

    Raises:
        MissingDependency: timm is not installed.
        UnknownName: timm has no such network.
        ConfigError: timm refuses an option.
    """
    where = where or f"create_model('{PREFIX}/{name}')"
    timm = _timm(name, where)
    try:
        network = timm.create_model(name, num_classes=num_classes, **options)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(where, str(error) or "timm refuses these options") from error
    return TimmBackbone(network)


def from_recipe(name: str, where: str) -> Callable[..., TimmBackbone]:
    """What a recipe's `timm/<name>` builds, with the options that a recipe may set.

    Raises:
        MissingDependency: timm is not installed.
        UnknownName: timm has no such network.
    """
    _timm(name, where)

    def network(
        num_classes: int = 1000,
        drop_rate: Annotated[float, Ge(0), Lt(1)] = 0.0,
        drop_path_rate: Annotated[float, Ge(0), Lt(1)] = 0.0,
        img_size: Annotated[int, Ge(1)] | None = None,
    ) -> TimmBackbone:
        """A network of timm; options that keep their defaults are not passed on."""
        options = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate, "img_size": img_size}
        given = {key: value for key, value in options.items() if value}
        return create_timm(name, num_classes, given, where)

    return network


def _timm(name: str, where: str) -> Any:
    """The package, if it has a network called `name`."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "timm", None, where) from None
    if not timm.is_model(name):
        raise UnknownName("network of timm", name, timm.list_models(), where)
    return timm


backbones.provide(PREFIX, from_recipe)

"""What a network computes of a batch, by name: what losses, evaluation and export choose from.

A plain backbone returns its logits alone when it is called, which is all that prediction needs. `run_network` gives
the same forward pass with its intermediate values, at no further cost, where somebody wants them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Outputs(NamedTuple):
    """The outputs of one network for N images.

    A detector adds what it computes, such as scores and distances of each level, to `stages` under names of its own.
    """

    logits: Tensor | None = None
    """(N, K): a score for each class, before softmax or sigmoid; None without a classifier."""
    embedding: Tensor | None = None
    """(N, E): the vector that recognition compares: behind the neck, or what the classifier takes."""
    pooled: Tensor | None = None
    """(N, D): the backbone's vector, in front of the neck; without one the same as `embedding`."""
    stages: Mapping[str, Tensor] = _NOTHING
    """Feature maps (N, C, h, w) by stage, those that were asked for."""

    def get(self, name: str) -> Tensor:
        """The output called `name`: a field, or a key of `stages`.

        Raises:
            KeyError: the network did not compute it.
        """
        value = getattr(self, name) if name in FIELDS else self.stages.get(name)
        if value is None:
            raise KeyError(name)
        found: Tensor = value
        return found

    def float(self) -> Outputs:
        """The same in float32: half precision is for the network, not for the losses."""

        def single(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.float()

        stages = {name: value.float() for name, value in self.stages.items()}
        return Outputs(single(self.logits), single(self.embedding), single(self.pooled), stages)


FIELDS = ("logits", "embedding", "pooled")


def run_network(
    network: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    wanted: Collection[str] = ("logits",),
) -> Outputs:
    """Run any network once.

    Args:
        network: a backbone, a recogniser, or a module from images to logits.
        images: normalised, (N, 3, H, W).
        labels: class ids or identities (N,) int64, for heads with a margin.
        wanted: names of the outputs that are needed: `logits`, `embedding`, `pooled`, or stages. Others may be missing.
    """
    takes_labels = getattr(network, "takes_labels", False)
    compute = getattr(network, "outputs", None)
    if compute is None or (set(wanted) <= {"logits"} and not takes_labels):
        found: Tensor | Outputs = network(images)
        return found if isinstance(found, Outputs) else Outputs(found)
    stages = tuple(name for name in wanted if name not in FIELDS)
    result: Outputs = compute(images, labels if takes_labels else None, stages)
    return result


def output_names(network: nn.Module) -> list[str]:
    """The names that `wanted` of `run_network` may have."""
    if not hasattr(network, "outputs"):
        return ["logits"]
    backbone = getattr(network, "backbone", network)
    return [*FIELDS, *getattr(backbone, "stage_names", ())]

"""What a network computes of a batch, by name: what losses, evaluation and export choose from.

A plain backbone returns its logits alone when it is called, which is all that prediction needs. `run_network` gives
the same forward pass with its intermediate values, at no further cost, where somebody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    classes: Tensor | None = None
    """(K,) int64: ids of the classes that `logits` are of, ascending; None for all."""

    def get(self, name: str) -> Tensor:
        """The output called `name`: a field, or a key of `stages`.

        Raises:
            KeyError: the network did not compute it.
        """
        value: Tensor | None = getattr(self, name) if name in FIELDS else self.stages.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def float(self) -> Outputs:
        """The same in float32: half precision is for the network, not for the losses."""
        logits, embedding, pooled = (None if v is None else v.float() for v in self[:3])
        stages = {name: value.float() for name, value in self.stages.items()}
        return Outputs(logits, embedding, pooled, stages, self.classes)


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
        wanted: names of the outputs that are needed: `logits`, `embedding`, `pooled`, or stages; any other name is
            that of a module of the network, or of its backbone. Others may be missing.
    """
    trunk = getattr(getattr(network, "backbone", network), "trunk", ())
    given = {*FIELDS, *trunk, *getattr(network, "named_outputs", ())}
    inner = [name for name in wanted if name not in given]
    if not inner:
        return _run(network, images, labels, wanted)
    kept: dict[str, Tensor] = {}
    hooks = [
        network_module(network, name).register_forward_hook(partial(_keep, kept, name))
        for name in inner
    ]
    try:
        found = _run(network, images, labels, [name for name in wanted if name not in inner])
    finally:
        for hook in hooks:
            hook.remove()
    return found._replace(stages={**found.stages, **kept})


def network_module(network: nn.Module, name: str) -> nn.Module:
    """The module called `name` of a network, or of its backbone; raises AttributeError."""
    found: nn.Module = getattr(network, "backbone", network).get_submodule(name)
    return found


def _keep(kept: dict[str, Tensor], name: str, _: nn.Module, given: object, output: Tensor) -> None:
    kept[name] = output


def _run(
    network: nn.Module, images: Tensor, labels: Tensor | None, wanted: Collection[str]
) -> Outputs:
    takes_labels = getattr(network, "takes_labels", False)
    compute = getattr(network, "outputs", None)
    if compute is None or (set(wanted) <= {"logits"} and not takes_labels):
        found: Tensor | Outputs = network(images)
        return found if isinstance(found, Outputs) else Outputs(found)
    stages = tuple(name for name in wanted if name not in FIELDS)
    own = labels if takes_labels else None
    alone = own is None and not stages and "logits" not in wanted
    result: Outputs = network.vectors(images) if alone else compute(images, own, stages)  # type: ignore[operator]
    return result


def output_names(network: nn.Module) -> list[str]:
    """The names that `wanted` of `run_network` may have."""
    if not hasattr(network, "outputs"):
        return ["logits"]
    backbone = getattr(network, "backbone", network)
    return [*FIELDS, *getattr(backbone, "stage_names", ())]


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: torch.softmax(outputs, dim=1),
    "sigmoid": torch.sigmoid,
    "normalize": lambda outputs: F.normalize(outputs, dim=1),
    "identity": lambda outputs: outputs,
}


def network_output(network: nn.Module, images: Tensor, source: str = "logits") -> Tensor:
    """What a task takes of a network, and no more computed than that needs.

    Args:
        network: any network that `run_network` runs.
        images: normalised, (N, C, H, W).
        source: name of the output.

    Raises:
        KeyError: the network has no such output.
    """
    return run_network(network, images, wanted=(source,)).get(source)


def activate(outputs: Tensor, activation: str = "softmax", temperature: float = 1.0) -> Tensor:
    """Scores of a network's outputs.

    Args:
        outputs: logits, an embedding or numbers, (N, K).
        activation: a name in `ACTIVATIONS`, as a task gives it.
        temperature: divides the outputs; 1 leaves the graph of an export without the division.
    """
    if temperature != 1.0:
        outputs = outputs / temperature
    return ACTIVATIONS[activation](outputs)

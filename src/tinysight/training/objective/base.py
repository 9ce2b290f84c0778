"""The interface between the training loop and what is trained.

The loop knows nothing of networks, labels or losses. It moves a batch to the device, asks the objective for its terms,
sums and logs them, changes the weights, and keeps the objective's state in the checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tinysight.config.schema import Train
from tinysight.data.loader import Batch
from tinysight.errors import ConfigError, nearest
from tinysight.models.outputs import Outputs, network_module, output_names, run_network
from tinysight.training.distributed import Processes

logger = logging.getLogger(__name__)

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Term(NamedTuple):
    """One summand of the training loss: its factor, and its mean over the batch, () float32."""

    weight: float
    value: Tensor


Terms: TypeAlias = Mapping[str, Term]


def total(terms: Terms) -> Tensor:
    """The weighted sum of the terms, ()."""
    values = (t.value if t.weight == 1.0 else t.value * t.weight for t in terms.values())
    first = next(values)
    return sum(values, start=first)


class Objective(nn.Module):
    """Networks and what they are trained for; a subclass implements `forward`.

    Every parameter of the module that requires a gradient is optimised: those of the networks, and those of losses
    (centres, for example) that a subclass holds as sub-modules. Its buffers, such as memories of embeddings, are saved
    with the checkpoint, which leaves out only networks that no step changes: they are read from where they came from.
    Everything random has to come from PyTorch's generator, which is seeded for each batch.

    Args:
        networks: by name; names contain no dot.
        terms: names of the terms that `forward` returns, in the order in which they are logged.
        evaluated: name of the network that is evaluated, averaged (`train.ema`), kept as the best and exported; the
            one that the recipe's `model` describes. Default: the first.
        frozen: modules that stay in evaluation mode; see `networks.freeze`.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        terms: Iterable[str],
        evaluated: str = "",
        frozen: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)
        self.terms = tuple(terms)
        self.evaluated = evaluated or next(iter(networks))
        self._prefix = f"networks.{self.evaluated}."
        self._held = tuple(frozen)
        self._calls: dict[str, Callable[..., Outputs]] = {}
        self._half: torch.dtype | None = None
        self._processes: Processes | None = None
        self._synchronised = False
        self._device = "cpu"

    @property
    def network(self) -> nn.Module:
        """The network that is evaluated and exported, with the weights that the optimiser changes."""
        return self.networks[self.evaluated]

    @property
    def learning(self) -> dict[str, nn.Module]:
        """The networks with at least one learning parameter, by name."""
        found = self.networks.items()
        return {n: m for n, m in found if any(p.requires_grad for p in m.parameters())}

    def forward(self, batch: Batch) -> Terms:
        """The terms of a batch, which lies on the device of the networks.

        A term that a batch gives no value for may be missing. A parameter that has no gradient in the first step
        should have none later.
        """
        raise NotImplementedError

    def outputs(self, name: str, batch: Batch, wanted: Collection[str] = ("logits",)) -> Outputs:
        """What network `name` computes of a batch, in float32.

        Args:
            name: of the network.
            batch: whose class ids, where it has some, are passed to heads with a margin.
            wanted: names of the outputs that are needed.
        """
        labels = batch.targets if batch.targets.ndim == 1 else None
        call = self._calls.get(name) or partial(run_network, self.networks[name])
        half = self._half
        with torch.autocast(self._device, half or torch.bfloat16, enabled=half is not None):
            found = call(batch.images, labels, wanted)
        return found.float()

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows (N, ...) of all processes, in their order; a gradient reaches this one's own."""
        group = self._processes
        if group is None or group.world == 1:
            return rows
        counts = rows.new_zeros(group.world, dtype=torch.int64)
        counts[group.rank] = len(rows)
        group.sum(counts)
        start, total_rows = int(counts[: group.rank].sum()), int(counts.sum())
        found = rows.new_zeros((total_rows, *rows.shape[1:]))
        found[start : start + len(rows)] = rows.detach()
        group.sum(found)
        return torch.cat([found[:start], rows, found[start + len(rows) :]])

    def join(self, images: Tensor) -> Tensor | None:
        """Take part, without an image of one's own, in what the processes do together within a forward pass.

        Returns:
            A loss of 0 whose backward pass has to be run; None where there is nothing to take part in.
        """
        return self.join_normalisation(images) if self._synchronised else None

    def join_normalisation(self, images: Tensor) -> Tensor:
        """A loss of 0 of no image, (0, 3, h, w): in synchronised normalisation all processes take part."""
        nothing = Batch(images, images.new_zeros(0, dtype=torch.int64), ())
        parts = [self.outputs(name, nothing).logits for name in self.learning]
        return torch.stack([part.sum() * 0.0 for part in parts if part is not None]).sum()

    def own_state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps besides the evaluated network: other networks that change, and losses, by name."""
        skipped = [f"networks.{name}." for name, m in self.networks.items() if self._is_fixed(m)]
        skipped.append(self._prefix)
        found = self.state_dict()
        return {k: v for k, v in found.items() if not k.startswith(tuple(skipped))}

    def unshared_buffers(self) -> dict[str, Tensor]:
        """The saved buffers that each process fills from its own share of the batches, by name.

        Those of batch normalisation are averaged over the processes.
        """
        norms = [f"{name}." for name, m in self.named_modules() if isinstance(m, _BatchNorm)]
        kept = {*self.own_state(), *(k for k in self.state_dict() if k.startswith(self._prefix))}
        found = {k: v for k, v in self.named_buffers() if k in kept}
        return {k: v for k, v in found.items() if not k.startswith(tuple(norms))}

    def set_up(self, settings: Train, processes: Processes) -> None:
        """Move everything to the device of this process, and run the networks as the recipe's `train` says.

        Raises:
            ConfigError: `sync_bn` is not possible here.
        """
        self._processes = processes
        if settings.sync_bn:
            self._synchronise(processes)
            self._synchronised = processes.world > 1
        self.to(processes.device)
        for network in self.networks.values():
            # The overload with a memory format is missing from the annotations of `to`.
            network.to(memory_format=memory_format(settings))  # type: ignore[call-overload]
        self._half, self._device = _HALF.get(settings.precision), processes.device.type
        if settings.compile:
            calls = {n: partial(run_network, network) for n, network in self.networks.items()}
            self._calls = {name: torch.compile(call) for name, call in calls.items()}

    def _synchronise(self, processes: Processes) -> None:
        """Make every batch normalisation use the batches of all processes together."""
        if processes.world == 1:
            logger.info("train.sync_bn: one process normalises over its own batch, as without it")
            return
        if processes.device.type != "cuda":
            what = "normalising over the batches of all processes needs a GPU for each"
            raise ConfigError("train.sync_bn", what, "set it to false to train on CPUs")
        if any(getattr(module, "biased", False) for module in self.modules()):
            what = "synchronised normalisation keeps the unbiased variance"
            raise ConfigError("train.sync_bn", what, "set model.batch_norm_variance: unbiased")
        held = [name for name, module in self.named_modules() if self.is_frozen(module)]
        for name, network in list(self.networks.items()):
            found = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            self.networks[name] = found
        self._held = tuple(map(self.get_submodule, held))

    def train(self, mode: bool = True) -> Objective:
        """As `nn.Module.train`, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._held:
            module.training = False
        return self

    def _is_fixed(self, network: nn.Module) -> bool:
        """True for a network that no step changes: no parameter learns, no statistics move."""
        if any(p.requires_grad for p in network.parameters()):
            return False
        norms = (m for m in network.modules() if isinstance(m, _BatchNorm))
        return all(self.is_frozen(m) for m in norms)

    def is_frozen(self, module: nn.Module) -> bool:
        """True for a module that stays in evaluation mode."""
        return any(module is held for held in self._held)


def memory_format(settings: Train) -> torch.memory_format:
    """How the networks and their images lie in memory."""
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def check_output(network: nn.Module, name: str, where: str) -> str:
    """`name`, which is an output of the network.

    Raises:
        ConfigError: it is none; names the nearest.
    """
    known = output_names(network)
    if name not in known:
        try:
            network_module(network, name)
        except AttributeError:
            what = f"the network has no output {name!r}"
            raise ConfigError(where, what, nearest(name, known)) from None
    return name

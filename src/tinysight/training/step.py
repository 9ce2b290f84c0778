"""One training step: forward and backward over a group of batches, then one change of the weights.

A step takes `train.accumulate` batches of every process and weighs each by its images, so that the gradient is
the mean over all images of the step, however they are divided. The last step of an epoch takes what is left; no
step reaches into the next epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tinysight.config.schema import Train
from tinysight.data.loader import Batch
from tinysight.training.distributed import Processes
from tinysight.training.freeze import Frozen, norms_in_training
from tinysight.training.optim import clip_each_norm

_STEP = 4  # stream of randomness; the loader has 1, 2 and 5, the first weights 3
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Stepper:
    """Changes the weights of a network.

    Args:
        model: the network.
        forward: the same, perhaps compiled.
        loss: of logits and targets, the mean over a batch.
        optimizer: of the parameters that learn.
        settings: the recipe's.
        frozen: the parts that do not learn.
        processes: that share each batch.

    Attributes:
        totals: sum of the losses and number of the images since it was last set to zero, (2,) float64 on the
            device, so that a step need not wait for them.
        scaler: of the loss, for fp16.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Callable[[Tensor], Tensor],
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: Train,
        frozen: Frozen,
        processes: Processes,
    ) -> None:
        self.totals = torch.zeros(2, dtype=torch.float64, device=processes.device)
        self.scaler = torch.amp.GradScaler(
            processes.device.type, enabled=settings.precision == "fp16"
        )
        self._model = model
        self._forward = forward
        self._loss = loss
        self._optimizer = optimizer
        self._settings = settings
        self._frozen = frozen
        self._processes = processes
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._shared = _Shared(self._parameters, _statistics(model, frozen), processes)

    def __call__(self, batches: Iterable[Batch], images: int, first: int) -> bool:
        """One step; no change where unreadable images leave no batch that normalisation can learn from.

        Args:
            batches: of this process.
            images: of all batches of all processes, the unreadable ones too.
            first: number of the first batch, which the random numbers of the network follow from.

        Returns:
            Whether the weights were changed.
        """
        self._optimizer.zero_grad(set_to_none=True)
        self._model.train()
        self._frozen.hold()
        sums = torch.zeros(2, dtype=torch.float64, device=self.totals.device)
        seen = 0
        for number, batch in enumerate(batches, first):
            count = len(batch.targets)
            if count == 0 or (count == 1 and batch.unreadable):
                if self._settings.sync_bn and self._processes.world > 1:
                    self._take_part()
                continue
            torch.manual_seed(seed(_STEP, self._settings.seed, number, self._processes.rank))
            sums[0] += self._backward(batch, count / images) * count
            seen += count
        if self._processes.world > 1:
            sums[1] = seen
            self._shared.exchange(sums, images)
        elif not seen:
            return False
        else:
            sums[1] = seen
            if seen != images:
                _scale(self._parameters, images / seen)
        self.totals += sums
        self._change()
        return True

    def _backward(self, batch: Batch, weight: float) -> Tensor:
        """Add the gradient of a batch; its mean loss, () float64."""
        settings, device = self._settings, self._processes.device
        images = batch.images.to(device, non_blocking=True)
        images = images.contiguous(memory_format=memory_format(settings))
        targets = batch.targets.to(device, non_blocking=True)
        half = _HALF.get(settings.precision)
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            logits = self._forward(images)
        loss = self._loss(logits.float(), targets)
        part = loss if weight == 1.0 else loss * weight
        self.scaler.scale(part).backward()
        mean: Tensor = loss.detach().double()
        return mean

    def _take_part(self) -> None:
        """Pass no image: the others wait in each normalisation for the statistics of all."""
        nothing = torch.empty((0, 3, 32, 32), device=self._processes.device)
        (self._forward(nothing).sum() * 0.0).backward()  # type: ignore[no-untyped-call]

    def _change(self) -> None:
        settings = self._settings
        if settings.clip_norm is not None:
            self.scaler.unscale_(self._optimizer)
            if settings.clip == "global":
                nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
            else:
                clip_each_norm(self._parameters, settings.clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()


class _Shared:
    """What the processes tell each other in a step: one vector of float32, summed."""

    def __init__(
        self, parameters: Sequence[Tensor], statistics: Sequence[Tensor], processes: Processes
    ) -> None:
        self._parameters = parameters
        self._statistics = statistics
        self._processes = processes
        self._learning: list[Tensor] | None = None  # those that the network uses

    def exchange(self, sums: Tensor, images: int) -> None:
        """Sum the gradients and `sums` (loss, images), average the running statistics."""
        learning = self._learning or self._used()
        active = sums[1:].sign().float()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        parts += [value * active for value in self._statistics]
        vector = torch.cat([part.reshape(-1) for part in (*parts, sums.float(), active)])
        self._processes.sum(vector)
        found = list(_split(vector, [*parts, sums, active]))
        *values, total, actives = found
        factor = images / total[1].clamp(min=1.0)  # 1 where all images could be read
        for parameter, value in zip(learning, values, strict=False):
            parameter.grad = torch.empty_like(parameter).copy_(value).mul_(factor)
        for old, value in zip(self._statistics, values[len(learning) :], strict=True):
            old.copy_(torch.where(actives > 0, value / actives.clamp(min=1.0), old))
        sums.copy_(total)

    def _used(self) -> list[Tensor]:
        """The parameters that have a gradient in any process. Found once: the others have none ever."""
        flags = torch.tensor([float(p.grad is not None) for p in self._parameters])
        flags = flags.to(self._processes.device)
        self._processes.sum(flags)
        pairs = zip(self._parameters, flags.tolist(), strict=True)
        self._learning = [parameter for parameter, flag in pairs if flag]
        return self._learning


def memory_format(settings: Train) -> torch.memory_format:
    """How the network and its images lie in memory."""
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def seed(*parts: int) -> int:
    """A seed of PyTorch's that follows from `parts`; trailing zeros do not count."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


@contextmanager
def numerics(settings: Train) -> Iterator[None]:
    """Whether a GPU may choose the fastest way or has to take one that always gives the same bits."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    if settings.deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # read at the first use of a GPU
    torch.use_deterministic_algorithms(settings.deterministic or before[0])
    torch.backends.cudnn.deterministic = settings.deterministic
    torch.backends.cudnn.benchmark = not settings.deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]


def _statistics(model: nn.Module, frozen: Frozen) -> list[Tensor]:
    norms = norms_in_training(model, frozen)
    found = [value for norm in norms for value in (norm.running_mean, norm.running_var)]
    return [value for value in found if value is not None]


def _scale(parameters: Sequence[Tensor], factor: float) -> None:
    grads = [p.grad for p in parameters if p.grad is not None]
    torch._foreach_mul_(grads, factor)


def _split(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pieces of `vector`, in the shapes of `like`."""
    start = 0
    for tensor in like:
        end = start + tensor.numel()
        yield vector[start:end].view(tensor.shape)
        start = end

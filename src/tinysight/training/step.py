"""One training step: forward and backward over a group of batches, then one change of the weights.

A step takes `train.accumulate` batches of every process and weighs each by its images, so that the gradient is
the mean over all images of the step, however they are divided. The last step of an epoch takes what is left; no
step reaches into the next epoch.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from tinysight.config.schema import Train
from tinysight.data.loader import Batch
from tinysight.training.distributed import Processes
from tinysight.training.objective import Objective, total
from tinysight.training.objective.base import checked_terms, memory_format
from tinysight.training.optim import clip_each_norm

_STEP = 4  # stream of randomness; the loader has 1, 2 and 5, the first weights 3


class Stepper:
    """Changes the weights of an objective's networks and losses.

    Args:
        objective: set up on the device of the processes.
        optimizers: of the parameters that learn.
        settings: the recipe's.
        processes: that share each batch.

    Attributes:
        totals: sums over the images since it was last set to zero, (2,) float64: of the loss and of 1; with several
            terms, (2 + T,), also of each. On the device, so that a step need not wait for them.
        scaler: of the loss, for fp16.
        logged: names of the terms that `totals` has sums of.
    """

    def __init__(
        self,
        objective: Objective,
        optimizers: Sequence[Optimizer],
        settings: Train,
        processes: Processes,
    ) -> None:
        self.logged = objective.terms if len(objective.terms) > 1 else ()
        size = 2 + len(self.logged)
        self.totals = torch.zeros(size, dtype=torch.float64, device=processes.device)
        half = settings.precision == "fp16"
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=half)
        self._objective = objective
        self._optimizers = optimizers
        self._settings = settings
        self._processes = processes
        self._parameters = [p for p in objective.parameters() if p.requires_grad]
        self._exchange = _Exchange(self._parameters, running_statistics(objective), processes)

    def __call__(self, batches: Iterable[Batch], images: int, first: int) -> bool:
        """One step; no change where unreadable images leave no batch that normalisation can learn from.

        Args:
            batches: of this process.
            images: number of images in all batches of all processes, the unreadable ones too.
            first: number of the first batch, which the random numbers of the network follow from.

        Returns:
            Whether the weights were changed.
        """
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        self._objective.train()
        sums = torch.zeros_like(self.totals)
        seen = 0
        for number, batch in enumerate(batches, first):
            count = len(batch.targets)
            if count == 0 or (count == 1 and batch.unreadable):
                if self._processes.world > 1:
                    nothing = torch.zeros((0, 3, 32, 32), device=self._processes.device)
                    if (zero := self._objective.join(nothing)) is not None:
                        zero.backward()  # type: ignore[no-untyped-call]
                continue
            torch.manual_seed(seed(_STEP, self._settings.seed, number, self._processes.rank))
            self._backward(batch, count / images, sums)
            seen += count
        sums[1] = seen
        if self._processes.world > 1:
            self._exchange(sums, images)
        elif not seen:
            return False
        elif seen != images:
            grads = [p.grad for p in self._parameters if p.grad is not None]
            torch._foreach_mul_(grads, images / seen)
        self.totals += sums
        self._change()
        return True

    def _backward(self, batch: Batch, weight: float, sums: Tensor) -> None:
        """Add the gradient of a batch, and its losses times its images to `sums`."""
        device = self._processes.device
        images = batch.images.to(device, non_blocking=True)
        images = images.contiguous(memory_format=memory_format(self._settings))
        targets = batch.targets.to(device, non_blocking=True)
        found = self._objective(batch._replace(images=images, targets=targets))
        terms = checked_terms(found, self._objective.terms)
        loss = total(terms)
        part = loss if weight == 1.0 else loss * weight
        self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
        count = len(batch.targets)
        sums[0] += loss.detach().double() * count
        for place, name in enumerate(self.logged, 2):
            if name in terms:
                sums[place] += terms[name].value.detach().double() * count

    def _change(self) -> None:
        settings = self._settings
        if settings.clip_norm is not None:
            for optimizer in self._optimizers:
                self.scaler.unscale_(optimizer)
            if settings.clip == "global":
                nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
            else:
                clip_each_norm(self._parameters, settings.clip_norm)
        for optimizer in self._optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()


class _Exchange:
    """What the processes tell each other in a step: one vector of float32, summed."""

    def __init__(
        self, parameters: Sequence[Tensor], statistics: Sequence[Tensor], processes: Processes
    ) -> None:
        self._parameters = parameters
        self._statistics = statistics
        self._processes = processes
        self._learning: list[Tensor] | None = None  # those that the networks use

    def __call__(self, sums: Tensor, images: int) -> None:
        """Sum the gradients and `sums` (loss, images, terms), average the running statistics."""
        learning = self._learning or self._used()
        active = sums[1:2].sign().float()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        parts += [value * active for value in self._statistics]
        vector = torch.cat([part.reshape(-1) for part in (*parts, sums.float(), active)])
        self._processes.sum(vector)
        found = list(_split(vector, [*parts, sums, active]))
        *values, totals, actives = found
        factor = images / totals[1].clamp(min=1.0)  # 1 where all images could be read
        for parameter, value in zip(learning, values, strict=False):
            parameter.grad = torch.empty_like(parameter).copy_(value).mul_(factor)
        for old, value in zip(self._statistics, values[len(learning) :], strict=True):
            old.copy_(torch.where(actives > 0, value / actives.clamp(min=1.0), old))
        sums.copy_(totals)

    def _used(self) -> list[Tensor]:
        """The parameters that have a gradient in any process. Found once: the others have none ever."""
        flags = torch.tensor([float(p.grad is not None) for p in self._parameters])
        flags = flags.to(self._processes.device)
        self._processes.sum(flags)
        pairs = zip(self._parameters, flags.tolist(), strict=True)
        self._learning = [parameter for parameter, flag in pairs if flag]
        return self._learning


def running_statistics(objective: Objective) -> list[Tensor]:
    """Mean and variance of each batch normalisation that changes them in training."""
    norms = (m for m in objective.modules() if isinstance(m, _BatchNorm))
    learning = (m for m in norms if m.track_running_stats and not objective.is_frozen(m))
    found = [value for norm in learning for value in (norm.running_mean, norm.running_var)]
    return [value for value in found if value is not None]


def seed(*parts: int) -> int:
    """A seed of PyTorch's that follows from `parts`; trailing zeros do not count."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors for the next ones of this process; other C libraries are left alone.

    Otherwise the pages of large tensors are given back, asked for again and cleared in each step
    (`benchmarks/freed_memory.py`).
    """
    if os.name == "posix" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        library.mallopt(mmap_threshold, 1 << 30)
        library.mallopt(trim_threshold, (1 << 31) - 1)


@contextmanager
def numerics(settings: Train) -> Iterator[None]:
    """Whether a GPU may choose the fastest way or has to take one that always gives the same bits."""
    keep_freed_memory()
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    if settings.deterministic:
        # Read at the first use of a GPU.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(settings.deterministic or before[0])
    cudnn.deterministic = settings.deterministic
    cudnn.benchmark = not settings.deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.deterministic, cudnn.benchmark = before[1:]


def _split(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """The pieces of `vector`, in the shapes of `like`."""
    start = 0
    for tensor in like:
        end = start + tensor.numel()
        yield vector[start:end].view(tensor.shape)
        start = end

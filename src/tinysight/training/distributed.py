"""One run on several processes, on one machine or many, as `torchrun` starts them.

Every process works on its share of each batch, and the gradients are summed in one message a step, together with
the loss, the number of images and the running statistics of batch normalisation. That is plain `all_reduce`
instead of `DistributedDataParallel`: the networks are small, so that hiding the message behind the backward pass
gains little, and in return accumulation needs no second mode, a process whose images were all unreadable takes
part without a forward pass, and a checkpoint has the same names.

Between processes go tensors and JSON, nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tinysight.errors import ConfigError, DistributedError

# A process waits as long for another, which may be evaluating. One that has died is noticed at once.
_TIMEOUT = timedelta(hours=6)
_RELEASE_TIMEOUT = 10.0  # seconds, at most, for gloo's threads to let go


class Processes:
    """The processes of a run, seen from one of them. With one alone, nothing is sent.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes, at least 1.
        device: the device that this process computes on.
    """

    def __init__(self, rank: int, world: int, device: torch.device) -> None:
        self.rank = rank
        self.world = world
        self.device = device
        self._sent: deque[Tensor] = deque()  # those that a thread of gloo may still hold

    @property
    def main(self) -> bool:
        """True for the process that evaluates, writes and reports."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Sum of all processes' tensors, in place; the same bits in each."""
        if self.world > 1:
            with self._reporting_loss():
                dist.all_reduce(self._noted(tensor))

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the tensors of the first one, in place."""
        if self.world > 1:
            with self._reporting_loss():
                for tensor in tensors:
                    dist.broadcast(self._noted(tensor), 0)

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The named tensors that the first process gives; those of the others are not looked at."""
        if self.world == 1:
            return dict(tensors)
        described = {k: [str(v.dtype).removeprefix("torch."), *v.shape] for k, v in tensors.items()}
        found = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), device=self.device)
            for name, (dtype, *shape) in self.broadcast_json(described).items()
        }
        if self.main:
            found = {name: value.to(self.device) for name, value in tensors.items()}
        self.broadcast_([value.contiguous() for value in found.values()])
        return found

    def broadcast_bytes(self, content: bytes) -> bytes:
        """The bytes that the first process gives; those of the others are not looked at."""
        if self.world == 1:
            return content
        length = torch.tensor([len(content)], device=self.device)
        self.broadcast_([length])
        data = torch.zeros(int(length), dtype=torch.uint8)
        if self.main:
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else data
        data = data.to(self.device)
        self.broadcast_([data])
        return data.cpu().numpy().tobytes()

    def broadcast_json(self, value: Any) -> Any:
        """Plain data of the first process, as JSON gives it back."""
        if self.world == 1:
            return value
        return json.loads(self.broadcast_bytes(json.dumps(value).encode()))

    def gather(self, value: Any) -> list[Any]:
        """Plain data of every process, by rank, as JSON gives it back."""
        if self.world == 1:
            return [value]
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.world, dtype=torch.int64, device=self.device)
        lengths[self.rank] = len(content)
        self.sum(lengths)
        sizes = lengths.tolist()
        rows = torch.zeros(self.world, max(sizes), dtype=torch.int32, device=self.device)
        rows[self.rank, : len(content)] = content.to(self.device)
        self.sum(rows)
        texts = (row[:n] for row, n in zip(rows.cpu().numpy().astype("u1"), sizes, strict=True))
        return [json.loads(text.tobytes()) for text in texts]

    def close(self) -> None:
        """Leave the others.

        A thread of gloo lets go of a tensor a moment after the message is through, and through Python. Were Python
        ending by then, the process would be aborted; so that moment is waited for.
        """
        if self.world > 1:
            dist.destroy_process_group()
            until = time.monotonic() + _RELEASE_TIMEOUT
            while self._held() and time.monotonic() < until:
                time.sleep(0.001)

    def _noted(self, tensor: Tensor) -> Tensor:
        """The tensor by another name, whose holders can be counted."""
        self._held()
        self._sent.append(tensor.detach())
        return self._sent[-1]

    def _held(self) -> int:
        """How many of the tensors sent are still held."""
        while self._sent and self._sent[0]._use_count() == 1:  # type: ignore[attr-defined]
            self._sent.popleft()
        return len(self._sent)

    @contextmanager
    def _reporting_loss(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            where = f"process {self.rank} of {self.world}"
            what = "another process of this run has ended"
            raise DistributedError(where, what, "its own message says why") from error


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that `torchrun` started, or this one alone.

    Raises:
        ConfigError: the environment of `torchrun` is not complete, or a machine has fewer GPUs than processes.
        DistributedError: the processes do not find each other.
    """
    world = _number("WORLD_SIZE", 1)
    if world == 1:
        yield Processes(0, 1, _device(0))
        return
    rank, device = _number("RANK"), _device(_number("LOCAL_RANK"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        what = f"the processes do not find each other: {str(error).splitlines()[0]}"
        raise DistributedError(f"process {rank} of {world}", what) from error
    found = Processes(rank, world, device)
    try:
        yield found
    except Exception as error:
        _report_to_launcher(error)
        raise
    finally:
        found.close()


def is_main() -> bool:
    """True for the only process, or the first of those that `torchrun` started."""
    return _number("RANK", 0) == 0


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        what = f"should be a whole number, got {text!r}"
        raise ConfigError(name, what, "start the processes with torchrun")
    return int(text)


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        what = f"process {local_rank} of this machine has no GPU: {torch.cuda.device_count()} there"
        raise ConfigError("--nproc-per-node", what, "start one process a GPU")
    return torch.device("cuda", local_rank)


def _report_to_launcher(error: Exception) -> None:
    """`torchrun` ends with a summary, which names the error that it finds in this file."""
    if os.environ.get("TORCHELASTIC_ERROR_FILE") and not isinstance(error, DistributedError):
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        handler = get_error_handler()
        handler.initialize()
        handler.record_exception(error)

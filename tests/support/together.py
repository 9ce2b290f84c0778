"""Trains a small network for three steps on one or several processes, forked as `torchrun` would start them.

    python together.py WORLD OUT.safetensors

The network has no batch normalisation and no dropout before its last layer, so the number of processes must not matter;
a batch normalisation beside it shows what becomes of its running statistics. A batch holds twelve images; one of
them is unreadable in the second step, and in the third step the images are too few for every process.
"""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed
from safetensors.torch import save_file
from torch import Tensor, nn

from support.killing import free_port
from tinysight.config.schema import Component, Train
from tinysight.data.loader import Batch, Share
from tinysight.training.distributed import Processes, processes
from tinysight.training.objective import Supervised
from tinysight.training.objective.supervised import LossTerm
from tinysight.training.step import Stepper


class Network(nn.Module):
    classifier_name = "fc"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)  # of which no process has a gradient
        self.norm = nn.BatchNorm2d(3, momentum=1.0)

    def forward(self, x: Tensor) -> Tensor:
        self.norm(x)
        y: Tensor = self.fc(self.conv(x).relu().mean((2, 3)))
        return y


def batch(number: int, share: Share) -> Batch:
    rng = torch.Generator().manual_seed(number)
    images, targets = torch.randn(12, 3, 6, 6, generator=rng), torch.arange(12) % 3
    places = torch.arange(12 if number < 4 else 3)
    kept = torch.from_numpy(share.of(places.numpy()))
    gone = kept == 5 if number == 2 else torch.zeros_like(kept, dtype=torch.bool)
    unreadable = tuple((int(i), "gone") for i in kept[gone])
    kept = kept[~gone]
    return Batch(images[kept], targets[kept], unreadable)


def train(group: Processes) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = Network()
    options = {"accumulate": 2, "clip_norm": 0.05}
    settings = Train(epochs=1, optimizer=Component(name="sgd"), lr=0.5, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, weight_decay=0.1)
    objective = Supervised(model, {"loss": LossTerm(nn.CrossEntropyLoss())})
    objective.set_up(settings, group)
    stepper = Stepper(objective, [optimizer], settings, group)
    share = Share(group.rank, group.world)
    for first, count, images in ((0, 2, 24), (2, 2, 24), (4, 1, 3)):
        stepper((batch(n, share) for n in range(first, first + count)), images, first)
    return {**model.state_dict(), "totals": stepper.totals}


def main() -> None:
    world, out = int(sys.argv[1]), sys.argv[2]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
            os.environ |= {key: str(value) for key, value in numbers.items()}
            with processes() as group:
                found = train(group)
                own = ("norm.num_batches_tracked",)  # each counts its own
                sums = {k: v.double().sum().item() for k, v in found.items() if k not in own}
                everyone = group.gather(sums)
                assert all(other == everyone[0] for other in everyone), everyone
                if group.main:
                    save_file(found, out)
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main()

"""What `fit` adds to the bare step: PP-LCNet x1.0, batch 64, 176 px, the same batches for both.

    python benchmarks/train_overhead.py [--batch 64] [--size 176] [--steps 10] [--turns 5]

Bare is what one would write by hand: forward, loss, backward, `optimizer.step()`. The other side is what the loop of
`fit` does for a step, from taking the batch to counting it: the learning rate, random state, weights by image,
running loss, unreadable images, progress. Batches are prepared before and lie in memory, so that neither waits for a
loader; evaluation and checkpoints are not steps. The two take turns on the same network. Processor time is shown as
well as wall clock, and the best turn as well as the median: where the machine does much else, they say more.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tinysight.config import Recipe
from tinysight.config.load import check_tree
from tinysight.data.loader import Batch
from tinysight.training.callbacks import Progress
from tinysight.training.distributed import Processes
from tinysight.training.folder import RunFolder
from tinysight.training.loop import train_step
from tinysight.training.optim import set_lr
from tinysight.training.run import Run, build_run

SEED = 0


def main() -> None:
    """Run both in turns and print their times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=176, help="pixels")
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--ema", action="store_true", help="average the weights too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinysight-benchmark-") as folder:
        recipe = helmet_like(Path(folder), args)
        run = build_run(
            recipe, RunFolder(f"{folder}/run"), False, Processes(0, 1, torch.device("cpu"))
        )
        rng = torch.Generator().manual_seed(SEED)
        images = torch.randn(args.batch, 3, args.size, args.size, generator=rng)
        images = images.contiguous(memory_format=torch.channels_last)  # as the loader gives them
        batch = Batch(images, torch.arange(args.batch) % 2, ())
        sides = {"fit": loop(run, batch), "bare": bare(run, batch)}
        times = measure(sides, args)
    print(table(times, args))


def helmet_like(root: Path, args: argparse.Namespace) -> Recipe:
    """A recipe with the helmet's settings, of images that only its lists need."""
    cv2.imwrite(str(root / "a.png"), np.zeros((8, 8, 3), np.uint8))
    for name, count in (("train", args.batch * 100), ("val", 2)):
        (root / f"{name}.txt").write_text("".join(f"a.png {i % 2}\n" for i in range(count)))
    sizes = [{"name": "resize", "size": [args.size, args.size]}, {"name": "normalize"}]
    tree: dict[str, Any] = {
        "task": "overhead",
        "data": {
            "root": str(root),
            "labels": ["wearing", "not_wearing"],
            "train": {"list": "train.txt"},
            "eval": {"list": "val.txt"},
            "batch_size": args.batch,
        },
        "transforms": {"train": sizes, "eval": sizes},
        "model": {"backbone": {"name": "pplcnet_x1_0"}},
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
        "train": {
            "epochs": 40,
            "lr": 1e-9,
            "channels_last": True,
            "optimizer": {"name": "sgd", "weight_decay": 3e-5},
            **({"ema": {}} if args.ema else {}),
        },
        "metrics": [{"name": "topk"}],
        "export": {"postprocess": {"name": "topk"}},
    }
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    return recipe


def loop(run: Run, batch: Batch) -> Callable[[], None]:
    """A step as the loop of `fit` makes it."""
    progress = Progress(False)
    progress.on_begin(run)

    def step() -> None:
        train_step(run, iter([batch]))
        progress.on_step(run)

    return step


def bare(run: Run, batch: Batch) -> Callable[[], None]:
    """The same by hand, on the same network."""
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    set_lr(run.optimizer, 1e-9)

    def step() -> None:
        run.optimizer.zero_grad(set_to_none=True)
        loss_of(run.objective.network(batch.images), batch.targets).backward()
        run.optimizer.step()

    return step


def measure(
    sides: dict[str, Callable[[], None]], args: argparse.Namespace
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of wall clock and of processor time a step, by turn; the first turn is not kept."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(args.turns + 1):
        for name in sorted(sides, reverse=bool(turn % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(args.steps):
                sides[name]()
            took = (time.perf_counter() - wall, time.process_time() - cpu)
            if turn:
                found[name].append((took[0] / args.steps, took[1] / args.steps))
    return found


def table(times: dict[str, list[tuple[float, float]]], args: argparse.Namespace) -> str:
    """Medians and best turns, and what the loop adds."""
    rows = ["| | | fit | bare | fit adds |", "|---|---|---|---|---|"]
    for i, kind in enumerate(("wall", "cpu")):
        for word, of in (("median", statistics.median), ("best", min)):
            ours, bare = (of([t[i] for t in times[k]]) for k in ("fit", "bare"))
            adds = f"{(ours / bare - 1) * 100:.1f} %"
            row = f"| {kind} | {word} | {ours * 1e3:.0f} ms | {bare * 1e3:.0f} ms | {adds} |"
            rows.append(row)
    what = f"batch {args.batch}, {args.size} px, {torch.get_num_threads()} threads"
    where = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    return "\n".join([*rows, f"{what}; {where}"])


if __name__ == "__main__":
    main()

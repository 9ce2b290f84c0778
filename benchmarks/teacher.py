"""A step with a teacher that is remembered, and with the same teacher run anew: the same pair, batches and weights.

    python benchmarks/teacher.py [--student pplcnet_x1_0] [--teacher pplcnet_x2_5] [--batch 32] [--size 96] [--turns 6]

Batches lie in memory; the loader is no part of a step. The two take turns; shown are the medians of wall clock and
processor time, what the teacher costs in units of the student, and the loss of both, which has to be the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from tinysight.config.load import check_tree
from tinysight.data.loader import Batch
from tinysight.models import cost_of, create_model
from tinysight.training.distributed import Processes
from tinysight.training.folder import RunFolder
from tinysight.training.run import Run, build_run
from train_overhead import helmet_like, measure


def main() -> None:
    """Run both in turns and print their times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--student", default="pplcnet_x1_0")
    parser.add_argument("--teacher", default="pplcnet_x2_5")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=96, help="pixels")
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--turns", type=int, default=6)
    args = parser.parse_args()
    args.ema = False
    with tempfile.TemporaryDirectory(prefix="tinysight-benchmark-") as folder:
        sides, losses = {}, dict[str, list[float]]()
        for name, views in (("remembered", 1), ("run anew", None)):
            run = taught(Path(folder) / name.replace(" ", "_"), args, views)
            sides[name] = loop(run, batch_of(args), losses.setdefault(name, []))
        times = measure(sides, args)
    print("| | wall clock, ms | processor, ms | images/s |\n|---|---|---|---|")
    wall = {}
    for name, rows in times.items():
        wall[name], cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        print(
            f"| {name} | {wall[name] * 1e3:.1f} | {cpu * 1e3:.1f} | {args.batch / wall[name]:.0f} |"
        )
    ratios = [b[0] / a[0] for a, b in zip(times["remembered"], times["run anew"], strict=True)]
    busy = [b[1] / a[1] for a, b in zip(times["remembered"], times["run anew"], strict=True)]
    both = (statistics.median(ratios), statistics.median(busy))
    print(f"\nratio {both[0]:.2f} of wall clock, {both[1]:.2f} of processor time")
    macs = [cost_of(name).macs for name in (args.student, args.teacher)]
    print(f"teacher {macs[1] / macs[0]:.1f} times the student's multiplications")
    last = [values[-1] for values in losses.values()]
    print(f"losses of the last step {last[0]:.6f} and {last[1]:.6f}")


def taught(root: Path, args: argparse.Namespace, views: int | None) -> Run:
    """A run of a student with a frozen teacher, its first weights by the seed."""
    root.mkdir()
    tree = helmet_like(root, args).model_dump(mode="json", exclude_defaults=True)
    tree.pop("loss")
    torch.manual_seed(1)
    torch.save(create_model(args.teacher, 2).state_dict(), root / "teacher.pt")
    tree["model"] = {"backbone": {"name": args.student, "dropout": 0.0}}
    teacher = {"backbone": {"name": args.teacher}, "pretrained": str(root / "teacher.pt")}
    tree |= {
        "teachers": {"teacher": teacher},
        "losses": [{"name": "dml", "between": ["student", "teacher"]}],
    }
    tree["train"] |= {"views": views, "lr": 0.01}
    recipe, problems = check_tree(tree)
    assert recipe is not None, problems
    return build_run(recipe, RunFolder(root / "run"), False, Processes(0, 1, torch.device("cpu")))


def batch_of(args: argparse.Namespace) -> Batch:
    """The images of one batch, which come again in every step."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(args.batch, 3, args.size, args.size, generator=rng)
    places = torch.stack([torch.arange(args.batch), torch.zeros(args.batch, dtype=torch.int64)], 1)
    layout = images.contiguous(memory_format=torch.channels_last)
    return Batch(layout, torch.arange(args.batch) % 2, (), places=places)


def loop(run: Run, batch: Batch, losses: list[float]) -> Callable[[], None]:
    """A training step that notes its loss; the first fills the memory."""

    def step() -> None:
        before = float(run.step.totals[0])
        run.step([batch], len(batch.targets), 0)
        losses.append((float(run.step.totals[0]) - before) / len(batch.targets))

    step()
    return step


if __name__ == "__main__":
    main()

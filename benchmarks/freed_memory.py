"""A training step with the memory of freed tensors kept by the process, as `fit` does it, and given back to the system.

    python benchmarks/freed_memory.py [--networks NAME ...] [--size 192] [--batch 32] [--pairs 5]

Forward, loss, backward and AdamW on one batch, channels last, all cores; each side is a process of its own, and they
take turns. For each network: the median step of both in seconds, the median and the ends of the ratios of the pairs
(given back / kept), processor time spent in the system, and the largest memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

STEPS = 4  # after one that warms up


def main() -> None:
    """Run both in turns and print a line a network, or be one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    networks = ["efficientnet_lite0", "pplcnet_x1_0", "pphgnetv2_b0"]
    parser.add_argument("--networks", nargs="+", default=networks)
    parser.add_argument("--size", type=int, default=192, help="pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--be", choices=("kept", "given back"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be:
        print(json.dumps(steps(args.networks[0], args.size, args.batch, args.be == "kept")))
        return
    for network in args.networks:
        sides: dict[str, list[dict[str, Any]]] = {"given back": [], "kept": []}
        for pair in range(args.pairs):
            for side in sorted(sides, reverse=pair % 2 == 1):
                words = [sys.executable, __file__, "--networks", network, "--be", side]
                words += ["--size", str(args.size), "--batch", str(args.batch)]
                done = subprocess.run(words, capture_output=True, check=True)
                sides[side].append(json.loads(done.stdout))
        print(f"{network:20s} {line(sides['given back'], sides['kept'])}", flush=True)


def line(back: list[dict[str, Any]], kept: list[dict[str, Any]]) -> str:
    """The figures of one network."""
    ratios = [b["step"] / k["step"] for b, k in zip(back, kept, strict=True)]
    times, system, most = (
        tuple(statistics.median(row[key] for row in side) for side in (back, kept))
        for key in ("step", "system", "mib")
    )
    return (
        f"{times[0]:.3f} -> {times[1]:.3f} s, {statistics.median(ratios):.2f}x"
        f" ({min(ratios):.2f} to {max(ratios):.2f}); system {system[0]:.2f} -> {system[1]:.2f} s;"
        f" {most[0]:.0f} -> {most[1]:.0f} MiB"
    )


def steps(network: str, size: int, batch: int, kept: bool) -> dict[str, float]:
    """Seconds of a step and of the system in it, and the largest memory, of this process."""
    import torch

    from tinysight.models import create_model
    from tinysight.training.step import keep_freed_memory

    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    model = create_model(network, 5).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels, optimizer = torch.zeros(batch, dtype=torch.long), torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(STEPS):
        step()
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    system = (after.ru_stime - before.ru_stime) / STEPS
    return {"step": seconds / STEPS, "system": system, "mib": after.ru_maxrss / 1024}


if __name__ == "__main__":
    main()

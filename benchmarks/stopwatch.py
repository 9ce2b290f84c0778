"""Whether the figures of `tinysight bench` are those of an outside stopwatch.

    python benchmarks/stopwatch.py [--model NAME|FOLDER] [--images FOLDER] [--rounds 5]

Bench and stopwatch take turns. The stopwatch times whole processes of `tinysight predict`: one
image, and a folder once and four times over; the time of an image is what three more folders add.
Printed are the medians and their ratio; the exit code is 1 if one is off by more than 5 %. On a busy
machine it will be.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from predict import SAMPLES, SCRIPT, make_images
from tinysight.concurrency import usable_cores
from tinysight.pipelines.bench import watch

LIMIT = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both ways and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="clarity_assessment")
    parser.add_argument("--images", default=str(SAMPLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=250)
    args = parser.parse_args(arguments)
    said: dict[str, list[float]] = {"cold start, ms": [], "an image of a folder, ms": []}
    seen: dict[str, list[float]] = {name: [] for name in said}
    with tempfile.TemporaryDirectory(prefix="tinysight-stopwatch-") as folder:
        paths = make_images(args.images, Path(folder), args.count)
        for _ in range(args.rounds):
            card = bench(args.model, folder, args.count)
            said["cold start, ms"].append(card["cold"]["seconds"] * 1e3)
            said["an image of a folder, ms"].append(card["best"]["ms"])
            colds = [seconds(args.model, [paths[0]]) for _ in range(5)]
            seen["cold start, ms"].append(statistics.median(colds) * 1e3)
            more = seconds(args.model, [folder] * 4) - seconds(args.model, [folder])
            seen["an image of a folder, ms"].append(more / (3 * args.count) * 1e3)
    worst = 0.0
    for name in said:
        ours, outside = statistics.median(said[name]), statistics.median(seen[name])
        worst = max(worst, abs(ours / outside - 1))
        print(
            f"{name:28s} bench {ours:8.2f}   stopwatch {outside:8.2f}   ratio {ours / outside:.3f}"
        )
    return int(worst > LIMIT)


def bench(model: str, folder: str, count: int) -> dict[str, dict[str, float]]:
    """The card of `tinysight bench` without a sweep."""
    command = [sys.executable, "-c", SCRIPT, "bench", model, "--images", folder, "--json",
               "--no-sweep", "--limit", str(count)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    card: dict[str, dict[str, float]] = json.loads(done.stdout)
    return card


def seconds(model: str, sources: list[str]) -> float:
    """Wall-clock time of a whole prediction."""
    workers = ["--workers", str(usable_cores())]
    command = [sys.executable, "-c", SCRIPT, "predict", *sources, "--model", model, "--json"]
    return watch([*command, *workers]).seconds


if __name__ == "__main__":
    sys.exit(main())

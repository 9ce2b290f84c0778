"""Time two installations of tinysight against each other, such as a change and the commit before it.

    python benchmarks/before_after.py --before ../old/.venv/bin/python --after .venv/bin/python [--pairs 20]

Four cases: `--help`, one image cold, a folder of 250 images of mixed sizes, and a training step (an epoch of PP-LCNet
x0.25 at 96 px by the command, without its start). The two take turns in alternating order, so that whatever else the
machine does meets both. For each case: the median of the paired ratios after / before, and the interval that holds it
with 95 % (of the sign test, so no distribution is assumed).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

SCRIPT = "from tinysight.cli import script; script()"
SIZES = ((640, 480), (1280, 720), (480, 640), (1920, 1080), (320, 240))
RECIPE = """
base: _base/pulc.yaml
task: timed
data:
  root: {root}
  labels: [sharp, blurred]
  train: {{list: train.txt}}
  eval: {{list: eval.txt}}
  batch_size: 32
  workers: 0
transforms:
  train:
    - {{name: random_resized_crop, size: 96}}
    - {{name: normalize}}
  eval:
    - {{name: resize, short: 96}}
    - {{name: center_crop, size: 96}}
    - {{name: normalize}}
model: {{backbone: {{name: pplcnet_x0_25}}}}
train: {{epochs: 3, lr: 0.01, eval_from: 3}}
"""


def main() -> None:
    """Run the cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--before", required=True, metavar="PYTHON", help="of one installation")
    parser.add_argument("--after", required=True, metavar="PYTHON", help="of the other")
    parser.add_argument("--pairs", type=int, default=20, help="of runs, for each case")
    parser.add_argument("--only", nargs="*", help="names of cases: help, cold, folder, train")
    args = parser.parse_args()
    pythons = (args.before, args.after)
    with tempfile.TemporaryDirectory() as name:
        cases = _cases(Path(name))
        print(f"{'case':8} {'before':>10} {'after':>10}  ratio (95 %)", flush=True)
        for case in args.only or cases:
            seconds = _pairs(cases[case], pythons, args.pairs)
            ratios = sorted(after / before for before, after in seconds)
            low, high = _interval(ratios)
            before, after = (statistics.median(column) for column in zip(*seconds, strict=True))
            middle = statistics.median(ratios)
            print(
                f"{case:8} {before:9.3f}s {after:9.3f}s  {middle:.3f} ({low:.3f} to {high:.3f})",
                flush=True,
            )


def _cases(folder: Path) -> dict[str, Callable[[str], float]]:
    images = _photographs(folder / "images", 250, SIZES)
    _write_lists(_photographs(folder / "small", 704, [(128, 96)])[0].parent)
    recipe = folder / "timed.yaml"
    recipe.write_text(RECIPE.format(root=folder / "small"), "utf-8")
    model = ["--model", "clarity_assessment"]
    return {
        "help": lambda python: _run(python, "--help"),
        "cold": lambda python: _run(python, "predict", str(images[0]), *model),
        "folder": lambda python: _run(python, "predict", str(folder / "images"), *model),
        "train": lambda python: _epoch(python, recipe, folder),
    }


def _pairs(
    case: Callable[[str], float], pythons: tuple[str, str], count: int
) -> list[tuple[float, float]]:
    for python in pythons:  # files and byte code are in memory from here on
        case(python)
    seconds = []
    for i in range(count):
        before, after = pythons
        if i % 2:
            b, a = case(after), case(before)
            seconds.append((a, b))
        else:
            seconds.append((case(before), case(after)))
    return seconds


def _run(python: str, *words: str) -> float:
    started = time.perf_counter()
    subprocess.run([python, "-c", SCRIPT, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _epoch(python: str, recipe: Path, folder: Path) -> float:
    """Seconds of the second epoch by the run's own clock; the first one warms up."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        subprocess.run(
            [python, "-c", SCRIPT, "train", "-c", str(recipe), "--out", f"{run}/r"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
        )
        lines = Path(run, "r", "metrics.jsonl").read_text("utf-8").splitlines()
        return float(json.loads(lines[1])["seconds"])


def _interval(ratios: list[float]) -> tuple[float, float]:
    """The order statistics that hold the median with 95 %."""
    n = len(ratios)
    below = 0.0
    for k in range(n // 2):
        below += math.comb(n, k) / 2**n
        if below > 0.025:
            return ratios[max(k - 1, 0)] if k else ratios[0], ratios[n - max(k, 1)]
    return ratios[0], ratios[-1]


def _photographs(folder: Path, count: int, sizes: Sequence[tuple[int, int]]) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        path = folder / f"{i:03}.jpg"
        cv2.imwrite(str(path), cv2.resize(coarse, (width, height)))
        paths.append(path)
    return paths


def _write_lists(folder: Path) -> None:
    lines = [f"{path.name} {i % 2}\n" for i, path in enumerate(sorted(folder.glob("*.jpg")))]
    (folder / "train.txt").write_text("".join(lines[:640]), "utf-8")
    (folder / "eval.txt").write_text("".join(lines[640:]), "utf-8")


if __name__ == "__main__":
    main()

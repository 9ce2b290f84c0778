"""Time `tinysight predict` against benchmarks/naive.py, as whole processes.

    python benchmarks/predict.py --model BUNDLE --images FOLDER [--pairs 15] [--json FILE]

Two cases: one picture, cold (imports, loading, answer, exit), and a folder of 250 pictures of
mixed sizes made of those in FOLDER. The two programs take turns, in alternating order, so that
whatever else the machine does meets both. Both answer the same pictures with the same network, and
their answers are compared first. A ratio below 1 means that tinysight is faster.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import tinysight
from tinysight.bundle import MODEL, Bundle
from tinysight.pipelines.sources import pictures
from tinysight.transforms import decode

SCRIPT = "import sys; from tinysight.cli import main; sys.exit(main())"  # as the installed command
SIZES = ((640, 480), (1280, 720), (480, 640), (1920, 1080), (320, 240))
EXPECTED = (
    {"name": "resize", "short": 256},
    {"name": "center_crop", "size": 224},
    {"name": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
)


def main() -> None:
    """Run both cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", required=True, help="a bundle with the PULC preprocessing")
    parser.add_argument("--images", required=True, help="folder of photographs")
    parser.add_argument("--pairs", type=int, default=15, help="runs of each, cold")
    parser.add_argument("--folder-pairs", type=int, default=5, help="runs of each, 250 pictures")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    for spec, expected in zip(bundle.manifest.transforms, EXPECTED, strict=True):
        if any(spec.get(k) != v for k, v in expected.items()):
            sys.exit(f"naive.py preprocesses otherwise: {spec} is not {expected}")
    compileall.compile_dir(Path(tinysight.__file__).parent, quiet=1)  # as an installation does
    work = Path(tempfile.mkdtemp(prefix="tinysight-benchmark-"))
    try:
        made = make_pictures(args.images, work, 250)
        cases = {
            "one picture, cold": (made[:1], args.pairs),
            "250 pictures": (made, args.folder_pairs),
        }
        compare_answers(bundle, made)
        found = {name: measure(bundle, paths, n) for name, (paths, n) in cases.items()}
    finally:
        shutil.rmtree(work)
    print(table(found))
    print(machine())
    if args.json:
        tree = {"machine": machine(), "version": tinysight.__version__, "cases": found}
        Path(args.json).write_text(json.dumps(tree, indent=2) + "\n")


def make_pictures(source: str, folder: Path, count: int) -> list[str]:
    """`count` JPEGs of five sizes, each another cut of a picture in `source`; always the same."""
    originals = [decode(p.data) for p in pictures(source) if isinstance(p.data, str)]
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        image, (width, height) = originals[i % len(originals)], SIZES[i % len(SIZES)]
        scale = max(width / image.shape[1], height / image.shape[0]) * rng.uniform(1, 1.3)
        size = (round(image.shape[1] * scale) + 1, round(image.shape[0] * scale) + 1)
        grown = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        top = int(rng.integers(grown.shape[0] - height + 1))
        left = int(rng.integers(grown.shape[1] - width + 1))
        cut = cv2.cvtColor(grown[top : top + height, left : left + width], cv2.COLOR_RGB2BGR)
        path = str(folder / f"{i:03d}.jpg")
        cv2.imwrite(path, cut, [cv2.IMWRITE_JPEG_QUALITY, 90])
        paths.append(path)
    return paths


def ours(bundle: Bundle, paths: list[str]) -> list[str]:
    """The command under test; one path, or all 250 as a user would name them: their folder."""
    source = paths[0] if len(paths) == 1 else str(Path(paths[0]).parent)
    return [sys.executable, "-c", SCRIPT, "predict", source, "--model", str(bundle.folder)]


def naive(bundle: Bundle, paths: list[str]) -> list[str]:
    """The yardstick."""
    script = str(Path(__file__).with_name("naive.py"))
    labels = ",".join(bundle.manifest.labels)
    return [sys.executable, script, str(bundle.folder / MODEL), labels, *paths]


def compare_answers(bundle: Bundle, paths: list[str]) -> None:
    """Exit unless both programs give the same best score to every picture, within 1e-4."""
    by_hand = [line.split("\t") for line in output(naive(bundle, paths)).splitlines()]
    answers = map(json.loads, output([*ours(bundle, paths), "--topk=1", "--json"]).splitlines())
    for (path, _, score), answer in zip(by_hand, answers, strict=True):
        if path != answer["filename"] or abs(float(score) - answer["scores"][0]) > 1e-4:
            sys.exit(f"the two disagree: {path} {score}, {answer}")


def measure(bundle: Bundle, paths: list[str], pairs: int) -> dict[str, list[float]]:
    """Seconds of wall clock and of processor time of both, in turns; the first turn is not kept."""
    programs = {"tinysight": ours(bundle, paths), "naive": naive(bundle, paths)}
    times: dict[str, list[float]] = {
        f"{p} {kind}": [] for p in programs for kind in ("wall", "cpu")
    }
    for turn in range(pairs + 1):
        for name in sorted(programs, reverse=bool(turn % 2)):
            wall, cpu = timed(programs[name])
            if turn:
                times[f"{name} wall"].append(wall)
                times[f"{name} cpu"].append(cpu)
    return times


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of wall clock and processor time of one process."""
    start, before = time.perf_counter(), os.times()
    output(command)
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def output(command: list[str]) -> str:
    """What a command prints; exits with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr}")
    return done.stdout


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Medians, and the median and quartiles of the ratio of each pair."""
    rows = ["| case | | tinysight | naive | ratio (median, quartiles) |", "|---|---|---|---|---|"]
    for case, times in found.items():
        for kind in ("wall", "cpu"):
            a, b = times[f"tinysight {kind}"], times[f"naive {kind}"]
            low, middle, high = statistics.quantiles(
                [x / y for x, y in zip(a, b, strict=True)], n=4
            )
            rows.append(
                f"| {case} | {kind} | {statistics.median(a) * 1e3:.0f} ms | "
                f"{statistics.median(b) * 1e3:.0f} ms | {middle:.2f} ({low:.2f} to {high:.2f}) |"
            )
    return "\n".join(rows)


def machine() -> str:
    """What it ran on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()

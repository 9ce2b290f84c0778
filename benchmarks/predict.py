"""Time `tinysight predict` against benchmarks/naive.py, as whole processes.

    python benchmarks/predict.py [--model NAME|FOLDER] [--images FOLDER] [--json FILE]
    python benchmarks/predict.py --tinysight .venv-base/bin/tinysight    # another installation

Two cases: one image, cold (imports, loading, answer, exit), and a folder of 250 images of
mixed sizes made of those in FOLDER. The two programs take turns, in alternating order, so that
whatever else the machine does meets both. Both answer the same images with the same network, and
their answers are compared first. A ratio below 1 means that tinysight is faster.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import tinysight
from tinysight.bundle import MODEL, Bundle
from tinysight.pipelines.sources import iter_images
from tinysight.transforms import decode

SCRIPT = "from tinysight.cli import script; script()"  # as the installed command
SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "clarity"
SIZES = ((640, 480), (1280, 720), (480, 640), (1920, 1080), (320, 240))


class Case(NamedTuple):
    """The same images for both programs."""

    name: str
    ours: list[str]
    naive: list[str]
    pairs: int


def main() -> None:
    """Run both cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="clarity_assessment", help="bundle: name or folder")
    parser.add_argument("--images", default=str(SAMPLES), help="folder of photographs")
    parser.add_argument("--tinysight", metavar="COMMAND", help="default: the code this one imports")
    parser.add_argument("--pairs", type=int, default=15, help="runs of each, one image")
    parser.add_argument("--folder-pairs", type=int, default=5, help="runs of each, 250 images")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    args = parser.parse_args()
    bundle = Bundle.load(args.model)
    work = Path(tempfile.mkdtemp(prefix="tinysight-benchmark-"))
    try:
        paths = make_images(args.images, work, 250)
        ours, naive = commands(bundle, args.tinysight)
        folder = Case("250 images", [*ours, str(work)], [*naive, *paths], args.folder_pairs)
        cold = Case("one image, cold", [*ours, paths[0]], [*naive, paths[0]], args.pairs)
        compare_answers(folder)
        found = {case.name: measure(case) for case in (cold, folder)}
    finally:
        shutil.rmtree(work)
    print(table(found))
    print(machine())
    if args.json:
        tree = {"machine": machine(), "version": tinysight.__version__, "cases": found}
        Path(args.json).write_text(json.dumps(tree, indent=2) + "\n")


def commands(bundle: Bundle, installed: str | None) -> tuple[list[str], list[str]]:
    """Both programs up to their images, run by the same Python."""
    model = ["predict", "--model", str(bundle.folder)]
    if installed:
        python = str(Path(installed).absolute().with_name("python"))
        ours = [installed, *model]
    else:
        compileall.compile_dir(Path(tinysight.__file__).parent, quiet=1)  # as an installer does
        python = sys.executable
        ours = [python, "-c", SCRIPT, *model]
    resize, *rest = bundle.manifest.transforms
    plain = [{k: spec[k] for k in ("name", "size") if k in spec} for spec in rest]
    if resize.get("short") != 256 or plain != [
        {"name": "center_crop", "size": 224},
        {"name": "normalize"},
    ]:
        sys.exit(f"naive.py preprocesses otherwise than this bundle: {bundle.manifest.transforms}")
    script = str(Path(__file__).with_name("naive.py"))
    labels = ",".join(bundle.manifest.labels)
    interpolation = str(resize.get("interpolation", "bilinear"))
    return ours, [python, script, str(bundle.folder / MODEL), labels, interpolation]


def make_images(source: str, folder: Path, count: int) -> list[str]:
    """`count` JPEGs of five sizes, each another cut of an image in `source`; always the same."""
    originals = [decode(p.data) for p in iter_images(source) if isinstance(p.data, str)]
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


def compare_answers(case: Case) -> None:
    """Exit unless both programs give the same best score to every image, within 1e-4."""
    by_hand = [line.split("\t") for line in output(case.naive).splitlines()]
    answers = map(json.loads, output([*case.ours, "--topk=1", "--json"]).splitlines())
    for (path, _, score), answer in zip(by_hand, answers, strict=True):
        if path != answer["filename"] or abs(float(score) - answer["scores"][0]) > 1e-4:
            sys.exit(f"the two disagree: {path} {score}, {answer}")


def measure(case: Case) -> dict[str, list[float]]:
    """Seconds of wall clock and of processor time of both, in turns; the first turn is not kept."""
    programs = {"tinysight": case.ours, "naive": case.naive}
    times: dict[str, list[float]] = {f"{p} {k}": [] for p in programs for k in ("wall", "cpu")}
    for turn in range(case.pairs + 1):
        for name in sorted(programs, reverse=bool(turn % 2)):
            wall, cpu = timed(programs[name])
            if turn:
                times[f"{name} wall"].append(wall)
                times[f"{name} cpu"].append(cpu)
    return times


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of wall clock and processor time of one process."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    output(command)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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

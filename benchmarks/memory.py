"""What a folder of 100,000 images takes: memory as it grows, and the rate.

    python benchmarks/memory.py [--count 100000] [--model NAME|FOLDER] [--images FOLDER]

The folder holds links to a few hundred files. `tinysight predict FOLDER --json --output FILE` runs as
a process of its own, and its memory is read every tenth of a second. Growth is the largest reading
after the first 500 answers less the one at that moment; the exit code is 1 if it reaches 50 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from predict import SAMPLES, SCRIPT, make_images

LIMIT = 50e6
WARM = 500
FILES = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--model", default="clarity_assessment")
    parser.add_argument("--images", default=str(SAMPLES))
    parser.add_argument("--small", action="store_true", help="320 x 240 only: the fastest stream")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tinysight-memory-") as scratch:
        work = Path(scratch)
        (work / "files").mkdir()
        (work / "folder").mkdir()
        paths = make_images(args.images, work / "files", FILES)
        if args.small:
            paths = paths[4::5]
        for i in range(args.count):
            (work / "folder" / f"{i}.jpg").symlink_to(paths[i % len(paths)])
        found = watched(args.model, work)
    print(json.dumps(found, indent=1))
    return 0 if found["answers"] == args.count and found["growth_mb"] * 1e6 < LIMIT else 1


def watched(model: str, work: Path) -> dict[str, float]:
    """Memory in MB at the start of the stream and at most, and what came out."""
    out = work / "answers.jsonl"
    command = [sys.executable, "-c", SCRIPT, "predict", str(work / "folder"), "--model", model,
               "--json", "--output", str(out)]  # fmt: skip
    start, first, most, last = time.perf_counter(), 0.0, 0.0, 0.0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            last = resident(process.pid) or last
            if first:
                most = max(most, last)
            elif answers(work) >= WARM:
                first = most = last
            time.sleep(0.1)
        if process.returncode:
            sys.exit(process.returncode)
    seconds = time.perf_counter() - start
    count = sum(1 for _ in out.open("rb"))
    return {
        "answers": count,
        "seconds": round(seconds, 1),
        "per_second": round(count / seconds, 1),
        "at_first_mb": round(first / 1e6, 1),
        "at_most_mb": round(most / 1e6, 1),
        "growth_mb": round((most - first) / 1e6, 1),
    }


def resident(process: int) -> float:
    """Bytes that a process holds; 0 if it is over."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return float(lines[0].split()[1]) * 1024 if lines else 0


def answers(work: Path) -> int:
    """Lines that are written so far."""
    for part in work.glob("answers.jsonl.*.part"):
        with part.open("rb") as file:
            return sum(1 for _ in file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

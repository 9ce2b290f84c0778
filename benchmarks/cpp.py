"""The C++ command with `tinysight predict`, as whole processes in turns: one image, and a folder.

    python benchmarks/cpp.py [--command build/cpp/tinysight-cpp] [--rounds 9] [--count 100]

Both get as many workers as there are processors; Python is timed with either engine. The table shows
medians of wall-clock and of processor time. The exit code is 1 if the command is slower than Python
with its default engine on the folder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from predict import SCRIPT
from tinysight.bundle import SHIPPED
from tinysight.pipelines.bench import make_images, watch

BUNDLE = SHIPPED / "clarity_assessment"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--command", default="build/cpp/tinysight-cpp")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args(arguments)
    python = [sys.executable, "-c", SCRIPT]
    programs = {
        "Python, ONNX Runtime": ([*python, "predict"], []),
        "Python, OpenVINO": ([*python, "predict"], ["--engine", "openvino"]),
        "C++": ([args.command, "predict"], []),
    }
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="tinysight-cpp-") as folder:
        first = make_images(Path(folder), args.count)[0]
        for _ in range(args.rounds):
            for name, (begin, end) in programs.items():
                for what, source in (("one image", first), ("folder", folder)):
                    seen = watch([*begin, source, "--model", str(BUNDLE), *end])
                    times.setdefault((what, name), []).append((seen.seconds, seen.cpu_seconds))
    medians = {
        key: [statistics.median(column) for column in zip(*rows, strict=True)]
        for key, rows in times.items()
    }
    for (what, name), (wall, cpu) in sorted(medians.items(), reverse=True):
        print(f"{what:12s} {name:22s} {wall * 1e3:8.0f} ms   {cpu * 1e3:8.0f} ms of processors")
    return 0 if medians["folder", "C++"][0] <= medians["folder", "Python, ONNX Runtime"][0] else 1


if __name__ == "__main__":
    sys.exit(main())

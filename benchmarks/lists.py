"""A list of 1.3 million images: seconds to read it, and what it costs each loader process.

python benchmarks/lists.py

Processes forked from one that holds the list look up a quarter of it in random order, as loader processes do
in an epoch. Memory is what the kernel says in /proc (Linux): USS is what a process has for itself alone,
PSS adds its share of what it shares. A list of Python objects would be copied page by page, since
looking at an object writes its count of references.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tinysight.data.lists import SampleList, read_list


def memory() -> tuple[float, float]:
    """(USS, PSS) of this process in MB."""
    text = Path("/proc/self/smaps_rollup").read_text("ascii")
    kb = {key: int(n) for key, n in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024, kb["Pss"] / 1024


def walk(samples: SampleList, start: int, pipe: Connection) -> None:
    """What a loader process does with a list, and what that cost in memory."""
    before = memory()[0]
    rng = np.random.default_rng(start)
    for _ in range(len(samples) // 4):
        sample = samples[int(rng.integers(len(samples)))]
        assert sample.path.name
    uss, pss = memory()
    pipe.send((before, uss, pss))
    pipe.recv()  # stay until the others have measured too: PSS is divided by how many share


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_300_000)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train_list.txt"
        with path.open("w", encoding="ascii") as file:
            for i in range(args.lines):
                file.write(f"train/n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG {i % 1000}\n")
        empty = memory()[0]
        started, busy = time.perf_counter(), time.process_time()
        samples = read_list(path, folder, 1000)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        print(f"{len(samples)} lines read in {seconds:.1f} s ({busy:.1f} s of processor time)")
        print(f"the list takes {memory()[0] - empty:.0f} MB; process {os.getpid()}")
    context = multiprocessing.get_context("fork")
    pipes = []
    for k in range(args.workers):
        ours, theirs = context.Pipe()
        context.Process(target=walk, args=(samples, k, theirs), daemon=True).start()
        pipes.append(ours)
    for k, pipe in enumerate(pipes):
        before, uss, pss = pipe.recv()
        print(f"process {k}: USS {before:.1f} MB at first, {uss:.1f} MB after; PSS {pss:.1f} MB")
    for pipe in pipes:
        pipe.send(None)


if __name__ == "__main__":
    main()

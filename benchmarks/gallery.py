"""What a gallery costs by its size: an addition, a search, and the memory of add, compact and verify.

    python benchmarks/gallery.py [--sizes 1000 100000] [--dim 512] [--adds 200]
    python benchmarks/gallery.py --memory --sizes 100000 1000000 --dim 64

An addition is one item with its vector (embedding excluded) through the embedded store, on the disk when it returns,
and is searched for at once by a reader that was open before. The medians and the ratio of the last size to the first
are printed; the exit code is 1 if an addition's is over 2. With `--memory` each of add, compact and verify is a process
of its own, whose peak is compared; the exit code is 1 if a ratio is over 1.5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tinysight.gallery.base import Item
from tinysight.gallery.health import verify
from tinysight.gallery.sqlite_store import SqliteStore

ADD, MEMORY = 2.0, 1.5  # the largest ratios


def items(count: int, dim: int, start: int = 0) -> Iterator[Item]:
    """Items with random vectors of length 1, whose first number is `start`."""
    rng = np.random.default_rng(start)
    for i in range(start, start + count):
        vector = rng.standard_normal(dim, np.float32)
        yield Item(f"shelf/{i:08d}.jpg", f"label {i % 1000}", vector / np.linalg.norm(vector))


def filled(folder: Path, size: int, dim: int) -> SqliteStore:
    """A gallery of `size` items, ten thousand a transaction."""
    store = SqliteStore.create(folder, dim=dim)
    for start in range(0, size, 10_000):
        store.add(items(min(10_000, size - start), dim, start))
    return store


def cost(folder: Path, size: int, dim: int, adds: int) -> dict[str, float]:
    """Medians in milliseconds: of an addition, of the search that must find it, of a search for ten."""
    store, reader = filled(folder, size, dim), SqliteStore(folder)
    query = next(items(1, dim, size)).vector
    assert query is not None
    reader.search(query[None], 1)
    times: dict[str, list[float]] = {"add": [], "found": [], "search": []}
    for item in items(adds, dim, size):
        assert item.vector is not None
        begun = time.perf_counter()
        store.add([item])
        added = time.perf_counter()
        (found,) = reader.search(item.vector[None], 1)
        assert found[0].id == item.id
        times["add"].append(added - begun)
        times["found"].append(time.perf_counter() - added)
    for item in items(50, dim):
        assert item.vector is not None
        begun = time.perf_counter()
        reader.search(item.vector[None], 10)
        times["search"].append(time.perf_counter() - begun)
    return {name: 1000 * statistics.median(seconds) for name, seconds in times.items()}


def peak(action: str, folder: Path, dim: int) -> float:
    """Megabytes that a process took for `action`, mapped files left out: none of the three maps one."""
    words = [sys.executable, __file__, "--dim", str(dim), "--do", action, str(folder)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def do(action: str, folder: Path, dim: int) -> None:
    """In a process of its own."""
    store = SqliteStore(folder)
    if action == "add":
        for i in range(2000):
            store.add(items(1, dim, 10**8 + i))
    elif action == "compact":
        store.compact()
    else:
        assert verify(store) == []
    status = Path("/proc/self/status").read_text("ascii")  # `getrusage` begins with the parent's
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--adds", type=int, default=200)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.do:
        do(args.do[0], Path(args.do[1]), args.dim)
        return 0
    rows = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="tinysight-gallery-") as work:
            folder = Path(work) / "g"
            if args.memory:
                filled(folder, size, args.dim).close()
                rows[size] = {a: peak(a, folder, args.dim) for a in ("add", "compact", "verify")}
            else:
                rows[size] = cost(folder, size, args.dim, args.adds)
        print(
            json.dumps({"items": size, "unit": "MB" if args.memory else "ms", **rows[size]}),
            flush=True,
        )
    first, last = rows[args.sizes[0]], rows[args.sizes[-1]]
    ratios = {name: last[name] / first[name] for name in first}
    print(json.dumps({"ratios": ratios}))
    if args.memory:
        return int(max(ratios.values()) > MEMORY)
    return int(ratios["add"] > ADD)


if __name__ == "__main__":
    sys.exit(main())

"""Measures a bundle on this machine: one image in its parts, many at a time, memory, cold start.

Everything is wall-clock time of what `predict` does, by the same objects. Figures of one image
are of one thread; figures of many are the wall-clock time of the whole stream per image.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.errors import DataError
from tinysight.evaluation.latency import time_steps
from tinysight.pipelines.pipeline import BundlePipeline, open_bundle
from tinysight.tasks.results import Unreadable

PARTS = ("decode", "preprocess", "network", "postprocess")
PERCENTILES = (50, 90, 99)
_WARM_UP = 10
_WATCH = """
import os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""
_WATCH_ELSEWHERE = """
import subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - start, 0, 0, code)
"""
_COMMAND = "from tinysight.cli import script; script()"
_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10  # of the system's unit of memory


class Settings(NamedTuple):
    """How images are run."""

    engine: str = "onnxruntime"
    precision: str = "f32"
    exact: bool = False
    batch_size: int = 1
    workers: int = 1
    threads: int = 1

    def pipeline(self, bundle: Bundle) -> BundlePipeline[Any]:
        """A pipeline that does so."""
        return open_bundle(bundle, **self._asdict())


def one_at_a_time(
    bundle: Bundle, settings: Settings, paths: Sequence[str], seconds: float
) -> dict[str, dict[str, float]]:
    """Milliseconds of each part and of the total of one image, in one thread.

    Args:
        bundle: what is measured.
        settings: engine, precision, exact and threads are used.
        paths: readable images, taken in turn.
        seconds: least time to measure for; every image is taken at least once.

    Returns:
        For each of `PARTS` and "total" the mean and the percentiles, as `{"mean": ..., "p50": ...}`.
    """
    steps = settings._replace(batch_size=1, workers=1).pipeline(bundle).steps
    chain = (steps.decode, steps.prepare, lambda row: steps.run([row]), steps.decide)
    turn, times = cycle(paths), list[list[float]]()
    for path in islice(turn, _WARM_UP):
        time_steps(chain, path)
    started = time.perf_counter()
    while len(times) < len(paths) or time.perf_counter() - started < seconds:
        times.append(time_steps(chain, next(turn)))
    columns = 1e3 * np.array(times).T
    figures = {}
    for name, column in zip((*PARTS, "total"), (*columns, columns.sum(axis=0)), strict=True):
        percentiles = zip(PERCENTILES, np.percentile(column, PERCENTILES).tolist(), strict=True)
        figures[name] = {"mean": float(column.mean()), **{f"p{p}": v for p, v in percentiles}}
    return figures


def many_at_a_time(
    bundle: Bundle, settings: Settings, paths: Sequence[str], seconds: float, passes: int = 5
) -> dict[str, float]:
    """Wall-clock milliseconds per image of a stream, the median of `passes` or more, and the rate.

    Args:
        bundle: what is measured.
        settings: how.
        paths: readable images; a pass is all of them.
        seconds: of all passes together, at least.
        passes: at least.
    """
    pipeline = settings.pipeline(bundle)
    deque(pipeline.stream(paths[: max(_WARM_UP, 2 * settings.batch_size)]), maxlen=0)
    walls: list[float] = []
    while len(walls) < passes or sum(walls) < seconds:
        started = time.perf_counter()
        deque(pipeline.stream(paths), maxlen=0)
        walls.append(time.perf_counter() - started)
    each = float(np.median(walls)) / len(paths)
    return {"ms": each * 1e3, "per_second": 1 / each, "passes": len(walls)}


def sweep(settings: Settings, cores: int) -> Iterator[Settings]:
    """The settings worth comparing: workers up to the cores, all cores in one run, and batches."""
    for workers in sorted({*(2**i for i in range(cores.bit_length())), cores, cores + 1}):
        yield settings._replace(workers=workers, threads=1, batch_size=1)
    if cores > 1:
        yield settings._replace(workers=1, threads=cores, batch_size=1)
    yield settings._replace(workers=cores, threads=1, batch_size=8)


def cold_start(bundle: Bundle, settings: Settings, path: str, runs: int = 5) -> dict[str, float]:
    """Whole processes that predict one image: median wall-clock seconds, and memory at its peak.

    Returns:
        seconds and, where the system tells, peak_mib.
    """
    command = [
        *(sys.executable, "-c", _COMMAND, "predict", path, "--model", str(bundle.folder)),
        *("--engine", settings.engine, "--precision", settings.precision, "--json"),
        *(["--exact"] if settings.exact else []),
    ]
    watched = [watch(command) for _ in range(runs + 1)][1:]  # the first brings files into memory
    figures = {"seconds": float(np.median([w.seconds for w in watched]))}
    if watched[0].peak_mib is not None:
        figures["peak_mib"] = float(np.median([w.peak_mib or 0 for w in watched]))
    return figures


class Watched(NamedTuple):
    """What a whole process took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float | None


def watch(command: Sequence[str]) -> Watched:
    """Run `command`, its output thrown away, from a process that is small itself.

    Linux counts the memory of whoever starts a program as the program's own, so a benchmark with
    NumPy loaded would report itself.

    Raises:
        DataError: it fails.
    """
    helper = _WATCH if os.name == "posix" else _WATCH_ELSEWHERE
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", helper, *command],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds, cpu, peak, code = map(float, done.stdout.split()) if done.stdout else (0, 0, 0, 1)
    if code:
        raise DataError(" ".join(command), f"fails: {done.stderr.strip()}")
    return Watched(seconds, cpu, peak / _PER_MIB if peak else None)


def readable(bundle: Bundle, settings: Settings, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that this bundle gives a result for.

    Raises:
        DataError: none of them.
        TinysightError: the bundle cannot be run so.
    """
    results = zip(paths, settings.pipeline(bundle).stream(paths), strict=True)
    if not (usable := [path for path, result in results if not isinstance(result, Unreadable)]):
        raise DataError("--images", "none of the images can be read")
    return usable


def memory() -> float | None:
    """The most memory this process has held so far, MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PER_MIB


def make_images(folder: Path, count: int = 24) -> list[str]:
    """Images to measure with where there are none: coloured clouds of five sizes, as JPEG.

    Their files are about as large as photographs of these sizes; always the same.
    """
    import cv2

    rng = np.random.default_rng(0)
    sizes = ((640, 480), (1280, 720), (480, 640), (1920, 1080), (320, 240))
    paths = []
    for i in range(count):
        width, height = sizes[i % len(sizes)]
        image = np.zeros((height, width, 3), np.float32)
        for cells, weight in ((4, 70), (30, 25), (200, 12)):
            coarse = rng.normal(0, weight, (cells, cells, 3)).astype(np.float32)
            image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        path = str(folder / f"{i:03d}.jpg")
        _, data = cv2.imencode(".jpg", np.clip(image + 128, 0, 255).astype(np.uint8))
        Path(path).write_bytes(data.tobytes())
        paths.append(path)
    return paths

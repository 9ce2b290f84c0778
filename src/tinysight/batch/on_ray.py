"""Shards over a Ray cluster, or over the processors of this machine by a small cluster of its own."""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinysight.batch.shards import Row, Shard
from tinysight.bundle import Bundle
from tinysight.concurrency import usable_cores
from tinysight.errors import DistributedError, MissingDependency
from tinysight.pipelines.pipeline import open_bundle
from tinysight.pipelines.sources import ImageInput

_TRIES = 3  # of a shard whose worker dies


class Worker:
    """A bundle that predicts shard after shard.

    Args:
        bundle: loaded where the command was given; its network travels with it.
        options: of the pipeline.
        folder: that relative paths are meant from.
    """

    def __init__(self, bundle: Bundle, options: dict[str, Any], folder: str) -> None:
        self._folder = folder
        self._pipeline = open_bundle(bundle, **options)

    def predict(self, names: Sequence[str]) -> list[Row]:
        """A row for each image, in order: the result, or why there is none."""
        images = (ImageInput(name, str(Path(self._folder, name))) for name in names)
        return [item.to_json() for item in self._pipeline.stream(images)]


def predict_shards(
    bundle: Bundle, options: dict[str, Any], shards: Sequence[Shard]
) -> Iterator[tuple[Shard, list[Row]]]:
    """The results of each shard, as they are made, in no particular order.

    The environment variable RAY_ADDRESS names a cluster; without it Ray is started here and stopped
    at the end. The workers of a cluster need tinysight, and the images under the same paths.

    Args:
        bundle: what predicts; sent to the workers.
        options: of the pipeline; each worker uses one processor unless they say otherwise.
        shards: at least one.

    Raises:
        MissingDependency: Ray is not installed.
        DistributedError: the cluster cannot be reached, or loses the worker of a shard again and
            again.
        ConfigError: the bundle does not take the options.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingDependency("ray", "ray", "--on ray") from error
    options = {**options, "workers": 1}
    Worker(bundle, options, "")  # a mistake in the options is found here, before anything starts
    _connect(ray)
    try:
        yield from _spread(ray, bundle, options, shards)
    finally:
        ray.shutdown()


def _connect(ray: Any) -> None:
    # Its workers inherit this: no dashboard, no statistics about the user sent anywhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = os.environ.get("RAY_ADDRESS", "local")
    here: dict[str, Any] = {"num_cpus": usable_cores(), "include_dashboard": False}
    own = here if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        what = f"no Ray cluster at {address}: {str(error).splitlines()[0]}"
        raise DistributedError("RAY_ADDRESS", what) from error


def _spread(
    ray: Any, bundle: Bundle, options: dict[str, Any], shards: Sequence[Shard]
) -> Iterator[tuple[Shard, list[Row]]]:
    """One worker for each processor, each with one shard at a time."""
    processors = options["threads"]
    count = max(1, int(ray.cluster_resources().get("CPU", 1)) // processors)
    remote = ray.remote(num_cpus=processors)(Worker)
    sent, folder = ray.put(bundle), str(Path.cwd())
    waiting, died = deque(shards), Counter[int]()
    running: dict[Any, tuple[Shard, Any]] = {}
    while waiting or running:
        while waiting and len(running) < count:
            _give(running, waiting.popleft(), remote.remote(sent, options, folder))
        (done,), _ = ray.wait(list(running), num_returns=1)
        shard, worker = running.pop(done)
        try:
            rows = ray.get(done)
        except ray.exceptions.RayActorError as error:
            died[shard.number] += 1
            if died[shard.number] == _TRIES:
                what = f"the worker of shard {shard.number} ended {_TRIES} times: "
                raise DistributedError("ray", what + str(error).splitlines()[0]) from error
            waiting.appendleft(shard)
            continue
        if waiting:
            _give(running, waiting.popleft(), worker)
        yield shard, rows


def _give(running: dict[Any, tuple[Shard, Any]], shard: Shard, worker: Any) -> None:
    running[worker.predict.remote(shard.names)] = shard, worker

"""What a server tells of itself: its log, one JSON object a line, and its metrics in the text form of Prometheus.

Workers behind one port leave their counts in files of a shared folder, so that any of them answers for all.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from tinysight.files import write_atomic
from tinysight.serving.batching import BUCKETS, PARTS

ModelCounts: TypeAlias = dict[tuple[str, str], Counter[str]]  # by name and version of a model
_OUTCOMES = ("success", "failed", "rejected", "expired", "cancelled")
_REASONS = {"REJECTED": ("rejected", "expired"), "CANCELED": ("cancelled",), "BACKEND": ("failed",)}
_TRITON_US = {
    "nv_inference_request_duration_us": "request_ns",
    "nv_inference_queue_duration_us": "queue_ns",
    **{f"nv_inference_compute_{part}_duration_us": f"{part}_ns" for part in PARTS},
}


def log(event: str, **about: Any) -> None:
    """One line on stderr."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    now = f"{seconds}.{time.time_ns() // 10**6 % 1000:03d}Z"
    line = json.dumps({"time": now, "event": event, **about}, default=str, ensure_ascii=True)
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class Snapshots:
    """The counts of all workers.

    Args:
        folder: where workers leave them; None: there is one process.
        slot: number of this worker.
    """

    def __init__(self, folder: Path | None, slot: int) -> None:
        self._file = folder / f"counts-{slot}.json" if folder else None

    def resume(self, counts: ModelCounts, responses: Counter[str]) -> None:
        """Go on where the worker that was here before has ended."""
        if self._file:
            for key, found in _read(self._file):
                (counts.setdefault(key, Counter()) if key[0] else responses).update(found)

    def save(self, counts: ModelCounts, responses: Counter[str]) -> None:
        """Leave the counts for the others."""
        if self._file:
            rows = [[*key, found] for key, found in counts.items()] + [["", "", responses]]
            write_atomic(self._file, json.dumps(rows))

    def total(
        self, counts: ModelCounts, responses: Counter[str]
    ) -> tuple[ModelCounts, Counter[str]]:
        """Those of this process and of all others."""
        models = {key: Counter(found) for key, found in counts.items()}
        answered = Counter(responses)
        for path in self._file.parent.glob("counts-*.json") if self._file else ():
            for key, found in _read(path) if path != self._file else ():
                (models.setdefault(key, Counter()) if key[0] else answered).update(found)
        return models, answered


def _read(path: Path) -> list[tuple[tuple[str, str], dict[str, int]]]:
    with suppress(OSError, ValueError):
        return [((name, version), found) for name, version, found in json.loads(path.read_bytes())]
    return []


def metrics(
    models: ModelCounts, responses: Mapping[str, int], waiting: Mapping[tuple[str, str], int],
    triton: bool,
) -> str:  # fmt: skip
    """The text that Prometheus reads.

    Args:
        models: counts of each model.
        responses: HTTP and gRPC answers by status.
        waiting: jobs that wait in this process.
        triton: True to add the names that Triton gives the same numbers.
    """
    lines: list[str] = []

    def family(name: str, kind: str, rows: Iterable[tuple[str, float]]) -> None:
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(f"{name}{suffix} {value:.10g}" for suffix, value in rows)

    def by_model(field: str, scale: float = 1.0) -> Iterator[tuple[str, float]]:
        for (name, version), found in models.items():
            yield f'{{model="{name}",version="{version}"}}', found[field] * scale

    outcomes = (
        (f'{{model="{name}",version="{version}",outcome="{outcome}"}}', found[outcome])
        for (name, version), found in models.items()
        for outcome in _OUTCOMES
    )
    family("tinysight_requests_total", "counter", outcomes)
    family("tinysight_inferences_total", "counter", by_model("inferences"))
    family("tinysight_executions_total", "counter", by_model("executions"))
    for part in ("queue", *PARTS):
        family(f"tinysight_{part}_seconds_total", "counter", by_model(f"{part}_ns", 1e-9))
    family("tinysight_request_seconds", "histogram", _histogram(models))
    rows = ((f'{{model="{n}",version="{v}"}}', count) for (n, v), count in waiting.items())
    family("tinysight_waiting", "gauge", rows)
    statuses = ((f'{{status="{status}"}}', n) for status, n in sorted(responses.items()))
    family("tinysight_responses_total", "counter", statuses)
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        bytes_ = pages * os.sysconf("SC_PAGE_SIZE")
        family("process_resident_memory_bytes", "gauge", [("", bytes_)])
    if triton:
        family("nv_inference_request_success", "counter", by_model("success"))
        failures = (
            (f'{{model="{n}",version="{v}",reason="{reason}"}}', sum(found[x] for x in fields))
            for (n, v), found in models.items()
            for reason, fields in _REASONS.items()
        )
        family("nv_inference_request_failure", "counter", failures)
        family("nv_inference_count", "counter", by_model("inferences"))
        family("nv_inference_exec_count", "counter", by_model("executions"))
        pending = ((f'{{model="{n}",version="{v}"}}', c) for (n, v), c in waiting.items())
        family("nv_inference_pending_request_count", "gauge", pending)
        for name, field in _TRITON_US.items():
            family(name, "counter", by_model(field, 1e-3))
    return "\n".join(lines) + "\n"


def _histogram(models: ModelCounts) -> Iterator[tuple[str, float]]:
    for (name, version), found in models.items():
        labels, so_far = f'model="{name}",version="{version}"', 0
        for i, bound in enumerate((*BUCKETS, "+Inf")):
            so_far += found[f"le_{i}"]
            yield f'_bucket{{{labels},le="{bound}"}}', so_far
        yield f"_sum{{{labels}}}", found["success_ns"] * 1e-9
        yield f"_count{{{labels}}}", so_far


def statistics(name: str, version: str, found: Mapping[str, int], last_ms: int) -> dict[str, Any]:
    """The statistics of a model as the protocol's extension has them."""
    count = found["success"]

    def spent(field: str, of: int = count) -> dict[str, int]:
        return {"count": of, "ns": found[field]}

    parts = {f"compute_{part}": spent(f"{part}_ns") for part in PARTS}
    failed = {"count": sum(found[x] for x in _OUTCOMES[1:]), "ns": found["failed_ns"]}
    about = {"success": spent("success_ns"), "fail": failed, "queue": spent("queue_ns"), **parts}
    return {
        "name": name, "version": version, "last_inference": last_ms,
        "inference_count": found["inferences"], "execution_count": found["executions"],
        "inference_stats": about, "batch_stats": [],
    }  # fmt: skip

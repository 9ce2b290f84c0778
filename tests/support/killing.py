"""Runs `tinysight` commands one after the other, each in processes of its own that may be killed.

    python killing.py JOBS.json

A job is {"argv": [...]} and perhaps

    "kill": [what, n]    a process ends itself with SIGKILL inside its n-th call of `what`,
    "after": x           or it is killed after x times the time that the first job took,
    "processes": n       how many share the run, as `torchrun` starts them (default 1),
    "victim": rank       which of them it is (default 0),
    "twins": true        the arguments are those of `twins.train` instead of a command's.

Processes are forked before PyTorch starts a thread; its import is paid once. Prints a JSON line: for each job the exit
codes of its processes (-9 is the kill), and the checkpoints that could not be read after a kill.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimiser would import it, for a second and a half
import torch.distributed

import tinysight.metrics
import tinysight.models.pplcnet
import tinysight.training.loop
import tinysight.transforms.augment.geometry  # noqa: F401 - all imports are paid before the first fork
from support import twins
from tinysight.cli import main
from tinysight.errors import CheckpointError
from tinysight.training.checkpoint import load_checkpoint

PLACES = {
    "backward": (torch.Tensor, "backward"),  # in the middle of a step
    "fsync": (os, "fsync"),  # in the middle of a write: the temporary file is whole, or in part
    "replace": (os, "replace"),  # before a file takes its name
}
GRACE = 0.5  # seconds


def arrange_kill(what: str, n: int) -> None:
    owner, name = PLACES[what]
    real, calls = getattr(owner, name), 0

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(owner, name, deadly)


def run(job: dict[str, Any], unit: float) -> list[int]:
    world, victim = job.get("processes", 1), job.get("victim", 0)
    port = free_port()
    children = [start(job, rank, world, port, rank == victim) for rank in range(world)]
    if "after" in job:
        time.sleep(job["after"] * unit)
        os.kill(children[victim], signal.SIGKILL)  # a zombie if it has ended: not waited for yet
    return ended(children)


def ended(children: list[int]) -> list[int]:
    """Exit codes. Where one fails, those that do not notice it soon are ended, as `torchrun` does."""
    codes: dict[int, int] = {}
    failed = 0.0
    while len(codes) < len(children):
        child, status = os.waitpid(-1, 0 if len(children) == 1 else os.WNOHANG)
        if child:
            codes[child] = os.waitstatus_to_exitcode(status)
            failed = failed or (time.monotonic() if codes[child] else 0.0)
        elif failed and time.monotonic() - failed > GRACE:
            for other in set(children) - codes.keys():
                os.kill(other, signal.SIGTERM)
            failed = time.monotonic()
        else:
            time.sleep(0.01)
    return [codes[child] for child in children]


def start(job: dict[str, Any], rank: int, world: int, port: int, victim: bool) -> int:
    child = os.fork()
    if child:
        return child
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if victim and job.get("kill"):
        arrange_kill(*job["kill"])
    code = twins.train(job["argv"]) if job.get("twins") else main(job["argv"])
    sys.stdout.flush()
    os._exit(code)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def unreadable(out: Path) -> list[str]:
    """Names of the checkpoints in a run folder that cannot be read, those half written aside."""
    found = []
    for path in (out / "checkpoints").glob("[!.]*.safetensors"):
        try:
            load_checkpoint(path)
        except CheckpointError as error:
            found.append(str(error))
    return found


def run_all(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    codes, damaged, unit = [], [], 0.0
    for job in jobs:
        began = time.monotonic()
        codes.append(run(job, unit))
        unit = unit or time.monotonic() - began
        damaged += unreadable(Path(job["argv"][job["argv"].index("--out") + 1]))
    return {"codes": codes, "unreadable": damaged}


if __name__ == "__main__":
    found = run_all(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    sys.stdout.write(json.dumps(found) + "\n")

"""Runs `tinysight` commands one after the other, each in a process of its own that may be killed.

    python killing.py JOBS.json

A job is {"argv": [...], "kill": [what, n] or null}: the process ends itself with SIGKILL inside its
n-th call of `what`. Processes are forked before PyTorch starts a thread; its import is paid once.
Prints the list of exit codes; -9 is the kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimiser would import it, for a second and a half

import tinysight.metrics
import tinysight.train.loop
import tinysight.transforms.augment  # noqa: F401 - all imports are paid before the first fork
from tinysight.cli import main

PLACES = {
    "backward": (torch.Tensor, "backward"),  # in the middle of a step
    "fsync": (os, "fsync"),  # in the middle of a write: the temporary file is whole, or in part
    "replace": (os, "replace"),  # before a file takes its name
}


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


def run(job: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        if job["kill"]:
            arrange_kill(*job["kill"])
        code = main(job["argv"])
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    print(json.dumps([run(job) for job in jobs]))

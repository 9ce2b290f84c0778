"""Runs one command under a fault of its machine: full disks, closed streams, little memory, signals.

Faults of the file system are made in a mount namespace of the command's own, so they need root, as in a container.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from support.commands import Completed, environment

# Says that it begins, on the descriptor in its first argument, so that a signal comes neither before nor after.
_BEGIN = "import os, sys; ready = int(sys.argv.pop(1)); from tinysight.cli import script; os.close(ready); script()"
_PRIVATE = ["unshare", "-m", "--propagation", "private", "sh", "-e", "-c"]


def can_mount() -> bool:
    """Whether a process may have mounts of its own here."""
    done = subprocess.run([*_PRIVATE, "mount -t tmpfs none /mnt"], capture_output=True, check=False)
    return done.returncode == 0


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        mounts: shell commands that change what the command sees; `$OUT` is the folder that it writes to.
        stream: shell redirections of the command; `$FULL` is a device that takes nothing.
        limits: of the process, by the names of `resource`; a list is one to draw from.
        variables: changes of the environment.
        signal: sent to the command after `after` times the seconds that it takes.
        long_name: the outputs have names that no file can have.
        twice: the command runs twice at the same time.
        silent: nothing can be read of what it says.
    """

    mounts: str = ""
    stream: str = ""
    limits: Mapping[str, int] = {}
    variables: Mapping[str, str | None] = {}
    signal: int = 0
    after: tuple[float, float] = (0, 0)
    long_name: bool = False
    twice: bool = False


FAULTS = {
    "read-only": Fault("mount --bind $OUT $OUT; mount -o remount,ro,bind $OUT"),
    "full disk": Fault("mount -t tmpfs -o size=8k none $OUT"),
    "small files": Fault(limits={"RLIMIT_FSIZE": 1000}),
    "long name": Fault(long_name=True),
    "ASCII output": Fault(variables={"PYTHONIOENCODING": "ascii"}),
    "closed output": Fault(stream=">&-"),
    "closed streams": Fault(stream="<&- >&- 2>&-"),
    "full output": Fault(stream=">$FULL"),
    "full errors": Fault(stream="2>$FULL"),
    "reader gone": Fault(stream="| :"),
    "no shared memory": Fault("umount /dev/shm"),
    "few files": Fault(limits={"RLIMIT_NOFILE": 10}),
    "little memory": Fault(limits={"RLIMIT_AS": 250 << 20}),
    "Ctrl-C early": Fault(signal=signal.SIGINT, after=(0, 0.3)),
    "Ctrl-C late": Fault(signal=signal.SIGINT, after=(0.3, 1)),
    "SIGTERM": Fault(signal=signal.SIGTERM, after=(0, 1)),
    "kill": Fault(signal=signal.SIGKILL, after=(0, 1)),
    "two at once": Fault(twice=True),
    "no home": Fault("mount --bind /dev/null /etc/passwd", variables={"HOME": None}),
    "C locale": Fault(variables={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "no temporary folder": Fault(
        "mount --bind / /; mount -o remount,ro,bind /; mount --bind $OUT $OUT"
    ),
}


def run(
    words: list[str], fault: Fault, out: Path, cwd: Path, after: float = 0.0, timeout: float = 900
) -> list[Completed]:
    """Run `tinysight *words` under a fault, twice where it says so.

    Args:
        words: of the command.
        fault: what goes wrong.
        out: the folder that it writes to.
        cwd: where it runs.
        after: seconds until the signal.
        timeout: seconds; a command that takes longer is killed, and fails the test.
    """
    full = out.parent / "full"
    if not full.exists():
        os.mknod(full, 0o020666, os.makedev(1, 7))
    variables: dict[str, str | None] = {"OUT": str(out), "FULL": str(full), **fault.variables}
    started = [_start(words, fault, cwd, variables) for _ in range(2 if fault.twice else 1)]
    if fault.signal:
        timer = threading.Timer(after, started[0].send_signal, [fault.signal])
        timer.start()
    done = []
    for process in started:
        try:
            said, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        texts = (text.decode("utf-8", "surrogateescape") for text in (said, errors))
        done.append(Completed(process.returncode, *texts))
    if fault.signal:
        timer.cancel()
    return done


def _start(
    words: list[str], fault: Fault, cwd: Path, variables: dict[str, str | None]
) -> subprocess.Popen[bytes]:
    ready, begun = os.pipe()
    program = [sys.executable, "-c", _BEGIN, str(begun), *words]
    run_it = (
        f'{fault.mounts}; cd "$PWD"; exec "$@" {fault.stream}'
        if fault.mounts
        else f'exec "$@" {fault.stream}'
    )
    if fault.stream.startswith("|"):
        run_it = f'("$@"; echo $? >&3) 3>"$OUT/../code" {fault.stream}; exit $(cat "$OUT/../code")'
    if fault.mounts:
        program = [*_PRIVATE, run_it, "sh", *program]
    elif fault.stream:
        program = ["sh", "-c", run_it, "sh", *program]
    process = subprocess.Popen(
        program, cwd=cwd, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        pass_fds=[begun], preexec_fn=_limiter(fault.limits),
    )  # fmt: skip
    os.close(begun)
    with os.fdopen(ready, "rb") as file:
        file.read()  # until it begins, or is over
    return process


def _limiter(limits: Mapping[str, int]) -> Callable[[], None]:
    def limit() -> None:
        for name, value in limits.items():
            number = getattr(resource, name)
            resource.setrlimit(number, (value, resource.getrlimit(number)[1]))

    return limit

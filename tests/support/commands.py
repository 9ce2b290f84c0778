"""The command line and Python programs in tests: in this process, or in one of their own where that is the point."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import tinysight as package

SRC = str(Path(package.__file__).parent.parent)


class Completed(NamedTuple):
    """What a command came to: its exit code and what it printed."""

    code: int
    out: str
    err: str


def tinysight(*words: object, cwd: Path | None = None) -> Completed:
    """Run `tinysight *words` in this process; a new one takes one to three seconds to start."""
    from tinysight.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    before = Path.cwd()
    os.chdir(cwd or before)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code: object = main([str(word) for word in words])
    except SystemExit as stop:  # argparse refuses a word
        code = stop.code or 0
    finally:
        os.chdir(before)
    assert isinstance(code, int)
    return Completed(code, *(s.buffer.getvalue().decode("utf-8", "replace") for s in (out, err)))  # type: ignore[attr-defined]


def environment(**changes: str | None) -> dict[str, str]:
    """The variables of a process that imports this checkout, on one thread; None takes one away."""
    given = {**os.environ, "PYTHONPATH": SRC, "OMP_NUM_THREADS": "1", **changes}
    return {name: value for name, value in given.items() if value is not None}


def execute(
    words: Sequence[object],
    *,
    cwd: Path | None = None,
    timeout: float | None = None,
    given: str | None = None,
    **variables: str | None,
) -> Completed:
    """Run a program to its end. `given` is its standard input; `variables` change its environment."""
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, timeout=timeout, input=given, env=environment(**variables),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Completed(done.returncode, done.stdout, done.stderr)


def python(*words: object, cwd: Path | None = None, **variables: str | None) -> Completed:
    """Run Python in a process of its own: `-c` and the text of a program, `-m` and a module, a file."""
    return execute([sys.executable, *words], cwd=cwd, **variables)


def process(*words: object, cwd: Path | None = None, **variables: str | None) -> Completed:
    """Run `tinysight *words` in a process of its own."""
    return python("-m", "tinysight", *words, cwd=cwd, **variables)


def start(
    *words: object, cwd: Path | None = None, stderr: int = subprocess.PIPE, **variables: str | None
) -> subprocess.Popen[str]:
    """Start Python with these words and do not wait: to be watched, interrupted or killed."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment(**variables), text=True,
        stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip

"""The C++ command, as `make cpp-tested` builds it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

BUILD = Path(os.environ.get("TINYSIGHT_CPP_BUILD") or Path(__file__).resolve().parents[2] / "build")
# OpenVINO's threading library loads a helper in a way that sanitisers refuse, unless it is told.
_ENVIRONMENT = {**os.environ, "TBB_ENABLE_SANITIZERS": "1"}


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    errors: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON objects of its lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_cpp(*words: str | Path, name: str = "tinysight-cpp", sanitized: bool = False) -> Ran:
    """Run the command, or another program `name` of the same build; skips where it is not built."""
    program = BUILD / ("cpp-sanitized" if sanitized else "cpp") / name
    if not program.is_file():
        pytest.skip(f"{program} is not built; `make cpp-tested` builds it")
    done = subprocess.run([program, *words], capture_output=True, env=_ENVIRONMENT, check=False)
    decoded = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return Ran(done.returncode, *decoded)

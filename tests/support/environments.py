"""Environments of their own for programs that cannot live in ours; made once, in `build/environments`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PADDLECLAS = ("paddlepaddle==3.3.1", "paddleclas==2.6.0", "setuptools<81")


def environment(name: str, *requirements: str, fresh: bool = False) -> Path:
    """The Python of an environment with `requirements`; the test is skipped where they cannot be installed.

    `fresh`: not one that an earlier run has made, such as of what changes here.
    """
    key = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:8]
    folder = REPO / "build" / "environments" / f"{name}-{key}"
    python = folder / "bin" / "python"
    if fresh or not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        words = [python, "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, check=False)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"{name} cannot be installed here: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
        (folder / "ready").touch()
    return python

"""The time limit of tests, by a suite that hangs."""

from __future__ import annotations

import sys
from pathlib import Path

from support.commands import execute

SUITE = """
import ctypes, threading, time, pytest

def waits_elsewhere():
    time.sleep(60)

@pytest.mark.time_limit(1.0)
def test_that_hangs_with_the_interpreter_locked():
    threading.Thread(target=waits_elsewhere, daemon=True).start()
    time.sleep(0.1)
    ctypes.PyDLL(None).sleep(60)
"""


def test_a_test_that_hangs_shows_all_stacks_and_ends(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    words = [
        sys.executable,
        *["-m", "pytest", "-p", "support.limits", "-p", "no:cacheprovider"],
        tmp_path,
    ]
    done = execute(words, cwd=tmp_path, timeout=60, PYTHONPATH=str(Path(__file__).parent))
    assert done.code != 0
    for name in ("test_that_hangs_with_the_interpreter_locked", "waits_elsewhere"):
        assert f"in {name}" in done.err

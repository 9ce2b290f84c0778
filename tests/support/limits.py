"""A time limit for every test; what runs past it shows all stacks and ends its process.

The watchdog is a thread of C's: a test that hangs while it holds the interpreter lock would stop any limit that is
written in Python.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest

ORDINARY, SLOW = 120.0, 1800.0  # seconds
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "time_limit(seconds): instead of 120, or 1800 if slow")
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.stash[_stderr] = os.dup(2)  # while a test runs, 2 is a file that nobody will read


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    limit = SLOW if item.get_closest_marker("slow") else ORDINARY
    if own := item.get_closest_marker("time_limit"):
        (limit,) = own.args
    faulthandler.dump_traceback_later(limit, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()

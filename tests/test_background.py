"""Work in a thread of its own."""

from __future__ import annotations

import threading

import pytest

from tinysight.background import Background


def test_the_result_and_the_error_come_to_whoever_asks() -> None:
    started, go = threading.Event(), threading.Event()

    def work() -> int:
        started.set()
        assert go.wait(10)
        return 7

    job = Background(work)
    assert started.wait(10), "it runs before anybody asks"
    go.set()
    assert [job.result(), job.result()] == [7, 7]
    failing = Background(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failing.result()

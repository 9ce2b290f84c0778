"""The bar of a long prediction."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.commands import start
from tinysight.cli import progress
from tinysight.cli.progress import ProgressLine, Working


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_the_latest_pace() -> None:
    out, clock = io.StringIO(), Clock()
    bar = ProgressLine(lambda: 1000, out, clock=clock)
    for _ in range(100):  # ten a second
        clock.now += 0.1
        bar.step()
        time.sleep(0.0005)  # the images are counted in the background
    assert bar.line(clock.now) == "100 of 1,000 images  10/s  1:30 left"
    for _ in range(100):  # one a second, for longer than the window
        clock.now += 1
        bar.step()
    assert bar.line(clock.now) == "200 of 1,000 images  1/s  13:20 left"
    assert out.getvalue().count("\r") > 20


def test_what_an_earlier_run_did_is_not_its_pace() -> None:
    out, clock = io.StringIO(), Clock()
    bar = ProgressLine(lambda: 100_000, out, done=90_000, clock=clock)
    for _ in range(100):
        clock.now += 0.1
        bar.step()
        time.sleep(0.0005)
    assert bar.line(clock.now) == "90,100 of 100,000 images  10/s  16:30 left"


def test_a_stream_without_an_end_has_no_time_left() -> None:
    clock = Clock()
    bar = ProgressLine(lambda: None, io.StringIO(), clock=clock)
    for _ in range(50):
        clock.now += 0.1
        bar.step()
    assert bar.line(clock.now) == "50 images  10/s"


def test_a_short_run_shows_nothing() -> None:
    out, clock = io.StringIO(), Clock()
    bar = ProgressLine(lambda: 10, out, clock=clock)
    for _ in range(10):
        clock.now += 0.1
        bar.step()
    bar.clear()
    assert out.getvalue() == ""


class Terminal(io.StringIO):
    """A text that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_stage_is_shown_after_two_seconds_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_QUIET", 0.05)
    monkeypatch.setattr(progress, "_EVERY", 0.02)
    out = Terminal()
    with Working(out) as tell:
        for words in ("reading images: 1 of 9", "reading images: 8 of 9", "exporting"):
            tell(words)
            deadline = time.monotonic() + 30
            while words not in out.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert f"{words}  0:0" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")
    shown = out.getvalue()
    time.sleep(0.1)
    assert out.getvalue() == shown  # its thread is over


def test_a_stage_is_not_shown_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_QUIET", 0.0)
    out = io.StringIO()
    with Working(out) as tell:
        tell("exporting")
        time.sleep(0.3)
    assert out.getvalue() == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.slow
def test_on_a_terminal(tmp_path: Path) -> None:
    """Long enough for the bar to appear: the sizes make each image take milliseconds."""
    tiny_bundle(tmp_path / "model")
    (tmp_path / "pics").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), noise)
    for i in range(400):
        (tmp_path / "pics" / f"{i}.jpg").symlink_to(tmp_path / "a.jpg")
    ours, theirs = os.openpty()
    words = ("-m", "tinysight", "predict", "pics", "--model=model", "--json", "--output=out.jsonl")
    with start(*words, cwd=tmp_path, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            seen += block
    os.close(ours)
    assert process.returncode == 0
    assert b" of 400 images  " in seen
    assert b" left" in seen
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 400

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tinysight.training.events import append_events, crc32c, write_events

LINE = {"epoch": 1, "step": 300, "loss": 0.5, "lr": 0.25, "metrics": {"top1": 0.75}, "time": 12.5}


@pytest.mark.parametrize(
    ("data", "value"),  # RFC 3720, appendix B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_checksum_is_that_of_the_standard(data: bytes, value: int) -> None:
    assert crc32c(data) == value


def records(content: bytes) -> list[bytes]:
    """The records of an event file; both checksums are undone and compared."""
    found = []
    while content:
        (length,), rest = struct.unpack("<Q", content[:8]), content[12:]
        for part, stored in ((content[:8], content[8:12]), (rest[:length], rest[length:][:4])):
            rotated = (struct.unpack("<I", stored)[0] - 0xA282EAD8) & 0xFFFFFFFF
            assert (rotated >> 17 | rotated << 15) & 0xFFFFFFFF == crc32c(part)
        found.append(rest[:length])
        content = rest[length + 4 :]
    return found


def test_an_event_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "events"
    write_events(path, [LINE])
    head, loss, rate, top1 = records(path.read_bytes())
    assert head == b"\x09" + struct.pack("<d", 12.5) + b"\x1a\x0dbrain.Event:2"
    entry = b"\x0a\x0atrain/loss\x15" + struct.pack("<f", 0.5)
    summary = b"\x0a" + bytes([len(entry)]) + entry
    time, step = b"\x09" + struct.pack("<d", 12.5), b"\x10\xac\x02"  # 300 = 0b10_0101100
    assert loss == time + step + b"\x2a" + bytes([len(summary)]) + summary
    assert b"train/lr" in rate
    assert b"eval/top1" in top1


def test_appended_is_written_anew(tmp_path: Path) -> None:
    more = {**LINE, "step": 600}
    write_events(tmp_path / "a", [LINE])
    append_events(tmp_path / "a", more)
    write_events(tmp_path / "b", [LINE, more])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

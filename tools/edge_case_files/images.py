"""What the certificate's files show, and the notes that cameras put beside it; whole numbers only."""

from __future__ import annotations

import struct

import numpy as np


def image(width: int, height: int, seed: int) -> np.ndarray:
    """Slopes, stripes, a disk and grain, uint8 RGB (H, W, 3); how much of each the seed decides."""
    dice = _mixed(np.arange(16, dtype=np.uint64) + np.uint64(1000 * seed + 1)).astype(np.int64)
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    period = 2 + int(dice[0] % 40)
    striped = ((x * (1 + int(dice[1] % 3)) + y * int(dice[2] % 3)) // period % 2) * (dice[3] % 120)
    radius = 1 + min(width, height) // (2 + int(dice[4] % 4))
    centre = int(dice[5] % width), int(dice[6] % height)
    disk = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius * radius) * (dice[7] % 150)
    grain = _mixed((y * 65_537 + x + seed).astype(np.uint64)).astype(np.int64)
    rough = int(dice[8] % 3) * 40 + 1
    planes = [
        (
            int(dice[9 + c] % 160)
            + x * int(dice[12] % 200) // max(1, width - 1)
            + y * int(dice[13] % 100) // max(1, height - 1)
            + striped * (c != seed % 3)
            - disk * (c != (seed + 1) % 3)
            + (grain >> 8 * c) % rough
        )
        for c in range(3)
    ]
    shown: np.ndarray = np.stack(planes, axis=-1).clip(0, 255).astype(np.uint8)
    return shown


def _mixed(values: np.ndarray) -> np.ndarray:
    """Numbers below 2 ** 32 that look like dice; the same everywhere, unlike a library's."""
    values = (values ^ values >> np.uint64(16)) * np.uint64(0x45D9F3B) & np.uint64(0xFFFFFFFF)
    values = (values ^ values >> np.uint64(16)) * np.uint64(0x45D9F3B) & np.uint64(0xFFFFFFFF)
    mixed: np.ndarray = values ^ values >> np.uint64(16)
    return mixed


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF block with the maker's name, the orientation and a size.

    Args:
        orientation: 1 to 8, or nonsense.
        order: "<" little endian, ">" big endian.
    """
    entries = [
        (0x010F, 2, 4, b"Eye\0"),
        (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)),
        (0xA002, 4, 1, struct.pack(order + "I", 1)),
    ]
    table = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return start + struct.pack(order + "H", len(entries)) + table + bytes(4)

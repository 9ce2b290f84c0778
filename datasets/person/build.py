"""Build the person data set: is someone in a window of a street scene, or nobody?

::

    python datasets/person/build.py data/person

downloads the Debian package ``opencv-doc`` (96 MB, BSD) and cuts windows of 144 px out of its video
``vtest.avi`` (795 frames of 768x576, 10 a second, one camera that does not move, walking people).

Labels come from the scene itself, from no other network: what differs from the median of the video
is foreground. A window that holds at least 80 % of a blob of a person's size is ``someone`` (1), one
without any foreground is ``nobody`` (0), and what lies between is left out.

Splits are by time *and* by region, so that neither a moment nor a place is on both sides::

    train   left half,   0 s to 45 s
    val     left half,  50 s to the end      the operating point is chosen here
    test    right half, 50 s to the end      new places and new moments

Written into the folder: ``windows/*.png``, ``train_list.txt``, ``val_list.txt``, ``test_list.txt``
and ``windows.csv`` (path, label, split, second).
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packages import FetchError, download, unpack  # noqa: E402 (a script: its neighbours are found by path)

VIDEO = Path("usr/share/doc/opencv-doc/examples/data/vtest.avi")
SIDE, STEP = 144, 72
"""Window and distance of the windows, in px; the grid moves at random by up to half a step."""
TOP = 96
"""Above this row people are a few px tall."""
DIFFERENT = 30
"""Grey levels in any channel from which a pixel is foreground."""
PERSON = (250, 12000)
"""Foreground px of a person, from far to near."""
INSIDE = 0.8
FRAMES = {"train": (0, 450), "val": (500, 795), "test": (500, 795)}
EVERY = {"train": 2, "val": 5, "test": 3}


class Window(NamedTuple):
    """A corner (px), a label and where it comes from."""

    x: int
    y: int
    label: int


def main() -> int:
    """Fetch, build, and say what was made."""
    parser = argparse.ArgumentParser(description="Build the person data set.")
    parser.add_argument("out", type=Path, help="folder to fill")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    try:
        archive = download("debian", "opencv-doc", out / "packages")
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            unpack(archive, Path(temporary))
            counts = build(read_video(Path(temporary) / VIDEO), out, arguments.seed)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for split, (nobody, someone) in counts.items():
        print(f"{split:5} {nobody:5} nobody {someone:5} someone")
    return 0


def read_video(path: Path) -> np.ndarray:
    """All frames (T, H, W, 3) uint8 BGR."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = video.read()
        if not more:
            break
        frames.append(frame)
    if not frames:
        raise FetchError(f"{path}: no frames; is the package another release?")
    return np.stack(frames)


def build(frames: np.ndarray, out: Path, seed: int) -> dict[str, tuple[int, int]]:
    """Write windows and lists; returns (nobody, someone) by split."""
    rng = np.random.default_rng(seed)
    still = np.median(frames[::8], axis=0).astype(np.uint8)
    height, width = still.shape[:2]
    regions = {"train": (0, width // 2), "val": (0, width // 2), "test": (width // 2, width)}
    (out / "windows").mkdir(parents=True, exist_ok=True)
    rows = []
    for split, (first, last) in FRAMES.items():
        left, right = regions[split]
        for at in range(first, min(last, len(frames)), EVERY[split]):
            blobs = people(frames[at], still)
            for window in windows(blobs, left, right, height, rng):
                name = f"windows/{split}_{at:03}_{window.x}_{window.y}.png"
                crop = frames[at, window.y : window.y + SIDE, window.x : window.x + SIDE]
                cv2.imwrite(str(out / name), crop)
                rows.append((name, window.label, split, at / 10))
    with (out / "windows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label", "split", "second"), *rows])
    counts = {}
    for split in FRAMES:
        mine = [(name, label) for name, label, of, _ in rows if of == split]
        text = "".join(f"{name} {label}\n" for name, label in mine)
        (out / f"{split}_list.txt").write_text(text, encoding="utf-8")
        counts[split] = (sum(not label for _, label in mine), sum(label for _, label in mine))
    return counts


def people(frame: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Foreground (H, W) int32: 0 none, else the number of its blob; -1 for blobs of another size."""
    mask = (cv2.absdiff(frame, still).max(axis=2) > DIFFERENT).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((11, 5), np.uint8))
    _, blobs, stats, _ = cv2.connectedComponentsWithStats(mask)
    for number, (_, _, width, height, area) in enumerate(stats):
        # The tape that moves in the wind is thin and wide; a person is upright.
        if number and not (PERSON[0] <= area <= PERSON[1] and height > width and height >= 25):
            blobs[blobs == number] = -1
    return blobs


def windows(
    blobs: np.ndarray, left: int, right: int, height: int, rng: np.random.Generator
) -> Iterator[Window]:
    """The windows of a region whose label is beyond doubt."""
    areas = np.bincount(blobs[blobs > 0].ravel(), minlength=1)
    dx, dy = rng.integers(0, STEP // 2, 2)
    for y in range(TOP + int(dy), height - SIDE + 1, STEP):
        for x in range(left + int(dx), right - SIDE + 1, STEP):
            part = blobs[y : y + SIDE, x : x + SIDE]
            if not part.any():
                yield Window(x, y, 0)
                continue
            inside = np.bincount(part[part > 0].ravel(), minlength=len(areas))
            if len(areas) > 1 and (inside[1:] >= INSIDE * np.maximum(areas[1:], 1)).any():
                yield Window(x, y, 1)


if __name__ == "__main__":
    raise SystemExit(main())

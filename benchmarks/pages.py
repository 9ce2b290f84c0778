"""Render pages of text in four orientations, to compare reduced with whole decoding on.

    python benchmarks/pages.py FOLDER [--count 1040]
    tinysight bench BUNDLE --images FOLDER --admit

Words at random in sizes at random, on paper of several greys with a little noise, 620 x 877 pixels,
JPEG of quality 75 to 95; always the same. For networks that judge text orientation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = "the of and to in is that for it as was with be by on not he this are or his from".split()  # noqa: SIM905
WIDTH, HEIGHT = 620, 877


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1040)
    args = parser.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sheet = page(rng)
    for i in range(args.count):
        turns = i % 4
        sheet = sheet if turns else page(rng)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 96))]
        cv2.imwrite(str(args.folder / f"{i:04d}.jpg"), np.rot90(sheet, turns), quality)


def page(rng: np.random.Generator) -> np.ndarray:
    """One upright page, uint8 (877, 620, 3)."""
    image = Image.new("L", (WIDTH, HEIGHT), int(rng.integers(225, 256)))
    draw = ImageDraw.Draw(image)
    size = int(rng.integers(11, 22))
    font = ImageFont.load_default(size)
    top = int(rng.integers(30, 90))
    while top < HEIGHT - 60:
        line = " ".join(rng.choice(WORDS, int(rng.integers(5, 14))))
        draw.text((50, top), line, fill=int(rng.integers(0, 70)), font=font)
        top += round(size * 1.45) + (30 if rng.random() < 0.08 else 0)
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    return np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()

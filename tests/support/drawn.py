"""Small drawn images in a folder for each class, with what real folders have: broken files, odd files, copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

COLOURS = {"blue": (200, 60, 40), "green": (50, 190, 60), "red": (40, 50, 210)}  # blue first


def drawing(rng: np.random.Generator, colour: tuple[int, int, int], side: int = 48) -> np.ndarray:
    """A few random shapes of about one colour on a noisy ground that leans to it, (side, side + 8, 3)."""
    image = (rng.integers(60, 130, (side, side + 8, 3)) + np.array(colour) // 2).astype(np.uint8)
    for _ in range(4):
        x, y, r = (int(v) for v in rng.integers(6, side - 6, 3))
        shade = tuple(int(v) for v in np.clip(np.add(colour, rng.integers(-30, 30, 3)), 0, 255))
        cv2.circle(image, (x, y), max(5, r // 2), shade, -1)
    return image


def draw_classes(root: Path, each: int = 10, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """`each` drawings for each class in a folder of its name; no two alike, the same every time."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            cv2.imwrite(str(root / name / f"{name}{i:02}.png"), drawing(rng, COLOURS[name]))
    return root


def plant(root: Path) -> None:
    """Plant broken and odd files, and a copy of an image as a JPEG: in `green`."""
    folder = root / "green"
    (folder / "cut.png").write_bytes((folder / "green00.png").read_bytes()[:200])
    (folder / "page.jpg").write_text("<html>not found</html>", "utf-8")
    (folder / "notes.docx").write_bytes(b"PK")
    image = cv2.imread(str(folder / "green01.png"))
    cv2.imwrite(str(folder / "copy.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])

"""Build the clarity data set (sharp or blurred?) from a folder of photographs.

::

    python datasets/clarity/build.py data/clarity          # after fetch.py: the full data set
    python datasets/clarity/build.py OUT --photos FOLDER   # any folder of sharp photographs

Written into OUT: ``train_list.txt`` (clear windows only: training blurs them on the fly),
``val_list.txt`` and ``test_list.txt`` (clear and blurred files), lists of the promised part of the
test images, and ``windows.csv`` with photograph, family, strength and sharpness of every file.

Units. Every strength is the standard deviation ``sigma`` of the blur along its axis, in pixels
*of the 256 view*, that is: measured when the short side of the image is 256 px. At another size
it is scaled by short_side / 256. Equal sigma means an equal second moment in every family:
gaussian sigma; a motion line of sigma * sqrt(12) px; a defocus disk of radius 2 * sigma px; down-
and up-scaling by the factor 2 * sigma (area down, cubic up).

Images are uint8 RGB (H, W, 3). Everything is deterministic from ``--seed``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tinysight import decode
from tinysight.errors import ImageError
from tinysight.transforms.augment.blur import gaussian_blur, motion_blur
from tinysight.transforms.base import same_axes
from tinysight.transforms.geometry import Resize

Image = npt.NDArray[Any]

VIEW = 256
"""Short side (px) at which strength and sharpness are measured."""
CENTRE = 224
"""Side (px) of the centre crop of the view, which is all that the network sees."""
FLOOR = 30.0
"""Sharpness below which a photograph has no fine detail to judge (see ``sharpness``)."""
PROMISED_SIGMA = 1.0
"""Smallest strength (px at the 256 view) for which results are promised."""
SIGMAS = (0.6, 5.0)
"""Range of strengths, drawn log-uniformly."""
JPEG_QUALITY = (60, 95)
"""Range of the JPEG quality of val and test files, the same for clear and blurred ones."""
MIN_SHORT, MAX_SHORT = 300, 640
"""Range of the short side (px) of a window."""
MIN_REDUCTION = 1.3
"""A window is at least this much smaller than its part of the photograph: it is sharp."""
TRAINED = ("gaussian", "motion")
HELD_OUT = ("disk", "rescale")
_FINE = 8  # sub-pixel steps of a disk
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def disk_kernel(radius: float) -> Image:
    """Kernel (k, k), k odd, float32, sum 1: the share of each pixel that a disk covers."""
    reach = max(math.ceil(radius - 0.5), 0)
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - 0.5 - reach
    inside = (fine[:, None] ** 2 + fine**2 <= radius**2).astype(np.float64)
    kernel = inside.reshape(2 * reach + 1, _FINE, 2 * reach + 1, _FINE).mean(axis=(1, 3))
    if not kernel.any():  # a disk between the sub-pixels
        kernel[reach, reach] = 1.0
    scaled: Image = (kernel / kernel.sum()).astype(np.float32)
    return scaled


def disk_blur(image: Image, radius: float) -> Image:
    """`image` out of focus by a disk of `radius`."""
    return same_axes(cv2.filter2D(image, -1, disk_kernel(radius)), image)


def down_up(image: Image, factor: float) -> Image:
    """`image` reduced by `factor` (1 or more), area, and enlarged again, bicubic."""
    height, width = image.shape[:2]
    small = max(round(width / factor), 1), max(round(height / factor), 1)
    if small == (width, height):
        return image
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return same_axes(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC), image)


class BuildError(RuntimeError):
    """What went wrong, in one line for the user."""


@dataclass(frozen=True)
class Source:
    """One photograph: file, unique name, and its split (train | val | test)."""

    path: Path
    name: str
    split: str


# ---------------------------------------------------------------- measures


def resize_short(image: Image, short: int) -> Image:
    """Scale the short side to ``short`` px: area to shrink, bilinear to enlarge."""
    shrink = short < min(image.shape[:2])
    return Resize(short=short, interpolation="area" if shrink else "bilinear")(image)


def centre_view(image: Image) -> npt.NDArray[np.float32]:
    """Grey values (224, 224), 0..255, of the centre crop of the 256 view."""
    grey = cv2.cvtColor(resize_short(image, VIEW), cv2.COLOR_RGB2GRAY).astype(np.float32)
    top, left = (grey.shape[0] - CENTRE) // 2, (grey.shape[1] - CENTRE) // 2
    return np.asarray(grey[top : top + CENTRE, left : left + CENTRE], np.float32)


def sharpness(image: Image) -> float:
    """98th percentile of |Laplacian| in ``centre_view``, in grey levels (0..1020).

    A percentile, not a mean: one sharp subject before a soft background is a sharp photograph.
    """
    return float(np.percentile(np.abs(cv2.Laplacian(centre_view(image), cv2.CV_32F)), 98))


# ---------------------------------------------------------------- blur


BLURS: dict[str, Callable[[Image, float, np.random.Generator], Image]] = {
    "gaussian": lambda image, sigma, rng: gaussian_blur(image, sigma),
    "motion": lambda image, sigma, rng: motion_blur(
        image, sigma * math.sqrt(12), rng.uniform(0, 180)
    ),
    "disk": lambda image, sigma, rng: disk_blur(image, 2 * sigma),
    "rescale": lambda image, sigma, rng: down_up(image, 2 * sigma),
}


def blur(image: Image, family: str, sigma: float, rng: np.random.Generator) -> Image:
    """Blur by ``sigma`` px of the 256 view; brightness and contrast range are left alone."""
    return BLURS[family](image, sigma * min(image.shape[:2]) / VIEW, rng)


# ---------------------------------------------------------------- windows


def cut_window(image: Image, rng: np.random.Generator) -> Image:
    """Cut 60 to 100 % of the photograph and shrink it (AREA) to a short side of 300..640 px.

    The reduction is at least 1.3, so that the window is sharper than its source; a photograph
    too small for both (short side below 390 px) is taken whole, at no less than 256 px.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    share = rng.uniform(min(1.0, max(0.6, MIN_SHORT * MIN_REDUCTION / short)), 1.0)
    h, w = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    window = image[top : top + h, left : left + w]
    largest = int(min(MAX_SHORT, min(h, w) / MIN_REDUCTION))
    target = int(rng.integers(MIN_SHORT, largest + 1)) if largest >= MIN_SHORT else largest
    return resize_short(window, max(VIEW, target))


def read_image(path: Path) -> Image:
    """Decode one file to RGB, EXIF rotation applied; raises ``BuildError`` naming the file."""
    try:
        image = decode(path)
    except ImageError as error:
        raise BuildError(str(error)) from error
    if min(image.shape[:2]) < VIEW:
        raise BuildError(f"{path}: the short side is below {VIEW} px")
    return image


def write_jpeg(path: Path, image: Image, quality: int) -> None:
    """Write a JPEG of the given quality (1..100)."""
    done, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise BuildError(f"{path}: could not encode")
    path.write_bytes(data.tobytes())


# ---------------------------------------------------------------- sources


def sources_from_catalogue(catalogue: Path, photos: Path) -> list[Source]:
    """The photographs of ``photographs.csv`` that are in ``photos``, with their splits."""
    with catalogue.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [
        Source(path, row["name"], row["split"])
        for row in rows
        if (path := photos / (row["name"] + Path(row["path"]).suffix.lower())).is_file()
    ]
    if not found:
        raise BuildError(f"{photos} holds none of the listed photographs: run fetch.py first")
    if len(found) < len(rows):
        print(f"note: {len(rows) - len(found)} of {len(rows)} photographs are missing")
    return found


def sources_from_folder(folder: Path, val: float, test: float, seed: int) -> list[Source]:
    """Every image below ``folder``, split by photograph with the given shares (0..1)."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if len(paths) < 2:
        raise BuildError(f"{folder}: at least two photographs are needed, found {len(paths)}")
    order = np.random.default_rng(seed).permutation(len(paths))
    n_test = round(test * len(paths))
    n_val = max(1, round(val * len(paths)))
    split = {int(i): "test" for i in order[:n_test]}
    split.update({int(i): "val" for i in order[n_test : n_test + n_val]})
    return [
        Source(path, f"{i:04d}-{path.stem.replace(' ', '_')}", split.get(i, "train"))
        for i, path in enumerate(paths)
    ]


# ---------------------------------------------------------------- build


def source_rng(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each photograph: adding one changes no other."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draw_sigma(rng: np.random.Generator) -> float:
    """Log-uniform strength in ``SIGMAS`` (px at the 256 view)."""
    return float(np.exp(rng.uniform(*np.log(SIGMAS))))


def build_source(source: Source, out: Path, windows: int, seed: int) -> list[dict[str, Any]]:
    """Write the files of one photograph; one row of ``windows.csv`` for each.

    A train photograph gives ``windows`` clear files (those above the floor). A val or test
    photograph gives, for each window, one clear file and one of each family: two families for val,
    all four for test.
    """
    rng = source_rng(seed, source.name)
    image = read_image(source.path)
    families = {"train": (), "val": TRAINED, "test": TRAINED + HELD_OUT}[source.split]
    rows: list[dict[str, Any]] = []
    for index in range(windows):
        window = cut_window(image, rng)
        clear = sharpness(window)
        if source.split == "train" and clear < FLOOR:
            continue
        for family in ("clear", *families):
            sigma = 0.0 if family == "clear" else draw_sigma(rng)
            photo = window if family == "clear" else blur(window, family, sigma, rng)
            low, high = (97, 97) if source.split == "train" else JPEG_QUALITY
            quality = int(rng.integers(low, high + 1))
            name = f"{source.split}/{source.name}_{index:02d}_{family}.jpg"
            write_jpeg(out / name, photo, quality)
            rows.append(
                {
                    "path": name,
                    "label": int(family != "clear"),
                    "split": source.split,
                    "photograph": source.name,
                    "family": family,
                    "sigma": f"{sigma:.3f}",
                    "source_sharpness": f"{clear:.2f}",
                    "above_floor": int(clear >= FLOOR),
                    "short": min(photo.shape[:2]),
                    "quality": quality,
                }
            )
    return rows


def promised(row: dict[str, Any], families: Iterable[str]) -> bool:
    """Whether a file belongs to what is promised for these families: above the floor, and clear
    or blurred by at least ``PROMISED_SIGMA``.
    """
    if not int(row["above_floor"]):
        return False
    return row["family"] == "clear" or (
        row["family"] in families and float(row["sigma"]) >= PROMISED_SIGMA
    )


def write_list(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write ``path label`` lines, in order."""
    path.write_text("".join(f"{r['path']} {r['label']}\n" for r in rows), encoding="utf-8")


def build(
    sources: list[Source], out: Path, train_windows: int, test_windows: int, seed: int
) -> list[dict[str, Any]]:
    """Build the data set of ``sources`` into ``out`` and return the rows of ``windows.csv``."""
    rows: list[dict[str, Any]] = []
    for split in ("train", "val", "test"):
        shutil.rmtree(out / split, ignore_errors=True)
        (out / split).mkdir(parents=True)
    for source in sources:
        count = train_windows if source.split == "train" else test_windows
        rows += build_source(source, out, count, seed)
    if not any(r["split"] == "train" for r in rows):
        raise BuildError(f"no training window is above the sharpness floor {FLOOR}")
    part = {s: [r for r in rows if r["split"] == s] for s in ("train", "val", "test")}
    write_list(out / "train_list.txt", part["train"])
    write_list(out / "val_list.txt", [r for r in part["val"] if promised(r, TRAINED)])
    if part["test"]:
        write_list(out / "test_list.txt", part["test"])
        for name, families in (("trained", TRAINED), ("held_out", HELD_OUT)):
            kept = [r for r in part["test"] if promised(r, families)]
            write_list(out / f"test_{name}_list.txt", kept)
    with (out / "windows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts of photographs and files, one line a split."""
    lines = []
    for split in ("train", "val", "test"):
        mine = [r for r in rows if r["split"] == split]
        if mine:
            clear = [r for r in mine if not r["label"]]
            lines.append(
                f"{split:5s} {len({r['photograph'] for r in mine}):4d} photographs, "
                f"{len(clear):5d} clear ({sum(r['above_floor'] for r in clear)} above the floor), "
                f"{len(mine) - len(clear):5d} blurred"
            )
    return "\n".join(lines)


def main() -> int:
    """Build, and say what was built."""
    parser = argparse.ArgumentParser(description="Build the clarity data set.")
    parser.add_argument("out", type=Path, help="folder of the data set (fetch.py's OUT)")
    parser.add_argument("--photos", type=Path, help="any folder of sharp photographs instead")
    parser.add_argument("--train-windows", type=int, default=20, help="windows a train photograph")
    parser.add_argument("--test-windows", type=int, default=8, help="windows a val/test photograph")
    parser.add_argument("--val", type=float, default=0.25, help="share of val, with --photos")
    parser.add_argument("--test", type=float, default=0.0, help="share of test, with --photos")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        if arguments.photos:
            shares = (arguments.val, arguments.test)
            sources = sources_from_folder(arguments.photos, *shares, arguments.seed)
        else:
            catalogue = Path(__file__).resolve().parent / "photographs.csv"
            sources = sources_from_catalogue(catalogue, arguments.out / "photos")
        counts = (arguments.train_windows, arguments.test_windows)
        rows = build(sources, arguments.out, *counts, arguments.seed)
    except (BuildError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

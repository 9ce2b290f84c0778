"""Duplicates planted among 5,000 images, and how many of them `tinysight data check` finds.

python datasets/clarity/fetch.py data/clarity
python benchmarks/duplicates.py data/clarity/photos

The images are windows of photographs that do not overlap, so that no two are of the same part of a
photograph; neighbours in a wall or a meadow still look alike. One copy each of some of them is
planted, changed in one of six ways. What is found is right if both are of the same window. Windows
that show nothing but a gradient, such as a clear sky, are among the images but not planted: two of
them cannot be told apart, and the detector only compares their bytes.

The photographs of the `val` and `test` part of datasets/clarity/photographs.csv are those that the
thresholds were chosen on (`--part tune`); what is reported comes from the others.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

KINDS = ("exact", "re-encoded", "resized", "cropped", "flipped", "watermarked")
TABLE = Path(__file__).parents[1] / "datasets" / "clarity" / "photographs.csv"
Image = np.ndarray


def windows(photos: Path, part: str, size: tuple[int, int]) -> Iterator[Image]:
    """Windows of the photographs, side by side."""
    with TABLE.open(encoding="utf-8") as file:
        splits = {row["name"]: row["split"] for row in csv.DictReader(file)}
    for path in sorted(photos.iterdir()):
        if (splits.get(path.stem, "train") == "train") != (part == "report"):
            continue
        image = cv2.imread(str(path))
        width, height = size
        for y in range(0, image.shape[0] - height + 1, height):
            for x in range(0, image.shape[1] - width + 1, width):
                yield image[y : y + height, x : x + width]


def shows_something(image: Image) -> bool:
    """Whether there is more than a gradient (a clear sky, a wall) in at least a quarter of it."""
    grey = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (64, 64), interpolation=cv2.INTER_AREA
    )
    detail = cv2.Laplacian(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1), cv2.CV_32F)
    tiles = detail.reshape(4, 16, 4, 16).std(axis=(1, 3))
    return bool((tiles > 1.5).sum() >= 4)


def planted(image: Image, data: bytes, kind: str, rng: np.random.Generator) -> tuple[bytes, str]:
    """A copy of an image, changed in the way that `kind` says: file and suffix."""
    height, width = image.shape[:2]
    match kind:
        case "exact":
            return data, ".jpg"
        case "re-encoded":
            suffix = str(rng.choice([".jpg", ".jpg", ".png", ".webp"]))
            return encoded(image, suffix, int(rng.integers(30, 95))), suffix
        case "resized":
            scale = float(np.exp(rng.uniform(np.log(0.4), np.log(2))))
            size = round(width * scale), round(height * scale)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        case "cropped":  # a tenth of the width and of the height is lost
            w, h = round(width * 0.9), round(height * 0.9)
            x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            image = image[y : y + h, x : x + w]
        case "flipped":
            image = cv2.flip(image, int(rng.integers(0, 2)))
        case "watermarked":
            image = watermarked(image, rng)
    return encoded(image, ".jpg", int(rng.integers(70, 96))), ".jpg"


def watermarked(image: Image, rng: np.random.Generator) -> Image:
    """A word across the image or in a corner, half transparent."""
    height, width = image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    wide = rng.random() < 0.5
    scale, thick = (width / 180, 4) if wide else (width / 420, 2)
    at = (8, height // 2 + 12) if wide else (width // 2, height - 10)
    cv2.putText(layer, "SAMPLE 2026", at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    if wide:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-35, 35)), 1)
        layer = cv2.warpAffine(layer, turn, (width, height))
    alpha = layer[..., None] / 255 * rng.uniform(0.35, 0.75)
    return (image * (1 - alpha) + 255 * alpha).astype(np.uint8)


def encoded(image: Image, suffix: str, quality: int) -> bytes:
    """`image` as a file."""
    option = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}.get(suffix)
    done, data = cv2.imencode(suffix, image, [option, quality] if option else [])
    assert done
    return bytes(data)


def make(
    photos: Path, folder: Path, part: str, total: int, share: float, seed: int
) -> dict[str, str]:
    """Write the images; returns the kind of each planted one by its name, `12-flipped.jpg`."""
    rng = np.random.default_rng(seed)
    found = list(windows(photos, part, (240, 180)))
    plants = round(total * share)
    if len(found) < total - plants:
        plants = round(len(found) * share / (1 - share))
        total = len(found) + plants
    chosen = rng.permutation(len(found))[: total - plants]
    kinds: dict[str, str] = {}
    for n, i in enumerate(chosen):
        data = encoded(found[i], ".jpg", int(rng.integers(80, 97)))
        (folder / f"{n}.jpg").write_bytes(data)
        if len(kinds) < plants and shows_something(found[i]):
            kind = KINDS[len(kinds) % len(KINDS)]
            copy, suffix = planted(found[i], data, kind, rng)
            name = f"{n}-{kind}{suffix}"
            (folder / name).write_bytes(copy)
            kinds[name] = kind
    return kinds


def measure(folder: Path, kinds: dict[str, str], threads: int) -> dict[str, object]:
    """Recall by kind, precision and seconds of the detector on the images of `folder`."""
    from tinysight.data.audit.duplicates import find_duplicates

    paths = sorted(folder.iterdir())
    started, busy = time.perf_counter(), time.process_time()
    found = find_duplicates(paths, threads=threads)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    names = [p.name for p in paths]
    base = [name.split("-")[0].split(".")[0] for name in names]
    right = {(a, b) for a, b, *_ in found if base[a] == base[b]}
    wrong = [(names[a], names[b]) for a, b, *_ in found if base[a] != base[b]]
    hit = {names[i] for pair in right for i in pair}
    recall = {}
    for kind in KINDS:
        of_kind = [name for name, k in kinds.items() if k == kind]
        recall[kind] = [sum(name in hit for name in of_kind), len(of_kind)]
    return {
        "pictures": len(paths),
        "recall": recall,
        "pairs": len(found),
        "wrong": len(wrong),
        "precision": round(len(right) / max(1, len(found)), 5),
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),  # of all threads; what counts on a busy machine
        "wrong_pairs": wrong[:10],
        "missed": sorted(set(kinds) - hit)[:10],
    }


def main() -> None:
    """Make the images, look for the duplicates, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", choices=("report", "tune"), default="report")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--planted", type=float, default=0.28, help="share of the images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="write the images here and leave them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        kinds = make(args.photos, folder, args.part, args.images, args.planted, args.seed)
        found = measure(folder, kinds, args.threads)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

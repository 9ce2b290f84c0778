"""Build the emoji data set: one identity for each emoji, drawn by three vendors; 500 identities are never trained on.

::

    python datasets/emoji/build.py data/emoji

downloads three packages of npm (150 MB; nothing of them is in this repository): ``emoji-datasource-google`` (Noto,
Apache-2.0 and OFL), ``emoji-datasource-twitter`` (Twemoji, CC-BY-4.0) and ``@lobehub/fluent-emoji-3d`` (Fluent, MIT).
Every emoji that all three have, without skin tones, is laid on white and written to ``images/<vendor>/*.png``. Lists:

``train.txt``           the identities to train on, from all three vendors
``val_<vendor>.txt``    100 further ones, to choose epochs and settings by
``test_<vendor>.txt``   500 further ones, which decide nothing; searched from one vendor in another

The split is by identity, at random. Variants of one emoji, such as the clock at each hour, are different identities,
and may be on both sides.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packages import FetchError, download, unpack  # noqa: E402 (a script: its neighbours are found by path)

PACKAGES = {
    "google": ("emoji-datasource-google@16.0.0", "img/google/64", ".png"),
    "twitter": ("emoji-datasource-twitter@16.0.0", "img/twitter/64", ".png"),
    "fluent": ("@lobehub/fluent-emoji-3d@1.1.0", "assets", ".webp"),
}
TEST, VAL = 500, 100
SIDE = 160  # pixels of a written image


def main() -> int:
    """Fetch, build, and say what was made."""
    parser = argparse.ArgumentParser(description="Build the emoji data set.")
    parser.add_argument("out", type=Path, help="folder to fill")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folders = {}
            for vendor, (package, inside, _) in PACKAGES.items():
                archive = download("npm", package, out / "packages")
                unpack(archive, Path(temporary) / vendor)
                folders[vendor] = Path(temporary) / vendor / "package" / inside
            listed = Path(temporary) / "google" / "package" / "emoji.json"
            names = [row["unified"].lower() for row in json.loads(listed.read_text("utf-8"))]
            counts = build(names, folders, out, arguments.seed)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"identities in {arguments.out}: {counts}")
    return 0


def build(names: list[str], folders: dict[str, Path], out: Path, seed: int) -> dict[str, int]:
    """Write images and lists of the emoji ``names`` that every folder has; returns the identities of each part."""
    files = {
        vendor: {p.stem.lower(): p for p in folder.iterdir()} for vendor, folder in folders.items()
    }
    common = sorted(n for n in set(names) if all(n in found for found in files.values()))
    if len(common) <= TEST + VAL:
        raise FetchError(
            f"{len(common)} emoji that all vendors have; are the packages other releases?"
        )
    order = np.random.default_rng(seed).permutation(len(common))
    parts = {"test": order[:TEST], "val": order[TEST : TEST + VAL], "train": order[TEST + VAL :]}
    lines: dict[str, list[str]] = {}
    for part, places in parts.items():
        for vendor, found in files.items():
            (out / "images" / vendor).mkdir(parents=True, exist_ok=True)
            for i in sorted(places.tolist()):
                path = out / "images" / vendor / f"{common[i]}.png"
                cv2.imwrite(str(path), on_white(found[common[i]]))
                name = part if part == "train" else f"{part}_{vendor}"
                lines.setdefault(name, []).append(f"{path.relative_to(out).as_posix()} {i}\n")
    for name, rows in lines.items():
        (out / f"{name}.txt").write_text("".join(rows), encoding="utf-8")
    return {part: len(places) for part, places in parts.items()}


def on_white(path: Path) -> np.ndarray:
    """The image (SIDE, SIDE, 3) BGR uint8, laid on white where it is transparent."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3:
        raise FetchError(f"{path}: not an image in colour")
    colour = image[..., :3].astype(np.float32)
    alpha = image[..., 3:].astype(np.float32) / 255 if image.shape[2] == 4 else np.float32(1.0)
    laid = np.rint(colour * alpha + 255 * (1 - alpha)).astype(np.uint8)
    way = cv2.INTER_AREA if laid.shape[0] > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(laid, (SIDE, SIDE), interpolation=way))


if __name__ == "__main__":
    raise SystemExit(main())

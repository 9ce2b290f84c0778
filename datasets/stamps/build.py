"""Build the stamps data set: seven kinds of Tux Paint stamps, five stratified folds.

::

    python datasets/stamps/build.py data/stamps

downloads the Debian package ``tuxpaint-stamps-default`` (160 MB; GPL-2, nothing of it is in this
repository), lays each of 466 cut-outs on white and writes ``images/<kind>/*.png`` and the lists
``fold0_train.txt``, ``fold0_val.txt`` to ``fold4_val.txt`` into the folder.

Every image is in the val list of exactly one fold. Folds are stratified by kind and keep the
stamps of one sub-folder name stem together (``apple1``, ``apple2``), so that variants of one drawing
are never on both sides.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packages import FetchError, download, unpack  # noqa: E402 (a script: its neighbours are found by path)

KINDS = ("animals", "food", "household", "plants", "seasonal", "town", "vehicles")
"""The folders with enough images; their order is the class id."""
FOLDS = 5
STAMPS = Path("usr/share/tuxpaint/stamps")


def main() -> int:
    """Fetch, build, and say what was made."""
    parser = argparse.ArgumentParser(description="Build the stamps data set.")
    parser.add_argument("out", type=Path, help="folder to fill")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        out = arguments.out.resolve()
        archive = download("debian", "tuxpaint-stamps-default", out / "packages")
        with tempfile.TemporaryDirectory(dir=out) as temporary:
            unpack(archive, Path(temporary))
            count = build(Path(temporary) / STAMPS, out, arguments.seed)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count} stamps of {len(KINDS)} kinds in {arguments.out}, {FOLDS} folds")
    return 0


def build(stamps: Path, out: Path, seed: int) -> int:
    """Write images and lists of the stamps below ``stamps``; returns the number of images."""
    rng = np.random.default_rng(seed)
    lines: list[list[str]] = [[] for _ in range(FOLDS)]  # the val lines of each fold
    for label, kind in enumerate(KINDS):
        groups: dict[str, list[Path]] = {}
        for path in sorted((stamps / kind).rglob("*.png")):
            groups.setdefault(group(path), []).append(path)
        if not groups:
            raise FetchError(f"{stamps / kind}: no stamps; is the package another release?")
        folder = out / "pictures" / kind
        folder.mkdir(parents=True, exist_ok=True)
        names = list(groups)
        sizes = np.zeros(FOLDS, int)
        # The largest groups first, each to the fold that is the smallest so far; ties by chance.
        for name in sorted(rng.permutation(names), key=lambda n: -len(groups[n])):
            fold = int(np.argmin(sizes))
            sizes[fold] += len(groups[name])
            for path in groups[name]:
                target = folder / "_".join(path.relative_to(stamps / kind).parts)
                cv2.imwrite(str(target), on_white(path))
                lines[fold].append(f"{target.relative_to(out).as_posix()} {label}")
    for fold in range(FOLDS):
        rest = [line for i, part in enumerate(lines) if i != fold for line in part]
        (out / f"fold{fold}_train.txt").write_text("\n".join(rest) + "\n", encoding="utf-8")
        (out / f"fold{fold}_val.txt").write_text("\n".join(lines[fold]) + "\n", encoding="utf-8")
    return sum(map(len, lines))


def group(path: Path) -> str:
    """What variants of one drawing share: the folder and the name without its number."""
    return f"{path.parent}/{re.sub(r'[-_ ]*[0-9]+$', '', path.stem)}"


def on_white(path: Path) -> np.ndarray:
    """The image (H, W, 3) BGR uint8, laid on white where it is transparent.

    Transparent pixels of these files hold arbitrary colours, which a decoder that drops the alpha
    channel would show.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FetchError(f"{path}: not an image")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        return image
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())

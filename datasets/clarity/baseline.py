"""The untrained baseline: how sharp is a picture, from the energy in its two finest bands?

::

    python datasets/clarity/baseline.py data/clarity
    python datasets/clarity/baseline.py data/clarity --scores predictions.csv   # a model instead

Four scores, none of them trained; higher means more blurred:

``direction``  the strongest: fine-band over coarse-band detail, in the direction where it is lowest
               (a motion blur removes detail along one direction only)
``band``       energy of the finest octave over that of the next one (difference of gaussians)
``reblur``     how little a second blur takes away: mean |gradient| after over before (after Crete
               et al. 2007, "The blur effect"), over the strongest pixels only
``laplace``    minus the variance of the Laplacian

Each is measured on the centre crop of the 256 view, as the network sees it. The sign and the
threshold of the accuracy come from ``val``; AUC and TPR are on the test files, for the promised
part (see ``build.promised``), with 95 % intervals from resampling whole photographs.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build

Floats = npt.NDArray[np.float64]
MAX_FPR = 1e-2
BINS = ((0.6, 1.0), (1.0, 1.2), (1.2, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 5.01))
"""Strengths (px at the 256 view) of the table by strength."""


def _smooth(grey: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    return cv2.GaussianBlur(grey, (0, 0), sigma).astype(np.float32)


def second_derivative(sigma: float, angle: float) -> npt.NDArray[np.float32]:
    """Second derivative of a gaussian of ``sigma`` px along ``angle`` (radians); mean 0, norm 1."""
    side = math.ceil(3.5 * sigma + 0.5)
    y, x = np.mgrid[-side : side + 1, -side : side + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    kernel = (along**2 / sigma**2 - 1) * np.exp(-(x**2 + y**2) / (2 * sigma**2))
    kernel -= kernel.mean()
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), np.float32)


_FILTERS = [
    (second_derivative(0.6, math.pi * i / 8), second_derivative(3.2, math.pi * i / 8))
    for i in range(8)
]


def direction_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Minus the lowest log ratio, over 8 directions, of the 99th percentiles of the fine (0.6 px)
    and the coarse (3.2 px) second derivative. The scales and the percentile were chosen on val."""
    ratios = []
    for filters in _FILTERS:
        fine, coarse = (
            np.quantile(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)), 0.99) for kernel in filters
        )
        ratios.append(math.log((fine + 1) / (coarse + 1)))
    return -min(ratios)


def band_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Minus log of finest-octave over next-octave energy; grey is (H, W), 0..255."""
    one, two = _smooth(grey, 0.8), _smooth(grey, 1.6)
    fine, coarse = np.mean((grey - one) ** 2), np.mean((one - two) ** 2)
    return -float(np.log((fine + 0.05) / (coarse + 0.05)))


def reblur_ratio(grey: npt.NDArray[np.float32]) -> float:
    """Share of the gradient that survives a blur of 1 px, over the 20 % strongest pixels."""
    after = _smooth(grey, 1.0)
    strength = [np.abs(np.diff(g, axis=1))[:-1] + np.abs(np.diff(g, axis=0))[:, :-1]
                for g in (grey, after)]  # fmt: skip
    strong = strength[0] >= np.quantile(strength[0], 0.8)
    return float((strength[1][strong].sum() + 1) / (strength[0][strong].sum() + 1))


def laplace(grey: npt.NDArray[np.float32]) -> float:
    """Minus the variance of the Laplacian."""
    return -float(cv2.Laplacian(grey, cv2.CV_32F).var())


SCORES: dict[str, Callable[[npt.NDArray[np.float32]], float]] = {
    "direction": direction_ratio,
    "band": band_ratio,
    "reblur": reblur_ratio,
    "laplace": laplace,
}


def auc(negatives: Floats, positives: Floats) -> float:
    """Area under the ROC curve: chance that a positive scores higher; ties count one half."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    below_or_equal = np.searchsorted(ordered, positives, "right")
    return float(np.mean(below + below_or_equal) / (2 * len(negatives)))


def tpr_at_fpr(negatives: Floats, positives: Floats, max_fpr: float = MAX_FPR) -> float:
    """Share of positives above the lowest threshold whose false positive rate is <= max_fpr."""
    allowed = int(np.floor(max_fpr * len(negatives)))
    return float(np.mean(positives > np.sort(negatives)[::-1][allowed]))


def best_threshold(negatives: Floats, positives: Floats) -> float:
    """Threshold of the best balanced accuracy: midway between two neighbouring scores."""
    scores = np.unique(np.concatenate([negatives, positives]))
    cuts = (scores[1:] + scores[:-1]) / 2
    gain = [np.mean(negatives <= c) + np.mean(positives > c) for c in cuts]
    return float(cuts[int(np.argmax(gain))])


def measures(score: Floats, label: npt.NDArray[np.int64], threshold: float) -> Floats:
    """(AUC, TPR at MAX_FPR, balanced accuracy) of one set."""
    negatives, positives = score[label == 0], score[label == 1]
    balanced = (np.mean(negatives <= threshold) + np.mean(positives > threshold)) / 2
    return np.array([auc(negatives, positives), tpr_at_fpr(negatives, positives), balanced])


def interval(
    score: Floats, label: npt.NDArray[np.int64], group: list[str], threshold: float, draws: int
) -> tuple[Floats, Floats]:
    """95 % interval of ``measures``: photographs, not files, are drawn with replacement."""
    members = [np.flatnonzero(np.array(group) == g) for g in sorted(set(group))]
    rng = np.random.default_rng(0)
    results = []
    for _ in range(draws):
        take = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        if 0 < label[take].sum() < len(take):
            results.append(measures(score[take], label[take], threshold))
    low, high = np.quantile(np.array(results), [0.025, 0.975], axis=0)
    return low, high


def read_rows(folder: Path, split: str) -> list[dict[str, Any]]:
    """Rows of ``windows.csv`` of one split."""
    with (folder / "windows.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def read_scores(path: Path, rows: list[dict[str, Any]]) -> Floats:
    """A model's scores from a CSV with the columns ``path`` and ``score`` (higher: blurred)."""
    with path.open(newline="", encoding="utf-8") as file:
        table = {row["path"]: float(row["score"]) for row in csv.DictReader(file)}
    missing = [row["path"] for row in rows if row["path"] not in table]
    if missing:
        raise build.BuildError(f"{path}: no score for {len(missing)} files, such as {missing[0]}")
    return np.array([table[row["path"]] for row in rows])


def measure_files(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Floats]:
    """Every baseline score of every file."""
    out: dict[str, list[float]] = {name: [] for name in SCORES}
    for row in rows:
        grey = build.centre_view(build.read_image(folder / row["path"]))
        for name, score in SCORES.items():
            out[name].append(score(grey))
    return {name: np.array(values) for name, values in out.items()}


def report(
    name: str, val: Floats, test: Floats, rows: dict[str, list[dict[str, Any]]], draws: int
) -> None:
    """Print the table of one score."""
    keep = np.array([build.promised(r, build.TRAINED) for r in rows["val"]])
    label = np.array([int(r["label"]) for r in rows["val"]])
    threshold = best_threshold(val[keep & (label == 0)], val[keep & (label == 1)])
    print(f"\n{name} (threshold from val: {threshold:.4f})")
    print(f"{'family':10s} {'clear':>6s} {'blur':>6s} {'photos':>6s}  {'AUC':20s}  "
          f"{'TPR at FPR 1e-2':20s}  balanced accuracy")  # fmt: skip
    sets: dict[str, tuple[str, ...]] = {"trained": build.TRAINED, "held out": build.HELD_OUT}
    sets.update({f: (f,) for f in build.BLURS})
    for title, families in sets.items():
        kept = np.array([build.promised(r, families) for r in rows["test"]])
        mine = [r for r, k in zip(rows["test"], kept, strict=True) if k]
        label = np.array([int(r["label"]) for r in mine])
        group = [r["photograph"] for r in mine]
        value = measures(test[kept], label, threshold)
        low, high = interval(test[kept], label, group, threshold, draws)
        cells = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in zip(value, low, high, strict=True)]
        counts = f"{(label == 0).sum():6d} {label.sum():6d} {len(set(group)):6d}"
        print(f"{title:10s} {counts}  " + "  ".join(f"{c:20s}" for c in cells))
    print("TPR at FPR 1e-2 by strength (sigma, px at the 256 view), above the floor")
    print(" " * 10 + "".join(f"{a:>6.1f}-{min(b, 5.0):.1f}" for a, b in BINS))
    above = np.array([int(r["above_floor"]) == 1 for r in rows["test"]])
    family = np.array([r["family"] for r in rows["test"]])
    sigma = np.array([float(r["sigma"]) for r in rows["test"]])
    negatives = test[above & (family == "clear")]
    for title in build.BLURS:
        cells = []
        for low_sigma, high_sigma in BINS:
            take = above & (family == title) & (sigma >= low_sigma) & (sigma < high_sigma)
            cells.append(f"{tpr_at_fpr(negatives, test[take]):10.2f}" if take.any() else " " * 10)
        print(f"{title:10s}" + "".join(cells))
    worst = test[~above]
    if len(worst):
        clear = worst[[r["label"] == "0" for r in np.array(rows["test"])[~above]]]
        print(f"clear test files below the floor: {len(clear)}, "
              f"called blurred: {int(np.sum(clear > threshold))}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Untrained baseline of the clarity data set.")
    parser.add_argument("folder", type=Path, help="folder that build.py wrote")
    parser.add_argument("--scores", type=Path, help="CSV (path, score) of a model, val and test")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap draws")
    arguments = parser.parse_args()
    try:
        rows = {split: read_rows(arguments.folder, split) for split in ("val", "test")}
        if not rows["val"] or not rows["test"]:
            raise build.BuildError(f"{arguments.folder}: both val and test files are needed")
        if arguments.scores:
            val, test = (read_scores(arguments.scores, rows[s]) for s in ("val", "test"))
            report(arguments.scores.stem, val, test, rows, arguments.draws)
            return 0
        values = {split: measure_files(arguments.folder, rows[split]) for split in rows}
        for name in SCORES:
            report(name, values["val"][name], values["test"][name], rows, arguments.draws)
    except (build.BuildError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

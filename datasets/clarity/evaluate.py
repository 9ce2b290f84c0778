"""Compare a bundle with the untrained baselines on the test photographs, for the model's card.

::

    python datasets/clarity/evaluate.py data/clarity --bundle clarity_assessment
    python datasets/clarity/evaluate.py data/clarity --bundle runs/clarity/bundle --ship FOLDER

Prints Markdown tables: AUC, TPR at FPR 1e-2 and balanced accuracy by blur family, with counts and
95 % intervals from resampling whole photographs, on the promised part (clear images above the
sharpness floor, blur of at least ``build.PROMISED_SIGMA``); then the TPR by strength; then what lies
below the floor. `--ship` writes the bundle anew with the tables in its card. A baseline's threshold
is chosen on the val files, a bundle has its own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any, NamedTuple

import baseline
import build
import numpy as np
import numpy.typing as npt

from tinysight import Bundle, Classifier, TinysightError
from tinysight.bundle import CARD, MODEL
from tinysight.metrics.binary import roc_auc, tpr_at_fpr
from tinysight.metrics.intervals import bootstrap_interval
from tinysight.tasks.results import Unreadable

Floats = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]

MAX_FPR = 1e-2
BINS = ((0.6, 1.0), (1.0, 1.2), (1.2, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 5.01))
"""Strengths (px at the 256 view) of the table by strength."""
FAMILIES = {
    "trained": build.TRAINED,
    "held out": build.HELD_OUT,
    **{name: (name,) for name in build.BLURS},
}


CARD_TEXT = """## Held-out photographs

Test photographs that neither training nor validation has seen, images made from them as
`datasets/clarity/README.md` says. "Trained" are the blur families of the training (gaussian, motion), "held out" are
families that it has never seen (defocus disk, down- and up-scaling). Counted are clear images above a sharpness of
{floor:g} (98th percentile of |Laplacian| in the centre of the 256 view: below it there is no fine detail to judge) and
images blurred by at least sigma {sigma:g} px at the 256 view. In brackets: 95 % intervals, photographs resampled.

`network` is this bundle, through the path that ships. The others are untrained: `band` is the ratio of fine-band to
next-band energy, `direction` the same in the direction where it is lowest, `reblur` what a second blur takes away,
`laplace` the variance of the Laplacian; their thresholds, and only theirs, are chosen on the validation images.

{tables}

All blur here is synthetic and even over the image, and the photographs were chosen for being sharp: expect less on
your own, and measure it. Drawings, scans and images smaller than 256 px were not part of the training.

Repeat it: `python datasets/clarity/fetch.py data/clarity`, `python datasets/clarity/build.py data/clarity`,
`tinysight train -c pulc/clarity_assessment --out runs/clarity`, `tinysight export --run runs/clarity`,
`python datasets/clarity/evaluate.py data/clarity --bundle runs/clarity/bundle`.
"""


class Method(NamedTuple):
    """Scores (higher is more blurred) of the val and the test files, and where "blurred" begins."""

    name: str
    val: Floats
    test: Floats
    threshold: float


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Tables of the clarity model's card.")
    parser.add_argument("folder", type=Path, help="folder that build.py wrote")
    parser.add_argument("--bundle", default="clarity_assessment", help="name or folder of a bundle")
    parser.add_argument("--ship", metavar="FOLDER", help="write the bundle there, card and all")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    arguments = parser.parse_args()
    folder = arguments.folder
    try:
        rows = {split: read_rows(folder, split) for split in ("val", "test")}
        methods = [of_bundle(arguments.bundle, folder, rows), *of_baselines(folder, rows)]
        tables = "\n".join(
            (
                by_family(methods, rows["test"], arguments.draws),
                by_strength(methods, rows["test"]),
                below_floor(methods, rows["test"]),
            )
        )
        print(tables)
        if arguments.ship:
            ship(arguments.bundle, Path(arguments.ship), tables)
    except (build.BuildError, TinysightError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def ship(source: str, folder: Path, tables: str) -> None:
    """Write the bundle at `source` to `folder` with the measured tables in its card."""
    bundle = Bundle.load(source)
    text = (bundle.folder / CARD).read_text("utf-8").partition("\n## ")[0].rstrip()
    card = text + "\n\n" + CARD_TEXT.format(
        floor=build.FLOOR, sigma=build.PROMISED_SIGMA, tables=tables
    )  # fmt: skip
    files = {MODEL: bundle.model, CARD: card.encode("utf-8")}
    Bundle.write(folder, bundle.manifest, files, overwrite=True)


def read_rows(folder: Path, split: str) -> Rows:
    """Rows of ``windows.csv`` of one split."""
    with (folder / "windows.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if not rows:
        raise build.BuildError(f"{folder}: windows.csv has no {split} files")
    return rows


def of_bundle(bundle: str, folder: Path, rows: dict[str, Rows]) -> Method:
    """p(blurred) of every file, through the path that ships."""
    classifier = Classifier(bundle, batch_size=16)

    def scores(split: str) -> Floats:
        paths = [str(folder / row["path"]) for row in rows[split]]
        unreadable: list[Unreadable] = []
        batches = classifier.scores(iter(paths), on_unreadable=unreadable.append)
        found = np.concatenate([s[:, 1] for _, s in batches])
        if unreadable:
            raise build.BuildError(f"{unreadable[0].filename}: unreadable")
        return found.astype(np.float64)

    point = classifier.manifest.threshold
    return Method("network", scores("val"), scores("test"), point.value if point else 0.5)


def of_baselines(folder: Path, rows: dict[str, Rows]) -> list[Method]:
    """Every untrained score; its threshold has the best balanced accuracy on val."""
    table: dict[str, dict[str, list[float]]] = {n: {"val": [], "test": []} for n in baseline.SCORES}
    for split, items in rows.items():
        for row in items:
            grey = build.centre_view(build.read_image(folder / row["path"]))
            for name, score in baseline.SCORES.items():
                table[name][split].append(score(grey))
    labels = np.array([int(row["label"]) for row in rows["val"]])
    keep = np.array([build.promised(row, build.TRAINED) for row in rows["val"]])
    return [
        Method(name, val, np.array(found["test"]), best_threshold(val[keep], labels[keep]))
        for name, found in table.items()
        for val in [np.array(found["val"])]
    ]


def best_threshold(scores: Floats, labels: npt.NDArray[np.int64]) -> float:
    """Midway between two neighbouring scores, where the balanced accuracy is best."""
    ordered = np.unique(scores)
    cuts = (ordered[1:] + ordered[:-1]) / 2
    return float(cuts[int(np.argmax([balanced(scores, labels, cut) for cut in cuts]))])


def balanced(scores: Floats, labels: npt.NDArray[np.int64], threshold: float) -> float:
    """Mean of the share of clear files called clear and of blurred ones called blurred."""
    blurred = scores >= threshold
    return float((np.mean(~blurred[labels == 0]) + np.mean(blurred[labels == 1])) / 2)


def by_family(methods: list[Method], rows: Rows, draws: int) -> str:
    """The main table: a line for each family and method."""
    lines = [
        "| blur | clear / blurred files (photographs) | method | AUC | TPR at FPR 1e-2 "
        "| balanced accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for title, families in FAMILIES.items():
        keep = np.array([build.promised(row, families) for row in rows])
        mine = [row for row, kept in zip(rows, keep, strict=True) if kept]
        labels = np.array([int(row["label"]) for row in mine])
        photographs = np.array([row["photograph"] for row in mine])
        counts = f"{(labels == 0).sum()} / {labels.sum()} ({len(set(photographs))})"
        for method in methods:
            cells = measures(method, method.test[keep], labels, photographs, draws)
            lines.append(f"| {title} | {counts} | {method.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measures(
    method: Method,
    scores: Floats,
    labels: npt.NDArray[np.int64],
    photographs: npt.NDArray[np.str_],
    draws: int,
) -> list[str]:
    """AUC, TPR at FPR 1e-2 and balanced accuracy, each as ``value [low, high]``."""
    statistics = (
        lambda at: roc_auc(scores[at], labels[at])["roc_auc"],
        lambda at: tpr_at_fpr(scores[at], labels[at], MAX_FPR)["tpr"],
        lambda at: balanced(scores[at], labels[at], method.threshold),
    )
    cells = []
    for statistic in statistics:
        value = statistic(np.arange(len(labels)))
        low, high = bootstrap_interval(statistic, len(labels), clusters=photographs, repeats=draws)
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
    return cells


def by_strength(methods: list[Method], rows: Rows) -> str:
    """TPR at FPR 1e-2 against all clear files above the floor, for each strength."""
    names = [f"{low:g}-{min(high, 5):g}" for low, high in BINS]
    lines = [
        "",
        "TPR at FPR 1e-2 by strength (sigma, px at the 256 view):",
        "",
        f"| blur | method | {' | '.join(names)} |",
        "|---|---|" + "---|" * len(BINS),
    ]
    above = np.array([row["above_floor"] == "1" for row in rows])
    family = np.array([row["family"] for row in rows])
    sigma = np.array([float(row["sigma"]) for row in rows])
    labels = (family != "clear").astype(np.int64)
    for title in build.BLURS:
        for method in methods[:2]:
            cells = []
            for low, high in BINS:
                take = above & (labels == 0)
                take |= above & (family == title) & (sigma >= low) & (sigma < high)
                cells.append(f"{tpr_at_fpr(method.test[take], labels[take], MAX_FPR)['tpr']:.2f}")
            lines.append(f"| {title} | {method.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def below_floor(methods: list[Method], rows: Rows) -> str:
    """How the clear files without fine detail are answered; they are no part of the promise."""
    low = np.array([row["above_floor"] == "0" and row["family"] == "clear" for row in rows])
    called = int(np.sum(methods[0].test[low] >= methods[0].threshold))
    return (
        f"\nClear test files below the floor: {low.sum()}, called blurred by the network: {called}."
    )


if __name__ == "__main__":
    raise SystemExit(main())

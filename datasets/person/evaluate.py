"""Train and judge the person data set: TPR at FPR 1e-2 in places and at moments never seen.

::

    python datasets/person/build.py data/person
    python datasets/person/evaluate.py data/person

trains the recipe beside this file once (minutes on two quiet cores) and prints two tables. The
threshold is chosen on the val windows (seen places, later moments) for a false-positive rate of
1e-2 and then applied to the test windows (new places, later moments).
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from packages import LITE0, FetchError, lite0_weights  # noqa: E402 (a script: its neighbours are found by path)
from tinysight.config import Recipe, load_recipe  # noqa: E402
from tinysight.data.lists import read_list  # noqa: E402
from tinysight.errors import TinysightError  # noqa: E402
from tinysight.evaluation.predictor import Evaluation, evaluate  # noqa: E402
from tinysight.metrics.binary import roc_auc, tpr_at_fpr  # noqa: E402
from tinysight.metrics.intervals import bootstrap_interval  # noqa: E402
from tinysight.metrics.operating_point import at_target_fpr  # noqa: E402
from tinysight.training import fit  # noqa: E402
from tinysight.training.predictor import load_predictor  # noqa: E402

MAX_FPR = 0.01
BLOCK = 2.5
"""Seconds; the intervals resample such blocks, since neighbouring frames are alike."""


def main() -> int:
    """Train what is missing, evaluate, print."""
    parser = argparse.ArgumentParser(description="Results on the person windows.")
    parser.add_argument("data", type=Path, help="folder that build.py filled")
    parser.add_argument("--out", type=Path, default=Path("runs/person"), help="run folder")
    parser.add_argument("-o", action="append", default=[], help="override of the recipe")
    arguments = parser.parse_args()
    try:
        lite0_weights(arguments.data)
        fixed = [f"data.root={arguments.data}", f"model.pretrained={arguments.data / LITE0}"]
        recipe = load_recipe(HERE / "recipe.yaml", [*fixed, *arguments.o])
        fit(recipe, arguments.out, resume=True)
        judge(recipe, arguments.data, arguments.out)
    except (FetchError, TinysightError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def judge(recipe: Recipe, data: Path, out: Path) -> None:
    """Print the rates of both splits and those at the threshold chosen on val."""
    predict, _ = load_predictor(out)
    prepare = recipe.eval_transforms()
    with (data / "windows.csv").open(newline="", encoding="utf-8") as file:
        seconds = {row["path"]: float(row["second"]) for row in csv.DictReader(file)}

    def answers(split: str) -> tuple[Evaluation, np.ndarray]:
        samples = read_list(data / f"{split}_list.txt", data, 2)
        labels = ("nobody", "someone")
        found = evaluate(predict, samples, prepare, [], batch_size=32, labels=labels)
        names = [Path(path).relative_to(data).as_posix() for path in found.paths]
        return found, np.array([int(seconds[name] / BLOCK) for name in names])

    results = {split: answers(split) for split in ("val", "test")}
    val = results["val"][0]
    point = at_target_fpr(val.scores[:, 1], val.labels, MAX_FPR)
    print(
        "| split | nobody / someone | AUC | TPR at FPR 1e-2 | at the threshold of val: FPR | TPR |"
    )
    print("|---|---|---|---|---|---|")
    for split, (found, blocks) in results.items():
        positive = found.scores[:, 1] >= point.threshold
        cells = [
            shown(found, blocks, lambda s, y, _: roc_auc(s, y)["roc_auc"]),
            shown(found, blocks, lambda s, y, _: tpr_at_fpr(s, y, MAX_FPR)["tpr"]),
            shown(found, blocks, lambda s, y, p: p[y == 0].mean(), positive),
            shown(found, blocks, lambda s, y, p: p[y == 1].mean(), positive),
        ]
        counts = f"{(found.labels == 0).sum()} / {(found.labels == 1).sum()}"
        print(f"| {split} | {counts} | {' | '.join(cells)} |")
    print(f"\nthreshold {point.threshold:.4f}; intervals resample blocks of {BLOCK} s")


def shown(found: Evaluation, blocks: np.ndarray, rate, positive: np.ndarray | None = None) -> str:  # noqa: ANN001
    """``value [low, high]`` of ``rate(scores, labels, positive)``."""
    extra = np.zeros(len(found.labels), bool) if positive is None else positive

    def statistic(at: np.ndarray) -> float:
        return float(rate(found.scores[at], found.labels[at], extra[at]))

    value = statistic(np.arange(len(found.labels)))
    low, high = bootstrap_interval(statistic, len(found.labels), clusters=blocks)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    raise SystemExit(main())

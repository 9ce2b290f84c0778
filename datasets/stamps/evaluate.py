"""Five folds of the stamps: fine-tuned, from scratch, and a linear probe of the same features.

::

    python datasets/stamps/build.py data/stamps
    python datasets/stamps/evaluate.py data/stamps

trains every fold with the two recipes beside this file (about half an hour on two quiet cores) and
prints a table, and whether the fine-tuned networks are right where the probe is wrong. The last epoch
is the one that counts: no fold's val images choose it. A fold that is trained already is not trained
again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from packages import LITE0, FetchError, lite0_weights  # noqa: E402 (a script: its neighbours are found by path)
from tinysight.config import Recipe, load_recipe  # noqa: E402
from tinysight.data.lists import read_split  # noqa: E402
from tinysight.data.samples import read_sample  # noqa: E402
from tinysight.errors import TinysightError  # noqa: E402
from tinysight.metrics.intervals import wilson_interval  # noqa: E402
from tinysight.training import evaluate_run, fit  # noqa: E402
from tinysight.training.networks import initial_model  # noqa: E402
from tinysight.transforms import to_batch  # noqa: E402

FOLDS = 5
PROBE, TUNED = "linear probe of EfficientNet-Lite0", "EfficientNet-Lite0, fine-tuned"
RECIPES = {TUNED: "lite0", "PP-LCNet x1.0, from scratch": "pplcnet"}


def main() -> int:
    """Train what is missing, evaluate all, print the table."""
    parser = argparse.ArgumentParser(description="Five-fold results on the stamps.")
    parser.add_argument("data", type=Path, help="folder that build.py filled")
    parser.add_argument("--runs", type=Path, default=Path("runs/stamps"), help="run folders")
    parser.add_argument("-o", action="append", default=[], help="override of both recipes")
    arguments = parser.parse_args()
    try:
        lite0_weights(arguments.data)
        rows = {PROBE: probe(arguments.data)}
        for title, name in RECIPES.items():
            rows[title] = [trained(name, fold, arguments) for fold in range(FOLDS)]
    except (FetchError, TinysightError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    print(f"\n{TUNED}, against the probe: {comparison(rows[TUNED], rows[PROBE])}")
    return 0


def recipe_of(name: str, fold: int, data: Path, extra: list[str]) -> Recipe:
    """The recipe `name` for one fold."""
    lists = [f"data.train.list=fold{fold}_train.txt", f"data.eval.list=fold{fold}_val.txt"]
    weights = [f"model.pretrained={data / LITE0}"] if name == "lite0" else []
    return load_recipe(HERE / f"{name}.yaml", [f"data.root={data}", *lists, *weights, *extra])


def trained(name: str, fold: int, arguments: argparse.Namespace) -> np.ndarray:
    """Which of one fold's val images are right, (N,) bool."""
    out = arguments.runs / f"{name}_{fold}"
    fit(recipe_of(name, fold, arguments.data, arguments.o), out, resume=True)
    found = evaluate_run(out / "checkpoints" / "last.safetensors")
    right: np.ndarray = found.scores.argmax(axis=1) == found.labels
    print(f"  {name} fold {fold}: {right.sum()} of {len(right)}", flush=True)
    return right


def probe(data: Path) -> list[np.ndarray]:
    """As `trained`, for every fold: a logistic regression on the frozen features; no augmentation."""
    known: dict[str, np.ndarray] = {}
    results = []
    for fold in range(FOLDS):
        recipe = recipe_of("lite0", fold, data, [])
        train, val = (features(recipe, split, known) for split in ("train", "eval"))
        model = LogisticRegression(C=0.1, max_iter=2000).fit(*train)
        results.append(model.predict(val[0]) == val[1])
    return results


def features(
    recipe: Recipe, split: str, known: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (N, D), standardised by image, and labels (N,); each computed once."""
    model = initial_model(recipe).eval()
    prepare = recipe.eval_transforms()
    samples = read_split(recipe.data, getattr(recipe.data, split))
    with torch.inference_mode():
        for sample in samples:
            if str(sample.path) not in known:
                image, _ = read_sample(sample, prepare, None)
                found = model.pre_logits(
                    model.forward_features(torch.from_numpy(to_batch([image])))
                )
                row = found[0].numpy()
                known[str(sample.path)] = (row - row.mean()) / row.std()
    return np.stack([known[str(s.path)] for s in samples]), np.array([s.label for s in samples])


def comparison(ours: list[np.ndarray], theirs: list[np.ndarray]) -> str:
    """Images that one has right and the other wrong, and how likely that is by chance (McNemar, exact)."""
    mine, other = np.concatenate(ours), np.concatenate(theirs)
    won, lost = int((mine & ~other).sum()), int((other & ~mine).sum())
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return f"{won} right that it has wrong, {lost} wrong that it has right, p = {p:.2g}"


def table(rows: dict[str, list[np.ndarray]]) -> str:
    """Top-1 of each method: mean and spread over the folds, all images with an interval."""
    lines = ["| method | folds | mean +- std | all 466, 95 % interval |", "|---|---|---|---|"]
    for title, folds in rows.items():
        shares = [float(fold.mean()) for fold in folds]
        right, count = int(sum(map(np.sum, folds))), sum(map(len, folds))
        low, high = wilson_interval(right, count)
        cells = " ".join(f"{share:.3f}" for share in shares)
        lines.append(
            f"| {title} | {cells} | {np.mean(shares):.3f} +- {np.std(shares):.3f} "
            f"| {right / count:.3f} [{low:.3f}, {high:.3f}] |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

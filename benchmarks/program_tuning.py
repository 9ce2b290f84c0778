"""An exported program, fine-tuned, against the zoo's own network from the same weights, on the stamps.

    python datasets/stamps/build.py data/stamps
    python benchmarks/program_tuning.py data/stamps [--folds 2] [--epochs 10] [--side 64]

The zoo's PP-LCNet x0.5 is trained on the first fold's training images. Its weights go into an exported program of that
network, in PaddleClas' own form, and into a file; from both, a network with a fresh classifier is trained with the same
recipe and the same seed, fold by fold. The last epoch counts. What is printed: top-1 of both on the images that the
folds hold out, and the difference on the same images with its 95 % interval.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.golden import case_named  # noqa: E402 (a script: its neighbours are found by path)
from support.paddle import record  # noqa: E402
from tinysight.config import load_recipe  # noqa: E402
from tinysight.models import create_model  # noqa: E402
from tinysight.training import evaluate_run, fit  # noqa: E402
from tinysight.training.weights import read_weights  # noqa: E402

BACKBONE, CASE = "pplcnet_x0_5", "PPLCNet_x0_5"
RECIPE = HERE.parent / "datasets" / "stamps" / "pplcnet.yaml"
PLACES = {"_mean": "running_mean", "_variance": "running_var"}


def main() -> None:
    """Train what is missing, print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="folder that datasets/stamps/build.py filled")
    parser.add_argument("--runs", type=Path, default=Path("runs/program_tuning"))
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--side", type=int, default=64, help="of the images, pixels")
    args = parser.parse_args()
    first = trained("first", 0, args, [f"model.backbone={{name: {BACKBONE}}}"])
    weights = first / "checkpoints" / "last.safetensors"
    program = write_program(weights, args.runs / "program")
    changes = {
        "zoo": [f"model.backbone={{name: {BACKBONE}}}", f"model.pretrained={weights}", "model.skip=[classifier]"],
        "program": [f"model.backbone={{name: 'program/{program}'}}"],
    }  # fmt: skip
    right = {}
    for name, change in changes.items():
        runs = [trained(name, fold, args, change) for fold in range(args.folds)]
        right[name] = np.concatenate([correct(run) for run in runs])
        print(f"{name}: {right[name].mean():.3f} of {len(right[name])} images", flush=True)
    difference = right["program"].astype(float) - right["zoo"]
    error = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    low, high = difference.mean() - error, difference.mean() + error
    print(f"program - zoo: {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
    if low > 0 or high < 0:
        sys.exit("the interval does not contain zero")


def trained(name: str, fold: int, args: argparse.Namespace, changes: list[str]) -> Path:
    """A run of the stamps' recipe, trained unless it is there."""
    lists = [f"data.train.list=fold{fold}_train.txt", f"data.eval.list=fold{fold}_val.txt"]
    sizes = ["transforms.train.0.size", "transforms.eval.0.size"]
    sized = [f"{sizes[0]}={args.side}", f"{sizes[1]}=[{args.side},{args.side}]"]
    epochs = [f"train.epochs={args.epochs}", f"train.eval_every={args.epochs}"]
    overrides = [f"data.root={args.data}", *lists, *sized, *epochs, *changes]
    out = args.runs / f"{name}_{fold}"
    fit(load_recipe(RECIPE, overrides), out, resume=True, progress=False)
    return out


def correct(run: Path) -> np.ndarray:
    """Which of the fold's held-out images are right, (N,) bool."""
    found = evaluate_run(run / "checkpoints" / "last.safetensors")
    right: np.ndarray = found.scores.argmax(axis=1) == found.labels
    return right


def write_program(weights: Path, folder: Path) -> Path:
    """The recorded program of the network with the weights of `weights`, and the classifier of the record's size."""
    case = case_named("programs", CASE)
    model = create_model(BACKBONE, num_classes=case["class_num"])
    state = {
        **model.state_dict(),
        **{k: v for k, v in read_weights(weights, model).items() if "fc." not in k},
    }
    parts = []
    for _, name, shape, dtype, _ in case["records"]:
        head, _, leaf = name.rpartition(".")
        value = state[f"{head}.{PLACES.get(leaf, leaf)}"]
        array = (value.T if value.ndim == 2 else value).to(torch.float32).numpy()
        if list(array.shape) != shape or str(array.dtype) != dtype:
            raise ValueError(f"{name}: {array.shape} {array.dtype}")
        parts.append(record(np.ascontiguousarray(array)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.pdiparams").write_bytes(b"".join(parts))
    (folder / "inference.json").write_bytes((case.folder / "inference.json").read_bytes())
    model.load_state_dict(state)
    x = torch.rand(2, 3, 64, 64)
    own = create_model(f"program/{folder}", num_classes=case["class_num"])
    with torch.no_grad():
        difference = float((own.eval()(x) - model.eval()(x)).abs().max())
    print(f"the program gives the network's logits up to {difference:.1e}", flush=True)
    return folder


if __name__ == "__main__":
    main()

"""Time training steps of PP-LCNet x1.0 against PaddleClas, at the settings of the safety helmet recipe.

    python benchmarks/train_step.py [--batch 64] [--size 176] [--threads N] [--turns 5]

PaddleClas is PaddlePaddle with the network of the public package `paddleclas`, in an environment of its own that
this command makes once (about 1 GB in `--cache`). Two processes, one each, take turns, so that whatever else the
machine does meets both; where it does much else, the processor time of the step (`cpu`) says more.

`step` is forward, backward and optimiser on a batch that is there; `loader + step` reads JPEGs with one loader
process: decode, random crop, flip, normalise. The package has PaddleClas' networks but not its loader, so the
other side's loader is `paddle.io.DataLoader` over the same OpenCV calls that PaddleClas makes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

PADDLE = ("paddlepaddle==3.3.1", "opencv-python-headless<5", "numpy<2.4", "pyyaml", "prettytable")
PADDLE += ("easydict", "tqdm", "scikit-learn", "ujson", "six", "requests", "scipy", "matplotlib")
PACKAGE = "paddleclas==2.6.0"  # without its pins: NumPy 1.24, gast 0.3.3, faiss, visualdl
RATE, MOMENTUM, DECAY, SMOOTHING = 0.025, 0.9, 3e-5, 0.1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES = 512
Step = Callable[[Any, Any], float]


def main() -> None:
    """Run both in turns and print a table, or be one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=176, help="pixels")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="in a turn")
    parser.add_argument("--cache", default="~/.cache/tinysight/benchmarks")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--be", choices=("ours", "reference"), help=argparse.SUPPRESS)
    parser.add_argument("--images", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.be:
        serve(args)
        return
    python = environment(Path(args.cache).expanduser() / "paddle")
    with tempfile.TemporaryDirectory(prefix="tinysight-benchmark-") as folder:
        make_images(Path(folder))
        found = measure(args, folder, {"ours": Path(sys.executable), "reference": python})
    print(table(args, found))
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=2) + "\n")


def environment(folder: Path) -> Path:
    """PaddleClas' Python; made at the first call."""
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        print(f"making {folder} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PADDLE], check=True)
        subprocess.run([*pip, "--no-deps", PACKAGE], check=True)
        (folder / "ready").touch()
    return python


def make_images(folder: Path) -> None:
    """Smooth random JPEGs of the size of a helmet crop, and their list."""
    import cv2

    rng = np.random.default_rng(0)
    lines = []
    for i in range(IMAGES):
        small = rng.integers(0, 256, (12, 9, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(small, (240, 320)))
        lines.append(f"{i}.jpg {i % 2}\n")
    (folder / "list.txt").write_text("".join(lines))


def measure(
    args: argparse.Namespace, folder: str, pythons: dict[str, Path]
) -> dict[str, dict[str, list[float]]]:
    """Images per second of every turn, by case and side; the first turn is not kept."""
    keep = [f"--{k}={getattr(args, k)}" for k in ("batch", "size", "threads", "steps")]
    limits = {k: str(args.threads) for k in ("OMP_NUM_THREADS", "FLAGS_paddle_num_threads")}
    sides = {
        name: subprocess.Popen(
            [str(python), "-W", "ignore", __file__, *keep, "--be", name, "--images", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **limits},
            start_new_session=True,
        )
        for name, python in pythons.items()
    }
    found: dict[str, dict[str, list[float]]] = {}
    for case in ("step", "loader + step"):
        kinds = ("wall", "cpu") if case == "step" else ("wall",)
        rates = [
            found.setdefault(f"{case}, {kind}", {name: [] for name in sides}) for kind in kinds
        ]
        for turn in range(args.turns + 1):
            for name in sorted(sides, reverse=bool(turn % 2)):
                values = ask(sides[name], case)
                for kind, value in zip(rates, values, strict=False):
                    if turn:
                        kind[name].append(value)
    for side in sides.values():  # with their loader processes, which would outlive them
        os.killpg(side.pid, signal.SIGKILL)
        side.wait()
    return found


def ask(side: subprocess.Popen[str], case: str) -> list[float]:
    """One turn of one side: its images per second of wall clock, and of its own processor time."""
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write(case + "\n")
    side.stdin.flush()
    for line in side.stdout:  # what else it prints is passed over
        if line.startswith("RATE "):
            return [float(value) for value in line[5:].split()]
    sys.exit("one side ended")


def serve(args: argparse.Namespace) -> None:
    """One side: make turns as they are asked for."""
    side: dict[str, Callable[..., Any]] = {"ours": ours, "reference": reference}
    step, batch, loader = side[args.be](args)
    stream: Iterator[Any] | None = None
    for line in sys.stdin:
        case = line.strip()
        if case == "loader + step":
            stream = stream or loader()
            next(stream)  # what was read ahead while the other side worked does not count
            next(stream)
            next(stream)
        start, before = time.perf_counter(), time.process_time()
        for _ in range(args.steps):
            step(*(batch if case == "step" else next(stream)))  # type: ignore[arg-type]
        took, busy = time.perf_counter() - start, time.process_time() - before
        images = args.steps * args.batch
        print(f"RATE {images / took} {images / max(busy, 1e-9)}", flush=True)


def ours(args: argparse.Namespace) -> tuple[Step, tuple[Any, Any], Callable[[], Iterator[Any]]]:
    """The step of `fit`, a batch, and its loader."""
    import torch

    from tinysight.config.schema import Train
    from tinysight.data.lists import read_list
    from tinysight.data.loader import Batch, TrainingBatches, batches
    from tinysight.models import create_model
    from tinysight.registry import losses, optimizers
    from tinysight.training.distributed import Processes
    from tinysight.training.objective.supervised import LossTerm, Supervised
    from tinysight.training.optim import param_groups, set_lr
    from tinysight.training.step import Stepper
    from tinysight.transforms import Compose

    torch.set_num_threads(args.threads)
    tree = {"epochs": 1, "lr": RATE, "optimizer": {"name": "sgd"}, "channels_last": True}
    settings = Train.model_validate(tree)
    model = create_model("pplcnet_x1_0", 2)
    alone = Processes(0, 1, torch.device("cpu"))
    loss = losses.build({"name": "cross_entropy", "label_smoothing": SMOOTHING})
    objective = Supervised(model, {"loss": LossTerm(loss)})
    objective.set_up(settings, alone)
    spec = {"name": "sgd", "momentum": MOMENTUM}
    optimizer = optimizers.build(spec, params=param_groups(model, DECAY))
    stepper = Stepper(objective, optimizer, settings, alone)
    set_lr(optimizer, RATE)

    def step(images: Any, targets: Any) -> float:
        stepper([Batch(images, targets, ())], len(targets), 0)
        return stepper.totals[0].item()

    def loader() -> Iterator[Any]:
        crop = {"name": "random_resized_crop", "size": args.size}
        specs = [crop, {"name": "random_flip"}, {"name": "normalize", "mean": MEAN, "std": STD}]
        samples = read_list(f"{args.images}/list.txt", args.images, 2)
        transforms = Compose.from_specs(specs)
        prepared = TrainingBatches(samples, transforms, args.batch, 1000, 0, channels_last=True)
        for batch in batches(prepared, 0, 1):
            yield batch.images, batch.targets

    images = torch.randn(args.batch, 3, args.size, args.size)
    return step, (images, torch.arange(args.batch) % 2), loader


def reference(
    args: argparse.Namespace,
) -> tuple[Step, tuple[Any, Any], Callable[[], Iterator[Any]]]:
    """The same with PaddlePaddle, as PaddleClas' engine writes it."""
    import importlib.util

    found = importlib.util.find_spec("paddleclas")
    assert found is not None
    assert found.origin is not None
    sys.path.insert(0, str(Path(found.origin).parent))
    import paddle
    import paddle.nn.functional as F
    from ppcls.arch.backbone.legendary_models.pp_lcnet import PPLCNet_x1_0

    model = PPLCNet_x1_0(class_num=2)
    model.train()
    optimizer = paddle.optimizer.Momentum(
        RATE, MOMENTUM, model.parameters(), weight_decay=paddle.regularizer.L2Decay(DECAY)
    )

    def step(images: Any, targets: Any) -> float:
        soft = F.label_smooth(F.one_hot(targets, 2), epsilon=SMOOTHING)
        loss = F.cross_entropy(model(images), soft, soft_label=True)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    class Images(paddle.io.Dataset):  # type: ignore[misc]  # no types in this environment
        def __len__(self) -> int:
            return IMAGES * 1000

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.int64]:
            rng = np.random.default_rng(i)
            return prepared(f"{args.images}/{i % IMAGES}.jpg", args.size, rng), np.int64(i % 2)

    def loader() -> Iterator[Any]:
        yield from paddle.io.DataLoader(Images(), batch_size=args.batch, num_workers=1)

    images = paddle.randn([args.batch, 3, args.size, args.size])
    return step, (images, paddle.arange(args.batch) % 2), loader


def prepared(path: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Random crop, flip and normalisation by PaddleClas' OpenCV and NumPy calls."""
    import cv2

    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    height, width = image.shape[:2]
    aspect = np.sqrt(rng.uniform(3 / 4, 4 / 3))
    bound = min(width / height / aspect**2, height / width * aspect**2)
    area = height * width * rng.uniform(0.08, min(1.0, bound))
    w, h = int(np.sqrt(area) * aspect), int(np.sqrt(area) / aspect)
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    image = cv2.resize(image[y : y + h, x : x + w], (size, size))
    if rng.random() < 0.5:
        image = cv2.flip(image, 1)
    shape = (1, 1, 3)
    mean, std = (np.array(v, np.float32).reshape(shape) for v in (MEAN, STD))
    values = (image.astype(np.float32) * np.float32(1 / 255) - mean) / std
    return np.asarray(values.transpose(2, 0, 1))


def table(args: argparse.Namespace, found: dict[str, dict[str, list[float]]]) -> str:
    """Medians, and the median and quartiles of the ratio of each pair of turns."""
    rows = ["| case | tinysight | reference | ratio (median, quartiles) |", "|---|---|---|---|"]
    for case, rates in found.items():
        pairs = zip(rates["ours"], rates["reference"], strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        ours, theirs = (statistics.median(rates[k]) for k in ("ours", "reference"))
        rows.append(
            f"| {case} | {ours:.1f} images/s | {theirs:.1f} images/s | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    what = f"PP-LCNet x1.0, batch {args.batch}, {args.size} px, {args.threads} threads"
    return "\n".join([*rows, f"{what}; {where}"])


if __name__ == "__main__":
    main()

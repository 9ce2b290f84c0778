"""Time every network, as it is exported, in ONNX Runtime on one thread, one image at a time.

    python benchmarks/models.py [--only 'pplcnet_*'] [--json FILE]
    python benchmarks/models.py --json benchmarks/models.json --pages docs/networks
    python benchmarks/models.py --times benchmarks/models.json --pages docs/networks    # no timing

The networks take turns: a round opens each in its turn, warms it up and times a few runs, and the
rounds follow each other, so that whatever else the machine does meets all. The table has the
smallest and the median time of all rounds. Weights are fresh; batch normalisation takes its
statistics from noise, for numbers of usual size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from network_pages import rewrite, rows, table
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.export.onnx import INPUT, to_onnx
from tinysight.files import write_atomic
from tinysight.models import count_parameters, create_model, create_model_without_weights
from tinysight.models import list_models as known

OPSET = 18  # a recipe's default
LARGE = 100_000_000  # parameters; above, a network is timed only when asked for
Times = dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or take earlier times; print the table; rewrite the pages."""
    args = parse(arguments)
    names = known(args.only) or sys.exit(f"no network matches {args.only!r}")
    found: dict[str, Any] = {"on": machine(), "rounds": args.rounds, "times": {}}
    if args.times:
        found = json.loads(Path(args.times).read_text("utf-8"))
    else:
        wanted = [n for n in names if args.large or parameters(n) <= LARGE]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(args.onnx or scratch)
            if args.no_export:
                wanted = [n for n in wanted if (folder / f"{n}.onnx").exists()]
            export(wanted, folder)
            found["times"] = measure(wanted, folder, args.rounds)
    if args.json:
        write_atomic(Path(args.json), as_json(found))
    print("\n".join(table(rows(names, found["times"]))))
    print(f"\n{found['on']}; {found['rounds']} rounds")
    for page in sorted(Path(args.pages).glob("*.md")) if args.pages else ():
        rewrite(page, found)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="*", metavar="PATTERN", help="names, with * and ?")
    parser.add_argument("--large", action="store_true", help="those above 100 M parameters too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the times there as well")
    parser.add_argument("--times", metavar="FILE", help="of an earlier --json, instead of timing")
    parser.add_argument("--onnx", metavar="FOLDER", help="keep exported networks; use those there")
    parser.add_argument("--no-export", action="store_true", help="only those that --onnx has")
    parser.add_argument("--pages", metavar="FOLDER", help="rewrite the tables of its pages")
    return parser.parse_args(arguments)


def parameters(name: str) -> int:
    """Of a network, without building it in memory."""
    return count_parameters(create_model_without_weights(name))


def export(names: Iterable[str], folder: Path) -> None:
    """`NAME.onnx` for each of `names` that `folder` does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / f"{name}.onnx"
        if not path.exists():
            print(f"exporting {name}", file=sys.stderr)
            model = usual(name)
            size = model.input_size
            write_atomic(path, to_onnx(model, (3, size, size), opset=OPSET, metadata={}))


def usual(name: str) -> Any:
    """A network with fresh weights whose feature maps are scaled as those of a trained one.

    Unnormalised, the maps of a deep network fade until processors slow down on the tiny numbers.
    """
    torch.manual_seed(0)
    model = create_model(name)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(2, 3, model.input_size, model.input_size))
    model.eval()
    model.reparameterize()
    return model


def measure(names: Sequence[str], folder: Path, rounds: int) -> Times:
    """Milliseconds of every run of every network."""
    times: Times = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            print(f"round {turn + 1} of {rounds}: {name}", file=sys.stderr)
            times[name] += one_turn((folder / f"{name}.onnx").read_bytes())
    return times


def one_turn(network: bytes) -> list[float]:
    """Milliseconds of up to twenty runs, at least three, for about half a second; after a warm-up."""
    session = OnnxRuntime(network, threads=1)
    _, channels, height, width = session.inputs[0].shape
    noise = np.random.default_rng(0).standard_normal((1, channels or 3, height or 0, width or 0))
    image = noise.astype(np.float32)
    if not np.isfinite(session.run(image)).all():
        sys.exit(f"{INPUT} of noise give no finite scores")
    session.run(image)
    times: list[float] = []
    while len(times) < 3 or (len(times) < 20 and sum(times) < 500):
        start = time.perf_counter()
        session.run(image)
        times.append(round((time.perf_counter() - start) * 1e3, 3))
    return times


def as_json(found: dict[str, Any]) -> str:
    """What was measured, a line a network."""
    lines = (f"  {json.dumps(name)}: {json.dumps(times)}" for name, times in found["times"].items())
    head = f' "on": {json.dumps(found["on"])},\n "rounds": {found["rounds"]}'
    return f'{{\n{head},\n "times": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def machine() -> str:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{name or platform.machine()}, {os.cpu_count()} cores{load}, "
        f"ONNX Runtime {onnxruntime.__version__}, one thread, float32, one image"
    )


if __name__ == "__main__":
    main()

"""Time a network imported from a Paddle export against the same network exported by us.

    python benchmarks/imported.py [--cases PPLCNet_x0_5 ResNet18] [--form inference.json] [--rounds 40] [--json FILE]

The exported programs and the rule of their weights are those of the golden fixtures (`tests/support/golden.py`
says where they are looked for). Both networks have the same weights and go into bundles with the same manifest;
their answers are compared first. Then they take turns, in alternating order: the network alone on one image, and
the whole of `predict` on eight photographs, from the file's bytes to the answer. Times are those of the processor,
so that other programs on the machine change little. A ratio below 1 means that the imported one is faster. Nodes are
counted in both files, and after ONNX Runtime has optimised them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests"))

from support.golden import read_json, synth_input  # noqa: E402
from support.networks import fill, find_network, recorded_options  # noqa: E402
from support.paddle import program_cases, write_case  # noqa: E402
from tinysight.bundle import MODEL, Bundle  # noqa: E402
from tinysight.compat.paddle.bundle import import_paddle  # noqa: E402
from tinysight.export.onnx import to_onnx  # noqa: E402
from tinysight.graph.onnx_file import read_onnx  # noqa: E402
from tinysight.models import create_model  # noqa: E402
from tinysight.pipelines.pipeline import Classifier  # noqa: E402
from tinysight.registry import engines  # noqa: E402

PHOTOS = sorted(str(p) for p in (REPO / "samples" / "clarity").rglob("*.jpg"))[:8]
# Programs whose weights by the rule are those before branches are folded differ from ours after folding.
NETWORKS = (
    *("MobileNetV3_large_x0_5", "PPHGNetV2_B0", "PPHGNet_tiny", "PPLCNet_x0_5"),
    *("PPLCNet_x1_0_textline", "ResNet18", "SwinTransformer_tiny"),
)


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="*", default=NETWORKS)
    parser.add_argument("--form", default="inference.json", help="or inference.pdmodel")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    args = parser.parse_args()
    print(f"{'':24s} {'nodes':>11s} {'optimised':>11s}   network alone        whole predict")
    found = {}
    for case in args.cases:
        if (case, args.form) not in program_cases():
            parser.error(f"no program {case} in the form {args.form}")
        found[case] = measure(case, args.form, args.rounds)
        print(line(case, found[case]), flush=True)
    print(machine())
    if args.json:
        tree = {"machine": machine(), "form": args.form, "cases": found}
        Path(args.json).write_text(json.dumps(tree, indent=1) + "\n")


def measure(case: str, form: str, rounds: int) -> dict[str, Any]:
    """Both bundles of one case, compared and timed."""
    with tempfile.TemporaryDirectory(prefix="tinysight-benchmark-") as work:
        folder = Path(work)
        write_case(case, form, folder / "export")
        imported = import_paddle(folder / "export", folder / "imported").bundle
        exported = Bundle.write(
            folder / "exported", imported.manifest, {MODEL: our_export(case)}, overwrite=True
        )
        models = imported.model, exported.model
        engines = [engines.build({"name": "onnxruntime"}, model=m, threads=1) for m in models]
        n, _, h, w = read_json("programs", case, "case.json")["input"]
        images = synth_input(n, h, w)
        difference = float(np.abs(engines[0].run(images) - engines[1].run(images)).max())
        if difference > 1e-4:
            raise SystemExit(f"{case}: the two answer differently, by {difference:.2g}")
        one = images[:1]
        alone = turns([lambda e=e: e.run(one) for e in engines], rounds)
        whole = [Classifier(bundle, batch_size=8) for bundle in (imported, exported)]
        predict = turns([lambda c=c: list(c.predict(PHOTOS)) for c in whole], max(rounds // 4, 5))
        return {
            "nodes": [len(read_onnx(m).nodes) for m in models],
            "optimised": [optimised(m, folder / "o.onnx") for m in models],
            "difference": difference,
            "alone": alone,
            "predict": predict,
        }


def our_export(case: str) -> bytes:
    """The same network with the same weights, as `tinysight export` writes it."""
    described = read_json("programs", case, "case.json")
    options = recorded_options(described["arguments"])
    model = create_model(
        find_network(described["network"]), num_classes=described["class_num"], **options
    )
    factors = {
        name: source for _, name, _, _, source in described["records"] if source != "constants"
    }
    if any(factor != 1 for factor in factors.values()):
        from support.weights import load_reference

        values = fill(model)
        scaled = {name: values[name] * np.float32(factors.get(name, 1)) for name in values}
        load_reference(model, scaled, "rule", strict=False)
    else:
        fill(model)
    _, _, height, width = described["input"]
    return to_onnx(model.eval(), (3, height, width), opset=18, metadata={})


def turns(calls: list[Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Milliseconds of each (medians), and the median and quartiles of their ratio, turn by turn."""
    times: list[list[float]] = [[], []]
    for call in calls * 3:
        call()
    for turn in range(rounds):
        for index in (0, 1) if turn % 2 == 0 else (1, 0):
            start = time.process_time()
            calls[index]()
            times[index].append((time.process_time() - start) * 1e3)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {"ms": [statistics.median(t) for t in times], "ratio": [middle, low, high]}


def optimised(model: bytes, path: Path) -> int:
    """Nodes that are left when a session has been made."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return len(read_onnx(path.read_bytes()).nodes)


def line(case: str, found: dict[str, Any]) -> str:
    """A row of the table: imported / exported, and ratios with their quartiles."""

    def counts(name: str) -> str:
        return "{} / {}".format(*found[name])

    def ratio(name: str) -> str:
        middle, low, high = found[name]["ratio"]
        return f"{middle:.3f} ({low:.3f}-{high:.3f})"

    row = f"{case:24s} {counts('nodes'):>11s} {counts('optimised'):>11s}"
    return f"{row}   {ratio('alone')}  {ratio('predict')}"


def machine() -> str:
    """What it was measured on."""
    cores = os.cpu_count()
    return f"{cores} cores, load {os.getloadavg()[0]:.1f}, ONNX Runtime {onnxruntime.__version__}, one thread"


if __name__ == "__main__":
    main()

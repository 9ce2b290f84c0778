"""PP-LCNet x1.0 alone, one thread: float32, bf16 and int8 in OpenVINO, and int8 in ONNX Runtime, in one run.

    python benchmarks/precision.py
    python benchmarks/precision.py --bundle MY_BUNDLE --images MY_IMAGES --rounds 25

The variants take turns in rounds, so a slow minute slows all of them; time is the processor's, which counts
this process alone. Prints for each variant the least and the middle time of its rounds, and both as shares of
OpenVINO's float32.
With NNCF installed its int8 network, calibrated on the same images, takes part too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from tinysight.bundle import Bundle
from tinysight.engines.int8 import quantize
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.export.variants import find_images, predict_images

Run = Callable[[np.ndarray], object]


def openvino_run(model: Any, hint: str = "f32") -> Run:
    """One inference in OpenVINO, input and output where they are."""
    core = openvino.Core()
    loaded = core.read_model(model=model) if isinstance(model, bytes) else model
    shape = loaded.input(0).partial_shape
    shape[0] = 1
    loaded.reshape(shape)
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(loaded, "CPU", options).create_infer_request()

    def run(batch: np.ndarray) -> None:
        request.set_input_tensor(openvino.Tensor(batch, shared_memory=True))
        request.infer()

    return run


def nncf_model(model: bytes, images: np.ndarray) -> Any:
    """NNCF's int8 network, or None where NNCF is not installed."""
    try:
        import nncf
    except ModuleNotFoundError:
        return None
    loaded = openvino.Core().read_model(model=model)
    return nncf.quantize(
        loaded,
        nncf.Dataset([image[None] for image in images]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
    )


def race(runs: Mapping[str, Run], batch: np.ndarray, rounds: int, repeats: int) -> None:
    """Print the times of each, in milliseconds, and their shares of the first's."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(3):
            run(batch)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            for _ in range(repeats):
                run(batch)
            times[name].append((time.process_time() - start) / repeats * 1e3)
    first = next(iter(times.values()))
    print(f"{'variant':26} {'least ms':>9} {'middle ms':>9} {'share':>6} {'share':>6}")
    for name, found in times.items():
        least, middle = min(found), statistics.median(found)
        print(
            f"{name:26} {least:9.3f} {middle:9.3f} {least / min(first):6.2f} "
            f"{middle / statistics.median(first):6.2f}"
        )


def main() -> None:
    """Make the variants and let them take turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="clarity_assessment", help="of PP-LCNet x1.0")
    parser.add_argument("--images", default="samples/clarity", help="to calibrate on")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    os.environ.setdefault("NNCFDEBUG", "0")
    bundle = Bundle.load(args.bundle)
    found = find_images(args.images, len(bundle.manifest.labels), 100)
    shown = predict_images(bundle.manifest, found, lambda inputs: inputs).outputs
    int8 = quantize(bundle.model, shown)
    exact_ort, int8_ort = OnnxRuntime(bundle.model), OnnxRuntime(int8)
    runs: dict[str, Run] = {
        "OpenVINO float32": openvino_run(bundle.model),
        "OpenVINO bf16": openvino_run(bundle.model, "bf16"),
        "OpenVINO int8": openvino_run(int8),
        "ONNX Runtime float32": exact_ort.run,
        "ONNX Runtime int8": int8_ort.run,
    }
    with tempfile.TemporaryDirectory() as folder:
        if (other := nncf_model(bundle.model, shown)) is not None:
            path = Path(folder, "nncf.xml")
            openvino.save_model(other, os.fspath(path), compress_to_fp16=False)
            runs["OpenVINO int8 by NNCF"] = openvino_run(openvino.Core().read_model(path))
        race(runs, np.ascontiguousarray(shown[:1]), args.rounds, args.repeats)


if __name__ == "__main__":
    main()

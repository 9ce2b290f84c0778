"""The first calls of an engine, made by several threads of a fresh process at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.bundles import SIDE, tiny_bundle, tiny_detector, tiny_onnx
from support.commands import execute
from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import EngineVariant
from tinysight.engines import OnnxNetwork, get_engine
from tinysight.errors import MissingDependency
from tinysight.registry import engines

FIRST_CALLS = f"""
import sys, threading
import numpy as np
from tinysight import open_bundle

pipeline = open_bundle(sys.argv[1], engine=sys.argv[2], workers=8)
barrier = threading.Barrier(8)
results = []

def call(i):
    image = np.full(({SIDE}, {SIDE}, 3), 250, np.uint8)
    barrier.wait()
    results.append(pipeline(image).label_names)

threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert results == [("bright",)] * 8 or results == [["bright"]] * 8, results
"""
PROCESSES = 300  # of an engine: half of a classifier's, half of a detector's


def written(name: str, folder: Path) -> Path:
    """A classifier's bundle with a variant for the engine."""
    try:
        files = get_engine(name).write(OnnxNetwork(tiny_onnx(), (3, SIDE, SIDE)), "fp32", "model")
    except MissingDependency as error:
        pytest.skip(str(error))
    bundle = tiny_bundle(folder)
    variant = EngineVariant(tuple(files), "fp32", 1, 0.0, 0.0, 0, None, {})
    manifest = bundle.manifest._replace(variants={name: variant})
    return Bundle.write(folder, manifest, {MODEL: bundle.model, **files}, overwrite=True).folder


def cases() -> list[object]:
    found: list[object] = []
    for name in sorted(engines.names()):
        kinds = ["classifier", "detector"] if get_engine(name).reads_onnx else ["variant"]
        for kind in kinds:
            quick = {"onnxruntime": 3, "openvino": 7}.get(name, 0)
            if quick:
                found.append(pytest.param(name, kind, quick, id=f"{name}-{kind}"))
            slow = pytest.mark.slow
            found.append(
                pytest.param(
                    name, kind, PROCESSES // len(kinds), marks=slow, id=f"{name}-{kind}-all"
                )
            )
    return found


@pytest.mark.parametrize(("engine", "kind", "processes"), cases())
def test_threads_that_begin_together_never_hang(
    engine: str, kind: str, processes: int, tmp_path: Path
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    if kind == "variant":
        folder = written(engine, tmp_path / "b")
    else:
        folder = (tiny_detector if kind == "detector" else tiny_bundle)(tmp_path / "b").folder
    for _ in range(processes):
        done = execute([sys.executable, "-c", FIRST_CALLS, folder, engine], timeout=60)
        assert done.code == 0, done.err

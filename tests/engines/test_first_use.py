"""The first calls of an engine, made by several threads of a fresh process at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.bundles import SIDE, tiny_onnx
from support.commands import execute

FIRST_CALLS = f"""
import sys, threading
from pathlib import Path
import numpy as np
from tinysight.registry import engines

session = engines.build({{"name": sys.argv[2]}}, model=Path(sys.argv[1]).read_bytes())
barrier = threading.Barrier(8)
images = np.zeros((1, 3, {SIDE}, {SIDE}), np.float32)

def call(i):
    barrier.wait()
    if sys.argv[3] == "run":
        session.run(images)
    else:
        session.run_all({{"images": images}})

threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


@pytest.mark.parametrize("call", ["run", "run_all"])
@pytest.mark.parametrize(
    ("engine", "processes"),
    [
        ("onnxruntime", 3),
        ("openvino", 10),
        pytest.param("onnxruntime", 150, marks=pytest.mark.slow),
        pytest.param("openvino", 150, marks=pytest.mark.slow),
    ],
)
def test_threads_that_begin_together_never_hang(
    engine: str, processes: int, call: str, tmp_path: Path
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_onnx())
    words = [sys.executable, "-c", FIRST_CALLS, model, engine, call]
    for _ in range(processes):
        done = execute(words, timeout=60)
        assert done.code == 0, done.err

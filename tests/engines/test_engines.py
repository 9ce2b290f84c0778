"""Every registered engine: documented, and with the scores of a network worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import SIDE, tiny_onnx
from support.commands import python
from tinysight.engines import (
    ALIASES,
    OnnxNetwork,
    VariantFiles,
    engine_of,
    get_engine,
    onnx_engines,
    version,
)
from tinysight.engines.base import PRECISIONS
from tinysight.errors import MissingDependency
from tinysight.registry import engines

TABLE = Path(__file__).parents[2] / "docs" / "deploy.md"


@pytest.mark.parametrize("name", engines.names())
def test_an_engine_is_documented(name: str) -> None:
    variant = {engine: alias for alias, engine in ALIASES.items()}.get(name, name)
    rows = [line for line in TABLE.read_text("utf-8").splitlines() if f"| `{variant}` |" in line]
    assert len(rows) == 1
    assert rows[0].rstrip(" |").endswith(", ".join(get_engine(name).precisions))
    assert set(get_engine(name).precisions) <= set(PRECISIONS)


@pytest.mark.parametrize("name", engines.names())
def test_an_engine_runs_what_it_writes(name: str) -> None:
    network = OnnxNetwork(tiny_onnx(), (3, SIDE, SIDE))
    try:
        files = get_engine(name).write(network, "fp32", "model")
        assert all(file.startswith("model") for file in files)
        files = files or {"model.onnx": tiny_onnx()}
        model = VariantFiles(files, "fp32", (None, 3, SIDE, SIDE), 2)
        engine = engines.build({"name": name}, model=model, threads=1, streams=1)
    except MissingDependency as error:
        pytest.skip(str(error))
    means = np.array([0.0, 0.4, 0.5, 0.6, 1.0])
    batch = np.stack([np.full((3, SIDE, SIDE), mean, np.float32) for mean in means])
    bright = 1 / (1 + np.exp(12 - 24 * means))
    assert engine.run(batch) == pytest.approx(np.stack([1 - bright, bright], axis=1), abs=1e-5)
    (scores,) = engine.run_all({engine.inputs[0].name: batch[:1]})
    assert scores == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-4)
    assert [side for side in engine.inputs[0].shape[1:]] == [3, SIDE, SIDE]
    assert version(name) != "unknown"


def test_names_of_variants_lead_to_their_engine() -> None:
    assert engine_of("target/ncnn") == engine_of("ncnn-fp16") == "ncnn"
    assert engine_of("onnx-int8") == engine_of("onnxruntime") == "onnxruntime"
    assert onnx_engines() == ["onnxruntime", "openvino"]


def test_an_engine_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from tinysight.registry import engines\n"
        "engines.get('ncnn')\n"
        "ours = {m.rpartition('.')[2] for m in sys.modules if m.startswith('tinysight.engines.')}\n"
        "assert ours == {'base', 'ncnn'}, ours\n"
        "assert not {'ncnn', 'torch', 'onnxruntime'} & set(sys.modules)\n"
    )
    done = python("-c", code)
    assert done.code == 0, done.err

"""Paddle's own files: pickles of every protocol, tensor streams, both exported forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from support.golden import each_file, own_path, read_json, synth, synth_input
from tinysight.compat.paddle.folder import PaddleModel, read_paddle_inference
from tinysight.compat.paddle.pdparams import (
    read_paddle_pickle,
    read_paddle_state,
)
from tinysight.compat.paddle.tensors import read_tensors
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.compat.paddle.to_onnx.translate import to_model
from tinysight.errors import WeightsError

pytestmark = pytest.mark.golden
FOLDER = own_path("pdparams")


def agree(got: Any, expected: Any) -> None:
    """Compare what was read with its description in info.json."""
    if isinstance(expected, dict) and True in (expected.get("tensor"), expected.get("ndarray")):
        assert isinstance(got, np.ndarray)
        assert list(got.shape) == expected["shape"]
        if expected["dtype"] == "bfloat16":
            assert got.dtype == np.uint16
            got = (got.astype(np.uint32) << 16).view(np.float32)
        else:
            assert str(got.dtype) == expected["dtype"]
        flat = got.ravel()[:8]
        values = (
            [[v.real, v.imag] for v in flat.tolist()] if got.dtype.kind == "c" else flat.tolist()
        )
        assert values == expected["values"]
        if "sum" in expected:
            assert got.sum(dtype=np.float64) == pytest.approx(expected["sum"], rel=1e-6, abs=1e-6)
    elif isinstance(expected, dict):
        assert set(got) == set(expected)
        for key, value in expected.items():
            agree(got[key], value)
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            agree(one, other)
    else:
        assert got == expected
        assert type(got) is type(expected)


def described(path: Path) -> Any:
    """What the `info.json` beside it says of a file."""
    info = json.loads(path.with_name("info.json").read_text("utf-8"))
    name, stem = path.name, path.name.split(".")[0].removesuffix("_numpy1")
    if name in info:
        return info[name] if "logits" not in info[name] else None
    if stem.startswith("variety"):
        return info["variety_protocol*.pdparams"]
    return info["tiny_checkpoint"][name.split(".")[1]] if stem.startswith("tiny") else None


@each_file("pdparams", "*.pd[pos]*")  # but not *.pdtensor
def test_every_pickle_reads(path: Path) -> None:
    got = read_paddle_pickle(path)
    expected = described(path)
    if isinstance(got, dict):
        got.pop("StructuredToParameterName@@", None)
    if expected is not None:
        agree(got, expected)


def test_binary_tensor() -> None:
    path = FOLDER / "single_tensor_binary.pdtensor"
    agree(read_tensors(path, ["alone"])["alone"], described(path))


def test_checkpoint_holds_the_rule_weights() -> None:
    path = FOLDER / "PPLCNet_x0_25_cls2.pdparams"
    state, info = read_paddle_state(path), read_json("pdparams", "info.json")[path.name]
    assert len(state) == info["entries"]
    for name, array in state.items():
        assert np.array_equal(array, synth(name, array.shape)), name
        assert not array.flags.writeable
    names = read_paddle_pickle(path)["StructuredToParameterName@@"]
    assert set(names) == set(state)
    assert info["param_names"].items() <= names.items()


def run(model: Any, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


@each_file("pdparams", "*/*/outputs.npz")
def test_exported_forms(path: Path) -> None:
    found = run(paddle_to_onnx(path.parent), synth_input(2))
    with np.load(path, allow_pickle=False) as recorded:
        for key in ("dygraph", "reloaded", "predictor"):
            np.testing.assert_allclose(found, recorded[key], rtol=0, atol=1e-5)


def test_checkpoint_gives_the_recorded_logits() -> None:
    """The entries of the checkpoint, put into the exported program by their structured names."""
    name = "PPLCNet_x0_25_cls2"
    state = read_paddle_state(FOLDER / f"{name}.pdparams")
    exported = read_paddle_inference(FOLDER / "export_legacy" / name)
    table = read_paddle_pickle(exported.folder / "inference.pdiparams.info")
    weights = {
        n: state[table[n]["structured_name"].removeprefix("base_model.")] for n in exported.weights
    }
    model = to_model(PaddleModel(exported.folder, exported.program, weights))
    found = np.log(run(model, synth_input(2)))
    logits = np.array(read_json("pdparams", "info.json")[f"{name}.pdparams"]["logits"])
    difference = found - logits
    np.testing.assert_allclose(
        difference, difference.mean(1, keepdims=True) + 0 * logits, rtol=0, atol=1e-5
    )


def test_big_tensors_come_back_whole(tmp_path: Path) -> None:
    """Protocols 2 and 3 cut a tensor above 1 GiB; the table says how it was."""
    import pickle

    parts = {"w@@.0": np.arange(4.0), "w@@.1": np.arange(4.0, 6.0)}
    table = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
    content = {"b": np.ones(2), **parts, "UnpackBigParamInfor@@": table}
    for protocol in (2, 3, 4, 5):
        path = tmp_path / f"{protocol}.pdparams"
        path.write_bytes(pickle.dumps(content, protocol))
        state = read_paddle_state(path)
        assert set(state) == {"b", "w"}
        assert state["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_layouts_of_arrays(protocol: int, tmp_path: Path) -> None:
    import pickle

    arrays = {
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">f4"),
        "empty": np.zeros((0, 4), np.int8),
        "scalar": np.array(2.5),
        "half": np.arange(3, dtype=np.float16),
        "complex": np.array([1 + 2j, 3]),
        "long": np.arange(300, dtype=np.uint8),
    }
    path = tmp_path / "w.pdparams"
    path.write_bytes(pickle.dumps(arrays, protocol))
    state = read_paddle_state(path)
    for name, array in arrays.items():
        assert np.array_equal(state[name], array), name
        assert state[name].dtype == array.dtype, name


def test_not_a_state_dict() -> None:
    with pytest.raises(WeightsError, match="no dict of tensors"):
        read_paddle_state(FOLDER / "tiny_checkpoint.pdopt")
    with pytest.raises(WeightsError, match="not tensors: metric, epoch"):
        read_paddle_state(FOLDER / "tiny_checkpoint.pdstates")

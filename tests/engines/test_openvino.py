"""OpenVINO: what it does beyond the promises that every engine is tested for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support.bundles import SIDE, tiny_onnx
from tinysight.engines import Normalization, Tensor
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.engines.openvino import OpenVino
from tinysight.errors import BundleError, ConfigError
from tinysight.registry import engines

pytest.importorskip("openvino")


def batch(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, SIDE, SIDE), dtype=np.float32)


def test_the_scores_of_onnx_runtime_for_every_size_of_batch() -> None:
    ours, theirs = OpenVino(tiny_onnx()), OnnxRuntime(tiny_onnx())
    for count in (2, 2, 5, 1, 2, 7, 5):
        images = batch(count, count)
        assert ours.run(images) == pytest.approx(theirs.run(images), abs=1e-6)


def test_an_answer_stays_when_the_next_is_made() -> None:
    session = OpenVino(tiny_onnx())
    first = session.run(batch(1, 1))
    kept = first.copy()
    session.run(batch(1, 2))
    assert np.array_equal(first, kept)


def test_inputs_and_outputs_are_described() -> None:
    session = OpenVino(tiny_onnx(classes=4))
    assert session.inputs == (Tensor("images", (None, 3, SIDE, SIDE)),)
    assert session.outputs == (Tensor("scores", (None, 4)),)


def test_pixels_are_normalised_inside() -> None:
    by = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255)
    session = OpenVino(tiny_onnx())
    assert session.take_pixels(by)
    for count in (3, 1, 3):
        pixels = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        images = (pixels * np.float32(by.scale) - np.float32(by.mean)) / np.float32(by.std)
        expected = OnnxRuntime(tiny_onnx()).run(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        assert session.run(pixels) == pytest.approx(expected, abs=1e-5)


def test_all_outputs_for_inputs_by_name() -> None:
    ours, theirs = OpenVino(tiny_onnx()), OnnxRuntime(tiny_onnx())
    for count in (2, 3):
        feeds = {"images": batch(count)}
        (found,), (expected,) = ours.run_all(feeds), theirs.run_all(feeds)
        assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(BundleError, match=r"OpenVINO refuses imgs \(1, 3, 8, 8\)"):
        ours.run_all({"imgs": batch(1)})


def test_several_threads_and_sizes_at_once() -> None:
    session, theirs = OpenVino(tiny_onnx(), streams=4), OnnxRuntime(tiny_onnx())
    batches = [batch(1 + i % 3, i) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(session.run, batches))
    for images, scores in zip(batches, found, strict=True):
        assert scores == pytest.approx(theirs.run(images), abs=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_lower_precision_is_near(precision: str) -> None:
    session = engines.build(
        {"name": "openvino", "precision": precision}, model=tiny_onnx(), threads=1, streams=1
    )
    images = batch(3)
    assert session.run(images) == pytest.approx(OnnxRuntime(tiny_onnx()).run(images), abs=0.05)


@pytest.mark.parametrize("model", [b"", b"not a network", tiny_onnx()[:200]])
def test_a_broken_network_is_our_error(model: bytes) -> None:
    with pytest.raises(BundleError, match="OpenVINO"):
        OpenVino(model).run(batch(1))


def test_a_batch_of_another_shape_is_our_error() -> None:
    with pytest.raises(BundleError, match=r"refuses a batch \(1, 3, 9, 9\)"):
        OpenVino(tiny_onnx()).run(np.zeros((1, 3, 9, 9), np.float32))


def test_a_precision_that_the_engine_has_not() -> None:
    with pytest.raises(ConfigError, match="bf16 is not for onnxruntime"):
        engines.build({"name": "onnxruntime", "precision": "bf16"}, model=tiny_onnx(), threads=1)

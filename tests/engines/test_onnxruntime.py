"""ONNX Runtime, and what every engine that runs `model.onnx` promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support.bundles import SIDE, tiny_onnx
from tinysight.engines import Tensor, onnx_engines
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.errors import BundleError, UnknownName
from tinysight.registry import engines


def batch(*means: float) -> np.ndarray:
    """Grey images."""
    return np.stack([np.full((3, SIDE, SIDE), m, np.float32) for m in means])


def by_hand(mean: float) -> list[float]:
    """Softmax of (6 - 12 m, 12 m - 6)."""
    bright = 1 / (1 + np.exp(12 - 24 * mean))
    return [1 - bright, bright]


@pytest.mark.parametrize("engine", onnx_engines())
@pytest.mark.parametrize("threads", [1, 2])
def test_every_engine_answers_as_worked_out_by_hand(engine: str, threads: int) -> None:
    session = engines.build({"name": engine}, model=tiny_onnx(), threads=threads)
    means = (0.0, 0.4, 0.5, 0.6, 1.0)
    scores = session.run(batch(*means))
    assert scores.shape == (5, 2)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(np.array([by_hand(m) for m in means]), abs=1e-6)


def test_inputs_and_outputs_are_described() -> None:
    session = OnnxRuntime(tiny_onnx(classes=4))
    assert session.inputs == (Tensor("images", (None, 3, SIDE, SIDE)),)
    assert session.outputs == (Tensor("scores", (None, 4)),)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_an_answer_does_not_depend_on_its_batch(count: int) -> None:
    session = OnnxRuntime(tiny_onnx())
    alone = session.run(batch(0.45))
    assert session.run(batch(*[0.45] * count)) == pytest.approx(np.repeat(alone, count, axis=0))


def test_one_session_serves_several_threads() -> None:
    session = OnnxRuntime(tiny_onnx())
    means = np.linspace(0, 1, 40)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda m: session.run(batch(m))[0], means))
    assert np.array(found) == pytest.approx(np.array([by_hand(m) for m in means]), abs=1e-6)


@pytest.mark.parametrize("model", [b"", b"not a network", tiny_onnx()[:200]])
def test_a_broken_network_is_our_error_and_nothing_chatters(
    model: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    session = OnnxRuntime(model)
    for _ in range(2):
        with pytest.raises(BundleError, match="ONNX Runtime cannot load the network"):
            session.run(batch(0.5))
    assert capfd.readouterr() == ("", "")


def test_a_batch_of_another_shape_is_our_error(capfd: pytest.CaptureFixture[str]) -> None:
    session = OnnxRuntime(tiny_onnx())
    with pytest.raises(BundleError, match=r"refuses a batch \(1, 3, 9, 9\)"):
        session.run(np.zeros((1, 3, 9, 9), np.float32))
    assert capfd.readouterr() == ("", "")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UnknownName, match="did you mean 'onnxruntime'"):
        engines.build({"name": "onnxruntme"}, model=b"", threads=1)

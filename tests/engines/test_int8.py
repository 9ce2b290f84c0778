"""int8: hand-worked rounding, the form of the graph, ranges and corrected means."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.engines.int8 import (
    best_range,
    convolution_inputs,
    corrected,
    measure_ranges,
    quantize,
    quantized,
    rounded_weight,
    rounding,
    values_of,
)
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.errors import ExportError
from tinysight.graph.onnx_file import Node, OnnxModel, Port, read_onnx

FLOAT = np.dtype(np.float32)


@pytest.fixture
def small() -> OnnxModel:
    """Two convolutions with HardSwish between them; the second has no offset."""
    rng = np.random.default_rng(0)
    pads = {"pads": [1, 1, 1, 1]}
    return OnnxModel(
        nodes=(
            Node("Conv", ("images", "w1", "b1"), ("c1",), pads),
            Node("HardSwish", ("c1",), ("h1",), {}),
            Node("Conv", ("h1", "w2"), ("c2",), {"group": 4, **pads}),
            Node("HardSwish", ("c2",), ("h2",), {}),
            Node("GlobalAveragePool", ("h2",), ("scores",), {}),
        ),
        constants={
            "w1": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
            "b1": rng.normal(size=4).astype(np.float32),
            "w2": rng.normal(size=(4, 1, 3, 3)).astype(np.float32),
        },
        inputs=(Port("images", FLOAT, ("N", 3, 8, 8)),),
        outputs=(Port("scores", FLOAT, ("N", 4, 1, 1)),),
        opset=18,
    )


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def test_rounding_by_hand() -> None:
    scale, zero = rounding(-1.0, 4.1)
    assert float(scale) == pytest.approx(0.02)
    assert zero == 50
    assert rounding(1.0, 2.55)[1] == 0  # 0 is always in the range: padding is made of it
    assert float(rounding(1.0, 2.55)[0]) == pytest.approx(0.01)
    assert float(rounding(0.0, 0.0)[0]) > 0


@given(st.floats(-100, 0), st.floats(0.01, 100), st.floats(0, 1))
def test_no_value_in_the_range_moves_by_more_than_a_step(
    low: float, high: float, share: float
) -> None:
    value = low + share * (high - low)
    scale, zero = rounding(low, high)
    step = np.clip(np.rint(value / scale) + int(zero), 0, 255) - int(zero)
    assert abs(step * scale - value) <= 1.001 * scale


def test_weights_by_hand() -> None:
    weight = np.array([[1.27, -0.004], [0.0, 0.0], [-2.54, 1.27]], np.float32)
    values, scale, zero = rounded_weight(weight)
    assert values.tolist() == [[127, 0], [0, 0], [-127, 64]]
    assert scale == pytest.approx([0.01, 1.0, 0.02])
    assert not zero.any()


def test_the_form(small: OnnxModel) -> None:
    names = convolution_inputs(small)
    assert names == ("images", "h1")
    made = quantized(small, dict.fromkeys(names, (-1.0, 3.0)))
    assert Counter(n.op for n in made.nodes) == {
        "QuantizeLinear": 2,
        "DequantizeLinear": 4,
        "Conv": 2,
        "HardSwish": 2,
        "GlobalAveragePool": 1,
    }
    readers = {name: [n.op for n in made.nodes if name in n.inputs] for name in ("c1", "h1")}
    assert readers == {"c1": ["HardSwish"], "h1": ["QuantizeLinear"]}
    assert "w1" not in made.constants
    assert made.constants["w1_int8"].dtype == np.int8
    assert made.constants["b1"].dtype == np.float32


def test_ranges_lie_within_the_values(small: OnnxModel) -> None:
    photos = images(16)
    found = measure_ranges(small, ("images", "h1"), photos)
    values = values_of(small, ["h1"])(photos)["h1"]
    assert found["images"] == (float(photos.min()), float(photos.max()))
    assert found["h1"][0] == float(values.min())
    assert 0.2 * values.max() <= found["h1"][1] <= values.max()


@pytest.mark.parametrize(("many", "cut"), [(2000, True), (1, False)])
def test_a_rare_large_value_is_cut_if_that_loses_less(many: int, cut: bool) -> None:
    """512 * many values up to 1, and one of 4.

    In steps of 4 / 255 they lose 512 * many * (4 / 255)^2 / 12 = 0.0105 * many together; cutting at
    1.1 loses (4 - 1.1)^2 = 8.4 once and 0.0008 * many.
    """
    counts = np.zeros(2048)
    counts[:512], counts[-1] = many, 1
    low, high = best_range(counts, 0.0, 4.0)
    assert low == 0
    assert (high < 4) == cut
    assert high >= 1


def test_without_a_image(small: OnnxModel) -> None:
    with pytest.raises(ExportError, match="no image to calibrate on"):
        measure_ranges(small, ("images",), np.empty(0))


def test_correction_gives_the_means_of_the_exact_network(small: OnnxModel) -> None:
    photos = images(24)
    coarse = quantized(small, {"images": (-1.0, 1.0), "h1": (-0.4, 2.0)})
    mended = corrected(small, coarse, photos)
    for name in ("c1", "c2"):
        exact, before, after = (
            values_of(graph, [name])(photos)[name].mean(axis=(0, 2, 3))
            for graph in (small, coarse, mended)
        )
        assert np.abs(after - exact).max() < 1e-4 < np.abs(before - exact).max()


def test_the_whole_is_near_the_exact_network(small: OnnxModel) -> None:
    model = small.to_bytes()
    made = quantize(model, np.concatenate([images(8, 1), images(8, 2)]))
    fresh = images(16, 3)
    expected, found = OnnxRuntime(model).run(fresh), OnnxRuntime(made).run(fresh)
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert read_onnx(made).outputs[0].name == "scores"

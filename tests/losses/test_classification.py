"""Cross-entropy against cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tinysight.losses import CrossEntropy

LOGITS = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])  # softmax: 1/2 1/2, 3/4 1/4


@pytest.mark.parametrize(
    ("smoothing", "targets", "expected"),
    [
        (0.0, [0, 0], (math.log(2), math.log(4 / 3))),
        (0.0, [1, 1], (math.log(2), math.log(4))),
        # smoothing 0.2 over two classes: 0.9 on the label, 0.1 on the other
        (0.2, [0, 0], (math.log(2), 0.9 * math.log(4 / 3) + 0.1 * math.log(4))),
        (
            0.0,
            [[0.5, 0.5], [0.25, 0.75]],
            (math.log(2), 0.25 * math.log(4 / 3) + 0.75 * math.log(4)),
        ),
        (0.2, [[1.0, 0.0], [1.0, 0.0]], (math.log(2), 0.9 * math.log(4 / 3) + 0.1 * math.log(4))),
    ],
)
def test_by_hand(smoothing: float, targets: list, expected: tuple[float, float]) -> None:
    values = CrossEntropy(smoothing, "none")(LOGITS, torch.tensor(targets))
    assert values.tolist() == pytest.approx(expected, rel=1e-6)
    mean = CrossEntropy(smoothing)(LOGITS, torch.tensor(targets))
    assert float(mean) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_softmax_of_targets_is_opt_in() -> None:
    targets = torch.tensor([[2.0, 2.0], [0.0, 0.0]])  # as logits: 1/2 1/2
    values = CrossEntropy(reduction="none", softmax_targets=True)(LOGITS, targets)
    expected = (math.log(2), (math.log(4 / 3) + math.log(4)) / 2)
    assert values.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 1), (3,), (2, 3), (1, 2)])
def test_targets_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="targets are"):
        CrossEntropy()(LOGITS, torch.zeros(shape, dtype=torch.int64))

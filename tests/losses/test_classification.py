"""Cross-entropy against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tinysight.errors import ConfigError
from tinysight.losses.classification import (
    cross_entropy,
    multilabel,
    multilabel_asymmetric,
)
from tinysight.registry import losses

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
    values = cross_entropy(smoothing, "none")(LOGITS, torch.tensor(targets))
    assert values.tolist() == pytest.approx(expected, rel=1e-6)
    mean = cross_entropy(smoothing)(LOGITS, torch.tensor(targets))
    assert float(mean) == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_softmax_of_targets_is_opt_in() -> None:
    targets = torch.tensor([[2.0, 2.0], [0.0, 0.0]])  # as logits: 1/2 1/2
    values = cross_entropy(reduction="none", softmax_targets=True)(LOGITS, targets)
    expected = (math.log(2), (math.log(4 / 3) + math.log(4)) / 2)
    assert values.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 1), (3,), (2, 3), (1, 2)])
def test_targets_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="targets are"):
        cross_entropy()(LOGITS, torch.zeros(shape, dtype=torch.int64))


def test_class_weights_by_hand() -> None:
    loss = cross_entropy(reduction="none", class_weights=(2.0, 0.5))
    found = loss(LOGITS, torch.tensor([0, 1]))
    expected = [2 * math.log(2), 0.5 * math.log(4)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    mixed = loss(LOGITS, torch.tensor([[0.0, 1.0], [0.5, 0.5]]))
    both = (math.log(4 / 3) + math.log(4)) / 2
    assert mixed.tolist() == pytest.approx([0.5 * math.log(2), 1.25 * both], rel=1e-6)
    mean = cross_entropy(class_weights=(2.0, 0.5))(LOGITS, torch.tensor([0, 1]))
    assert float(mean) == pytest.approx(sum(expected) / 2, rel=1e-6)
    total = cross_entropy(reduction="sum", class_weights=(2.0, 0.5))(LOGITS, torch.tensor([0, 1]))
    assert float(total) == pytest.approx(sum(expected), rel=1e-6)
    assert not loss.state_dict()
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        loss(torch.zeros(1, 3), torch.tensor([0]))


def test_balanced_classes_weigh_the_same() -> None:
    spec = {"name": "cross_entropy", "class_weights": "balanced", "reduction": "sum"}
    checked, problems = losses.check(spec, "loss")
    assert problems == []
    loss = losses.build(checked, label_ratio=np.array([0.75, 0.25], np.float32))
    labels = torch.tensor([0, 0, 0, 1])
    assert loss.weights is not None
    assert loss.weights.tolist() == pytest.approx([2 / 3, 2])
    assert float(loss.weights[labels].mean()) == pytest.approx(1)
    with pytest.raises(ConfigError, match="how often"):
        losses.build(checked)
    with pytest.raises(ConfigError, match="no training image has class 1"):
        losses.build(checked, label_ratio=[1.0, 0.0])
    assert losses.check({**spec, "class_weights": "balance"}, "loss")[1]
    assert losses.check({**spec, "label_ratio": [0.5, 0.5]}, "loss")[1]


TWO = torch.tensor([[math.log(3.0), 0.0]])  # sigmoid: 3/4, 1/2


def test_multilabel_by_hand() -> None:
    targets = torch.tensor([[1.0, 0.0]])
    first, second = math.log(4 / 3), math.log(2)
    assert float(multilabel()(TWO, targets)) == pytest.approx((first + second) / 2)
    assert float(multilabel(sum_labels=True)(TWO, targets)) == pytest.approx(first + second)
    balanced = multilabel(balance=True, label_ratio=[0.25, 0.125], sum_labels=True)
    expected = first * math.exp(0.75) + second * math.exp(0.125)
    assert float(balanced(TWO, targets)) == pytest.approx(expected)
    # 1 becomes 0.9 towards one half, 0.8 + 0.2 / 2 = 0.9 towards 1 / K as there are two labels
    smooth = 0.9 * first + 0.1 * math.log(4)
    for towards in ("half", "uniform"):
        loss = multilabel(0.2, towards, sum_labels=True)  # type: ignore[arg-type]
        assert float(loss(TWO, targets)) == pytest.approx(smooth + second)


@pytest.mark.parametrize("loss", [multilabel(0.1), multilabel_asymmetric()], ids=["bce", "asl"])
def test_unknown_labels_count_nothing(loss: torch.nn.Module) -> None:
    logits = torch.tensor([[2.0, -80.0], [1.0, 3.0]], requires_grad=True)
    loss(logits, torch.tensor([[1.0, -1.0], [0.0, -1.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[:, 1].tolist() == [0, 0]
    assert bool((logits.grad[:, 0] != 0).all())


def test_asymmetric_by_hand() -> None:
    # present with 3/4: (1/4)^1 * log(4/3); absent with 1/2, less 0.1: 0.4^2 * -log(0.6)
    loss = multilabel_asymmetric(1.0, 2.0, clip=0.1)
    value = loss(TWO, torch.tensor([[1.0, 0.0]]))
    assert float(value) == pytest.approx(math.log(4 / 3) / 4 - 0.16 * math.log(0.6), rel=1e-5)
    easy = multilabel_asymmetric(clip=0.6)(TWO, torch.tensor([[1.0, 0.0]]))
    assert float(easy) == pytest.approx(math.log(4 / 3) / 4, rel=1e-5)


def test_asymmetric_leaves_the_focus_out_of_the_gradient() -> None:
    grads = []
    for through in (False, True):
        logits = TWO.clone().requires_grad_()
        multilabel_asymmetric(focal_gradient=through)(logits, torch.tensor([[1.0, 0.0]])).backward()
        assert logits.grad is not None
        grads.append(logits.grad[0].tolist())
    assert grads[0][0] == pytest.approx(-1 / 16, rel=1e-5)  # (1 - p) times the slope of log p
    assert grads[1][0] < grads[0][0]


@pytest.mark.parametrize("loss", [multilabel(), multilabel_asymmetric()], ids=["bce", "asl"])
def test_labels_are_as_wide_as_scores(loss: torch.nn.Module) -> None:
    with pytest.raises(ValueError, match="as the logits"):
        loss(TWO, torch.tensor([1]))

"""Teacher and student by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tinysight.losses.distillation import (
    dist,
    distance,
    dkd,
    dml,
    kl_div,
    rkd_angle,
    rkd_distance,
    skd,
    wsl,
)

HALF, THREE = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])  # 1/2 1/2, 3/4 1/4


def test_mutual_learning_by_hand() -> None:
    # (1/4 log(3/2) - 1/4 log(1/2)) / 2 over the two classes, their mean, times K
    both = (0.25 * math.log(1.5) - 0.25 * math.log(0.5)) / 2
    assert float(dml()(THREE, HALF)) == pytest.approx(both)
    assert float(dml(sum_classes=True)(THREE, HALF)) == pytest.approx(2 * both)
    assert float(dml()(HALF, THREE)) == pytest.approx(both)
    loss = dml(balance=True, label_ratio=[0.25, 0.5])
    found = loss(THREE, HALF, torch.tensor([[1.0, -1.0]]))  # the second is unknown
    assert float(found) == pytest.approx(0.25 * math.log(1.5) / 2 * math.exp(0.75))
    with pytest.raises(ValueError, match="labels"):
        loss(THREE, HALF)


def test_distances_by_hand() -> None:
    x, y = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.5, 1.0]])
    found = [float(distance(mode)(x, y)) for mode in ("l1", "l2", "smooth_l1")]  # type: ignore[arg-type]
    assert found == pytest.approx([1.25, 2.125, (0.125 + 1.5) / 2])
    with pytest.raises(ValueError, match="differ"):
        distance()(x, y.T)


def test_divergence_by_hand() -> None:
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    teacher = (2 * THREE).requires_grad_()
    value = kl_div(2.0)(HALF.clone().requires_grad_(), teacher)
    assert float(value.detach()) == pytest.approx(4 * expected, rel=1e-5)
    value.backward()
    assert teacher.grad is None


def test_decoupled_parts_make_up_the_whole() -> None:
    # KD = target + (1 - p_target of the teacher) * rest, arXiv:2203.08679, equation 7
    torch.manual_seed(0)
    s, t = torch.randn(1, 5), torch.randn(1, 5)
    label = torch.tensor([2])
    rest = 1 - float(t.softmax(1)[0, 2])
    found = dkd(1.0, 1.0, rest)(s, t, label)
    assert float(found) == pytest.approx(float(kl_div(1.0)(s, t)), rel=1e-4)
    best = t.argmax(1)
    assert float(dkd(teacher_target=True)(s, t)) == float(dkd()(s, t, best))
    with pytest.raises(ValueError, match="labels"):
        dkd()(s, t)


def test_soft_labels_weigh_less_where_the_student_is_ahead() -> None:
    label = torch.tensor([0])
    plain = math.log(2)  # cross-entropy of one half with anything
    ratio = math.log(2) / math.log(4 / 3)
    expected = (1 - math.exp(-ratio)) * plain
    assert float(wsl(1.0)(HALF, THREE, label)) == pytest.approx(expected, rel=1e-5)


def test_spherical_ignores_scale_and_shift() -> None:
    torch.manual_seed(0)
    s, t, label = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([0, 1, 2])
    loss = skd(2.0)
    assert float(loss(7 * s + 3, 0.5 * t - 1, label)) == pytest.approx(
        float(loss(s, t, label)), rel=1e-4
    )
    only = skd(alpha=0.0, multiplier=1.0)(torch.tensor([[5.0, 1.0]]), THREE, torch.tensor([0]))
    assert float(only) == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-4)  # 1 and -1


def test_correlated_outputs_match() -> None:
    torch.manual_seed(0)
    t = torch.randn(4, 3)
    assert float(dist()(t, t)) == pytest.approx(0.0, abs=1e-6)
    assert float(dist(1.0, 0.0)(-THREE, THREE)) == pytest.approx(2.0, rel=1e-5)


def test_relations_do_not_depend_on_position_scale_and_width() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    moved = F.pad(4 * x + 1, (0, 2))
    for loss in (rkd_distance(), rkd_angle()):
        assert float(loss(moved, x)) == pytest.approx(0.0, abs=1e-6)
        assert float(loss(torch.randn(5, 3), x)) > 1e-3


def test_relative_distances_by_hand() -> None:
    student, teacher = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [5.0]])
    # means 4/3 and 10/3: relative 3/4 3/2 3/4 and 3/10 3/2 6/5; each pair twice among nine
    squares = (0.45**2 + 0 + 0.45**2) / 2
    assert float(rkd_distance()(student, teacher)) == pytest.approx(2 * squares / 9, rel=1e-4)


def test_options_of_distances_by_hand() -> None:
    x, y = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.5, 1.0]])  # differences 1/2 and 2
    assert float(distance(mode="l2", reduction="sum")(x, y)) == pytest.approx(0.25 + 4)
    assert distance(reduction="none")(x, y).tolist() == [[0.5, 2.0]]
    # Up to 1 half of the square, beyond 1 * (d - 1/2); up to 1/2 and 1/2 * (d - 1/4) with delta.
    found = [float(distance(mode="smooth_l1", delta=d)(x, y)) for d in (1.0, 0.5)]
    assert found == pytest.approx([(0.125 + 1.5) / 2, (0.125 + 0.875) / 2])


def test_relations_of_maps_may_be_pooled_to_one_size() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 2, 4, 4), torch.randn(3, 5, 6, 8)
    for loss in (rkd_angle, rkd_distance):
        means = [x.mean((2, 3)) for x in (student, teacher)]
        assert float(loss(pool=1)(student, teacher)) == pytest.approx(float(loss()(*means)))
        rows = [F.adaptive_avg_pool2d(x, (2, 1)) for x in (student, teacher)]
        assert float(loss(pool=(2, 1))(student, teacher)) == pytest.approx(float(loss()(*rows)))


def test_the_teachers_best_class_may_stand_for_the_label() -> None:
    both = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.5, 3.0, 1.0]])
    found = wsl(teacher_target=True)(*both)
    assert float(found) == pytest.approx(float(wsl()(*both, torch.tensor([1]))))

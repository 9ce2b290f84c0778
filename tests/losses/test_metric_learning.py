"""Losses of embeddings by hand, with uneven identities, and what holds for all of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tinysight.losses.embedding import (
    Center,
    Memory,
    contrastive,
    contrastive_xbm,
    domain_scatter,
    dshsd,
    npairs,
    supcon,
    trihard,
    triplet,
    triplet_angular_margin,
    triplet_angular_margin_xbm,
)
from tinysight.registry import embedding_losses

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0], [4.0]])  # on a line: distances are differences
OWNERS = torch.tensor([0, 0, 0, 1, 1])  # three of one identity, two of the other
DIRECTIONS = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # cosines .6, 0, .8
LABELS = torch.tensor([0, 0, 1])


def test_triplet_by_hand() -> None:
    # anchors 0, 1, 3, 7, 4: farthest positive 3, 2, 3, 3, 3; nearest negative 4, 3, 1, 4, 1
    expected = (0 + 0 + 2.5 + 0 + 2.5) / 5
    assert float(triplet(0.5, normalize=False)(LINE, OWNERS)) == pytest.approx(expected, rel=1e-5)


def test_trihard_by_hand() -> None:
    # squared: 9, 4, 9, 9, 9 against 16, 9, 1, 16, 1
    loss = trihard(1.0, normalize=False)(LINE, OWNERS)
    assert float(loss) == pytest.approx((0 + 0 + 9 + 0 + 9) / 5)


def test_angular_margin_by_hand() -> None:
    # anchors: ap .6, .6, 1; an 0, .8, .8: relative 0, .7, .3 at a margin of .5
    relative = (0.0 + 0.7 + 0.3) / 3
    assert float(triplet_angular_margin(0.5)(DIRECTIONS, LABELS)) == pytest.approx(relative)
    # bounds .8 and .5: positives lack .2, .2, 0; negatives exceed by -, .3, .3
    bounds = {"absolute_weight": 2.0, "positive_bound": 0.8, "negative_bound": 0.5}
    absolute = 0.4 / 3 + 0.6 / 3
    for counts in (False, True):
        loss = triplet_angular_margin(0.5, **bounds, count_satisfied=counts)
        expected = relative + 2 * (absolute + counts / 3)
        assert float(loss(DIRECTIONS, LABELS)) == pytest.approx(expected)


def test_no_triplet_no_loss() -> None:
    x = DIRECTIONS.clone().requires_grad_()
    value = triplet_angular_margin()(x, torch.zeros(3, dtype=torch.int64))
    value.backward()
    assert float(value.detach()) == 0.0
    assert x.grad is not None
    assert not x.grad.any()


def test_contrastive_by_hand() -> None:
    # positives 1 - .6 twice; the negative .8 twice, as it is above .5, and 0 not
    assert float(contrastive(0.5)(DIRECTIONS, LABELS)) == pytest.approx((0.8 + 1.6) / 3)


def test_npairs_takes_pairs() -> None:
    x, labels = torch.tensor([[1.0], [1.0], [0.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    # products of firsts (1, 0) and seconds (1, 2): rows (1, 2) and (0, 0); squares 1/2 and 5/2
    entropy = (math.log(1 + math.e) + math.log(2)) / 2
    assert float(npairs(0.4)(x, labels)) == pytest.approx(entropy + 0.1 * 3)
    with pytest.raises(ValueError, match="pairs"):
        npairs()(x, torch.tensor([0, 1, 0, 1]))


def test_supcon_by_hand() -> None:
    # at temperature 1: -.6 + log(e^.6 + e^0), -.6 + log(e^.6 + e^.8), and one that is alone
    expected = (-1.2 + math.log(math.exp(0.6) + 1) + math.log(math.exp(0.6) + math.exp(0.8))) / 3
    assert float(supcon(1.0, 1.0)(DIRECTIONS, LABELS)) == pytest.approx(expected, rel=1e-5)


def test_center_by_hand() -> None:
    loss = Center(2, 1)
    loss.centers.data = torch.tensor([[1.0], [4.0]])
    assert float(loss(LINE, OWNERS).detach()) == pytest.approx((1 + 0 + 4 + 9 + 0) / 5)


def test_scatter_by_hand() -> None:
    # one domain of a single sample, cosine 1; one of two at right angles, 1 / sqrt(2) to their mean
    x, domains = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([4, 7, 7])
    expected = (1 + 1 / math.sqrt(2)) / 2
    assert float(domain_scatter()(x, domains)) == pytest.approx(expected, rel=1e-6)


def test_memory_begins_again_in_front() -> None:
    memory = Memory(5, 1)
    for first in (1, 3, 5, 7):
        memory.add(torch.tensor([[first], [first + 1]]), torch.tensor([first, first + 1]))
    # 1 2 3 4 . ; 5 6 do not fit after them and take the last places; 7 8 are in front
    embeddings, labels = memory.content()
    assert labels.tolist() == [7, 8, 3, 5, 6]
    assert embeddings.flatten().tolist() == [7, 8, 3, 5, 6]
    with pytest.raises(ValueError, match="does not hold"):
        memory.add(torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize("kind", [triplet_angular_margin_xbm, contrastive_xbm])
def test_memory_goes_on_from_a_checkpoint(kind: Any) -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3), torch.tensor([0, 0, 1, 1])) for _ in range(3)]
    whole = kind(3, size=6, start=1)
    values = [float(whole(*b)) for b in batches]
    first = kind(3, size=6, start=1)
    assert [float(first(*b)) for b in batches[:2]] == values[:2]
    second = kind(3, size=6, start=1)
    second.load_state_dict(first.state_dict())
    assert float(second(*batches[2])) == values[2]
    assert values[1] > float(kind(3, size=6, start=9)(*batches[1]))  # the memory adds its part


SIZE = {"contrastive_xbm": {"size": 16}, "triplet_angular_margin_xbm": {"size": 16}}
MORE = ("domain_scatter", "domain_shuffle", "dshsd")  # take more than labels
EMBEDDING = sorted(set(embedding_losses.names()) - set(MORE))


@pytest.mark.parametrize("name", EMBEDDING)
def test_every_loss_of_embeddings_learns(name: str) -> None:
    torch.manual_seed(1)
    checked, problems = embedding_losses.check({"name": name, **SIZE.get(name, {})}, "loss")
    assert problems == []
    loss: nn.Module = embedding_losses.build(checked, features=4, num_classes=2)
    x = torch.randn(8, 4).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    before = loss(x, labels)
    (gradient,) = torch.autograd.grad(before, x)
    assert bool(torch.isfinite(gradient).all())
    lower = embedding_losses.build(checked, features=4, num_classes=2)
    lower.load_state_dict(
        {k: v for k, v in loss.state_dict().items() if k == "centers"}, strict=False
    )
    after = lower(x - 1e-3 * gradient / gradient.norm(), labels)
    assert float(after.detach()) < float(before.detach())
    with pytest.raises(ValueError, match="embeddings"):
        loss(x[0], labels)


def test_deep_hashing_of_several_labels_by_hand() -> None:
    x, logits = torch.tensor([[0.0], [1.0], [3.0]]), torch.zeros(3, 2)
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])  # the first and the last have none in common
    # Squared distances 1, 4 together; 2 * 1 - 9 apart, so 0; each pair twice, over 9 and 2.
    pairs = 2 * (1 + 4 + 0) / 9 / 2
    loss = dshsd(distance_weight=0.5, several_labels=True)
    assert float(loss(x, labels, logits)) == pytest.approx(2 * math.log(2) + 0.5 * pairs)
    # One label a sample: together where it is the same.
    pairs = (2 * 1 + 2 * 0 + 2 * 0) / 9 / 2
    found = loss(x, torch.tensor([0, 0, 1]), logits)
    assert float(found) == pytest.approx(2 * math.log(2) + 0.5 * pairs)
    plain = dshsd(distance_weight=0.5)(x, torch.tensor([0, 0, 1]), logits)
    assert float(plain) == pytest.approx(math.log(2) + 0.5 * pairs)
    with pytest.raises(ValueError, match="labels"):
        dshsd()(x, labels, logits)


def test_reductions_of_angular_triplets() -> None:
    x = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    each = triplet_angular_margin(reduction="none")(x, labels)
    total = float(triplet_angular_margin(reduction="sum")(x, labels))
    assert (len(each), total) == (6, pytest.approx(float(each.sum())))
    assert float(triplet_angular_margin()(x, labels)) == pytest.approx(total / 6)
    bound = {"absolute_weight": 1.0, "positive_bound": 1.0}
    absolute = float(triplet_angular_margin(**bound)(x, labels)) - total / 6  # type: ignore[arg-type]
    found = triplet_angular_margin(**bound, reduction="sum")(x, labels)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(total + absolute)

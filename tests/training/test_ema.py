from __future__ import annotations

import pytest
import torch
from torch import nn

from tinysight.config.schema import Ema
from tinysight.training.networks import Average


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        model[0].weight.fill_(0.0)
    return model


def test_by_hand() -> None:
    model = network()
    average = Average(model, Ema(decay=0.5, warmup=False))
    for step, value in enumerate((8.0, 4.0)):
        with torch.no_grad():
            model[0].weight.fill_(value)
            model[1].running_mean.fill_(value)
            model[1].num_batches_tracked.fill_(step + 1)
        average.update(step)
    assert average.model[0].weight.item() == 4.0  # 0 -> 4 -> 4
    assert average.model[1].running_mean.item() == 4.0  # statistics as the weights
    assert average.model[1].num_batches_tracked.item() == 2  # counters are copied
    assert model[0].weight.item() == 4.0  # the network itself is left alone
    assert not average.model.training


def test_warm_up_begins_with_a_small_decay() -> None:
    model = network()
    average = Average(model, Ema(decay=0.9))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    average.update(0)
    assert average.model[0].weight.item() == pytest.approx(0.9)  # decay 1 / 10
    average.update(10**6)
    assert average.model[0].weight.item() == pytest.approx(0.91)  # decay 0.9

from __future__ import annotations

import pytest

from tinysight.config.schema import Component, EarlyStopping, Train
from tinysight.training.checkpoint import TrainState
from tinysight.training.loop import is_evaluated, update_best


def settings(**options: object) -> Train:
    return Train(epochs=10, optimizer=Component(name="sgd"), lr=0.1, **options)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, list(range(1, 11))),
        ({"eval_every": 4}, [4, 8, 10]),
        ({"eval_every": 2, "eval_from": 5}, [6, 8, 10]),
        ({"eval_from": 99}, [10]),
    ],
)
def test_epochs_that_are_evaluated(options: dict[str, int], epochs: list[int]) -> None:
    train = settings(**options)
    assert [epoch for epoch in range(1, 11) if is_evaluated(train, epoch)] == epochs


def test_the_run_ends_after_two_epochs_without_a_clear_rise() -> None:
    train = settings(early_stopping=EarlyStopping(patience=2, min_delta=0.1))
    state, found = TrainState(), []
    for epoch, value in enumerate((0.5, 0.55, 0.65, 0.7, 0.72), 1):
        found.append((update_best(state, train, epoch, {"top1": value}), state.stopped))
    # 0.55 is best but no clear rise above 0.5, 0.65 is one, 0.7 and 0.72 are none above 0.65
    assert found == [(True, False), (True, False), (True, False), (True, False), (True, True)]
    assert state.best == {"epoch": 5, "metrics": {"top1": 0.72}}
    assert state.mark == {"epoch": 3, "value": 0.65}


def test_an_equal_value_is_not_better() -> None:
    state = TrainState()
    assert update_best(state, settings(), 1, {"top1": 0.5})
    assert not update_best(state, settings(), 2, {"top1": 0.5})
    assert state.best["epoch"] == 1

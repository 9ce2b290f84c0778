"""From the nearest items to one answer, or unknown."""

from __future__ import annotations

import numpy as np
import pytest

from support.hard_vectors import Identities
from tinysight.errors import ConfigError, DataError
from tinysight.gallery.base import Match, Metric
from tinysight.gallery.decide import Answers, Decision, Steady, calibrate

NEAR = [Match("a1", "a", 0.9), Match("b1", "b", 0.8), Match("b2", "b", 0.7), Match("c1", "c", 0.6)]


def test_one_neighbour_or_the_weight_of_several() -> None:
    assert Decision().decide(NEAR) == NEAR[0]
    assert Decision(k=2).decide(NEAR) == NEAR[0]
    assert Decision(k=3).decide(NEAR) == NEAR[1]  # 0.8 + 0.7 against 0.9
    assert Decision(k=9).decide(NEAR) == NEAR[1]
    assert Decision().decide([]) is None


def test_near_distances_weigh_more() -> None:
    near = [Match("a", "a", 1.0), Match("b", "b", 2.5), Match("c", "b", 2.5)]
    assert Decision("l2", k=3).decide(near) == near[0]  # 1 against 0.8
    closer = [near[0], *(m._replace(score=1.5) for m in near[1:])]
    assert Decision("l2", k=3).decide(closer) == closer[1]


@pytest.mark.parametrize(("metric", "limit", "answer"), [
    ("cosine", 0.9, True), ("cosine", 0.91, False), ("inner_product", 0.9, True),
    ("l2", 0.9, True), ("l2", 0.89, False), ("hamming", 0.9, True),
])  # fmt: skip
def test_thresholds_by_metric(metric: Metric, limit: float, answer: bool) -> None:
    assert (Decision(metric, threshold=limit).decide(NEAR[:1]) is not None) == answer


def test_the_threshold_of_a_label_goes_before_that_of_all() -> None:
    assert Decision(threshold=0.5, by_label={"a": 0.95}).decide(NEAR) is None
    assert Decision(threshold=0.95, by_label={"a": 0.5}).decide(NEAR) == NEAR[0]
    assert Decision(by_label={"b": 2.0}).decide(NEAR) == NEAR[0]


def test_a_decision_is_kept_as_json() -> None:
    one = Decision("l2", 5, 0.25, {"a b": 0.125})
    assert Decision.from_json(one.to_json()) == one
    assert Decision.from_json(Decision().to_json()) == Decision()
    for wrong in ({}, {**one.to_json(), "by_label": 3}, {**one.to_json(), "k": "x"}):
        with pytest.raises(ConfigError, match="decision"):
            Decision.from_json(wrong)


def answers(scores: list[float], truth: list[str], label: str = "a") -> Answers:
    return Answers([[Match("i", label, score)] for score in scores], truth)


def test_the_threshold_lies_above_all_but_the_share_that_may_pass() -> None:
    scores = [round(0.01 * i, 2) for i in range(100)]
    names = [str(i) for i in range(100)]
    found = calibrate(Decision(), answers(scores, names), 0.05, answers([0.9, 0.97], ["a", "a"]))
    assert 0.94 < found.decision.threshold <= 0.95  # type: ignore[operator]
    assert found.false_accepts.value == 0.05
    # Clopper and Pearson, 5 of 100, from a table.
    assert found.false_accepts.low == pytest.approx(0.01643, abs=1e-5)
    assert found.false_accepts.high == pytest.approx(0.11284, abs=1e-5)
    assert found.right and found.right.value == 0.5
    assert not found.enough
    apart = calibrate(Decision("l2"), answers(scores, names), 0.05)
    assert 0.04 <= apart.decision.threshold < 0.05  # type: ignore[operator]


def test_few_unknown_things_leave_room_for_the_known_ones() -> None:
    """None of 18 may pass: the threshold is just above the best of them, not out of reach."""
    unknown = answers(np.linspace(0.2, 0.9, 18).tolist(), [str(i) for i in range(18)])
    found = calibrate(Decision(), unknown, 0.01, answers([0.95, 0.97], ["a", "a"]))
    assert 0.9 < found.decision.threshold < 0.91  # type: ignore[operator]
    assert found.right and found.right.value == 1.0
    assert not found.enough


def test_images_of_one_thing_do_not_count_as_many() -> None:
    scores = [round(0.01 * (i // 5), 2) for i in range(500)]
    alone = calibrate(Decision(), answers(scores, [str(i) for i in range(500)]), 0.05)
    together = calibrate(Decision(), answers(scores, [str(i // 5) for i in range(500)]), 0.05)
    assert together.decision == alone.decision
    assert together.counted.effective == pytest.approx(100, rel=0.02)
    assert together.false_accepts.high > alone.false_accepts.high


def test_labels_that_many_are_taken_for_have_their_own_threshold() -> None:
    rng = np.random.default_rng(0)
    often = answers((rng.random(900) * 0.5).tolist(), [f"o{i}" for i in range(900)])
    rare = answers((rng.random(20) * 0.9).tolist(), [f"r{i}" for i in range(20)], "b")
    both = Answers(often.matches + rare.matches, often.truth + rare.truth)
    found = calibrate(Decision(), both, 0.05, by_label=True)
    assert set(found.decision.by_label) == {"a"}
    assert found.decision.by_label["a"] < found.decision.threshold  # type: ignore[operator]
    assert found.false_accepts.low <= 0.05 <= found.false_accepts.high


def test_what_is_near_nothing_is_refused_and_counted() -> None:
    scores = Answers([*answers([0.5] * 9, [""] * 9).matches, []], [str(i) for i in range(10)])
    found = calibrate(Decision(), scores, 0.5)
    assert found.counted.counts.negatives == 10
    assert found.false_accepts.value == 0
    with pytest.raises(DataError, match="nearest"):
        calibrate(Decision(), Answers([[]], ["x"]), 0.1)
    with pytest.raises(ConfigError):
        calibrate(Decision(), scores, 1.5)


@pytest.mark.parametrize("k", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_unknown_things_are_accepted_as_seldom_as_was_said(k: int) -> None:
    """Each split: a gallery, unknown identities that set the threshold, and others that are counted."""
    kept, splits, target = 0, 100, 0.05
    for split in range(splits):
        identities = Identities(700, seed=split, dim=64)
        gallery = identities.draw(np.arange(300) // 3)
        labels = [f"known {i // 3}" for i in range(300)]

        def ask(chosen: np.ndarray) -> Answers:
            scores = identities.draw(chosen) @ gallery.T  # noqa: B023
            order = np.argsort(-scores, axis=1)[:, :k]
            found = [
                [Match(str(j), labels[j], float(row[j])) for j in near]  # noqa: B023
                for row, near in zip(scores, order.tolist(), strict=True)
            ]
            return Answers(found, [str(i) for i in chosen])

        found = calibrate(Decision(k=k), ask(np.repeat(np.arange(100, 400), 2)), target)
        others = ask(np.repeat(np.arange(400, 700), 2))
        accepted = np.mean([found.decision.decide(m) is not None for m in others.matches])
        low, high = found.expected(len(others.truth))
        assert high < 0.15
        kept += low <= accepted <= high
    assert kept >= 93


def test_a_video_does_not_flicker() -> None:
    one, two = Match("1", "one", 0.9), Match("2", "two", 0.8)
    steady = Steady(enter=2, leave=3)
    shown = [steady.update(m) for m in (one, None, one, one, two, None, one, two, two, two, None)]
    names = [m.label if m else "" for m in shown]
    assert names == ["", "", "", "one", "one", "one", "one", "one", "one", "two", "two"]
    assert [steady.update(None) for _ in range(3)] == [two, None, None]
    with pytest.raises(ConfigError):
        Steady(0)

"""Which student a latency allows, with latencies made by hand and with real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.distill.students import (
    TOP1,
    LatencyTable,
    Student,
    Timed,
    choose,
    front,
    students,
)
from tinysight.errors import ConfigError
from tinysight.registry import backbones
from tinysight.starter.pace import network_ms

MACS = {
    "pplcnet_x0_25": 18, "pplcnet_x0_35": 29, "pplcnet_x0_5": 47, "pplcnet_x0_75": 99,
    "pplcnet_x1_0": 161, "pplcnet_x1_5": 342, "pplcnet_x2_0": 590, "pplcnet_x2_5": 906,
    "pplcnetv2_base": 604, "pphgnetv2_b0": 332,
}  # fmt: skip


class Machine:
    """A machine whose latency is 0.1 ms and a millisecond for 80 million multiplications."""

    def __init__(self) -> None:
        self.asked: list[Student] = []

    def __call__(self, student: Student) -> float:
        self.asked.append(student)
        return 0.1 + MACS[student.backbone] / 80 * (student.size / 224) ** 2


def test_the_networks_exist() -> None:
    for name in TOP1:
        assert backbones.resolve(name, "test") == name


@pytest.mark.parametrize("budget", [0.2, 0.5, 1.0, 2.0, 5.0, 20.0])
@pytest.mark.parametrize("most", [96, 160, 224])
def test_the_most_promising_within_the_budget(tmp_path: Path, budget: float, most: int) -> None:
    """As a search through all of them finds, and on the front of what was measured."""
    machine = Machine()
    table = LatencyTable(tmp_path / "ms.json", machine)
    chosen = choose(budget, students(most), table)
    allowed = [s for s in students(most) if machine(s) <= budget]
    assert chosen.student.points == max(s.points for s in allowed)
    assert chosen.ms <= budget
    of_size = [row for row in table.rows() if row.student.size <= most]
    assert chosen in front(of_size)


def test_too_fast(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pplcnet_x0_25 at 96 px takes 0\.14 ms"):
        choose(0.12, students(), LatencyTable(tmp_path / "ms.json", Machine()))


def test_figures_are_kept_and_the_chosen_one_is_measured_again(tmp_path: Path) -> None:
    first, second = Machine(), Machine()
    chosen = choose(2.0, students(), LatencyTable(tmp_path / "ms.json", first))
    again = choose(2.0, students(), LatencyTable(tmp_path / "ms.json", second))
    assert again == chosen
    assert second.asked == [chosen.student]
    assert len(first.asked) > 5


@pytest.mark.parametrize("text", ["", "{", "[]", '{"machine": {}, "ms": {"a@96": 1}}', '{"ms": 3}'])
def test_figures_that_are_none_are_made_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ms.json"
    path.write_text(text, "utf-8")
    machine = Machine()
    LatencyTable(path, machine).ms(Student("pplcnet_x0_5", 96))
    assert machine.asked == [Student("pplcnet_x0_5", 96)]
    assert list(json.loads(path.read_text("utf-8"))["ms"]) == ["pplcnet_x0_5@96"]


@given(st.lists(st.tuples(st.sampled_from(students()), st.floats(0.1, 50)), max_size=30))
def test_the_front(rows: list[tuple[Student, float]]) -> None:
    timed = [Timed(*row) for row in rows]
    best = front(timed)
    for row in timed:
        beaten = any(
            other.ms <= row.ms and other.student.points >= row.student.points for other in best
        )
        assert beaten
    assert [b.ms for b in best] == sorted({b.ms for b in best})
    points = [b.student.points for b in best]
    assert points == sorted(set(points))


@pytest.mark.slow
def test_a_real_latency() -> None:
    small, large = Student("pplcnet_x0_25", 96), Student("pplcnet_x1_0", 160)
    assert 0.01 < network_ms(*small) < network_ms(*large) < 5_000

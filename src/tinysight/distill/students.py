"""Which student a latency allows: families, widths and sizes, timed on this machine.

A student's `points` say which of two is the better one before either is trained: ImageNet top-1 that others published
for the network at 224 px (`benchmarks/published.yaml` has the sources), minus what MobileNetV2 loses at smaller images
(71.8, 70.7, 68.8, 65.3 and 60.3 % at 224, 192, 160, 128 and 96 px; TensorFlow's published checkpoints).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tinysight.errors import ConfigError
from tinysight.files import write_atomic
from tinysight.pipelines.latency_card import machine
from tinysight.starter.pace import network_ms

FAMILIES = (  # each the narrow ones first
    {
        "pplcnet_x0_25": 51.9, "pplcnet_x0_35": 58.1, "pplcnet_x0_5": 63.1, "pplcnet_x0_75": 68.2,
        "pplcnet_x1_0": 71.3, "pplcnet_x1_5": 73.7, "pplcnet_x2_0": 75.2, "pplcnet_x2_5": 76.6,
    },
    {"pplcnetv2_base": 77.0},
    {"pphgnetv2_b0": 77.8},
)  # fmt: skip
TOP1 = {name: percent for family in FAMILIES for name, percent in family.items()}
LOST = {224: 0.0, 192: 1.1, 160: 3.0, 128: 6.5, 96: 11.5}
_REFERENCE = 128  # pixels at which a network is timed to tell about other sizes
_HOPE = 1.25  # times the budget, up to which a latency that is only estimated is looked into


class Student(NamedTuple):
    """A network and the size of its images, pixels."""

    backbone: str
    size: int

    @property
    def points(self) -> float:
        """What speaks for it, percent; see the top of this file."""
        return TOP1[self.backbone] - LOST[self.size]


class Timed(NamedTuple):
    """A student, and the milliseconds (median) of its network for one image on one thread."""

    student: Student
    ms: float


def students(most: int = max(LOST)) -> list[Student]:
    """All of them for images of up to `most` pixels, but at least for the smallest; the most promising first."""
    sizes = [s for s in LOST if s <= most] or [min(LOST)]
    rows = [Student(name, size) for name in TOP1 for size in sizes]
    return sorted(rows, key=lambda s: (-s.points, s.size, s.backbone))


def front(rows: Iterable[Timed]) -> list[Timed]:
    """Those that no other one beats: faster and at least as promising; the fastest first."""
    best: list[Timed] = []
    for row in sorted(rows, key=lambda r: (r.ms, -r.student.points)):
        if not best or row.student.points > best[-1].student.points:
            best.append(row)
    return best


def _measured(student: Student) -> float:
    return network_ms(student.backbone, student.size)


class LatencyTable:
    """Latencies of students on this machine, kept in a file; figures of another machine are begun anew.

    Args:
        path: of the file.
        measure: milliseconds of a student. Default: `starter.pace.network_ms`.
    """

    def __init__(self, path: Path, measure: Callable[[Student], float] = _measured) -> None:
        self._path, self._measure = path, measure
        try:
            tree = json.loads(path.read_text("utf-8"))
            known = tree["ms"] if tree["machine"] == machine() else {}
            self._ms = {str(name): float(ms) for name, ms in known.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._ms = {}  # none yet, or not one that can be read: it is made again

    def __contains__(self, student: Student) -> bool:
        return self._key(student) in self._ms

    def ms(self, student: Student, *, again: bool = False) -> float:
        """Its latency: the kept figure, or a new one, which is kept.

        Args:
            student: any.
            again: True to measure in any case.
        """
        if again or student not in self:
            self._ms[self._key(student)] = round(self._measure(student), 4)
            tree = {"machine": machine(), "ms": dict(sorted(self._ms.items()))}
            write_atomic(self._path, json.dumps(tree, indent=1) + "\n")
        return self._ms[self._key(student)]

    def rows(self) -> list[Timed]:
        """Everything that is known."""
        split = (key.rsplit("@", 1) for key in self._ms)
        known = [Student(name, int(size)) for name, size in split]
        return [Timed(s, self.ms(s)) for s in known if s.backbone in TOP1 and s.size in LOST]

    @staticmethod
    def _key(student: Student) -> str:
        return f"{student.backbone}@{student.size}"


def choose(
    budget_ms: float,
    candidates: Sequence[Student],
    table: LatencyTable,
    tell: Callable[[str], None] = lambda _: None,
) -> Timed:
    """The most promising student whose network takes at most `budget_ms` for one image, measured twice.

    Networks are timed at one size first, which tells which students are worth being timed themselves; once one of a
    family is too slow whatever its size, wider ones are not.

    Args:
        budget_ms: milliseconds, above 0.
        candidates: the most promising first.
        table: of this machine.
        tell: called with what is being timed.

    Raises:
        ConfigError: none is as fast.
    """

    def timed(student: Student, *, again: bool = False) -> float:
        tell(f"{student.backbone} at {student.size} px")
        return table.ms(student, again=again)

    hopeful: dict[str, float] = {}  # pixels that probably take no longer
    for family in FAMILIES:
        for name in family:
            ms = timed(Student(name, _REFERENCE))
            hopeful[name] = _HOPE * budget_ms * _REFERENCE**2 / ms
            if hopeful[name] < min(LOST) ** 2:
                break
    for student in candidates:
        if student.size**2 > hopeful.get(student.backbone, 0.0):
            continue
        if timed(student) <= budget_ms and (ms := timed(student, again=True)) <= budget_ms:
            return Timed(student, ms)
    fastest, ms = min(table.rows(), key=lambda row: row.ms)
    what = f"no student is that fast: {fastest.backbone} at {fastest.size} px takes {ms:.2f} ms"
    raise ConfigError("budget_ms", what, "allow more")

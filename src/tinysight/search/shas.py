"""SHAS as PaddleClas' scenarios define it: one coordinate after the other, the winner of each kept for the next.

A value wins that is strictly better than those before it, by the mean of its repeats. Then the teacher is searched,
and the last training distils. A failed training has no score and never wins.

Source: `tools/search_strategy.py`; it would take a failed training for an error of the whole search.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeAlias

from tinysight.errors import ConfigError
from tinysight.search.plan import SearchPlan, Training, assigned, folder_of

Scores: TypeAlias = Mapping[Training, float | None]
"""What became of trainings; None: it failed."""


@dataclass
class Outcome:
    """What a search has found.

    Attributes:
        winners: the best value of each coordinate, and `teacher`.
        results: scores by coordinate and value as text, in the order of the values.
        last: the training with all winners: the final one, or that of the best overrides.
    """

    winners: dict[str, Any] = field(default_factory=dict)
    results: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    last: Training | None = None


def shas(plan: SearchPlan) -> Generator[list[Training], Scores, Outcome]:
    """Yields trainings that do not depend on each other, takes their scores; returns what was found.

    Raises:
        ConfigError: every training of a coordinate has failed.
    """
    out, kept = Outcome(), tuple[str, ...]()
    for coordinate in plan.space:
        name, made = coordinate.name, dict[str, list[Training]]()
        for value in coordinate.values:
            chosen = (*kept, *assigned(coordinate, value))
            folders = (folder_of(plan, f"{name}_{value}_{j}") for j in range(plan.repeats))
            label = f"{name}={value}"
            made[str(value)] = [Training(plan.base, chosen, f, label) for f in folders]
        best = yield from _search(out, name, coordinate.values, made)
        kept = (*kept, *assigned(coordinate, best))
        out.last = made[str(best)][0]
    if plan.teacher and plan.teacher.values:
        teacher = plan.teacher
        rest = [text for text in kept if not any(word in text for word in teacher.dropped)]
        made = {
            value: [
                Training(
                    plan.base, (*rest, f"{teacher.key}={value}"),
                    f"{plan.out}/teacher_{value}_0", f"teacher={value}",
                )
            ]
            for value in teacher.values
        }  # fmt: skip
        best = yield from _search(out, "teacher", teacher.values, made)
        out.winners["folder"] = made[str(best)][0].folder
    if plan.final is not None:
        injected = [text.format(**out.winners) for text in plan.inject]
        texts = [_replaced(text, plan.replace) for text in (*kept, *injected)]
        out.last = Training(plan.final, tuple(texts), f"{plan.out}/search_res", "final")
        yield [out.last]
    out.winners.pop("folder", None)
    return out


def _search(
    out: Outcome, name: str, values: Sequence[Any], made: Mapping[str, list[Training]]
) -> Generator[list[Training], Scores, Any]:
    """The best of some values; a value that is listed twice is trained once."""
    scores = yield [t for some in made.values() for t in some]
    means: dict[str, float] = {}
    for value, trainings in made.items():
        known = [s for t in trainings if (s := scores[t]) is not None]
        out.results.setdefault(name, {})[value] = known
        if known:
            means[value] = fmean(known)
    if not means:
        what = f"every training of {name} has failed"
        raise ConfigError(f"space.{name}", what, "the table says why")
    best = max(means, key=lambda value: means[value])  # of equals the first
    out.winners[name] = next(v for v in values if str(v) == best)
    return out.winners[name]


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for old, new in words.items():
        text = text.replace(old, new)
    return text

"""What a search is: its YAML, and the trainings that a strategy asks for.

A training is a recipe with overrides, as `-o` gives them. PaddleClas' search configurations become the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, MinLen
from pydantic import model_validator

from tinysight import foreign
from tinysight.config.load import apply_override, find_recipe
from tinysight.config.schema import RecipeSection, doc
from tinysight.errors import ConfigError
from tinysight.files import read_yaml
from tinysight.validation import validate


class Coordinate(RecipeSection):
    """Keys of the recipe that are given one value together, and the values to try."""

    name: str
    keys: Annotated[tuple[str, ...], MinLen(1)]
    values: tuple[Any, ...] = doc("To choose from; the first wins a tie", ())
    low: float | None = doc("Instead of values, for tpe: the smallest", None)
    high: float | None = doc("The largest", None)
    log: bool = doc("Factors count, not differences: for learning rates", False)

    @model_validator(mode="after")
    def _one_of_two(self) -> Coordinate:
        ranged = self.low is not None and self.high is not None and self.low < self.high
        if bool(self.values) == ranged or (self.log and not (self.low or 0) > 0):
            raise ValueError("give either values, or low and high (above 0 for log)")
        return self


class TeacherSearch(RecipeSection):
    """Which network teaches best, after the other keys are found; trained as the base is."""

    key: str = doc("That names the network", "model.backbone.name")
    values: tuple[str, ...] = ()
    dropped: tuple[str, ...] = doc("Overrides with one of these in them are not for it", ())


class SearchPlan(RecipeSection):
    """A search."""

    base: str = doc("The recipe whose keys are searched")
    out: str = doc("Folder of the study and of its runs")
    space: Annotated[tuple[Coordinate, ...], MinLen(1)]
    strategy: Literal["shas", "tpe"] = doc("One key after the other, or all at once", "shas")
    repeats: Annotated[int, Ge(1)] = 1
    trials: int | None = doc("Trainings at most; needed for tpe", None, ge=1)
    hours: float | None = doc("Time at most", None, gt=0)
    teacher: TeacherSearch | None = None
    final: str | None = doc("Recipe of the last training, which distils", None)
    inject: tuple[str, ...] = doc(
        "Overrides of it: `{teacher}`, `{folder}`, `{a name in space}`", ()
    )
    replace: dict[str, str] = doc("Words of the overrides that read otherwise in it", {})
    output_key: str = doc("Key of a run's folder, where the recipe has one", "")

    @model_validator(mode="after")
    def _possible(self) -> SearchPlan:
        if self.strategy == "tpe" and self.trials is None and self.hours is None:
            raise ValueError("tpe needs trials or hours")
        if self.strategy == "shas" and any(not c.values for c in self.space):
            raise ValueError("shas needs values for every entry of space")
        names = [c.name for c in self.space]
        if len(set(names)) < len(names):
            raise ValueError("two entries of space have one name")
        return self


class Training(NamedTuple):
    """One run: a recipe, its overrides, and the folder that it writes to; `label` says what is tried."""

    config: str
    overrides: tuple[str, ...]
    folder: str
    label: str = ""


def load_plan(source: str | Path, overrides: Sequence[str] = ()) -> SearchPlan:
    """The search at `source`, ours or PaddleClas'.

    Args:
        source: YAML file.
        overrides: `key=value`, applied to the search's own keys as they are written.

    Raises:
        ConfigError: with every problem found; its recipes have to be there.
    """
    path = Path(source)
    if not path.is_file():
        raise ConfigError(str(path), "no such file")
    if foreign.is_foreign(path):
        tree = foreign.read_search(path, overrides)
    else:
        tree = read_yaml(path)
        for text in overrides if isinstance(tree, dict) else ():
            apply_override(tree, text)
    plan, problems = validate(SearchPlan, tree if isinstance(tree, dict) else {})
    if plan is None:
        raise ConfigError.of(str(path), problems)
    for name in filter(None, (plan.base, plan.final)):
        _find(name)
    return plan


def assigned(coordinate: Coordinate, value: Any) -> tuple[str, ...]:
    """The overrides that give the keys of a coordinate `value`."""
    return tuple(f"{key}={value}" for key in coordinate.keys)


def folder_of(plan: SearchPlan, name: str) -> str:
    """Folder of the training `name`; no dots in its own name, as PaddleClas has it."""
    return f"{plan.out}/{name.replace('.', '_')}"


def _find(name: str) -> None:
    try:
        find_recipe(name)
    except ConfigError as error:
        parent = next(p for p in Path(name).parents if p.is_dir())
        parent = parent.parent if parent.parent != Path() else parent
        near = sorted(parent.rglob(Path(name).name)) if parent != Path() else []
        parts = set(Path(name).parts)
        best = max(near, key=lambda p: len(parts & set(p.parts)), default=None)
        hint = f"did you mean {best}?" if best else error.problems[0].hint
        raise ConfigError(name, error.problems[0].what, hint) from None

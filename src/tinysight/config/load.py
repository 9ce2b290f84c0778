"""Recipe files: found by name or path, one `base:` each, overridden by `-o key.path=value`, checked as a whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from tinysight.compat.paddle.dialect import Translation, is_paddleclas, to_source_paths, translate
from tinysight.config.schema import Component, Kind, Recipe, Section
from tinysight.errors import ConfigError, Problem, nearest
from tinysight.files import parse_yaml, read_yaml, to_yaml
from tinysight.registry import REGISTRIES
from tinysight.validation import join, validate

logger = logging.getLogger(__name__)

RECIPES = Path(__file__).parent.parent / "recipes"
_MAX_BASES = 2

Tree = dict[str, Any]
Found = tuple[str, str, Tree]  # dotted path, kind, mapping


def list_recipes() -> list[str]:
    """Names of the shipped recipes, such as `pulc/clarity_assessment`."""
    names = (p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.yaml"))
    return sorted(n for n in names if not n.startswith("_"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe named or stored at `source`, resolved and checked.

    Args:
        source: name of a shipped recipe, or path of a YAML file. One in PaddleClas' language is translated; what the
            user should know about it is logged.
        overrides: `a.b.0.c=value`; list items by index; the value is YAML and may contain `=`. They are applied to
            the tree as it is written, before a translation.

    Raises:
        ConfigError: with every problem found, each under its dotted path.
    """
    path = find_recipe(str(source))
    if is_paddleclas(path):
        return translated(path, overrides)[0]
    tree = _read(path)
    changed = [_override(tree, text) for text in overrides]
    recipe, problems = check_tree(tree)
    if recipe is None:
        raise ConfigError.of(str(source), [_from_override(p, changed) for p in problems])
    return recipe


def translated(path: Path, overrides: Sequence[str] = ()) -> tuple[Recipe, Translation]:
    """The PaddleClas configuration at `path` as a recipe, and what else it says; logs its notes.

    Raises:
        ConfigError: with every problem found, each under the place in the configuration.
    """
    found = translate(path, overrides)
    recipe, problems = check_tree(found.tree)
    if recipe is None:
        raise ConfigError.of(str(path), [to_source_paths(p, found.tree) for p in problems])
    for note in found.notes:
        logger.warning("%s: %s", path, note)
    return recipe, found


def check_tree(tree: Tree) -> tuple[Recipe | None, list[Problem]]:
    """`tree` as a recipe with every default filled in, or None and all that is wrong with it."""
    recipe, problems = validate(Recipe, tree)
    full = recipe.model_dump(mode="json") if recipe else tree
    for place, kind, spec in list(_components(Recipe, full)):
        checked, found = REGISTRIES[kind].check(spec, place)
        problems += found
        if recipe and not found:
            _set(full, place.split("."), checked)
    return (None, problems) if problems else validate(Recipe, full)


def find_recipe(source: str) -> Path:
    """The file of a shipped recipe's name or of a path.

    Raises:
        ConfigError: neither exists; names the nearest shipped recipe.
    """
    for path in (Path(source), RECIPES / f"{source}.yaml"):
        if path.is_file():
            return path
    if source.endswith((".yaml", ".yml")):
        raise ConfigError(source, "no such file")
    raise ConfigError(source, "no such recipe", nearest(source, list_recipes()))


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; `load_recipe` reads it back equal."""
    return to_yaml(recipe.model_dump(mode="json"))


def minimal_yaml(recipe: Recipe) -> str:
    """The recipe as YAML without what is a default anyway; `load_recipe` reads it back equal."""
    tree = recipe.model_dump(mode="json", exclude_defaults=True)
    for place, kind, spec in list(_components(Recipe, tree)):
        fields = REGISTRIES[kind].schema(spec["name"]).model_fields
        defaults = {k: _plain(f.default) for k, f in fields.items() if not f.is_required()}
        kept = {k: v for k, v in spec.items() if k == "name" or v != defaults.get(k, ...)}
        _set(tree, place.split("."), kept)
    return to_yaml(tree)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _read(path: Path, depth: int = 0) -> Tree:
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise ConfigError(
            str(path), "a recipe is a mapping of sections", "see `tinysight recipe list`"
        )
    base = tree.pop("base", None)
    if base is None:
        return tree
    if depth == _MAX_BASES:
        raise ConfigError(
            str(path), f"base: more than {_MAX_BASES} levels", "merge two of the files"
        )
    parent = next((p for p in (path.parent / str(base), RECIPES / str(base)) if p.is_file()), None)
    if parent is None:
        raise ConfigError(str(path), f"base: no such file {base!r}", "it is relative to this file")
    return _merged(_read(parent, depth + 1), tree)


def _merged(parent: Tree, child: Tree) -> Tree:
    """Mappings merge; lists, numbers, words and components of another name replace."""
    result = dict(parent)
    for key, value in child.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            same = value.get("name") in (None, old.get("name"))
            result[key] = _merged(old, value) if same else value
        else:
            result[key] = value
    return result


def _override(tree: Tree, text: str) -> str:
    """Apply one `key.path=value` to `tree`; returns the key path."""
    where = f"-o {text}"
    key, equals, value = text.partition("=")
    if not equals or not key.strip("."):
        raise ConfigError(where, "expected KEY=VALUE", "for example -o train.epochs=5")
    parts = key.split(".")
    here: Any = tree
    for i, part in enumerate(parts[:-1]):
        if isinstance(here, list):
            here = here[_index(here, part, where)]
        elif isinstance(here, dict):
            here = here.setdefault(part, {})
        if not isinstance(here, dict | list):
            raise ConfigError(where, f"{'.'.join(parts[: i + 1])} is a value, not a section")
    parsed = parse_yaml(value, where)
    here[_index(here, parts[-1], where) if isinstance(here, list) else parts[-1]] = parsed
    return key


def _index(items: list[Any], part: str, where: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(
            where, f"{part!r} is no index of a list of {len(items)}", "the first is 0"
        )
    return int(part)


def _from_override(problem: Problem, changed: Sequence[str]) -> Problem:
    """The problem, marked if an override caused it."""
    for key in changed:
        if problem.where == key or problem.where.startswith(f"{key}."):
            return problem._replace(where=f"-o {problem.where}")
    return problem


def _components(section: type[BaseModel], tree: Tree, where: str = "") -> Iterator[Found]:
    """Every component written in `tree`, a mapping that is meant to be a `section`."""
    for name, field in section.model_fields.items():
        if name in tree:
            yield from _walk(tree[name], field.annotation, field.metadata, join(where, name))


def _walk(value: Any, annotation: Any, marks: Sequence[Any], where: str) -> Iterator[Found]:
    """Follow the annotation down to `Annotated[Component, Kind(...)]`."""
    if annotation is Component:
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            yield where, next(m.name for m in marks if isinstance(m, Kind)), value
    elif get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        yield from _walk(value, inner, marks, where)
    elif get_origin(annotation) is tuple and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _walk(item, get_args(annotation)[0], (), join(where, i))
    elif (
        isinstance(annotation, type) and issubclass(annotation, Section) and isinstance(value, dict)
    ):
        yield from _components(annotation, value, where)


def _set(tree: Any, parts: Sequence[str], value: Any) -> None:
    for part in parts[:-1]:
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    last = parts[-1]
    tree[int(last) if isinstance(tree, list) else last] = value

"""Recipe files: found by name or path, one `base:` each, overridden by `-o key.path=value`, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinysight import foreign, plugins
from tinysight.concurrency import by_key
from tinysight.config.schema import PluginRecord, Recipe, plugins_of
from tinysight.errors import ConfigError, Problem, nearest
from tinysight.files import parse_yaml, read_yaml, to_yaml
from tinysight.validation import validate

RECIPES = Path(__file__).parent.parent / "recipes"
_MAX_BASES = 2

Tree = dict[str, Any]


def list_recipes() -> list[str]:
    """Names of the shipped recipes, such as `pulc/clarity_assessment`."""
    names = (p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.yaml"))
    return sorted(n for n in names if not n.startswith("_"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe named or stored at `source`, resolved and checked.

    Args:
        source: name of a shipped recipe, or path of a YAML file. A PaddleClas configuration is translated; what the
            user should know about it is logged.
        overrides: `a.b.0.c=value`; list items by index; the value is YAML and may contain `=`. They are applied to
            the tree as it is written, before a translation.

    Raises:
        ConfigError: with every problem found, each under its dotted path.
    """
    return load_run(source, overrides).recipe


def load_run(source: str | Path, overrides: Sequence[str] = ()) -> foreign.RunConfig:
    """The recipe of `load_recipe`, and what a command needs besides it."""
    path = find_recipe(str(source))
    if foreign.is_foreign(path):
        config = foreign.read_config(path, overrides)
        config.recipe = _with_plugins(config.recipe)
        return config
    tree = _read(path)
    changed = [apply_override(tree, text) for text in overrides]
    recipe, problems = check_tree(tree, str(source))
    if recipe is None:
        raise ConfigError.of(str(source), [_from_override(p, changed) for p in problems])
    return foreign.RunConfig(_with_plugins(recipe))


def check_tree(tree: Tree, where: str = "the recipe") -> tuple[Recipe | None, list[Problem]]:
    """`tree` as a recipe with every default filled in, or None and all that is wrong with it.

    Args:
        tree: a recipe without `base`; the plugins that it records are loaded.
        where: name of its file or folder, for messages.

    Raises:
        ConfigError: a plugin is missing or has changed.
    """
    for record in tree.get("plugins") or ():
        if validate(PluginRecord, record)[0]:  # else the recipe's own check tells
            plugins.require(record, where)
    return validate(Recipe, tree)


def _with_plugins(recipe: Recipe) -> Recipe:
    """`recipe` that also records the files that are loaded, and the packages that it uses."""
    used = [plugins.find_plugin(source) for source in sorted(plugins_of(recipe))]
    known = {plugin.name for plugin in recipe.plugins}
    more = {p: None for p in (*plugins.loaded_files(), *used) if p.name not in known}
    records = (*recipe.plugins, *(PluginRecord(**plugin._asdict()) for plugin in more))
    for name, alike in by_key((record.name, record) for record in records).items():
        if len(alike) > 1:
            raise ConfigError("plugins", f"{len(alike)} are called {name}", "rename one of them")
    return recipe.model_copy(update={"plugins": records})


def apply_override(tree: Tree, text: str, read: Callable[[str, str], Any] = parse_yaml) -> str:
    """Apply one `key.path=value` to `tree` in place; a missing section is made.

    Args:
        tree: mappings, lists and values; a list item is named by its index from 0.
        text: the override; the value may contain `=`.
        read: the value of a text, given also the place for messages.

    Returns:
        The key path.

    Raises:
        ConfigError: no `=`, no such index, or a value where a section is meant.
    """
    where = f"-o {text}"
    key, equals, value = text.partition("=")
    *parents, last = key.split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(where, "expected KEY=VALUE", "for example -o train.epochs=5")
    here: Any = tree
    for i, part in enumerate(parents):
        if isinstance(here, dict) and here.get(part) is None:
            here[part] = {}
        here = here[_index(here, part, where)]
        if not isinstance(here, dict | list):
            raise ConfigError(where, f"{'.'.join(parents[: i + 1])} is a value, not a section")
    place = _index(here, last, where)
    try:
        here[place] = read(value, where)
    except ConfigError as error:
        hint = f"the value is YAML, and the shell takes quotes away: -o '{key}=\"{value}\"'"
        raise ConfigError(where, error.problems[0].what, hint) from None
    return key


def find_recipe(source: str) -> Path:
    """The file of a shipped recipe's name or of a path.

    Raises:
        ConfigError: neither exists; names the nearest shipped recipe.
    """
    for path in (Path(source), RECIPES / f"{source}.yaml"):
        if path.is_file():
            return path
    if source.endswith((".yaml", ".yml")):
        path, kind = Path(source), Path(source).stem.rpartition("_")[2]
        wanted = f"{path.parent.parent.name}/{path.parent.name}_{kind}".lower()
        hint = nearest(wanted, list_recipes())
        raise ConfigError(source, "no such file", hint if hint.startswith("did") else "")
    raise ConfigError(source, "no such recipe", nearest(source, list_recipes()))


def recipe_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out; `load_recipe` reads it back equal."""
    return to_yaml(recipe.model_dump(mode="json"))


def minimal_yaml(recipe: Recipe) -> str:
    """The recipe as YAML without what is a default anyway; `load_recipe` reads it back equal."""
    return to_yaml(recipe.model_dump(mode="json", exclude_defaults=True))


def _read(path: Path, depth: int = 0) -> Tree:
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        what = "a recipe is a mapping of sections"
        raise ConfigError(str(path), what, "see `tinysight recipe list`")
    if isinstance(entries := tree.get("plugins"), list):
        tree["plugins"] = plugins.load_all(entries, path.parent)
    base = tree.pop("base", None)
    if base is None:
        return tree
    if depth == _MAX_BASES:
        what = f"base: more than {_MAX_BASES} levels"
        raise ConfigError(str(path), what, "merge two of the files")
    parent = next((p for p in (path.parent / str(base), RECIPES / str(base)) if p.is_file()), None)
    if parent is None:
        raise ConfigError(str(path), f"base: no such file {base!r}", "it is relative to this file")
    inherited = _read(parent, depth + 1)
    for own, other in (("loss", "losses"), ("losses", "loss")):  # two spellings of one section
        if own in tree:
            inherited.pop(other, None)
    return _merged(inherited, tree)


def _merged(parent: Tree, child: Tree) -> Tree:
    """Mappings merge; lists, numbers, words, teachers and components of another name replace."""
    result = dict(parent)
    for key, value in child.items():
        old: Any = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        same = both and value.get("name") in (None, old.get("name")) and key != "teachers"
        result[key] = _merged(old, value) if same else value
    return result


def _from_override(problem: Problem, changed: Sequence[str]) -> Problem:
    """The problem, marked if an override caused it."""
    caused = any(f"{problem.where}.".startswith(f"{key}.") for key in changed)
    return problem._replace(where=f"-o {problem.where}") if caused else problem


def _index(items: Tree | list[Any], part: str, where: str) -> Any:
    """The key `part` of a mapping, or the index that it is of a list."""
    if isinstance(items, dict):
        return part
    if not part.isdecimal() or int(part) >= len(items):
        what = f"{part!r} is no index of a list of {len(items)}"
        raise ConfigError(where, what, "the first is 0")
    return int(part)

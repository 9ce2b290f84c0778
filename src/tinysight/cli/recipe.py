"""List, check, show and compare recipes.

tinysight recipe list                       the shipped recipes
tinysight recipe check RECIPE [-o K=V]      everything that a training of it would refuse
tinysight recipe check FOLDER [-o K=V]      how many YAML files load, and why the others do not
tinysight recipe show RECIPE [-o K=V]       base merged, overrides applied, defaults filled in
tinysight recipe diff RECIPE RECIPE         differences of two resolved recipes
tinysight recipe convert X.yaml [-o K=V]    a PaddleClas configuration as a recipe
tinysight recipe schema                     the JSON Schema, for editors
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinysight.cli.arguments import add_override, add_plugin, log_to_stderr
from tinysight.config import list_recipes, load_recipe, load_run, minimal_yaml, recipe_yaml
from tinysight.errors import ConfigError
from tinysight.files import write_atomic
from tinysight.validation import leaves

if TYPE_CHECKING:
    from tinysight.foreign import RunConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("action", choices=("list", "check", "show", "diff", "convert", "schema"))
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    add_override(parser)
    add_plugin(parser)
    text = "check: leave images, lists and network alone"
    parser.add_argument("--only-recipe", action="store_true", help=text)
    parser.add_argument("--out", metavar="FILE", help="convert: file for the recipe")


def run(args: argparse.Namespace) -> int:
    """Do it; 1 when `diff` finds a difference."""
    count = {"list": 0, "schema": 0, "diff": 2}.get(args.action, 1)
    if len(args.recipes) != count:
        what = f"takes {count} recipes, got {len(args.recipes)}"
        raise ConfigError(f"tinysight recipe {args.action}", what)
    match args.action:
        case "list":
            print("\n".join(list_recipes()))
        case "schema":
            from tinysight.config.json_schema import recipe_schema

            print(json.dumps(recipe_schema(), indent=2, sort_keys=True))
        case "check" if Path(args.recipes[0]).is_dir():
            return _check_folder(Path(args.recipes[0]), args.override)
        case "check":
            config = load_run(args.recipes[0], args.override)
            if not args.only_recipe:
                _check(config)
            print(f"{args.recipes[0]}: ok")
        case "show":
            print(recipe_yaml(load_recipe(args.recipes[0], args.override)), end="")
        case "convert" if args.out:
            write_atomic(Path(args.out), _converted(Path(args.recipes[0]), args.override))
        case "convert":
            print(_converted(Path(args.recipes[0]), args.override), end="")
        case _:
            return _diff(args.recipes[0], args.recipes[1], args.override)
    return 0


def _check(config: RunConfig) -> None:
    """Everything that a training would refuse; nothing is written."""
    from tinysight.training.loop import check_run

    with log_to_stderr():
        check_run(config.training_recipe)


def _check_folder(folder: Path, overrides: Sequence[str]) -> int:
    """Counts by reason, the most frequent first; a file counts once for each of its reasons."""
    reasons: Counter[str] = Counter()
    files = sorted(path for ending in ("yaml", "yml") for path in folder.rglob(f"*.{ending}"))
    if not files:
        raise ConfigError(str(folder), "no YAML files in this folder")
    quiet, before = logging.getLogger("tinysight"), logging.getLogger("tinysight").level
    quiet.setLevel(logging.ERROR)  # notes of hundreds of files
    for path in files:
        try:
            load_recipe(path, overrides)
        except ConfigError as error:
            said = {re.sub(r"\W'[^']*'|\W\d+", " ...", p.what) for p in error.problems}
            reasons.update(sorted(said))
        else:
            reasons["ok"] += 1
    quiet.setLevel(before)
    loaded = reasons.pop("ok", 0)
    print(f"{len(files)} files, {loaded} load")
    for reason, count in reasons.most_common():
        print(f"{count:6d}  {reason}")
    return int(loaded < len(files))


def _converted(path: Path, overrides: Sequence[str]) -> str:
    """The recipe under a comment that says where it comes from and what to know about it."""
    config = load_run(path, overrides)
    if not config.foreign:
        raise ConfigError(str(path), "is no PaddleClas configuration", "`recipe show` resolves it")
    source = " ".join([str(path), *(f"-o {text}" for text in overrides)])
    lines = [f"From the PaddleClas configuration {source}", *config.notes]
    return "".join(f"# {line}\n" for line in lines) + minimal_yaml(config.recipe)


def _diff(first: str, second: str, overrides: list[str]) -> int:
    trees = (load_recipe(r, overrides).model_dump(mode="json") for r in (first, second))
    a, b = (dict(leaves(tree)) for tree in trees)
    changed = [k for k in dict.fromkeys([*a, *b]) if a.get(k) != b.get(k)]
    for key in changed:
        print(f"{key}: {a.get(key, '(absent)')} -> {b.get(key, '(absent)')}")
    return int(bool(changed))

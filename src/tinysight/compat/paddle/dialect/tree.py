"""PaddleClas' YAML as a tree: read by its rules, recognised, changed by `-o A.b.0.c=value` as it does.

It is YAML 1.1 with anchors. A text that spells a Python literal is that literal (`1e-5`, `None`, `0,1,2`), but inside
lists, where each operator reads its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.rules import tables
from tinysight.compat.paddle.dialect.values import literal
from tinysight.config.load import apply_override
from tinysight.errors import ConfigError, Problem
from tinysight.files import parse_yaml11

Tree = dict[str, Any]

_KINDS = {
    "search": ("base_config_file", "distill_config_file", "search_dict"),
    "old": ("ARCHITECTURE", "LEARNING_RATE", "TRAIN", "VALID"),
    "deploy": ("PreProcess", "DetPreProcess", "RecPreProcess", "IndexProcess"),
}


def read_tree(path: Path, overrides: Sequence[str] = ()) -> Tree:
    """The file with `overrides` applied, one after the other.

    Raises:
        ConfigError: not YAML, or an override that cannot be applied.
    """
    try:
        tree = parse_yaml11(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(str(path), (error.strerror or str(error)).lower()) from None
    if not isinstance(tree, dict):
        raise ConfigError(str(path), "a configuration is a mapping of sections")
    tree = {str(key): _with_literals(value) for key, value in tree.items()}
    for override in overrides:
        apply_override(tree, override, lambda text, _: literal(text))
    return tree


def kind_of(tree: Tree) -> str:
    """`training`, `search`, `old` (before 2021), `deploy`; `slim`, `decoder`, `semi`: other ways to train."""
    sections = {key: value if isinstance(value, dict) else {} for key, value in tree.items()}
    arch, mode = sections.get("Arch", {}), sections.get("Global", {}).get("train_mode")
    if any(sections.get("Slim", {}).values()):
        return "slim"
    if tree.get("MLDecoder") or arch.get("use_ml_decoder"):
        return "decoder"
    unlabelled = sections.get("DataLoader", {}).get("UnLabelTrain")
    if tree.get("SSL") or tree.get("UnLabelLoss") or unlabelled or str(mode).startswith("fixmatch"):
        return "semi"
    for kind, keys in _KINDS.items():
        if any(key in tree for key in keys) and "Arch" not in tree:
            return kind
    return "training"


def to_source_paths(problem: Problem, tree: Tree) -> Problem:
    """`problem` of the native recipe `tree` under the place that the user wrote."""
    parts, origins = problem.where.split("."), tables()["origins"]
    for count in range(len(parts), 0, -1):
        origin = origins.get(".".join(parts[:count]))
        if origin:
            rest = [*parts[count:]]
            if rest and rest[0].isdecimal():  # places in our lists are not theirs, names tell more
                rest[0] = f"({_name(tree, parts[: count + 1])})"
            return problem._replace(where=" ".join([origin, ".".join(rest)]).strip())
    return problem


def _with_literals(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_literals(item) for key, item in value.items()}
    return literal(value) if isinstance(value, str) else value


def _name(tree: Any, parts: list[str]) -> str:
    for part in parts:
        tree = tree[int(part)] if isinstance(tree, list) else tree.get(part, {})
    return str(tree.get("name", "")) if isinstance(tree, dict) else str(tree)

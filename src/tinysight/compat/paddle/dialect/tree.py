"""PaddleClas' YAML as a tree: read by its rules, recognised, and changed by `-o A.b.0.c=value` as it does.

It is YAML 1.1 with anchors. A text that spells a Python literal is that literal (`1e-5`, `None`, `0,1,2`), but inside
lists, where each operator reads its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.values import literal
from tinysight.errors import ConfigError
from tinysight.files import parse_yaml11

Tree = dict[str, Any]

_TRAINING = ("Global", "Arch", "DataLoader", "Loss", "Optimizer", "Metric", "Infer")
_SEARCH = ("base_config_file", "distill_config_file", "search_dict")
_OLD = ("ARCHITECTURE", "LEARNING_RATE", "TRAIN", "VALID")
_DEPLOY = ("PreProcess", "DetPreProcess", "RecPreProcess", "IndexProcess")
_MARKS = re.compile(
    rb"^(?:" + "|".join((*_TRAINING, *_SEARCH, *_OLD, *_DEPLOY)).encode() + rb")\s*:", re.MULTILINE
)


def is_paddleclas(path: Path) -> bool:
    """Whether the file is written in PaddleClas' language: one of its sections stands at the margin."""
    return bool(_MARKS.search(path.read_bytes()))


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
        _override(tree, override)
    return tree


def kind_of(tree: Tree) -> str:
    """`training`, `search`, `old` (before 2021) or `deploy`."""
    for kind, keys in (("search", _SEARCH), ("old", _OLD), ("deploy", _DEPLOY)):
        if any(key in tree for key in keys) and "Arch" not in tree:
            return kind
    return "training"


def _with_literals(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_literals(item) for key, item in value.items()}
    return literal(value) if isinstance(value, str) else value


def _override(tree: Tree, override: str) -> None:
    where = f"-o {override}"
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(where, "expected KEY=VALUE", "for example -o Global.epochs=5")
    here: Any = tree
    for i, part in enumerate(parts[:-1]):
        if isinstance(here, list):
            here = here[_index(here, part, where)]
        else:
            if here.get(part) is None:  # PaddleClas makes a missing section, too
                here[part] = {}
            here = here[part]
        if not isinstance(here, dict | list):
            raise ConfigError(where, f"{'.'.join(parts[: i + 1])} is a value, not a section")
    here[_index(here, parts[-1], where) if isinstance(here, list) else parts[-1]] = literal(value)


def _index(items: list[Any], part: str, where: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        what = f"{part!r} is no index of a list of {len(items)}"
        raise ConfigError(where, what, "the first is 0")
    return int(part)

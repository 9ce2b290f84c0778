"""PaddleClas' YAML as a tree: read by its rules, told apart, and changed by `-o A.b.0.c=value` as it does.

It is YAML 1.1 with anchors. A text that spells a Python literal is that literal (`1e-5`, `None`, `0,1,2`), but inside
lists, where each operator reads its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.values import literal
from tinysight.config.overrides import apply_override
from tinysight.errors import ConfigError
from tinysight.files import parse_yaml11

Tree = dict[str, Any]

_SEARCH = ("base_config_file", "distill_config_file", "search_dict")
_OLD = ("ARCHITECTURE", "LEARNING_RATE", "TRAIN", "VALID")
_DEPLOY = ("PreProcess", "DetPreProcess", "RecPreProcess", "IndexProcess")


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
    """`training`, `search`, `old` (before 2021) or `deploy`."""
    for kind, keys in (("search", _SEARCH), ("old", _OLD), ("deploy", _DEPLOY)):
        if any(key in tree for key in keys) and "Arch" not in tree:
            return kind
    return "training"


def _with_literals(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_literals(item) for key, item in value.items()}
    return literal(value) if isinstance(value, str) else value

"""PaddleClas' configurations of the hyper-parameter search as searches of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.compat.paddle.dialect.rules import Reader, Spec
from tinysight.compat.paddle.dialect.tree import kind_of, read_tree
from tinysight.errors import ConfigError

_TEACHER = "Arch.models.0.Teacher"
_MULTS = "lr_mult_list"  # the entry of the search that mutual learning gives its teacher, too


def read_search(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """The search at `path` as plain data of a `SearchPlan`, unchecked.

    Raises:
        ConfigError: it is none; keys that are unknown, values that do not fit: all of them.
    """
    tree = read_tree(path, overrides)
    if kind_of(tree) != "search":
        hint = "`tinysight train -c` takes it"
        raise ConfigError(str(path), "no configuration of a search", hint)
    reader = Reader()
    found = reader.section(tree, "", "strategy_search")
    plan: Spec = {
        "base": found.get("base_config_file", ""), "out": found["output_dir"],
        "repeats": found["search_times"], "output_key": "Global.output_dir",
        "space": _space(reader, found.get("search_dict")),
    }  # fmt: skip
    if isinstance(found.get("teacher"), dict):
        teacher = reader.section(found["teacher"], "teacher", "search_teacher")
        plan["final"] = found.get("distill_config_file")
        if plan["final"] is None:
            reader.wrong("distill_config_file", "is needed: the last training distils")
        plan["replace"] = found.get("final_replace") or {}
        if teacher["algorithm"] == "skl-ugi":
            plan["teacher"] = {
                "key": "Arch.name", "values": teacher["search_values"], "dropped": teacher["rm_keys"],
            }  # fmt: skip
            weights = f"{_TEACHER}.pretrained={{folder}}/{{teacher}}/best_model"
            plan["inject"] = [f"{_TEACHER}.name={{teacher}}", weights]
        elif any(entry["name"] == _MULTS for entry in plan["space"]):
            plan["inject"] = [f"{_TEACHER}.{_MULTS}={{{_MULTS}}}"]
    if reader.problems:
        raise ConfigError.of(str(path), reader.problems)
    return plan


def _space(reader: Reader, listed: Any) -> list[Spec]:
    if not isinstance(listed, list):
        reader.wrong("search_dict", "expected a list of what is searched")
        return []
    found, words = [], {"search_key": "name", "replace_config": "keys", "search_values": "values"}
    for i, entry in enumerate(listed):
        if isinstance(entry, dict) and set(entry) == set(words):
            found.append({words[key]: value for key, value in entry.items()})
        else:
            reader.wrong(f"search_dict.{i}", f"expected {', '.join(words)}")
    return found

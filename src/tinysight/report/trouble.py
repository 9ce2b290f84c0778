"""What is wrong with the data: unreadable pictures, and what `tinysight data check` found."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from tinysight.verdict import Verdict

CHECK = "data_check.json"
_SHOWN = 50


def trouble(verdict: Verdict, folder: Path | None) -> str:
    """The section; empty if nothing is wrong and nothing was checked."""
    parts = [_unreadable(verdict)]
    path = folder and folder / CHECK
    if path and path.is_file():
        parts.append(_checked(json.loads(path.read_text("utf-8"))))
    shown = "".join(f'<div class="card">{part}</div>' for part in parts if part)
    if not shown:
        return ""
    return f'<section><h2>Data problems</h2><div class="stack">{shown}</div></section>'


def _unreadable(verdict: Verdict) -> str:
    found = verdict.found.unreadable
    if not found:
        return ""
    items = "".join(f"<li>{escape(path)}: {escape(why)}</li>" for path, why in found[:_SHOWN])
    more = f"<p class=note>and {len(found) - _SHOWN} more</p>" if len(found) > _SHOWN else ""
    return f"<h3>{len(found)} unreadable, left out</h3><ul>{items}</ul>{more}"


def _checked(tree: Any) -> str:
    """Every list in the check's result with its length and first entries; every number as it is."""
    if not isinstance(tree, dict):
        return ""
    rows = []
    for key, value in tree.items():
        name = escape(str(key).replace("_", " "))
        if isinstance(value, list):
            first = "; ".join(_plain(item) for item in value[:3])
            rows.append((name, str(len(value)), first))
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            rows.append((name, _plain(value), ""))
    cells = "".join(
        f'<tr><th scope="row">{name}</th><td>{escape(number)}</td><td class="text">{escape(first)}</td></tr>'
        for name, number, first in rows
    )
    return f'<h3>Data check</h3><div class="scroll"><table><tbody>{cells}</tbody></table></div>'


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " = ".join(map(_plain, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else f"...{text[-117:]}"

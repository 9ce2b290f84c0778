"""What is wrong with the data: unreadable images, and what `tinysight data check` found."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from tinysight.evaluation.report import EvaluationReport

CHECK = "data_check.json"
_SHOWN = 50
_FIRST = 3  # items of a finding


def trouble(report: EvaluationReport, folder: Path | None) -> str:
    """The section; empty if nothing is wrong and nothing was checked."""
    parts = [_unreadable(report)]
    path = folder and folder / CHECK
    if path and path.is_file():
        parts.append(_checked(json.loads(path.read_text("utf-8"))))
    shown = "".join(f'<div class="card">{part}</div>' for part in parts if part)
    if not shown:
        return ""
    return f'<section><h2>Data problems</h2><div class="stack">{shown}</div></section>'


def _unreadable(report: EvaluationReport) -> str:
    found = report.evaluation.unreadable
    if not found:
        return ""
    items = "".join(f"<li>{escape(path)}: {escape(why)}</li>" for path, why in found[:_SHOWN])
    more = f"<p class=note>and {len(found) - _SHOWN} more</p>" if len(found) > _SHOWN else ""
    return f"<h3>{len(found)} unreadable, left out</h3><ul>{items}</ul>{more}"


def _checked(tree: Any) -> str:
    """What `tinysight data check --json` wrote: every kind of finding, how many, and the first few."""
    findings = tree.get("findings") if isinstance(tree, dict) else None
    if not isinstance(findings, list):
        return ""
    if not findings:
        return "<h3>Data check</h3><p>Nothing is wrong with the lists and the images in them.</p>"
    rows = []
    for finding in findings:
        items = finding.get("items", [])
        first = "; ".join(_plain(item) for item in items[:_FIRST])
        count = str(finding.get("count", len(items)))
        kind, severity = (str(finding.get(key, "")) for key in ("kind", "severity"))
        rows.append(
            f'<tr><th scope="row">{escape(kind)}</th><td class="text">{escape(severity)}</td>'
            f'<td>{escape(count)}</td><td class="text">{escape(first)}</td></tr>'
        )
    return (
        '<h3>Data check</h3><div class="scroll"><table><thead><tr><th scope="col">finding</th>'
        '<th scope="col">is</th><th scope="col">number</th><th scope="col">the first</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " = ".join(map(_plain, value))
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 120 else f"...{text[-117:]}"

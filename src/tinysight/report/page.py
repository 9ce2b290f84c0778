"""Put the page together. Everything is inline, so the file can be mailed and read offline."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.evaluate import Evaluation
from tinysight.files import read_yaml, write_atomic
from tinysight.metrics import roc_curve
from tinysight.report.charts import histogram, line_chart, matrix
from tinysight.transforms import decode

_WORST = 16  # thumbnails of about 8 KB each
_THUMB = 176  # px, longer side
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse}td,th{padding:.25rem .75rem;border:1px solid #ddd;text-align:right}
th{text-align:left;font-weight:600}.charts,.worst{display:flex;flex-wrap:wrap;gap:1rem;align-items:start}
figure{margin:0;width:430px}.worst figure{width:176px;font-size:12px}.worst img{max-width:176px}
figcaption{color:#555;font-size:13px;overflow-wrap:anywhere}svg text{font:11px system-ui,sans-serif}
pre{background:#f5f5f5;padding:.75rem;overflow:auto;font-size:12px}
"""


def write_report(run: Path, evaluation: Evaluation, labels: Sequence[str]) -> Path:
    """Write `run`/report.html about the run's history and one evaluation; returns the file.

    Args:
        run: a run folder with recipe.yaml and metrics.jsonl.
        evaluation: scores (N, K) and labels (N,) of the pictures that were evaluated.
        labels: the K label names.
    """
    recipe = read_yaml(run / "recipe.yaml")
    repeat = ["tinysight", "train", "-c", str(run / "recipe.yaml"), "--out", "another_folder"]
    title = f"{recipe['task']}: {recipe['model']['backbone']['name']}"
    body = [
        f"<h1>{escape(title)}</h1><p>{escape(recipe.get('description') or '')}</p>",
        _metrics(evaluation),
        f'<h2>Training</h2><div class="charts">{_history(run / "metrics.jsonl")}</div>',
        f'<h2>Answers</h2><div class="charts">{_answers(evaluation, labels)}</div>',
        _worst(evaluation, labels),
        _unreadable(evaluation),
        f"<h2>Repeat it</h2><pre>{escape(shlex.join(repeat))}</pre>",
        f"<h2>Recipe</h2><pre>{escape((run / 'recipe.yaml').read_text('utf-8'))}</pre>",
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    path = run / "report.html"
    write_atomic(path, page)
    return path


def _metrics(evaluation: Evaluation) -> str:
    rows = "".join(
        f"<tr><th>{escape(k)}</th><td>{v:.5g}</td></tr>" for k, v in evaluation.metrics.items()
    )
    count = f"{len(evaluation.labels)} pictures, {len(evaluation.unreadable)} unreadable"
    return f"<table><tr><th>pictures</th><td>{count}</td></tr>{rows}</table>"


def _history(path: Path) -> str:
    lines = (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if path.is_file()
        else []
    )
    loss = [(float(r["epoch"]), float(r["loss"])) for r in lines if "loss" in r]
    rate = [(float(r["epoch"]), float(r["lr"])) for r in lines if "lr" in r]
    evals = [(float(r["epoch"]), r["metrics"]) for r in lines if "metrics" in r]
    names = dict.fromkeys(
        name for _, values in evals for name in values if name not in ("threshold", "fpr")
    )
    series = {
        name: [(epoch, values[name]) for epoch, values in evals if name in values] for name in names
    }
    return (
        line_chart("Training loss by epoch", "epoch", "loss", {"loss": loss})
        + line_chart("Evaluation by epoch", "epoch", "metric", series)
        + line_chart("Learning rate by epoch", "epoch", "lr", {"lr": rate})
    )


def _answers(evaluation: Evaluation, labels: Sequence[str]) -> str:
    scores, truth = evaluation.scores, evaluation.labels
    if not len(truth):
        return ""
    charts = matrix(evaluation.confusion().tolist(), labels)
    if len(labels) == 2 and len(np.unique(truth)) == 2:
        curve = roc_curve(scores, truth)
        points = list(zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True))
        half = scores[:, 1] >= 0.5
        mark = (float(half[truth == 0].mean()), float(half[truth != 0].mean()))
        charts += line_chart(
            "ROC",
            "false-positive rate",
            "true-positive rate",
            {"ROC": points},
            {"threshold 0.5": mark},
        )
        groups = {name: scores[truth == i, 1].tolist() for i, name in enumerate(labels)}
        charts += histogram(f"Score of {labels[1]!r} by true label", f"p({labels[1]})", groups)
    return charts


def _worst(evaluation: Evaluation, labels: Sequence[str]) -> str:
    scores, truth = evaluation.scores, evaluation.labels
    wrong = np.flatnonzero(scores.argmax(1) != truth) if len(truth) else np.empty(0, int)
    if not len(wrong):
        return "<h2>Worst errors</h2><p>None: every picture has its label.</p>"
    order = wrong[np.argsort(scores[wrong, truth[wrong]], kind="stable")][:_WORST]
    figures = [_error_figure(evaluation, int(i), labels) for i in order]
    count = f"{len(wrong)} of {len(truth)} pictures are wrong; the {len(order)} most confident:"
    return f'<h2>Worst errors</h2><p>{count}</p><div class="worst">{"".join(figures)}</div>'


def _error_figure(evaluation: Evaluation, i: int, labels: Sequence[str]) -> str:
    path, score = evaluation.paths[i], evaluation.scores[i]
    answer, truth = int(score.argmax()), int(evaluation.labels[i])
    text = f"{labels[answer]} {score[answer]:.3f}, is {labels[truth]}: {Path(path).name}"
    return f'<figure><img alt="" src="{_thumbnail(path)}"><figcaption>{escape(text)}</figcaption></figure>'


def _thumbnail(path: str | Path) -> str:
    """The picture as a small data URL; empty if it has gone since."""
    try:
        image = decode(path)
    except ImageError:
        return "data:,"
    scale = min(1.0, _THUMB / max(image.shape[:2]))
    size = [max(1, round(n * scale)) for n in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _unreadable(evaluation: Evaluation) -> str:
    if not evaluation.unreadable:
        return ""
    rows: list[Any] = [
        f"<li>{escape(str(path))}: {escape(reason)}</li>"
        for path, reason in evaluation.unreadable[:50]
    ]
    return f"<h2>Unreadable pictures, left out</h2><ul>{''.join(rows)}</ul>"

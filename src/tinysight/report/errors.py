"""The worst errors, as images: what the network was surest of and wrong about."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

import cv2

from tinysight.errors import ImageError
from tinysight.evaluation.report import EvaluationReport
from tinysight.tasks.base import Misclassification
from tinysight.transforms import decode

_SHOWN = 12
_SIDE = 224  # px, longer side; some 8 KB each
_QUALITY = 72


def worst_errors(report: EvaluationReport) -> str:
    """The section; says so if there are none."""
    mistakes, total = report.misclassified()
    if not total:
        return ""
    head = '<section class="card" id="worst-errors"><h2>Worst errors</h2>'
    if not mistakes:
        return f"{head}<p>None: every answer is right.</p></section>"
    at = f" at threshold {report.threshold.threshold:.4g}" if report.threshold else ""
    text = f"{len(mistakes):,} of {total:,} {report.task.unit} are wrong{at}; the surest first."
    figures = "".join(_figure(report, mistake) for mistake in mistakes[:_SHOWN])
    return f'{head}<p class="soft">{text}</p><div class="worst">{figures}</div></section>'


def _figure(report: EvaluationReport, mistake: Misclassification) -> str:
    path = report.evaluation.paths[mistake.row]
    name = escape(Path(path).name)
    said = f"answered {mistake.predicted}, is {mistake.truth}"
    image = thumbnail(path)
    shown = (
        f'<img alt="{escape(said, quote=True)}" src="{image}">'
        if image
        else '<span class="gone">image has gone</span>'
    )
    return (
        f"<figure>{shown}<figcaption><b>{escape(mistake.predicted)}</b> {mistake.score:.3f}, "
        f"is {escape(mistake.truth)}"
        f'<span class="file" title="{escape(path, quote=True)}">{name}</span></figcaption></figure>'
    )


def thumbnail(path: str | Path) -> str:
    """The image as a small data URL, upright as its EXIF says; empty if it has gone since."""
    try:
        image = decode(path)
    except ImageError:
        return ""
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    size = [max(1, round(n * scale)) for n in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")

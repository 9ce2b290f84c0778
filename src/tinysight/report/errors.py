"""The worst errors, as images: what the network was surest of and wrong about."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tinysight.errors import ImageError
from tinysight.evaluation.report import Verdict
from tinysight.transforms import decode

_SHOWN = 12
_SIDE = 224  # px, longer side; some 8 KB each
_QUALITY = 72


class Misclassification(NamedTuple):
    """One image (row of the evaluation), what was answered, how surely, and what is true."""

    row: int
    answer: str
    score: float
    truth: str
    gap: float  # how far on the wrong side, for the order


def worst_errors(verdict: Verdict) -> str:
    """The section; says so if there are none."""
    mistakes, total = find_mistakes(verdict)
    head = '<section class="card" id="worst-errors"><h2>Worst errors</h2>'
    if not mistakes:
        return f"{head}<p>None: every answer is right.</p></section>"
    unit = "answers" if verdict.several else "images"
    at = f" at threshold {verdict.decision.threshold:.4g}" if verdict.decision else ""
    text = f"{len(mistakes):,} of {total:,} {unit} are wrong{at}; the surest first."
    figures = "".join(_figure(verdict, mistake) for mistake in mistakes[:_SHOWN])
    return f'{head}<p class="soft">{text}</p><div class="worst">{figures}</div></section>'


def find_mistakes(verdict: Verdict) -> tuple[list[Misclassification], int]:
    """All wrong answers, the surest first, and of how many."""
    found, names = verdict.found, verdict.labels
    scores, truth = found.scores, found.labels
    if verdict.several:
        cut = verdict.cut
        called = scores >= cut
        rows, columns = np.nonzero((called != (truth > 0)) & (truth >= 0))
        mistakes = []
        for i, k in zip(rows.tolist(), columns.tolist(), strict=True):
            yes, no = names[k], f"not {names[k]}"
            score = float(scores[i, k])
            pair = (yes, no) if called[i, k] else (no, yes)
            mistakes.append(Misclassification(i, pair[0], score, pair[1], abs(score - cut)))
        return sorted(mistakes, key=lambda m: -m.gap), int((truth >= 0).sum())
    answers = verdict.answers()
    wrong = np.flatnonzero(answers != truth)
    mistakes = [
        Misclassification(
            i,
            names[answers[i]],
            float(scores[i, answers[i]]),
            names[truth[i]],
            float(scores[i, answers[i]] - scores[i, truth[i]]),
        )
        for i in wrong.tolist()
    ]
    return sorted(mistakes, key=lambda m: -m.gap), len(truth)


def _figure(verdict: Verdict, mistake: Misclassification) -> str:
    path = verdict.found.paths[mistake.row]
    name = escape(Path(path).name)
    said = f"answered {mistake.answer}, is {mistake.truth}"
    image = thumbnail(path)
    shown = (
        f'<img alt="{escape(said, quote=True)}" src="{image}">'
        if image
        else '<span class="gone">image has gone</span>'
    )
    return (
        f"<figure>{shown}<figcaption><b>{escape(mistake.answer)}</b> {mistake.score:.3f}, "
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

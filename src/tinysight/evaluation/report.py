"""All that is said about an evaluation: threshold, calibration, speed; for reports, tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tinysight.bundle.manifest import Manifest
from tinysight.errors import DataError
from tinysight.evaluation.latency import Latency
from tinysight.evaluation.predictor import Evaluation, compute_metrics
from tinysight.evaluation.threshold import (
    Decided,
    choose,
    decided,
    how_chosen,
    measured,
    promised_fpr,
)
from tinysight.metrics import (
    Interval,
    ThresholdResult,
    apply_temperature,
    calibration,
    confusion_matrix,
    fit_temperature,
)

if TYPE_CHECKING:
    from tinysight.config import Recipe


@dataclass(frozen=True)
class Verdict:
    """An evaluation and what follows from it.

    Attributes:
        labels: the K label names.
        found: the evaluation; its scores are calibrated if the recipe asks for it.
        about: what the threshold decides about; None without one.
        decision: the threshold and its rates on these images; None without one.
        chosen: where the threshold comes from, or why there is none.
        calibration: `ece`, `ece_mass`, `brier` and `nll` of the scores.
        temperature: that would calibrate these scores best; the one that was applied, if it was.
        calibrated: whether it was applied.
        latency: of one image; None if it was not measured.
        promised: where the false-positive rate on these images should lie by the data that the
            bundle's threshold was chosen on; None if nothing was promised.
    """

    labels: tuple[str, ...]
    found: Evaluation
    about: Decided | None
    decision: ThresholdResult | None
    chosen: str
    calibration: dict[str, float]
    temperature: float
    calibrated: bool = False
    latency: Latency | None = None
    promised: Interval | None = None

    @property
    def several(self) -> bool:
        """Whether every image has several labels at once."""
        return self.found.labels.ndim == 2

    @property
    def cut(self) -> float:
        """From where on a label of several is given."""
        return self.decision.threshold if self.decision else 0.5

    def answers(self) -> np.ndarray:
        """Class ids (N,) as the threshold decides, or those with the highest score without one."""
        if self.about is None or self.decision is None:
            best: np.ndarray = self.found.scores.argmax(axis=1)
            return best
        which = self.labels.index(self.about.name)
        return np.where(self.about.scores >= self.decision.threshold, which, 1 - which)

    def confusion(self) -> np.ndarray:
        """Counts (K, K): row = label, column = answer; for class ids."""
        return confusion_matrix(self.found.labels, self.answers(), len(self.labels))

    def confusions(self) -> list[np.ndarray]:
        """Of several labels at once: counts (2, 2) for each, row = label, column = answer."""
        called, truth = self.found.scores >= self.cut, self.found.labels
        known = truth >= 0
        return [
            confusion_matrix(truth[known[:, k], k], called[known[:, k], k].astype(int), 2)
            for k in range(len(self.labels))
        ]

    def tree(self) -> dict[str, Any]:
        """Everything but the scores, as plain data."""
        found, latency = self.found, self.latency
        return {
            "metrics": {k: v for k, v in found.metrics.items() if math.isfinite(v)},
            "pictures": len(found.paths),
            "threshold": self._point(),
            "calibration": {**self.calibration, "temperature": self.temperature},
            "calibrated": self.calibrated,
            "latency_ms": latency and {
                "pictures": latency.images,
                **{name: getattr(latency, name)._asdict() for name in latency._fields[1:]},
            },
            "unreadable": [{"path": path, "reason": reason} for path, reason in found.unreadable],
            "seconds": round(found.seconds, 3),
        }  # fmt: skip

    def _point(self) -> dict[str, Any] | None:
        if self.decision is None:
            return None
        decision = self.decision
        rates = {name: getattr(decision, name) for name in ("fpr", "tpr", "precision")}
        return {
            "value": decision.threshold,
            "chosen": self.chosen,
            "interval": decision.interval and list(decision.interval),
            **decision.counts._asdict(),
            **{name: rate and rate._asdict() for name, rate in rates.items()},
            "promised_fpr": self.promised and list(self.promised),
            "warnings": list(decision.warnings),
        }


def of_recipe(
    found: Evaluation, recipe: Recipe, labels: Sequence[str], *, latency: Latency | None = None
) -> Verdict:
    """The verdict on a trained network: the threshold is chosen here, on its validation images.

    Where these images cannot give the threshold that the recipe asks for, `decision` is None and
    `chosen` says why.

    Raises:
        ConfigError: the recipe asks for an operating point that is not supported.
    """
    section = recipe.export
    temperature = fit_temperature(found.scores, found.labels)
    if section.calibrate:
        scores = apply_temperature(
            found.scores, temperature, "multilabel" if found.labels.ndim == 2 else "class"
        ).astype(np.float32)
        specs = [m.spec for m in recipe.metrics]
        found = replace(found, scores=scores, metrics=compute_metrics(specs, scores, found.labels))
    spec, wished = section.postprocess.spec, section.operating_point
    try:
        decision = choose(found, wished, spec, labels)
        chosen = how_chosen(decision, wished is not None) if decision else _none(spec)
    except DataError as error:
        decision, chosen = None, str(error)
    return Verdict(
        tuple(labels),
        found,
        decided(found, spec, labels),
        decision,
        chosen,
        calibration(found.scores, found.labels),
        temperature,
        section.calibrate,
        latency,
    )


def of_bundle(found: Evaluation, manifest: Manifest, *, latency: Latency | None = None) -> Verdict:
    """The verdict on a bundle: its own threshold on new images, beside what was promised."""
    decision, kept = measured(manifest, found), manifest.threshold
    chosen = kept.chosen if kept else _none(manifest.postprocess)
    if decision and kept:
        decision = decision._replace(interval=kept.interval and Interval(*kept.interval))
    return Verdict(
        manifest.labels,
        found,
        decided(found, manifest.postprocess, manifest.labels),
        decision,
        chosen,
        calibration(found.scores, found.labels),
        fit_temperature(found.scores, found.labels),
        latency=latency,
        promised=promised_fpr(manifest, decision.counts.negatives) if decision else None,
    )


def _none(postprocess: Mapping[str, Any]) -> str:
    return f"none: the post-processor is {postprocess['name']}"

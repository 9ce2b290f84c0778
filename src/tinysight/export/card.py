"""A bundle's card: purpose, metrics and checks in words, made from the manifest alone."""

from __future__ import annotations

from tinysight.bundle.manifest import Manifest, ShippedThreshold
from tinysight.certificate.record import Certificate, section
from tinysight.evaluation.threshold import PREFIX

_PARITY = (
    "On {0.images} images this bundle's scores differ from those of the trained network by at "
    "most {0.max_score_difference:.2g}; {0.label_flips} of the labels differ."
)


def card(manifest: Manifest, certificate: Certificate | None = None) -> str:
    """Markdown for `card.md`."""
    _, channels, height, width = manifest.input.shape
    names = [f"{i} {name}" for i, name in enumerate(manifest.labels)]
    lines = [f"# {manifest.task}", ""]
    if manifest.description:
        lines += [manifest.description, ""]
    lines += [
        f"- Input: images, {width} x {height} pixels after preprocessing, {channels} channels",
        *(["- Classes: " + ", ".join(names)] if names else []),
        f"- Network: {manifest.recipe.get('backbone', 'unknown')}",
    ]
    if manifest.threshold:
        lines += _threshold(manifest, manifest.threshold)
    lines.append(f"- Licence: {manifest.licence or 'not stated'}")
    lines.append(f"- Made: {manifest.created} with tinysight {manifest.made_with['tinysight']}")
    if metrics := {k: v for k, v in manifest.metrics.items() if not k.startswith(PREFIX)}:
        lines += ["", "| measured on the evaluation images | |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in metrics.items()]
    if parity := manifest.parity:
        lines += ["", _PARITY.format(parity)]
    if certificate:
        lines += ["", section(certificate)]
    return "\n".join(lines) + "\n"


def _threshold(manifest: Manifest, point: ShippedThreshold) -> list[str]:
    """The threshold in force, and what to expect of it."""
    between = " (95 %: {:.4g} to {:.4g})".format(*point.interval) if point.interval else ""
    lines = [f"- Threshold: {point.value:.6g}{between}; {point.chosen}"]
    for name, words in (
        ("fpr", "false positives among the negatives"),
        ("tpr", "found of the positives"),
        ("precision", "right of those called positive, where positives are as common as there"),
    ):
        key = PREFIX + name
        if key in manifest.metrics:
            value, below, above = (manifest.metrics[key + end] for end in ("", "_low", "_high"))
            lines.append(f"  - {words}: {value:.4g} (95 %: {below:.3g} to {above:.3g})")
    return lines

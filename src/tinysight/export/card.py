"""A bundle's card: what it is for and how good it is, in words, made of the manifest alone."""

from __future__ import annotations

from tinysight.manifest import Manifest


def card(manifest: Manifest) -> str:
    """Markdown for `card.md`."""
    _, channels, height, width = manifest.input.shape
    lines = [f"# {manifest.task}", ""]
    if manifest.description:
        lines += [manifest.description, ""]
    lines += [
        f"- Input: pictures, {width} x {height} pixels after preprocessing, {channels} channels",
        f"- Classes: {', '.join(f'{i} {name}' for i, name in enumerate(manifest.labels))}",
        f"- Network: {manifest.recipe.get('backbone', 'unknown')}",
    ]
    if manifest.threshold:
        point = manifest.threshold
        between = f", between {point.interval[0]} and {point.interval[1]}" if point.interval else ""
        lines.append(f"- Threshold: {point.value}{between}; {point.chosen}")
    lines.append(f"- Licence: {manifest.licence or 'not stated'}")
    lines.append(f"- Made: {manifest.created} with tinysight {manifest.made_with['tinysight']}")
    if manifest.metrics:
        lines += ["", "| measured on the evaluation pictures | |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in manifest.metrics.items()]
    if parity := manifest.parity:
        lines += [
            "",
            f"On {parity.pictures} pictures this bundle's scores differ from those of the trained "
            f"network by at most {parity.max_score_difference:.2g}; {parity.label_flips} of the "
            "labels differ.",
        ]
    return "\n".join(lines) + "\n"

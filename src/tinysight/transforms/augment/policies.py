"""Published policies: pairs of operations with a probability and a level each.

Sources: `original` is the ImageNet policy of AutoAugment (arXiv 1805.09501), `v0` the one of the
EfficientNet code for TPUs; the names ending in r read posterize as growing stronger with its level.
"""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One operation of a policy."""

    name: str
    p: float
    level: int


def _pairs(text: str) -> tuple[tuple[Step, Step], ...]:
    """Policies from lines of `name p level, name p level`."""
    pairs = []
    for line in text.strip().splitlines():
        first, second = (step.split() for step in line.split(","))
        pairs.append(tuple(Step(n, float(p), int(level)) for n, p, level in (first, second)))
    return tuple((a, b) for a, b in pairs)


ORIGINAL = _pairs("""
    posterize_4_to_8 0.4 8, rotate 0.6 9
    solarize 0.6 5, autocontrast 0.6 5
    equalize 0.8 8, equalize 0.6 3
    posterize_4_to_8 0.6 7, posterize_4_to_8 0.6 6
    equalize 0.4 7, solarize 0.2 4
    equalize 0.4 4, rotate 0.8 8
    solarize 0.6 3, equalize 0.6 7
    posterize_4_to_8 0.8 5, equalize 1.0 2
    rotate 0.2 3, solarize 0.6 8
    equalize 0.6 8, posterize_4_to_8 0.4 6
    rotate 0.8 8, color 0.4 0
    rotate 0.4 9, equalize 0.6 2
    equalize 0.0 7, equalize 0.8 8
    invert 0.6 4, equalize 1.0 8
    color 0.6 4, contrast 1.0 8
    rotate 0.8 8, color 1.0 2
    color 0.8 8, solarize 0.8 7
    sharpness 0.4 7, invert 0.6 8
    shear_x 0.6 5, equalize 1.0 9
    color 0.4 0, equalize 0.6 3
    equalize 0.4 7, solarize 0.2 4
    solarize 0.6 5, autocontrast 0.6 5
    invert 0.6 4, equalize 1.0 8
    color 0.6 4, contrast 1.0 8
    equalize 0.8 8, equalize 0.6 3
""")

V0 = _pairs("""
    equalize 0.8 1, shear_y 0.8 4
    color 0.4 9, equalize 0.6 3
    color 0.4 1, rotate 0.6 8
    solarize 0.8 3, equalize 0.4 7
    solarize 0.4 2, solarize 0.6 2
    color 0.2 0, equalize 0.8 8
    equalize 0.4 8, solarize_add 0.8 3
    shear_x 0.2 9, rotate 0.6 8
    color 0.6 1, equalize 1.0 2
    invert 0.4 9, rotate 0.6 0
    equalize 1.0 9, shear_y 0.6 3
    color 0.4 7, equalize 0.6 0
    posterize 0.4 6, autocontrast 0.4 7
    solarize 0.6 8, color 0.6 9
    solarize 0.2 4, rotate 0.8 9
    rotate 1.0 7, translate_y 0.8 9
    shear_x 0.0 0, solarize 0.8 4
    shear_y 0.8 0, color 0.6 4
    color 1.0 0, rotate 0.6 2
    equalize 0.8 4, equalize 0.0 8
    equalize 1.0 4, autocontrast 0.6 2
    shear_y 0.4 7, solarize_add 0.6 7
    posterize 0.8 2, solarize 0.6 10
    solarize 0.6 8, equalize 0.6 1
    color 0.8 6, rotate 0.4 5
""")


def _named(policy: tuple[tuple[Step, Step], ...], name: str) -> tuple[tuple[Step, Step], ...]:
    """`policy` with another way to posterize."""

    def change(step: Step) -> Step:
        return step._replace(name=name) if step.name.startswith("posterize") else step

    return tuple((change(a), change(b)) for a, b in policy)


POLICIES = {
    "original": ORIGINAL,
    "originalr": _named(ORIGINAL, "posterize_rising"),
    "v0": V0,
    "v0r": _named(V0, "posterize_rising"),
}

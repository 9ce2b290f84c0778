"""What a training refuses or warns of before its first epoch, as far as it needs no network.

Lists, labels, metrics and transforms are checked against each other, and the files of the images are read once:
whether each has a whole header and end, and which of them are the same bytes. That is a fraction of a second for a
thousand images. Damage inside of an image shows when it is decoded.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinysight.concurrency import by_key, ordered_map, thread_count
from tinysight.config import Recipe
from tinysight.data.labels import label_names
from tinysight.data.lists import SampleList, read_split
from tinysight.data.samples import doubts, has_many
from tinysight.errors import ConfigError, DataError, ImageError, Problem
from tinysight.evaluation.predictor import compute_metrics
from tinysight.evaluation.threshold import check_operating_point
from tinysight.tasks.base import task_of_recipe
from tinysight.transforms import Compose
from tinysight.transforms.base import MAX_PIXELS
from tinysight.transforms.decode import read_file
from tinysight.transforms.header import HeaderError, read_header

logger = logging.getLogger(__name__)

MOST = 20_000
"""Images of a split whose files are read; an even selection of more."""

_NAMED = 8  # of a kind, in a message
_FEW = 5  # images that say nothing about a network
_RATES = {
    "sgd": (1e-4, 3.0),
    "adam": (1e-6, 5e-3),
    "adamw": (1e-6, 5e-3),
}  # that networks learn with


class Splits(NamedTuple):
    """The images of a training: those it learns from, and those of each evaluation split by name."""

    train: SampleList
    evaluation: dict[str, SampleList]


class _File(NamedTuple):
    place: int  # in its list
    problem: str
    digest: bytes


def read_splits(recipe: Recipe) -> Splits:
    """The lists of a recipe, once everything that is said in the recipe and in them goes together.

    Raises:
        ConfigError: label names, transforms or an operating point are wrong.
        DataError: a list is wrong, or lacks what a metric needs.
    """
    data, task = recipe.data, task_of_recipe(recipe)
    names = label_names(data)
    train = read_split(data, data.train)
    found = {name: read_split(data, split) for name, split in data.eval_splits.items()}
    check_operating_point(recipe.export, names, task)  # not at the end
    transforms = recipe.eval_transforms()
    transforms.output_shape()  # one that varies could not be exported; better known now
    for steps in (recipe.train_transforms(), transforms):
        _check_normalised(steps)
    if not transforms.sets_label:
        for split in found.values():
            _check_metrics(recipe, split, len(names))
    return Splits(train, found)


def look(recipe: Recipe, splits: Splits) -> list[tuple[int, str]]:
    """Read the files of all splits, and log what is probably not meant.

    Returns:
        (place in the training list, reason) of each training image that cannot be read.

    Raises:
        DataError: more images of a split are unreadable than `data.max_bad_fraction`; names those of every split.
    """
    train, others = splits.train, splits.evaluation.values()
    names = label_names(recipe.data) if type(train) is SampleList else ()  # boxes are counted
    for doubt in doubts(train, others, names):
        logger.warning("%s; `tinysight data check` says more", doubt)
    for doubt in _doubts_of_numbers(recipe, splits, names):
        logger.warning("%s", doubt)
    files = [(samples, _read_files(samples)) for samples in (train, *others)]
    _refuse_unreadable(files, recipe.data.max_bad_fraction)
    for samples, read in files[1:]:
        for place, problem, _ in [file for file in read if file.problem][:_NAMED]:
            logger.warning("%s: %s; left out of the evaluation", samples[place].path, problem)
    for doubt in _doubts_of_files(files, names):
        logger.warning("%s; `tinysight data check` says more", doubt)
    return [(place, problem) for place, problem, _ in files[0][1] if problem]


def _read_files(samples: SampleList) -> list[_File]:
    count = min(len(samples), MOST)
    places = np.unique(np.linspace(0, len(samples) - 1, count).astype(int)).tolist()
    if count < len(samples):
        logger.info(
            "%s: the files of %d of %d images are read", samples.source, count, len(samples)
        )

    def read(place: int) -> _File:
        try:
            content = read_file(samples[place].path)
            header = read_header(content)
        except (ImageError, HeaderError) as error:
            what = error.problems[0].what if isinstance(error, ImageError) else str(error)
            return _File(place, what, b"")
        if header.width * header.height > MAX_PIXELS:
            size = f"{header.width} x {header.height} pixels"
            return _File(place, f"{size} are more than the limit of {MAX_PIXELS}", b"")
        return _File(place, "", hashlib.blake2b(content, digest_size=16).digest())

    return list(ordered_map(read, places, thread_count(None), 64))


def _refuse_unreadable(files: Sequence[tuple[SampleList, Sequence[_File]]], limit: float) -> None:
    problems, refused = list[Problem](), False
    for samples, read in files:
        bad = [file for file in read if file.problem]
        refused |= len(bad) > limit * len(read)
        lines = [f"\n    {samples[file.place].path}: {file.problem}" for file in bad[:_NAMED]]
        lines += [f"\n    and {len(bad) - _NAMED} more"] if len(bad) > _NAMED else []
        what = f"{len(bad)} of {len(read)} images are unreadable:"
        problems += [Problem(str(samples.source), what + "".join(lines))] if bad else []
    if refused:
        hint = "repair them or take them out of the list, or raise data.max_bad_fraction"
        if any("which is not read here" in file.problem for _, read in files for file in read):
            hint = f"`tinysight data convert SOURCE --out DIR` makes copies that are read; {hint}"
        raise DataError.of("the images", [*problems, Problem("", f"{hint} ({limit:g})")])


def _doubts_of_files(
    files: Sequence[tuple[SampleList, Sequence[_File]]], names: Sequence[str]
) -> Iterator[str]:
    """Copies under another name: in training and evaluation, and with several labels in training."""
    (train, read), *others = files
    by_digest = by_key((file.digest, file.place) for file in read if file.digest)
    for samples, of_split in others:
        copies = []
        for place, _, digest in of_split:
            twin = next(iter(by_digest.get(digest, ())), None)
            if twin is not None and samples[place].path != train[twin].path:
                copies.append(f"{samples[place].path} is {train[twin].path}")
        if copies:
            yield f"{len(copies)} of {len(samples)} evaluation images are also trained on, as copies: {copies[0]}"
    if not has_many(train.labels) and train.labels.dtype.kind == "i":
        for places in by_digest.values():
            differ = {int(train.labels[i]): train[i].path for i in places if train.labels[i] >= 0}
            if len(differ) > 1 and len(set(differ.values())) > 1:
                shown = (f"{p} ({names[i] if i < len(names) else i})" for i, p in differ.items())
                yield f"training images of the same bytes have several labels: {', '.join(shown)}"
                return


def _doubts_of_numbers(recipe: Recipe, splits: Splits, names: Sequence[str]) -> Iterator[str]:
    settings = recipe.train
    low, high = _RATES.get(settings.optimizer.name, (0.0, np.inf))
    if not low <= settings.lr <= high:
        side = "below" if settings.lr < low else "above"
        text = f"train.lr {settings.lr:g} is {side} what {settings.optimizer.name} learns with ({low:g} to {high:g})"
        yield text + ("; for pretrained weights 0.0002 is usual" if high < 1 else "")
    for name, samples in splits.evaluation.items():
        labels = samples.labels
        if names and not has_many(labels) and labels.dtype.kind == "i" and len(names) < 1000:
            there = set(np.unique(labels).tolist())
            empty = [label for i, label in enumerate(names) if i not in there]
            if empty and not recipe.data.relabel and there != {-1}:
                shown = ", ".join(empty[:_NAMED]) + (", ..." if len(empty) > _NAMED else "")
                where = f" ({name})" if name else ""
                yield f"{len(empty)} of {len(names)} labels have no evaluation image{where}: {shown}"
    for word, samples in (("training", splits.train), *_named("evaluation", splits.evaluation)):
        if len(samples) < _FEW:
            yield f"{len(samples)} {word} images are too few to say anything"
    sizes = _sizes(recipe.train_transforms()), _sizes(recipe.eval_transforms())
    if all(sizes) and not recipe.data.sampler.name.startswith("multi"):
        (one, other), areas = sizes, [h * w for h, w in filter(None, sizes)]
        if max(areas) > 2 * min(areas) and one and other:
            text = "transforms.train gives images of {1} x {0}, transforms.eval of {3} x {2}"
            yield text.format(*one, *other) + ": a network is best at the size it was trained at"


def _named(word: str, splits: Mapping[str, SampleList]) -> Iterable[tuple[str, SampleList]]:
    return ((word, samples) for samples in splits.values())


def _sizes(steps: Compose) -> tuple[int, int] | None:
    """(height, width) of what comes out; None if it depends on the image."""
    try:
        return steps.output_shape()[:2]
    except (ConfigError, ImageError):
        return None


def _check_normalised(steps: Compose) -> None:
    try:
        given = steps(np.full((512, 512, 3), 127, np.uint8), np.random.default_rng(0))
    except ImageError:
        return  # its own images may do
    if given.dtype == np.uint8:
        what = "the network would be given whole numbers from 0 to 255"
        raise ConfigError(steps.where, what, "end the list with {name: normalize}")


def _check_metrics(recipe: Recipe, eval_samples: SampleList, num_classes: int) -> None:
    """Fail now, not after the first epoch, if the list lacks what a metric needs."""
    labels = eval_samples.truth
    scores = task_of_recipe(recipe).perfect_scores(labels, num_classes)
    specs = [m.spec for m in recipe.metrics]
    try:
        perfect = compute_metrics(specs, scores, labels, eval_samples.roles())
    except (ConfigError, DataError) as error:
        hint = "mean_accuracy, and loss and postprocess multilabel, go with it"
        if has_many(labels):
            what = f"not for data.target: multilabel ({error})"
            raise ConfigError(f"metrics ({specs[0]['name']})", what, hint) from error
        raise DataError(str(eval_samples.source), str(error)) from error
    name, value = next(iter(perfect.items()))
    if not value > 0:
        what = f"{name} of perfect answers is {value:g} on these labels, so no epoch can be best"
        raise DataError(str(eval_samples.source), what, "a class is missing in the list")

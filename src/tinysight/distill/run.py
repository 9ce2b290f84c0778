"""A folder, a teacher and a latency: the student that this machine allows, trained and exported."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.concurrency import thread_count, usable_cores
from tinysight.config import Recipe, load_recipe
from tinysight.config.load import apply_override
from tinysight.distill.mine import class_names
from tinysight.distill.students import LatencyTable, Student, Timed, choose, front, students
from tinysight.errors import DataError
from tinysight.export.bundle import export_bundle
from tinysight.fetch.cache import cache_folder
from tinysight.files import to_yaml, write_atomic
from tinysight.metrics.intervals import Interval, wilson_interval
from tinysight.models.count import cost_of
from tinysight.pipelines.pipeline import open_bundle
from tinysight.pipelines.sources import iter_images
from tinysight.starter import choice as choosing
from tinysight.starter.choice import Choice, Facts, StartNetwork
from tinysight.starter.division import DividedImages, Tell, divide_images
from tinysight.starter.pace import median_ms, training_pace
from tinysight.starter.sources import LabelledImages, find_images
from tinysight.starter.start import check_limits, notes, task_name, write_lists
from tinysight.training.folder import RunFolder
from tinysight.training.loop import fit
from tinysight.training.predictor import finish
from tinysight.training.pretrained import weights_at_hand

logger = logging.getLogger(__name__)

CHOSEN = "chosen.yaml"  # in the run folder, with its lists
_TABLE = "students.json"  # latencies of this machine, in the cache
_VIEWS = 4  # of each image, which the teacher sees once
_UNLABELLED = "unlabelled"


class Distilled(NamedTuple):
    """A student that was trained.

    Attributes:
        out: the run folder.
        student: the student, and the milliseconds of its network before it was trained.
        front: students that no other beats in speed and promise, of those that were timed here; fastest first.
        labelled: False where the labels that it was judged by are the teacher's.
        right: validation images whose label it has right.
        total: all of them.
        interval: 95 % interval of their share (Wilson).
        bundle: what was exported; None if `problem` says why not.
        ms: milliseconds of the exported network, measured again; NaN without a bundle.
        problem: what went wrong; empty if nothing did.
        broken: path and reason of each image that is left out.
    """

    out: Path
    student: Timed
    front: list[Timed]
    labelled: bool
    right: int
    total: int
    interval: Interval
    bundle: Bundle | None
    ms: float
    problem: str
    broken: tuple[tuple[str, str], ...]


def distill(
    data: str | os.PathLike[str], teacher: str | Bundle, budget_ms: float,
    out: str | os.PathLike[str] | None = None, *, minutes: float = 10.0,
    overrides: Sequence[str] = (), tell: Tell = lambda text: None,
) -> Distilled:  # fmt: skip
    """Train the most promising student that is fast enough, on images with or without labels.

    Args:
        data: what `starter.find_images` takes, with the teacher's labels; or a folder of any images, whose labels
            are what the teacher says.
        teacher: a classifier's bundle.
        budget_ms: longest median time of the network for one image on one thread of this machine, ms, above 0.
        out: run folder. Default: `runs/`, the name of `data` and `_student`.
        minutes: time at hand for the training, above 0.
        overrides: `train.epochs=5` and the like, applied to the recipe that is chosen.
        tell: takes what is being done.

    Raises:
        ConfigError: an argument is refused, or no student is fast enough.
        DataError: the images cannot be trained on, or have labels that the teacher does not know.
        CheckpointError: `out` holds a run.
    """
    check_limits(minutes, budget_ms)
    folder = Path(out if out is not None else f"runs/{task_name(data)}_student")
    resume = f"`train -c {folder / CHOSEN} --out {folder} --resume` resumes it"
    with RunFolder(folder).preparing(resume):
        bundle = teacher if isinstance(teacher, Bundle) else Bundle.load(teacher)
        names = class_names(bundle)
        tell("reading images")
        images = _labelled(data, names)
        labelled = images is not None
        images = images or _found(Path(data))
        divided = divide_images(images, tell)
        if not labelled:
            tell("asking the teacher")
            images = _as_taught(images, bundle)
        table = LatencyTable(cache_folder() / _TABLE)
        rows = students(2 * divided.side)
        chosen = choose(budget_ms, rows, table, lambda what: tell(f"timing {what}"))
        tell("choosing")
        recipe = _recipe(
            folder, data, images, divided, bundle, chosen.student, minutes, overrides, labelled
        )
    tell("")
    for line in notes(images, divided, False):
        logger.info(line)
    done = fit(recipe, folder)
    tell("evaluating")
    evaluation = finish(folder).evaluation
    right = int((evaluation.scores.argmax(axis=1) == evaluation.labels).sum())
    total, problem, made, ms = len(evaluation.labels), done.stop_reason or "", None, float("nan")
    if not problem:
        tell("exporting")
        made = export_bundle(folder, folder / "bundle")
        ms = median_ms(made.model, chosen.student.size)
    tell("")
    known = [row for row in table.rows() if row.student in rows]
    interval, broken = wilson_interval(right, total), (*divided.broken, *done.unreadable)
    return Distilled(
        folder, chosen, front(known), labelled, right, total, interval, made, ms, problem, broken
    )


def _labelled(data: str | os.PathLike[str], names: Sequence[str]) -> LabelledImages | None:
    """The images with the teacher's class ids; None where these are no classes that it knows."""
    try:
        found = find_images(data)
    except DataError:
        if Path(data).is_dir() or not Path(data).exists():
            return None
        raise
    unknown = [name for name in found.labels if name not in names]
    if unknown and len(unknown) == len(found.labels) and Path(data).is_dir():
        text = "no folder is a class of the teacher (%s, ...), so its own labels are learnt"
        logger.info(text, ", ".join(unknown[:3]))
        return None
    if unknown:
        what = f"labels that the teacher does not know: {', '.join(unknown[:5])}"
        raise DataError(str(data), what, f"it knows {', '.join(names[:5])}")
    ids = np.array([names.index(name) for name in found.labels])[found.ids]
    return found._replace(labels=tuple(names), ids=ids)


def _found(folder: Path) -> LabelledImages:
    """All images below a folder, as of one class."""
    paths = [Path(os.path.abspath(image.name)) for image in iter_images(folder)]  # noqa: PTH100
    root = Path(os.path.abspath(folder))  # noqa: PTH100 - keeps links
    return LabelledImages(root, (_UNLABELLED,), paths, np.zeros(len(paths), np.int64))


def _as_taught(images: LabelledImages, teacher: Bundle) -> LabelledImages:
    """The same with the class that the teacher gives each image; those that cannot be read keep 0."""
    place = {str(path): i for i, path in enumerate(images.paths)}
    ids = images.ids.copy()
    pipeline = open_bundle(teacher, workers=thread_count(None))
    for read, scores in pipeline.scores(list(place), on_unreadable=lambda image: None):
        ids[[place[name] for name in read]] = scores.argmax(axis=1)
    return images._replace(labels=teacher.manifest.labels, ids=ids)


def _recipe(
    folder: Path, data: str | os.PathLike[str], images: LabelledImages, divided: DividedImages,
    teacher: Bundle, student: Student, minutes: float, overrides: Sequence[str], labelled: bool,
) -> Recipe:  # fmt: skip
    """Write the recipe and its lists into the run folder, with as many epochs as there is time for."""
    weights = weights_at_hand(student.backbone)
    known = {} if weights is None else {student.backbone: weights}
    counts = len(divided.train), len(divided.val)
    facts = Facts(images.labels, *counts, divided.side, known, usable_cores())
    macs = cost_of(student.backbone).macs / 1e6
    choice = Choice(StartNetwork(student.backbone, {}, macs), weights, student.size)
    file = folder / CHOSEN
    where = write_lists(images, divided, file)
    losses: list[dict[str, Any]] = [{"name": "dml", "between": ["student", "teacher"]}]
    about = {
        "task": f"{task_name(data)}_student",
        "teachers": {"teacher": {"bundle": str(teacher.folder.resolve())}},
        "losses": [{"name": "cross_entropy"}, *losses] if labelled else losses,
    }

    def written(epochs: int) -> Recipe:
        tree = {**choosing.recipe_of(facts, choice, epochs), **about}
        tree.pop("loss", None)
        tree["data"] |= where
        tree["train"] |= {"views": _VIEWS}
        for text in overrides:
            apply_override(tree, text)
        write_atomic(file, to_yaml(tree))
        return load_recipe(file)

    pace = training_pace(written(1))
    begun, taught = time.perf_counter(), images.paths[divided.train[0]]
    open_bundle(teacher)(taught)
    asking = _VIEWS * counts[0] * (time.perf_counter() - begun) / 60
    return written(choosing.length(facts, choice, pace, max(minutes - asking, minutes / 4))[0])

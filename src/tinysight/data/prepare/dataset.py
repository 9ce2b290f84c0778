"""Making a data set: crops of annotated photographs, or a list, divided in two.

What is made is a folder with train_list.txt, val_list.txt, labels.txt and manifest.json, which says of what and how.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinysight.concurrency import thread_count
from tinysight.data.folders import folder_names
from tinysight.data.labels import check_distinct
from tinysight.data.lists import names_in_lists, read_list
from tinysight.data.prepare.annotations import read_boxes, read_coco, read_voc
from tinysight.data.prepare.crops import cut
from tinysight.data.prepare.splits import Division, divide
from tinysight.errors import ConfigError, DataError, Problem, nearest
from tinysight.files import write_atomic

_MANIFEST = "manifest.json"  # of what a data set was made, how, and whether it is complete
_SHOWN = 10  # problems that an error names
_READERS = {"voc": read_voc, "coco": read_coco, "boxes": read_boxes}


class Plan(NamedTuple):
    """What to make a data set of, and how.

    Attributes:
        form: form of the source; "split" is a list of `path label` lines or a folder of classes, which is only divided.
        source: annotations, or the list.
        out: folder to make.
        images: folder of the images; None: that of the source.
        classes: labels by class id, each `name` or `name=box,...` with the boxes that it stands for; None: the names
            of the boxes, sorted.
        scale: factor of the boxes' sides, about their centres, above 0.
        min_size: least shorter side of a crop, pixels.
        fraction: share of every class for the test; not used with `per_class`.
        per_class: number of images of every class for the test.
        group: pattern of the path whose match must stay on one side; None: all crops of a photograph.
        seed: seed of the split.
    """

    form: Literal["voc", "coco", "boxes", "split"]
    source: Path
    out: Path
    images: Path | None = None
    classes: Sequence[str] | None = None
    scale: float = 1.0
    min_size: int = 1
    fraction: float = 0.2
    per_class: int | None = None
    group: str | None = None
    seed: int = 0


class Prepared(NamedTuple):
    """A data set that was made.

    Attributes:
        counts: number of images by side, "train" or "val", and label name.
        left_out: paths of images that are on neither side, for their group is in the test.
        skipped: number of boxes that were skipped, by reason.
        problems: reasons why photographs or boxes were left out.
    """

    counts: dict[str, dict[str, int]]
    left_out: list[str]
    skipped: dict[str, int]
    problems: list[Problem]


def prepare(plan: Plan, *, resume: bool = False, threads: int | None = None) -> Prepared:
    """Make the data set.

    Args:
        plan: what to make of what.
        resume: continue a folder that was begun with the same settings.
        threads: number of threads that cut, >= 1; default: one for each processor.

    Raises:
        ConfigError: a class stands for a box that there is not.
        DataError: the source cannot be read, the folder may not be written to, or a side would have none of a class.
    """
    root = plan.images or (plan.source if plan.source.is_dir() else plan.source.parent)
    problems: list[Problem] = []
    skipped: dict[str, int] = {}
    if plan.form == "split":
        names = tuple(plan.classes or ())
        if not names and plan.source.is_dir():
            names = folder_names(plan.source)
        names = names or names_in_lists([plan.source], "class", None)
        check_distinct(names, "--classes")
        samples = read_list(plan.source, root, len(names) or None, names=names)
        paths = [_below(sample.path, root) for sample in samples]
        labels = samples.labels.tolist()
        names = names or tuple(map(str, range(max(labels) + 1)))
        division = _divide(plan, labels, paths)
        _begin(plan, resume)
    else:
        photographs, problems = _READERS[plan.form](plan.source, root)
        with _because(plan.source, problems):
            names, classes = _classes(plan, {box.name for p in photographs for box in p.boxes})
            _begin(plan, resume)
            cores = thread_count(threads)
            made = cut(
                photographs, root, plan.out, classes, plan.scale, plan.min_size, threads=cores
            )
            problems += made.problems
            if not made.crops:
                raise DataError(str(plan.source), "no crop could be made")
            paths, labels = [crop.path for crop in made.crops], [crop.label for crop in made.crops]
            division = _divide(plan, labels, [_below(crop.photograph, root) for crop in made.crops])
        skipped = dict(made.skipped)
    counts = {}
    for side, places in (("train", division.train), ("val", division.test)):
        text = "".join(f"{paths[i]}\t{labels[i]}\n" for i in places)
        write_atomic(plan.out / f"{side}_list.txt", text)
        of_label = Counter(labels[i] for i in places)
        counts[side] = {name: of_label[i] for i, name in enumerate(names)}
    write_atomic(plan.out / "labels.txt", "".join(f"{i} {n}\n" for i, n in enumerate(names)))
    prepared = Prepared(counts, [paths[i] for i in division.left_out], skipped, problems)
    tree = {**prepared._asdict(), "problems": [problem._asdict() for problem in problems]}
    _write(plan, {"complete": True, "split": {**_share(plan), "group": plan.group}, **tree})
    return prepared


@contextmanager
def _because(source: Path, problems: Sequence[Problem]) -> Iterator[None]:
    """Add what could not be read to an error of the block, which may be nothing but its consequence."""
    try:
        yield
    except (ConfigError, DataError) as error:
        if not problems:
            raise
        raise type(error).of(str(source), [*error.problems, *problems[:_SHOWN]]) from None


def _classes(plan: Plan, known: set[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Label names by class id, and the class id of each box name."""
    if not plan.classes and len(known) < 2:
        what = f"only boxes of {next(iter(known))}" if known else "no boxes"
        raise DataError(str(plan.source), what, "a classifier needs two classes")
    names: list[str] = []
    classes: dict[str, int] = {}
    for i, text in enumerate(plan.classes or sorted(known)):
        name, _, boxes = text.partition("=") if plan.classes else (text, "", "")
        if name in names:
            raise ConfigError("--classes", f"two classes are named {name!r}")
        names.append(name)
        for box in boxes.split(",") if boxes else [name]:
            if box not in known:
                raise ConfigError("--classes", f"no box is named {box!r}", nearest(box, known))
            if box in classes:
                raise ConfigError("--classes", f"boxes of {box!r} are in two classes")
            classes[box] = i
    return tuple(names), classes


def _divide(plan: Plan, labels: Sequence[int], paths: Sequence[str]) -> Division:
    """Divide images by what the pattern's first brackets hold of their paths, or by the paths."""
    groups = list(paths)
    for i, path in enumerate(paths if plan.group is not None else ()):
        if not (found := re.search(plan.group or "", path)):
            raise DataError(path, f"the pattern {plan.group!r} does not match", "correct --group")
        groups[i] = found[1] if found.re.groups else found[0]
    return divide(labels, groups, **_share(plan))


def _share(plan: Plan) -> dict[str, Any]:
    fraction = None if plan.per_class else plan.fraction
    return {"fraction": fraction, "per_class": plan.per_class, "seed": plan.seed}


def _below(path: Path, root: Path) -> str:
    """A path as a list file writes it: relative to `root` where it is below it."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _begin(plan: Plan, resume: bool) -> None:
    """Write the manifest of a data set that is not complete yet.

    Raises:
        DataError: the folder holds something that may not be overwritten.
    """
    folder, other = str(plan.out), "choose another folder with --out"
    try:
        there = json.loads((plan.out / _MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        if plan.out.is_dir() and any(plan.out.iterdir()):
            raise DataError(folder, "this folder is not empty", other) from None
    except (OSError, ValueError):
        raise DataError(folder, f"{_MANIFEST} cannot be read", other) from None
    else:
        there = there if isinstance(there, dict) else {}
        if there.get("complete"):
            raise DataError(folder, "already made", other)
        if not resume:
            raise DataError(folder, "begun, not finished", "--resume continues it")
        if there.get("settings") != _settings(plan):
            hint = f"resume with the same arguments, or {other}"
            raise DataError(folder, "begun with other arguments", hint)
    _write(plan, {"complete": False})


def _settings(plan: Plan) -> Any:
    """What the crops depend on; how they are divided may change until they are all there."""
    paths = {"source": str(plan.source), "images": str(plan.images or "")}
    kept = {key: getattr(plan, key) for key in ("form", "classes", "scale", "min_size")}
    return json.loads(json.dumps({**paths, **kept}))


def _write(plan: Plan, tree: Mapping[str, Any]) -> None:
    text = json.dumps({"settings": _settings(plan), **tree}, indent=2, ensure_ascii=False)
    write_atomic(plan.out / _MANIFEST, text + "\n")

"""The audit of a data set: reads each image once and collects all findings."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tinysight.concurrency import by_key, thread_count
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups
from tinysight.data.audit.inspect import ImageInfo, inspect_all
from tinysight.data.audit.sources import SplitSide
from tinysight.data.samples import UNLABELLED, has_many

Severity = Literal["error", "warning"]
_ERRORS = ("bad line", "missing", "unreadable", "both sides", "label conflict")
_WARNINGS = ("empty class", "imbalance", "small", "listed twice", "duplicate", "near-duplicate")
_KINDS = (*_ERRORS, *_WARNINGS, "nothing shown", "hidden", "passed over")
_IMBALANCE = 100  # times as many images of one class as of another, from which there is a warning
_NO_LABEL = "(no label)"


class Finding(NamedTuple):
    """One kind of problem.

    Attributes:
        kind: name of the kind, such as "label conflict".
        severity: "error" or "warning".
        items: where it occurs, each as plain data.
    """

    kind: str
    severity: Severity
    items: list[dict[str, Any]]


class Audit(NamedTuple):
    """What is wrong with a data set.

    Attributes:
        sides: number of images by side.
        balance: number of images by label and side; with several labels, of those that have it.
        findings: problems, errors first; kinds that do not occur are left out.
    """

    sides: dict[str, int]
    balance: dict[str, dict[str, int]]
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def tree(self) -> dict[str, Any]:
        """All of it as plain data."""
        findings = [{"count": len(f.items), **f._asdict()} for f in self.findings]
        return {"sides": self.sides, "balance": self.balance, "findings": findings}


Items = dict[str, list[dict[str, Any]]]  # by kind of problem


def audit_images(
    sides: Sequence[SplitSide],
    *,
    labels: Sequence[str] = (),
    min_size: int = 0,
    near: bool = True,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Inspect every image once, and compare them.

    Args:
        sides: training and evaluation images, or only one side.
        labels: label names by class id; default: the ids that occur.
        min_size: least shorter side of an image, pixels; 0: any.
        near: compare pixels, too, and not only bytes. This keeps 4 KB an image in memory.
        threads: number of threads that read and compare, >= 1; default: one for each processor.
        progress: called with the stage ("read" or "compared"), the number that is done, and the total.
    """
    threads = thread_count(threads)
    entries = _Entries(sides)
    files = entries.files

    def tell(stage: str, done: int) -> None:
        if progress:
            progress(stage, done, len(files))

    infos = list(inspect_all(files, threads, partial(tell, "read"), thumbs=near))
    compared = partial(tell, "compared")
    pairs = find_duplicates(files, infos, threads=threads, near=near, progress=compared)
    balance = _balance(sides, labels)
    items: Items = defaultdict(list)
    for side in sides:
        problems = [problem for bad in side.bad for problem in bad.problems()]
        items["bad line"] += [{"side": side.name, **problem._asdict()} for problem in problems]
        items["passed over"] += [
            {
                "side": side.name,
                "where": path,
                "what": "no image by its name, or a folder that is not entered",
            }
            for path in side.samples.passed_over
        ]
    _note_files(items, entries, infos, min_size)
    _note_same(items, entries, pairs)
    _note_balance(items, sides[0].name, balance)
    how: dict[bool, Severity] = {True: "error", False: "warning"}
    findings = [Finding(k, how[k in _ERRORS], items[k]) for k in _KINDS if items[k]]
    return Audit({side.name: len(side.samples) for side in sides}, balance, findings)


class _Entries:
    """Every line of the lists in order, and the different files that they name.

    Attributes:
        places: side and index in it of each entry.
        file: place in `files` of each entry.
        files: image files, each once.
    """

    def __init__(self, sides: Sequence[SplitSide]) -> None:
        self.sides = sides
        self.places = [(s, i) for s, side in enumerate(sides) for i in range(len(side.samples))]
        number: dict[str, int] = {}
        names = (os.path.abspath(sides[s].samples[i].path) for s, i in self.places)  # noqa: PTH100 - keeps links
        self.file = [number.setdefault(name, len(number)) for name in names]
        self.files = [Path(name) for name in number]

    def item(self, entry: int, what: str = "") -> dict[str, Any]:
        """One entry as plain data."""
        s, i = self.places[entry]
        samples = self.sides[s].samples
        sample, source = samples[i], str(samples.section(i).source)
        return {
            "side": self.sides[s].name,
            "where": f"{source}:{sample.line}" if sample.line else source,
            "path": str(sample.path),
            "label": np.asarray(sample.label).tolist(),
            **({"what": what} if what else {}),
        }


def _note_files(items: Items, entries: _Entries, infos: Sequence[ImageInfo], min_size: int) -> None:
    for i, file in enumerate(entries.file):
        info = infos[file]
        if info.problem:
            items["missing" if info.missing else "unreadable"].append(entries.item(i, info.problem))
            continue
        if min(info.width, info.height) < min_size:
            what = f"{info.width} x {info.height} pixels, smaller than {min_size}"
            items["small"].append(entries.item(i, what))
        items["hidden"] += [entries.item(i, what) for what in info.doubts]
        if info.thumb is not None and np.ptp(info.thumb) < 3:
            items["nothing shown"].append(entries.item(i, "all of one colour"))


def _note_same(items: Items, entries: _Entries, pairs: Sequence[Duplicate]) -> None:
    """Files that are listed twice or hold the same image: on which sides, with which labels."""
    listed = by_key((file, entry) for entry, file in enumerate(entries.file))
    how = {file: pair.how for pair in pairs for file in (pair.b, pair.a)}
    exact = {file for pair in pairs if pair.how == "exact" for file in (pair.a, pair.b)}
    sets = groups(pairs)
    sets += [[file] for file, of in listed.items() if len(of) > 1 and file not in how]
    for same in sets:
        words = sorted({how[file] for file in same if file in how}) or ["listed twice"]
        every = sorted(entry for file in same for entry in listed[file])
        by_side = by_key((entries.places[member][0], member) for member in every)
        shown = {s: [entries.item(m) for m in of_side] for s, of_side in sorted(by_side.items())}
        pictures = [item for of_side in shown.values() for item in of_side]
        shared = {"how": ", ".join(words), "pictures": pictures}
        if len(shown) > 1:
            items["both sides"].append(shared)
        labels = [item["label"] for item in pictures]
        if len({str(label) for label in labels if UNLABELLED not in np.ravel(label)}) > 1:
            items["label conflict"].append(shared)
        for s, of_side in shown.items():
            files = {entries.file[m] for m in by_side[s]}
            kind = "duplicate" if files <= exact and words == ["exact"] else "near-duplicate"
            if len(of_side) > 1:
                kind = kind if len(files) > 1 else "listed twice"
                items[kind].append({**shared, "pictures": of_side})


def _balance(sides: Sequence[SplitSide], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[int, int]] = {}
    for side in sides:
        values = side.samples.labels
        if has_many(values):
            ids, numbers = np.arange(values.shape[1]), (values == 1).sum(axis=0)
        else:
            ids, numbers = np.unique(values, return_counts=True)
        counts[side.name] = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
    known = sorted(set(range(len(labels))).union(*counts.values()))
    names = {i: _NO_LABEL if i < 0 else labels[i] if i < len(labels) else str(i) for i in known}
    return {names[i]: {side: of.get(i, 0) for side, of in counts.items()} for i in known}


def _note_balance(items: Items, side: str, balance: dict[str, dict[str, int]]) -> None:
    """What the first side, the training, has of each label."""
    counts = {name: by_side[side] for name, by_side in balance.items() if name != _NO_LABEL}
    empty = [f"no image of {name}" for name, count in counts.items() if not count]
    items["empty class"] += [{"side": side, "what": what} for what in empty]
    if some := {name: count for name, count in counts.items() if count}:
        most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
        if some[most] >= _IMBALANCE * some[least]:
            what = f"{some[most]} images of {most}, {some[least]} of {least}"
            items["imbalance"].append({"side": side, "what": what})

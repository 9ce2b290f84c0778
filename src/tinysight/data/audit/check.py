"""Everything that is wrong with the images of a data set, in one go."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tinysight.data.audit.duplicates import Duplicate, duplicates_among, groups
from tinysight.data.audit.inspect import Look, look_at_all, processors
from tinysight.data.lines import BadLines
from tinysight.data.samples import Sample, SampleList, has_many

Severity = Literal["error", "warning"]
_SEVERITY: dict[str, Severity] = {
    "bad line": "error",
    "missing": "error",
    "unreadable": "error",
    "both sides": "error",
    "label conflict": "error",
    "empty class": "warning",
    "imbalance": "warning",
    "small": "warning",
    "listed twice": "warning",
    "duplicate": "warning",
    "near-duplicate": "warning",
    "nothing shown": "warning",
}
_IMBALANCE = 100  # times as many images of one class as of another, from which a word is said


class Side(NamedTuple):
    """One side of the split: its name, its images, and the lines that could not be read."""

    name: str
    samples: SampleList
    bad: Sequence[BadLines] = ()


class Finding(NamedTuple):
    """One kind of trouble: `items` says where, each as plain data."""

    kind: str
    severity: Severity
    items: list[dict[str, Any]]


class Audit(NamedTuple):
    """What was found.

    Attributes:
        sides: images by side.
        balance: images by label and side; of several labels, those that have it.
        findings: errors first; kinds without a finding are left out.
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
        found = [{"count": len(f.items), **f._asdict()} for f in self.findings]
        return {"sides": self.sides, "balance": self.balance, "findings": found}


def check(
    sides: Sequence[Side],
    *,
    labels: Sequence[str] = (),
    min_size: int = 0,
    near: bool = True,
    threads: int | None = None,
    tell: Callable[[str, int, int], None] | None = None,
) -> Audit:
    """Look at every image once, and compare them.

    Args:
        sides: the training and the evaluation images, or only one side.
        labels: names by class id; default: the ids that occur.
        min_size: pixels; an image with a shorter side is too small. 0: any will do.
        near: also look for images that are the same without being so byte by byte. This keeps 4
            KB an image in memory.
        threads: that read and compare; default: one for each processor.
        tell: hears what is done, how much of it, and out of how much.
    """
    threads = threads or processors()
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for side in sides:
        for problem in (p for bad in side.bad for p in bad.problems()):
            found["bad line"].append({"side": side.name, **problem._asdict()})
    places, files, at = _files(sides)
    looks = _look(files, threads, near, tell)
    _note_files(found, sides, places, at, looks, min_size, near)
    said = (lambda n: tell("compared", n, len(files))) if tell else None
    pairs = duplicates_among([Path(f) for f in files], looks, threads=threads, near=near, tell=said)
    _note_same(found, sides, places, at, pairs)
    balance = _balance(sides, labels)
    _note_balance(found, sides[0].name, balance)
    findings = [Finding(kind, s, found[kind]) for kind, s in _SEVERITY.items() if found[kind]]
    return Audit({side.name: len(side.samples) for side in sides}, balance, findings)


def _files(sides: Sequence[Side]) -> tuple[list[tuple[int, int]], list[str], np.ndarray]:
    """Every place (side, index), the different files, and the file of each place."""
    places, at, number = [], [], dict[str, int]()
    for s, side in enumerate(sides):
        for i, sample in enumerate(side.samples):
            name = os.path.normpath(os.path.abspath(sample.path))  # noqa: PTH100 - keeps links
            places.append((s, i))
            at.append(number.setdefault(name, len(number)))
    return places, list(number), np.array(at, np.int64)


def _look(
    files: Sequence[str], threads: int, near: bool, tell: Callable[[str, int, int], None] | None
) -> list[Look]:
    said = (lambda n: tell("read", n, len(files))) if tell else None
    looks = look_at_all([Path(f) for f in files], threads, said)
    return [found if near else found._replace(thumb=None) for found in looks]


def _note_files(
    found: dict[str, list[dict[str, Any]]],
    sides: Sequence[Side],
    places: Sequence[tuple[int, int]],
    at: np.ndarray,
    looks: Sequence[Look],
    min_size: int,
    near: bool,
) -> None:
    for place, file in zip(places, at.tolist(), strict=True):
        seen = looks[file]
        if seen.problem:
            kind = "missing" if seen.missing else "unreadable"
            found[kind].append({**_item(sides, place), "what": seen.problem})
            continue
        if min(seen.width, seen.height) < min_size:
            what = f"{seen.width} x {seen.height} pixels, smaller than {min_size}"
            found["small"].append({**_item(sides, place), "what": what})
        if near and seen.thumb is not None and np.ptp(seen.thumb) < 3:
            found["nothing shown"].append({**_item(sides, place), "what": "all of one colour"})


def _note_same(
    found: dict[str, list[dict[str, Any]]],
    sides: Sequence[Side],
    places: Sequence[tuple[int, int]],
    at: np.ndarray,
    pairs: Sequence[Duplicate],
) -> None:
    """Files that are listed twice or hold the same image: on which sides, with which labels."""
    listed: dict[int, list[int]] = defaultdict(list)
    for index, file in enumerate(at.tolist()):
        listed[file].append(index)
    how = {file: pair.how for pair in pairs for file in (pair.b, pair.a)}
    exact = {file for pair in pairs if pair.how == "exact" for file in (pair.a, pair.b)}
    sets = groups(pairs)
    together = {file for same in sets for file in same}
    sets += [[file] for file, where in listed.items() if len(where) > 1 and file not in together]
    for same in sets:
        members = sorted(place for file in same for place in listed[file])
        items = [_item(sides, places[m]) for m in members]
        words = sorted({how[file] for file in same if file in how}) or ["listed twice"]
        entry = {"how": ", ".join(words), "pictures": items}
        if len({places[m][0] for m in members}) > 1:
            found["both sides"].append(entry)
        labels = {str(item["label"]) for item in items if not _unknown(item["label"])}
        if len(labels) > 1:
            found["label conflict"].append(entry)
        for s in range(len(sides)):
            of_side = [item for m, item in zip(members, items, strict=True) if places[m][0] == s]
            different = {int(at[m]) for m in members if places[m][0] == s}
            if len(of_side) < 2:
                continue
            kind = "listed twice" if len(different) == 1 else "near-duplicate"
            if kind == "near-duplicate" and different <= exact and words == ["exact"]:
                kind = "duplicate"
            found[kind].append({**entry, "pictures": of_side})


def _item(sides: Sequence[Side], place: tuple[int, int]) -> dict[str, Any]:
    side = sides[place[0]]
    sample: Sample = side.samples[place[1]]
    label = np.asarray(sample.label).tolist()
    source = str(side.samples.section(place[1]).source)
    return {
        "side": side.name,
        "where": f"{source}:{sample.line}" if sample.line else source,
        "path": str(sample.path),
        "label": label,
    }


def _unknown(label: int | list[int]) -> bool:
    return label == -1 or (isinstance(label, list) and -1 in label)


def _balance(sides: Sequence[Side], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[int]] = {side.name: Counter() for side in sides}
    for side in sides:
        values = side.samples.labels
        if has_many(values):
            of_label = (values == 1).sum(axis=0).tolist()
            counts[side.name].update(dict(enumerate(of_label)))
        else:
            there, number = np.unique(values, return_counts=True)
            counts[side.name].update(dict(zip(there.tolist(), number.tolist(), strict=True)))
    ids = sorted({i for counter in counts.values() for i in counter} | set(range(len(labels))))
    return {_name(i, labels): {side.name: counts[side.name][i] for side in sides} for i in ids}


def _name(index: int, labels: Iterable[str]) -> str:
    names = list(labels)
    if index < 0:
        return "(no label)"
    return names[index] if index < len(names) else str(index)


def _note_balance(
    found: dict[str, list[dict[str, Any]]], side: str, balance: dict[str, dict[str, int]]
) -> None:
    """What the first side, the training, has of each label."""
    counts = {name: by_side[side] for name, by_side in balance.items() if name != "(no label)"}
    for name, count in counts.items():
        if not count:
            found["empty class"].append({"side": side, "what": f"no image of {name}"})
    some = {name: count for name, count in counts.items() if count}
    if some:
        most, least = max(some, key=some.__getitem__), min(some, key=some.__getitem__)
        if some[most] >= _IMBALANCE * some[least]:
            what = f"{some[most]} images of {most}, {some[least]} of {least}"
            found["imbalance"].append({"side": side, "what": what})

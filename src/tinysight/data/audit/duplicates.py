"""Copies among images: the same bytes, or the same image saved, scaled, cut or mirrored anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.data.audit.candidates import Candidate, candidates, describe
from tinysight.data.audit.inspect import THUMB, Look, look, look_at_all, processors
from tinysight.data.audit.verify import SAME, SAME_CLOSELY, agreement, closer_agreement

_HOW = ("", "mirrored", "upside down", "turned by 180 degrees")


class Duplicate(NamedTuple):
    """Two places in the list whose images are the same.

    `how` is `exact` (the same bytes), or what was done to one of them as far as it shows: `similar`,
    `cropped`, `mirrored`, ... `agreement` goes from 0.5, the least that counts, to 1.
    """

    a: int
    b: int
    how: str
    agreement: float


def find_duplicates(
    paths: Sequence[Path], *, threads: int | None = None, near: bool = True
) -> list[Duplicate]:
    """The pairs of files that hold the same image; files that cannot be read are passed over.

    Args:
        paths: image files.
        threads: default: one for each processor.
        near: also what is not the same byte by byte.
    """
    threads = threads or processors()
    looks = list(look_at_all(paths, threads))
    return duplicates_among(paths, looks, threads=threads, near=near)


def duplicates_among(
    paths: Sequence[Path],
    looks: Sequence[Look],
    *,
    threads: int,
    near: bool = True,
    tell: Callable[[int], None] | None = None,
) -> list[Duplicate]:
    """As `find_duplicates`, of images that were looked at; `tell` hears how many are compared.

    Of files with the same bytes, each is paired with the first one, which alone is compared with
    other images.
    """
    by_digest: dict[bytes, list[int]] = defaultdict(list)
    for i, found in enumerate(looks):
        if found.digest:
            by_digest[found.digest].append(i)
    pairs = [Duplicate(g[0], i, "exact", 1.0) for g in by_digest.values() for i in g[1:]]
    if near:
        first = [g[0] for g in by_digest.values() if looks[g[0]].thumb is not None]
        pairs += _near(first, paths, looks, threads, tell)
    return sorted(pairs)


def groups(pairs: Iterable[Duplicate]) -> list[list[int]]:
    """Images that are the same as each other, directly or by way of others; sorted."""
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.setdefault(i, i) != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for pair in pairs:
        parent[root(pair.b)] = root(pair.a)
    members: dict[int, list[int]] = defaultdict(list)
    for i in sorted(parent):
        members[root(i)].append(i)
    return sorted(members.values())


def _near(
    places: Sequence[int],
    paths: Sequence[Path],
    looks: Sequence[Look],
    threads: int,
    tell: Callable[[int], None] | None,
) -> list[Duplicate]:
    if len(places) < 2:
        return []
    thumbs = np.stack([np.asarray(looks[i].thumb) for i in places])
    asked = candidates(describe(thumbs), threads, tell)
    by_pair: dict[tuple[int, int], list[Candidate]] = defaultdict(list)
    for pair in asked:
        by_pair[min(pair.a, pair.b), max(pair.a, pair.b)].append(pair)

    def judged(ways: list[Candidate]) -> tuple[float, Candidate]:
        for way in dict.fromkeys(ways):
            if agreement(thumbs, way) < SAME:
                continue
            one, other = (look(paths[places[i]], 2 * THUMB).thumb for i in (way.a, way.b))
            if one is None or other is None:  # changed in the meantime
                continue
            if (value := closer_agreement(one, other, way)) >= SAME_CLOSELY:
                return value, way
        return 0.0, ways[0]

    with ThreadPoolExecutor(max(1, threads), "tinysight-verify") as pool:
        results = list(pool.map(judged, by_pair.values()))
    same = []
    for value, way in results:
        if value:
            a, b = sorted((places[way.a], places[way.b]))
            same.append(Duplicate(a, b, _how(way), round(value, 3)))
    return same


def _how(pair: Candidate) -> str:
    words = [word for word in ("cropped" if pair.window else "", _HOW[pair.flip]) if word]
    return " and ".join(words) or "similar"

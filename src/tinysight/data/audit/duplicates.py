"""Duplicates: the same bytes, or the same image re-encoded, scaled, cropped or mirrored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.concurrency import by_key, ordered_map, thread_count
from tinysight.data.audit.candidates import Candidate, candidates, describe
from tinysight.data.audit.inspect import THUMB, ImageInfo, Progress, inspect, inspect_all
from tinysight.data.audit.match import SAME, agreement

_HOW = ("", "mirrored", "upside down", "turned by 180 degrees")


class Duplicate(NamedTuple):
    """Two places in a list whose images are the same.

    Attributes:
        a: the earlier place.
        b: the later place.
        how: `exact` (the same bytes), or what was done to one of them as far as it shows: `similar`,
            `cropped`, `mirrored`, ...
        agreement: likeness, from 0.5, the least that counts, to 1.
    """

    a: int
    b: int
    how: str
    agreement: float


def find_duplicates(
    paths: Sequence[Path],
    infos: Sequence[ImageInfo] | None = None,
    *,
    threads: int | None = None,
    near: bool = True,
    progress: Progress = None,
) -> list[Duplicate]:
    """The pairs of files that hold the same image; files that cannot be read are passed over.

    Of files with the same bytes, each is paired with the first one, which alone is compared with
    other images.

    Args:
        paths: image files.
        infos: what each file holds, where that is known already.
        threads: number of threads, >= 1; default: one for each processor.
        near: compare pixels, too, and not only bytes.
        progress: called with the number of images that are compared.
    """
    threads = thread_count(threads)
    infos = list(inspect_all(paths, threads)) if infos is None else infos
    by_digest = by_key((info.digest, i) for i, info in enumerate(infos) if info.digest)
    pairs = [Duplicate(g[0], i, "exact", 1.0) for g in by_digest.values() for i in g[1:]]
    first = [g[0] for g in by_digest.values() if infos[g[0]].thumb is not None]
    if near and len(first) > 1:
        thumbs = np.stack([np.asarray(infos[i].thumb) for i in first])
        pairs += _near([paths[i] for i in first], first, thumbs, threads, progress)
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
    return sorted(by_key((root(i), i) for i in sorted(parent)).values())


def _near(
    paths: Sequence[Path], places: Sequence[int], thumbs: np.ndarray, threads: int, tell: Progress
) -> list[Duplicate]:
    ways = candidates(describe(thumbs), threads, tell)
    by_pair = by_key(((min(way.a, way.b), max(way.a, way.b)), way) for way in ways)

    def best(ways: Sequence[Candidate]) -> Duplicate | None:
        for way in dict.fromkeys(ways):
            if agreement(thumbs[way.a], thumbs[way.b], way) < SAME:
                continue
            one, other = (inspect(paths[i], 2 * THUMB).thumb for i in (way.a, way.b))
            if one is None or other is None:  # changed in the meantime
                continue
            if (value := agreement(one, other, way)) >= SAME:
                a, b = sorted((places[way.a], places[way.b]))
                words = [word for word in ("cropped" if way.window else "", _HOW[way.flip]) if word]
                return Duplicate(a, b, " and ".join(words) or "similar", round(value, 3))
        return None

    return [same for same in ordered_map(best, by_pair.values(), threads, 8 * threads) if same]

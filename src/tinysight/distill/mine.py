"""Mining a pool: the images of each class that a teacher is surest of, and none that an evaluation set holds.

What the teacher says of an image is a line of `scores.jsonl`, appended in the order of the pool. A run that was
interrupted resumes behind the last whole line; memory holds what is selected, not the pool.
"""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.folder import MANIFEST
from tinysight.concurrency import thread_count
from tinysight.data.audit.duplicates import find_duplicates
from tinysight.data.audit.inspect import ImageInfo, inspect_all
from tinysight.data.rows import unlisted
from tinysight.errors import ConfigError, DataError
from tinysight.files import lock_file, sha256, to_yaml, write_atomic
from tinysight.pipelines.pipeline import open_bundle
from tinysight.pipelines.sources import ImageInput, iter_images
from tinysight.tasks.base import task_of_bundle
from tinysight.tasks.results import Unreadable

SCORES, MINED, ABOUT = "scores.jsonl", "mined.txt", "mined.yaml"
_SPARE = 1.1  # candidates for each place, so that one round of comparing mostly suffices


class Mining(NamedTuple):
    """What to mine, and how.

    Attributes:
        pool: folder of the images.
        teacher: a classifier's bundle.
        out: folder for the results.
        against: folders or lists of the images that must not be mined: the evaluation set's.
        per_class: most images of a class, >= 1.
        min_score: least score of the teacher's first class, in [0, 1].
        near: drop near-duplicates too, not only the same bytes.
        embedder: bundle that gives vectors, whose cosine from `similarity` on is one more kind of duplicate.
        similarity: see there, in (0, 1].
        threads: of everything, >= 1; None: one for each processor.
    """

    pool: Path
    teacher: Bundle
    out: Path
    against: Sequence[Path] = ()
    per_class: int = 1000
    min_score: float = 0.0
    near: bool = True
    embedder: Bundle | None = None
    similarity: float = 0.95
    threads: int | None = None


class Mined(NamedTuple):
    """What was mined.

    Attributes:
        counts: number of images by class name.
        unreadable: number of images of the pool that cannot be read, or listed; `scores.jsonl` names them.
        leaked: paths of dropped images that the evaluation set holds, with how and where.
        repeated: paths of dropped images that are a chosen one again, with how and which.
    """

    counts: dict[str, int]
    unreadable: int
    leaked: dict[str, str]
    repeated: dict[str, str]


class MinedImage(NamedTuple):
    """An image that the teacher scored; they sort by how sure it is, of two that are equal the later one first."""

    score: float
    order: int  # minus its place in the pool
    path: str


def mine(plan: Mining, progress: Callable[[], None] = lambda: None) -> Mined:
    """Score the pool, select, and write `mined.txt`: `path class-id` lines, the surest of each class first.

    As a list of unlabelled images (`data.train.unlabelled`) only its paths count.

    Args:
        plan: what to do.
        progress: called after each image of the pool.

    Raises:
        ConfigError: the teacher names no classes, the embedder gives no vectors, or a number is out of range.
        DataError: the pool has no image, has changed since an interrupted run, or `out` holds the scores of another.
    """
    if plan.per_class < 1:
        raise ConfigError("per_class", f"should be 1 or more, got {plan.per_class}")
    names = class_names(plan.teacher)
    if plan.embedder and plan.embedder.manifest.labels:
        raise ConfigError(str(plan.embedder.folder), "gives no vectors", "give an embedding bundle")
    unreadable = _score(plan, progress)
    selection = _Selection(plan)
    rows = [(s.path, label) for label, some in sorted(selection.chosen.items()) for s in some]
    write_atomic(plan.out / MINED, "".join(f"{path} {label}\n" for path, label in rows))
    counts = Counter(label for _, label in rows)
    by_name = {name: counts[label] for label, name in enumerate(names)}
    mined = Mined(by_name, unreadable, selection.leaked, selection.repeated)
    write_atomic(plan.out / ABOUT, to_yaml({**_key(plan), **mined._asdict()}))
    return mined


def class_names(teacher: Bundle) -> tuple[str, ...]:
    """The labels of a classifier.

    Raises:
        ConfigError: it is none.
    """
    names = teacher.manifest.labels
    if not names or task_of_bundle(teacher.manifest).source != "logits":
        where = str(teacher.folder)
        raise ConfigError(where, "this teacher names no classes", "give a classifier's bundle")
    return names


def _key(plan: Mining) -> dict[str, str]:
    """What the scores depend on."""
    digest = sha256((plan.teacher.folder / MANIFEST).read_bytes())
    return {"pool": str(plan.pool.resolve()), "teacher": digest}


def _score(plan: Mining, progress: Callable[[], None]) -> int:
    """Append what the teacher says of each image that has no line yet; the number that cannot be read, of all."""
    path = plan.out / SCORES
    plan.out.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        lock_file(file, str(path))
        images = iter_images(plan.pool)
        failed = _resume(file, plan, images, progress)

        def write(name: str, **said: Any) -> None:
            line = {"path": os.path.abspath(name), **said}  # noqa: PTH100 - keeps links
            file.write(json.dumps(line).encode() + b"\n")
            progress()

        def note(image: Unreadable) -> None:
            nonlocal failed
            failed += 1
            write(image.filename, problem=image.reason)

        # Batches of one: so an image that cannot be read has its line in its place.
        teacher = open_bundle(plan.teacher, workers=thread_count(plan.threads))
        for (name,), scores in teacher.scores(images, on_unreadable=note):
            if why := unlisted(os.path.abspath(name)):  # noqa: PTH100
                note(Unreadable(name, why))
                continue
            label = int(scores[0].argmax())
            write(name, label=label, score=round(float(scores[0, label]), 6))
        file.flush()
        os.fsync(file.fileno())
    return failed


def _resume(
    file: IO[bytes], plan: Mining, images: Iterator[ImageInput], progress: Callable[[], None]
) -> int:
    """Pass over the images of `images` that have a line; the number of these that cannot be read.

    A last line that was not finished is cut off. A file that is new gets its first line, which says of what it is.
    """
    path, key = plan.out / SCORES, _key(plan)
    file.seek(0)
    if not (first := file.readline()).endswith(b"\n"):
        file.truncate(0)
        file.write(json.dumps(key).encode() + b"\n")
        return 0
    if json.loads(first) != key:
        what = "holds the scores of another pool or teacher"
        raise DataError(str(path), what, "choose another --out")
    failed = 0
    while (line := file.readline()).endswith(b"\n"):
        said, image = json.loads(line), next(images, None)
        if image is None or os.path.abspath(image.name) != said["path"]:  # noqa: PTH100
            what = f"has changed since it was scored: {said['path']} is not where it was"
            raise DataError(str(plan.pool), what, f"remove {path} to score it again")
        failed += "problem" in said
        progress()
    file.truncate(file.tell() - len(line))
    return failed


def _read(plan: Mining) -> Iterator[tuple[int, MinedImage]]:
    """Class and score of each image that has one, in the order of the pool."""
    with (plan.out / SCORES).open("rb") as file:
        next(file)
        for order, line in enumerate(file):
            said = json.loads(line)
            if said.get("score", -1.0) >= plan.min_score:
                yield said["label"], MinedImage(said["score"], -order, said["path"])


class _Selection:
    """The images that are chosen: rounds of taking the surest and dropping what is a duplicate."""

    def __init__(self, plan: Mining) -> None:
        self._plan = plan
        self._held = [os.path.abspath(i.name) for s in plan.against for i in iter_images(s)]  # noqa: PTH100
        self._infos: dict[str, ImageInfo] = {}
        self._vectors: dict[str, np.ndarray | None] = {}
        self.leaked: dict[str, str] = {}
        self.repeated: dict[str, str] = {}
        while self._drop(chosen := self._surest()):
            pass
        self.chosen = {label: some[: plan.per_class] for label, some in chosen.items()}

    def _surest(self) -> dict[int, list[MinedImage]]:
        """The surest of each class that are not dropped, a few more than are wanted, best first."""
        most = int(_SPARE * self._plan.per_class) + 1
        best: dict[int, list[MinedImage]] = {}
        for label, scored in _read(self._plan):
            if scored.path in self.leaked or scored.path in self.repeated:
                continue
            some = best.setdefault(label, [])
            if len(some) < most:
                heapq.heappush(some, scored)
            else:
                heapq.heappushpop(some, scored)
        return {label: sorted(some, reverse=True) for label, some in best.items()}

    def _drop(self, chosen: Mapping[int, Sequence[MinedImage]]) -> bool:
        """Drop the duplicates among `chosen`; False where there are none, so that the selection stands."""
        before = len(self.leaked) + len(self.repeated)
        ranked = sorted((s for some in chosen.values() for s in some), reverse=True)
        paths = [*self._held, *(s.path for s in ranked)]
        fresh = [p for p in dict.fromkeys(paths) if p not in self._infos]
        threads = thread_count(self._plan.threads)
        self._infos.update(zip(fresh, inspect_all(list(map(Path, fresh)), threads), strict=True))
        infos = [self._infos[p] for p in paths]
        near = self._plan.near
        for a, b, how, _ in find_duplicates(
            list(map(Path, paths)), infos, threads=threads, near=near
        ):
            # Of a pair the later one is the one that is less sure; of two that are held nothing is dropped.
            if a < len(self._held) <= b:
                self.leaked.setdefault(paths[b], f"{how}: {paths[a]}")
            elif a >= len(self._held):
                self.repeated.setdefault(paths[b], f"{how}: {paths[a]}")
        if self._plan.embedder is not None:
            self._compare_vectors(self._plan.embedder, paths)
        return len(self.leaked) + len(self.repeated) > before

    def _compare_vectors(self, embedder: Bundle, paths: Sequence[str]) -> None:
        """Drop what is as near to a held image as `similarity` says."""
        fresh = [p for p in dict.fromkeys(paths) if p not in self._vectors]
        self._vectors.update(dict.fromkeys(fresh))
        pipeline = open_bundle(embedder, workers=thread_count(self._plan.threads))
        for names, rows in pipeline.scores(fresh, on_unreadable=lambda image: None):
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
            self._vectors.update(zip(names, rows, strict=True))
        held = [p for p in self._held if self._vectors[p] is not None]
        if not held:
            return
        gallery = np.stack([np.asarray(self._vectors[p]) for p in held])
        for path in paths[len(self._held) :]:
            if (vector := self._vectors[path]) is not None and path not in self.leaked:
                cosines = gallery @ vector
                if cosines[nearest := int(cosines.argmax())] >= self._plan.similarity:
                    self.leaked[path] = f"cosine {cosines[nearest]:.3f}: {held[nearest]}"

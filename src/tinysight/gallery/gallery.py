"""A gallery with the bundle that makes its vectors: images in, the nearest items out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinysight.bundle import MANIFEST, Bundle
from tinysight.bundle.folder import read_sealed
from tinysight.concurrency import ordered_map
from tinysight.disk import read_regular
from tinysight.errors import ConfigError, GalleryError
from tinysight.gallery.base import Item, Match, Metric
from tinysight.gallery.entries import (
    GalleryEntry,
    GallerySource,
    check_label,
    iter_entries,
    plain,
)
from tinysight.gallery.places import create_store, open_store
from tinysight.pipelines.pipeline import BundlePipeline, Pipeline, open_bundle
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks.postprocess import result_type
from tinysight.tasks.results import CodeResult, EmbeddingResult, Unreadable

if TYPE_CHECKING:
    from tinysight.pipelines.sources import ImageSource

BATCH = 64  # images of one transaction


@dataclass
class Added:
    """What became of the images that were to be added.

    Attributes:
        written: items that are new or have changed.
        embedded: images that the network ran on.
        reused: items with the vector of the same bytes elsewhere in the gallery.
        unchanged: items that were there already.
        unreadable: images that have no vector therefore; they are items all the same.
    """

    written: int = 0
    embedded: int = 0
    reused: int = 0
    unchanged: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)


class _Read(NamedTuple):
    entry: GalleryEntry
    content: str
    data: bytes | np.ndarray | None
    problem: str = ""


class Gallery:
    """What is known by its vectors, and edited while it is in use.

    Args:
        path: folder of the gallery.
        model: the bundle that makes the vectors; default: where it was last.
        options: of the pipeline: `engine`, `threads`, `workers`, `precision`.

    Attributes:
        store: holds the items.

    Raises:
        GalleryError: there is none, it is damaged, or another bundle made it.

    >>> gallery = Gallery("products")  # doctest: +SKIP
    >>> gallery.add("new_ones/", label="Oolong tea, 500 ml").written  # doctest: +SKIP
    3
    >>> gallery.query("photo.jpg", k=1)  # doctest: +SKIP
    [Match(id='new_ones/1.jpg', label='Oolong tea, 500 ml', score=0.91)]
    """

    def __init__(self, path: str | Path, *, model: Any = None, **options: Any) -> None:
        self.store = open_store(path)
        self._given, self._options = model, options
        self._pipeline: BundlePipeline[Any] | None = None
        if model is not None:
            self.check_model(_loaded(model))

    @classmethod
    def create(
        cls, path: str | Path, *, model: Any, metric: Metric | None = None, **options: Any
    ) -> Gallery:
        """An empty gallery for the vectors of a bundle.

        Args:
            path: folder, which is made.
            model: a bundle of vectors or codes: a folder, a shipped bundle's name, or one that is loaded.
            metric: default: `hamming` for codes, else `cosine`.
            options: of the pipeline.

        Raises:
            GalleryError: a gallery is there already.
            ConfigError: the bundle gives something else, or vectors that are not compared so.
        """
        bundle = _loaded(model)
        vector = _vector(_opened(bundle, options)(np.zeros((64, 64, 3), np.uint8)))
        codes = vector.dtype == np.uint8
        metric = metric or ("hamming" if codes else "cosine")
        if (metric == "hamming") is not codes:
            kind = "codes" if codes else "vectors"
            raise ConfigError("metric", f"the bundle gives {kind}, not compared by {metric}")
        about, dim = json.dumps(_about(bundle)), len(vector) * (8 if codes else 1)
        create_store(path, metric=metric, dim=dim, model=about).close()
        return cls(path, model=bundle, **options)

    @property
    def model(self) -> dict[str, str]:
        """`name`, `folder` and `sha256` (of its manifest) of the bundle that makes the vectors."""
        found: dict[str, str] = json.loads(self.store.model or "{}")
        return found

    @property
    def pipeline(self) -> BundlePipeline[Any]:
        """The bundle, opened; raises `GalleryError` if it is gone or another one."""
        if self._pipeline is None:
            about = self.model
            if self._given is None and not about:
                hint = "give the bundle as --model"
                raise GalleryError(
                    str(self.store.folder), "its vectors are of no known bundle", hint
                )
            bundle = _loaded(self._given if self._given is not None else about["folder"])
            self.check_model(bundle)
            self._pipeline = _opened(bundle, self._options)
        return self._pipeline

    def add(
        self, source: GallerySource, label: str | None = None, *, what: str = "add",
        progress: Callable[[int], object] | None = None, **options: Any,
    ) -> Added:  # fmt: skip
        """Add images, or replace those with the same ids; nothing that is known is embedded again.

        Batches are written one by one, so what ends this early is taken up by the next call. It is one operation for
        `undo`. An image that cannot be read is an item without a vector, and does not end it.

        Args:
            source: see `iter_entries`.
            label: of every image.
            what: name of the operation.
            progress: called with the number of images that are done.
            options: `root` and `delimiter` of `iter_entries`.
        """
        done, count = Added(), 0
        entries = iter_entries(source, label, **options)
        with self.store.operation(what):
            while batch := list(islice(entries, BATCH)):
                self._add(batch, done)
                count += len(batch)
                if progress:
                    progress(count)
        return done

    def _add(self, batch: list[GalleryEntry], done: Added) -> None:
        read = [_named(one) for one in ordered_map(_read, batch, 2, BATCH)]
        there = {item.id: item for item in self.store.get([one.entry.id for one in read])}
        items, fresh = list[Item](), list[_Read]()
        for one in read:
            old = there.get(one.entry.id)
            known = old if old and old.content == one.content and old.vector is not None else None
            if known is None and one.content:
                known = self.store.of_content(one.content)
            if one.problem:
                done.unreadable.append(Unreadable(one.entry.image.name, one.problem))
                items += [] if old else [_item(one)]  # of a file that is gone, what was known stays
            elif known is None:
                fresh.append(one)
            else:
                items.append(_item(one, known.vector, known.pixels))
                done.reused += known is not old
        items += self._embedded(fresh, done)
        changed = [item for item in items if not _same(there.get(item.id), item)]
        done.unchanged += len(items) - len(changed)
        if changed:
            done.written += self.store.add(changed)

    def _embedded(self, fresh: list[_Read], done: Added) -> Iterator[Item]:
        """Items of images that the gallery has no vector of; of equal files one is embedded."""
        first = {one.content: one for one in reversed(fresh)}
        found = dict(zip(first, self._vectors([*first.values()]), strict=True)) if fresh else {}
        for one in fresh:
            vector, text = found[one.content]
            if vector is None:
                done.unreadable.append(Unreadable(one.entry.image.name, text))
                yield _item(one)
            else:
                done.embedded += first[one.content] is one
                done.reused += first[one.content] is not one
                yield _item(one, vector, text)

    def _vectors(self, images: list[_Read]) -> Iterator[tuple[np.ndarray | None, str]]:
        """The vector of each image and the hash of its pixels, or None and why there is none."""
        pixels, steps = dict[int, str](), self.pipeline.steps

        def decode(data: bytes) -> np.ndarray:
            image = steps.decode(data)
            pixels[id(data)] = _hash_of(image)
            return image

        decoding = Pipeline[Any](
            steps._replace(decode=decode), self.pipeline.batch_size, self.pipeline.workers
        )
        inputs = (ImageInput(one.entry.image.name, one.data) for one in images)  # type: ignore[arg-type]
        for one, result in zip(images, decoding.stream(inputs), strict=True):
            if isinstance(result, Unreadable):
                yield None, result.reason
            else:
                yield _vector(result), pixels.get(id(one.data), one.content)

    def embed(self, images: Iterable[ImageSource]) -> np.ndarray:
        """Vectors of images, (N, D) float32 or (N, D / 8) uint8; raises `ImageError` for one that cannot be read."""
        vectors = [_vector(result) for result in self.pipeline.batch(images)]
        return np.stack(vectors) if vectors else self.store.layout.unpack([])

    def query(self, image: ImageSource, k: int = 5) -> list[Match]:
        """The `k` items nearest to an image, best first; raises `ImageError` if it cannot be read."""
        found: list[Match] = self.store.search(self.embed([image]), k)[0]
        return found

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def check_model(self, bundle: Bundle) -> None:
        """Raise `GalleryError` if another bundle made the vectors."""
        about, made = _about(bundle), self.model
        if made and made["sha256"] != about["sha256"]:
            what = f"its vectors are of the bundle {made['name']}, not of this {about['name']}"
            hint = "`tinysight gallery re-embed` makes a gallery of other vectors"
            raise GalleryError(str(self.store.folder), what, hint)


def update(
    store: Any, ids: Sequence[str], label: str | None = None, metadata: Mapping[str, object] | None = None
) -> int:  # fmt: skip
    """Change the label of items, or keys of their metadata, and the number of these items.

    Raises:
        DataError: the label is empty.
        GalleryError: one is not there; then nothing has changed.
    """
    if label is not None:
        check_label(label, "label")
    with store.operation("update"), store.writing():
        items = store.get(ids)
        if missing := sorted({*ids} - {item.id for item in items}):
            what, hint = f"no item {missing[0]!r}", "`tinysight gallery list` has them"
            raise GalleryError(str(store.folder), what, hint)
        names = [item.label if label is None else label for item in items]
        return int(
            store.add(
                item._replace(label=name, metadata={**item.metadata, **(metadata or {})})
                for item, name in zip(items, names, strict=True)
            )
        )


def _loaded(model: Any) -> Bundle:
    return model if isinstance(model, Bundle) else Bundle.load(model)


def _opened(bundle: Bundle, options: Mapping[str, Any]) -> BundlePipeline[Any]:
    """Images are decoded whole: items and queries are compared to the last digits."""
    pipeline = open_bundle(bundle, exact=True, **options)
    if result_type(bundle.manifest.postprocess) not in (EmbeddingResult, CodeResult):
        what = f"gives {bundle.manifest.postprocess['name']}, a gallery needs embeddings"
        hint = "export it with export.postprocess={name: embedding}"
        raise ConfigError(str(bundle.folder), what, hint)
    return pipeline


def _about(bundle: Bundle) -> dict[str, str]:
    text = read_sealed(bundle.folder, MANIFEST)
    folder = bundle.folder.resolve()
    return {"name": folder.name, "folder": str(folder), "sha256": sha256(text).hexdigest()}


def _vector(result: Any) -> np.ndarray:
    if isinstance(result, CodeResult):
        return result.code.astype(np.uint8)
    return np.asarray(result.embedding, np.float32)


def _read(entry: GalleryEntry) -> _Read:
    data = entry.image.data
    if isinstance(data, np.ndarray):
        return _Read(entry, _hash_of(data), data)
    try:
        data = read_regular(data) if isinstance(data, str) else data
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        return _Read(entry, "", None, str(text).lower())
    return _Read(entry, sha256(data).hexdigest(), data)


def _named(one: _Read) -> _Read:
    """With an id, where an image came without a name."""
    return one if one.entry.id else one._replace(entry=one.entry._replace(id=one.content[:16]))


def _item(one: _Read, vector: np.ndarray | None = None, pixels: str = "") -> Item:
    entry = one.entry
    source = plain(entry.image.name)
    return Item(entry.id, entry.label, vector, one.content, pixels, source, dict(entry.metadata))


def _same(a: Item | None, b: Item) -> bool:
    """Whether both say the same; vectors of the same bytes are equal."""
    missing = a is not None and (a.vector is None) == (b.vector is None)
    return a is not None and missing and a._replace(vector=None) == b._replace(vector=None)


def _hash_of(pixels: np.ndarray) -> str:
    """SHA-256 of pixels and their shape."""
    return sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()

"""The index of PP-ShiTu: a gallery of ours in its folder, built, added to and removed from by PaddleClas' settings.

An index of PaddleClas is a folder with `vector.index` and an id map. It is read, and becomes a gallery in the cache, or
in its own folder when it is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinysight.bundle import Bundle
from tinysight.compat.paddle.dialect.shitu import IndexSettings
from tinysight.compat.paddle.faiss_index import ID_MAPS, INDEX, read_gallery, split_line
from tinysight.errors import ConfigError, DataError
from tinysight.fetch import cache_folder
from tinysight.fetch.cache import locked
from tinysight.files import sha256
from tinysight.gallery.base import Item, Metric
from tinysight.gallery.database import FILE
from tinysight.gallery.gallery import Gallery
from tinysight.gallery.sqlite_store import SqliteStore
from tinysight.pipelines.pipeline import Classifier
from tinysight.pipelines.recognize import vector_of
from tinysight.tasks.results import Unreadable


class Changed(NamedTuple):
    """What was done to a gallery.

    Attributes:
        added: items.
        removed: items.
        total: items that it has now.
        unreadable: images that could not be read, or were to be removed and are not there, and why.
    """

    added: int
    removed: int
    total: int
    unreadable: tuple[Unreadable, ...] = ()


def open_index(settings: IndexSettings) -> SqliteStore:
    """The gallery of an index folder: ours, else what PaddleClas' files hold, in the cache.

    Raises:
        DataError: there is neither.
        WeightsError: PaddleClas' files are damaged.
    """
    folder = Path(settings.folder)
    if (folder / FILE).exists():
        return SqliteStore(folder)
    files = [folder / name for name in (INDEX, *ID_MAPS) if (folder / name).is_file()]
    if not files:
        hint = "build it first: --build_gallery=True -c YAML, or `tinysight gallery`"
        raise DataError(str(folder), f"IndexProcess.index_dir: no gallery, and no {INDEX}", hint)
    digest = sha256("".join(sha256(file.read_bytes()) for file in files).encode())
    place = cache_folder() / "galleries" / digest[:16]
    if not (place / FILE).exists():
        with locked(place):
            if not (place / FILE).exists():
                import_index(folder, place, settings.delimiter)
    return SqliteStore(place)


def import_index(folder: Path, target: Path, delimiter: str | None = None) -> SqliteStore:
    """A gallery in `target` with what `vector.index` and the id map of `folder` hold.

    Raises:
        DataError: see `faiss_index.read_gallery`.
        WeightsError: as there.
    """
    metric, items = read_gallery(folder, delimiter)
    if not items:
        raise DataError(str(folder), f"{INDEX} is empty")
    store = SqliteStore.create(target, metric=metric, dim=_size(metric, items[0]))
    store.add(items)
    return store


def change_index(settings: IndexSettings, bundle: Bundle | None, threads: int = 1) -> Changed:
    """Do what `IndexProcess.index_operation` says: build the gallery anew, append to it, or remove from it.

    An image that cannot be read is left out, and named in what comes back.

    Args:
        settings: of the index.
        bundle: the embedder; removing does without.
        threads: CPU threads of it.

    Raises:
        ConfigError: a setting is missing, or does not fit the network.
        GalleryError: another bundle made the vectors of the gallery.
        DataError: the list cannot be read, or none of its images.
    """
    if not settings.folder or not settings.list:
        missing = "data_file" if settings.folder else "index_dir"
        raise ConfigError(f"IndexProcess.{missing}", "is needed to build a gallery")
    lines = list(read_list(settings.list, settings.delimiter))
    if settings.operation == "remove":
        return _removed(settings, lines)
    if not bundle:
        raise ConfigError("Global.rec_inference_model_dir", "is needed to build a gallery")
    made, unreadable = list[Item](), list[Unreadable]()
    model = Classifier(bundle, batch_size=max(settings.batch_size, 1), threads=threads)
    paths = [str(Path(settings.image_root) / source) for source, _ in lines]
    for (source, label), result in zip(lines, model.stream(paths), strict=True):
        if isinstance(result, Unreadable):
            unreadable.append(result)
        else:
            made.append(Item(str(len(made)), label, vector_of(result), source=source))
    if not made:
        what = f"none of {len(lines)} images can be read"
        raise DataError(settings.list, what, ": ".join(unreadable[0]))
    return _written(settings, bundle, made, unreadable)


def _written(
    settings: IndexSettings, bundle: Bundle, made: Sequence[Item], unreadable: Sequence[Unreadable]
) -> Changed:
    folder, size, gone = Path(settings.folder), _size(settings.metric, made[0]), 0
    if settings.size not in (None, size):
        what = f"is {settings.size}, the network gives {size} numbers"
        raise ConfigError("IndexProcess.embedding_size", what)
    if (folder / FILE).exists():
        store = Gallery(folder, model=bundle).store  # not of another one
    elif settings.operation == "append":
        store = import_index(folder, folder, settings.delimiter)
    else:
        store = SqliteStore.create(folder, metric=settings.metric, dim=size)
    if (store.metric, store.dim) != (settings.metric, size):
        what = f"is a gallery of {store.dim} numbers by {store.metric}, not {size} by {settings.metric}"
        raise ConfigError(str(folder), what, "name another IndexProcess.index_dir")
    with store.operation(f"{settings.operation} {settings.list}"):
        if settings.operation == "new":
            gone = store.remove([item.id for item in every(store)])
        first = max((int(i.id) for i in every(store) if i.id.isdecimal()), default=-1) + 1
        store.add(item._replace(id=str(first + place)) for place, item in enumerate(made))
    return Changed(len(made), gone, store.count(), tuple(unreadable))


def _removed(settings: IndexSettings, lines: Sequence[tuple[str, str]]) -> Changed:
    folder = Path(settings.folder)
    store = SqliteStore(folder) if (folder / FILE).exists() else import_index(
        folder, folder, settings.delimiter
    )  # fmt: skip
    wanted = set(lines)
    found = {item.id: (item.source, item.label) for item in every(store)}
    ids = [one for one, line in found.items() if line in wanted]
    missing = wanted - set(found.values())
    text = "the gallery has no item of this path and label"
    left = tuple(Unreadable(line[0], text) for line in lines if line in missing)
    return Changed(0, store.remove(ids), store.count(), left)


def _size(metric: Metric, item: Item) -> int:
    """Numbers of its vector, or bits."""
    count = 0 if item.vector is None else len(item.vector)
    return count * (8 if metric == "hamming" else 1)


def every(store: SqliteStore) -> Iterator[Item]:
    """All items of a gallery, in the order of their ids."""
    after = ""
    while page := store.items(after=after):
        yield from page
        after = page[-1].id


def read_list(path: str, delimiter: str | None) -> Iterator[tuple[str, str]]:
    """Path and label of each line; a label keeps its blanks.

    Raises:
        DataError: not readable, empty, or a line without a label.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise DataError(path, f"not readable as a list: {text}") from None
    numbered = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        raise DataError(path, "this list is empty")
    for number, line in numbered:
        source, label = split_line(line, delimiter)
        if not source or not label:
            what = f"no path, {delimiter!r} and label: {line.strip()[:60]!r}"
            raise DataError(f"{path}:{number}", what, "IndexProcess.delimiter says what is between")
        yield source, label

"""A gallery in a collection of Milvus, for more vectors than one machine holds, or for many machines that search.

What differs from a folder: an `add` of more than a batch of items is several transactions, nothing can be undone, and
the search is Milvus' (HNSW, and the exact scores of what it finds). Reads are strongly consistent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from tinysight.errors import ConfigError, GalleryError, MissingDependency
from tinysight.gallery.base import Item, Match, Metric, ranked
from tinysight.gallery.entries import all_items
from tinysight.gallery.matrix import Layout
from tinysight.gallery.nearest import exact_scores
from tinysight.gallery.sqlite_store import encode

SCHEME = "milvus://"
_BATCH = 500  # items of one message
_LONGEST = 65535  # bytes of a text
_METRICS = {"cosine": "COSINE", "inner_product": "IP", "l2": "L2", "hamming": "HAMMING"}
_GRAPH = {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 128}}
_FIELDS = ["id", "label", "vector", "known", "content", "about"]
_ABOUT = ""  # the id of the row that holds what is known of the gallery; no item has it
_TIMEOUT = 30.0  # seconds
# Pages in the order of the ids, which Milvus gives to its own iterators only.
_ORDERED = {"iterator": "True", "reduce_stop_for_best": "True"}


class MilvusStore:
    """A gallery's items in a collection; see `Store`.

    Args:
        url: `milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION`; or with `milvus:///PATH/COLLECTION` a file of Milvus
            Lite, PATH, which ends in `.db`.

    Raises:
        GalleryError: there is no such collection, or no server.
        MissingDependency: pymilvus is not installed.
    """

    operation = writing = staticmethod(
        nullcontext
    )  # there is no `undo`, and no transaction of several calls

    def __init__(self, url: str) -> None:
        self.folder, (self._client, self._name) = _shown(url), _connect(url)
        with _in_words(self.folder):
            if not self._client.has_collection(self._name):
                hint = "`tinysight gallery migrate` fills one"
                raise GalleryError(self.folder, "there is no such collection", hint)
            self._client.load_collection(self._name)
            index = self._client.describe_index(self._name, "vector")
            fields = self._client.describe_collection(self._name)["fields"]
        kinds = {theirs: ours for ours, theirs in _METRICS.items()}
        self.metric: Metric = kinds[index["metric_type"]]  # type: ignore[assignment]
        vector = next(field for field in fields if field["name"] == "vector")
        self.dim = int(vector["params"]["dim"])
        self.layout = Layout(self.metric, self.dim)

    @classmethod
    def create(
        cls, url: str, *, metric: Metric = "cosine", dim: int, model: str | None = None
    ) -> MilvusStore:
        """An empty gallery in a new collection; parameters as of `SqliteStore.create`."""
        from pymilvus import DataType, MilvusClient

        client, name = _connect(url)
        with _in_words(_shown(url)):
            if client.has_collection(name):
                raise GalleryError(_shown(url), "this collection is there already")
            bits, text = metric == "hamming", DataType.VARCHAR
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", text, is_primary=True, max_length=_LONGEST)
            schema.add_field("label", text, max_length=_LONGEST)
            kind = DataType.BINARY_VECTOR if bits else DataType.FLOAT_VECTOR
            schema.add_field("vector", kind, dim=dim)
            schema.add_field("known", DataType.BOOL)
            schema.add_field("content", text, max_length=64)
            schema.add_field("about", DataType.JSON)
            index = client.prepare_index_params()
            how: Any = {"index_type": "BIN_FLAT"} if bits else _GRAPH
            index.add_index("vector", metric_type=_METRICS[metric], **how)
            client.create_collection(
                name, schema=schema, index_params=index, consistency_level="Strong"
            )
            client.close()
        store = cls(url)
        store.set(model=model)
        return store

    @staticmethod
    def exists(url: str) -> bool:
        """Whether there is such a collection."""
        client, name = _connect(url)
        with _in_words(_shown(url)):
            return bool(client.has_collection(name))

    @property
    def model(self) -> str | None:
        """What was last set as the maker of the vectors."""
        return self.setting("model")  # type: ignore[no-any-return]

    def setting(self, name: str) -> Any:
        """See `Store`."""
        return self._settings().get(name)

    def _settings(self) -> dict[str, Any]:
        found = self._query(f"id == {_quoted(_ABOUT)}", ["about"])
        return found[0]["about"] if found else {}

    def set(self, **values: Any) -> None:
        """See `Store`."""
        self._write([self._row(_ABOUT, "", None, "", {**self._settings(), **values})])

    def count(self) -> int:
        """See `Store`."""
        return int(self._query("id > ''", ["count(*)"])[0]["count(*)"])

    def add(self, items: Iterable[Item]) -> int:
        """Add or replace; see `Store`. Every item is checked first; then each batch is one transaction."""
        rows = dict[str, dict[str, Any]]()
        for item in items:
            one, label, blob, content, pixels, source, metadata, _ = encode(item, self.layout)
            vector = None if blob is None else self.layout.unpack([blob])[0]
            about = {"pixels": pixels, "source": source, "metadata": json.loads(metadata)}
            rows.pop(one, None)
            rows[one] = self._row(one, label, vector, content, about)
        waiting = iter(rows.values())
        while batch := list(islice(waiting, _BATCH)):
            self._write(batch)
        return len(rows)

    def remove(self, ids: Sequence[str]) -> int:
        """Remove; see `Store`. Each batch is one transaction."""
        there = [row["id"] for row in self._of_ids(ids, ["id"])]
        for part in _parts(there):
            with _in_words(self.folder):
                self._client.delete(self._name, filter=_among(part))
        return len(there)

    def get(self, ids: Sequence[str]) -> list[Item]:
        """See `Store`."""
        found = {row["id"]: self._item(row) for row in self._of_ids(ids, _FIELDS)}
        return [found[one] for one in ids if one in found]

    def items(self, *, label: str | None = None, after: str = "", limit: int = 1000) -> list[Item]:
        """See `Store`."""
        wanted = "" if label is None else f" and label == {_quoted(label)}"
        found: list[Item] = []
        while len(found) < limit:
            page = min(limit - len(found), _BATCH)
            rows = self._query(f"id > {_quoted(after)}{wanted}", _FIELDS, limit=page, **_ORDERED)
            found += map(self._item, rows)
            if len(rows) < page:
                break
            after = rows[-1]["id"]
        return found

    def of_content(self, content: str) -> Item | None:
        """An item of a file with this SHA-256 that has a vector."""
        where = f"content == {_quoted(content)} and known == true"
        rows = self._query(where, _FIELDS, limit=1) if content else []
        return self._item(rows[0]) if rows else None

    def ids_of(self, label: str) -> list[str]:
        """Ids of the items with a label."""
        return [item.id for item in all_items(self, label)]

    def search(self, vectors: np.ndarray, k: int) -> list[list[Match]]:
        """See `Store`."""
        if k < 1:
            raise ConfigError("k", f"should be 1 or more, got {k}")
        given = [self._checked(vector) for vector in np.asarray(vectors)]
        if not given:
            return []
        # A few more, for ties and for rounding.
        wanted = min(2 * k + 10, 16384)
        with _in_words(self.folder):
            found = self._client.search(
                self._name,
                data=[self._sent(vector) for vector in given],
                filter="known == true",
                limit=wanted,
                output_fields=["id", "label", "vector"],
                search_params={"params": {"ef": max(128, 2 * wanted)}},
                consistency_level="Strong",
            )
        return [
            ranked(self._scored(*one), self.metric, k) for one in zip(given, found, strict=True)
        ]

    def _scored(self, query: np.ndarray, hits: Sequence[Any]) -> Iterator[Match]:
        if rows := [hit["entity"] for hit in hits]:
            vectors = np.stack([self._received(row["vector"]) for row in rows])
            comparable = self.layout.comparable(vectors), self.layout.comparable(query[None])[0]
            scores = exact_scores(self.metric, *comparable).tolist()
            for row, score in zip(rows, scores, strict=True):
                yield Match(row["id"], row["label"], score)

    def close(self) -> None:
        """See `Store`."""
        self._client.close()

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        blob = encode(Item("query", "", vector), self.layout)[2]
        return np.asarray(self.layout.unpack([blob])[0])

    def _row(
        self, one: str, label: str, vector: np.ndarray | None, content: str, about: Any
    ) -> dict[str, Any]:
        # Milvus wants a vector of every row.
        some = np.ones(self.layout.width, self.layout.kind) if vector is None else vector
        known = vector is not None
        return dict(
            zip(_FIELDS, (one, label, self._sent(some), known, content, about), strict=True)
        )

    def _sent(self, vector: np.ndarray) -> Any:
        return vector.tobytes() if self.metric == "hamming" else vector.tolist()

    def _received(self, vector: Any) -> np.ndarray:
        if self.metric == "hamming":
            return np.frombuffer(b"".join(vector) if isinstance(vector, list) else vector, np.uint8)
        return np.asarray(vector, np.float32)

    def _item(self, row: Any) -> Item:
        vector = self._received(row["vector"]) if row["known"] else None
        return Item(row["id"], row["label"], vector, row["content"], **row["about"])

    def _of_ids(self, ids: Sequence[str], fields: list[str]) -> Iterator[Any]:
        for part in _parts([one for one in dict.fromkeys(ids) if one]):
            yield from self._query(_among(part), fields)

    def _query(self, where: str, fields: list[str], **options: Any) -> list[Any]:
        options["consistency_level"] = "Strong"
        with _in_words(self.folder):
            return list(self._client.query(self._name, where, fields, **options))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with _in_words(self.folder):
            self._client.upsert(self._name, rows)


def _connect(url: str) -> tuple[Any, str]:
    """A client, and the name of the collection."""
    try:
        from pymilvus import MilvusClient
    except ModuleNotFoundError:
        raise MissingDependency("pymilvus", "milvus", "a gallery in Milvus") from None
    parts = urlsplit(url)
    place, _, name = parts.path.rpartition("/")
    if not url.startswith(SCHEME) or not name.isidentifier() or bool(parts.netloc) == bool(place):
        hint = "write milvus://HOST:PORT/COLLECTION, the collection in letters, digits and _"
        raise ConfigError(_shown(url), "this is no address of a collection", hint)
    token = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    address = f"http://{parts.hostname}:{parts.port or 19530}" if parts.netloc else place
    with _in_words(_shown(url)):
        return MilvusClient(address, token=token, timeout=_TIMEOUT), name


def _shown(url: str) -> str:
    """Without user and password."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rpartition("@")[2]


@contextmanager
def _in_words(where: str) -> Iterator[None]:
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        raise GalleryError(where, f"Milvus says: {error.message}") from None


def _quoted(text: str) -> str:
    """As a constant of Milvus' expressions, whatever it holds."""
    return json.dumps(text, ensure_ascii=False)


def _among(ids: Sequence[str]) -> str:
    return f"id in [{', '.join(map(_quoted, ids))}]"


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]

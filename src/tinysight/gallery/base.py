"""What a gallery is made of, and what every place that can hold one does: see `Store`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

Metric = Literal["cosine", "inner_product", "l2", "hamming"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Item(NamedTuple):
    """One image (or one object of an image) that a gallery knows.

    Attributes:
        id: unique in its gallery.
        label: what it shows; blanks are kept.
        vector: (D,) float32, or (D / 8,) uint8 for `hamming`; None where it could not be embedded yet.
        content: SHA-256 of the file's bytes, hex, or of pixels that came without a file; "" where there was neither.
        pixels: SHA-256 of the decoded pixels, hex; "" where there were none.
        source: where it came from, as its owner wrote it.
        metadata: the owner's own keys and values (JSON).
    """

    id: str
    label: str
    vector: np.ndarray | None = None
    content: str = ""
    pixels: str = ""
    source: str = ""
    metadata: Mapping[str, object] = {}


class Match(NamedTuple):
    """One of the nearest items of a query.

    Attributes:
        id: of the item.
        label: of the item.
        score: similarity, higher is nearer, for `cosine` and `inner_product`; a distance, lower is nearer, for
            `l2` (squared) and `hamming` (bits that differ).
    """

    id: str
    label: str
    score: float


def is_distance(metric: Metric) -> bool:
    """Whether a lower score is nearer."""
    return metric in ("l2", "hamming")


def ranked(matches: Iterable[Match], metric: Metric, k: int) -> list[Match]:
    """The `k` nearest matches, best first; ties in the order of the ids."""
    sign = 1 if is_distance(metric) else -1
    return sorted(matches, key=lambda match: (sign * match.score, match.id))[:k]


class Store(Protocol):
    """Holds the items of one gallery.

    Every writing call is one transaction: all of it is there afterwards, or nothing. What was acknowledged survives a
    crash, and is seen by the next search of every reader.

    Attributes:
        metric: how two vectors are compared.
        dim: numbers (or bits, for `hamming`) of a vector.
    """

    metric: Metric
    dim: int

    def count(self) -> int:
        """The number of items, those without a vector among them."""
        ...

    def add(self, items: Iterable[Item]) -> int:
        """Add or replace (by id), and the number of items written."""
        ...

    def remove(self, ids: Sequence[str]) -> int:
        """Remove, and the number that was there."""
        ...

    def get(self, ids: Sequence[str]) -> list[Item]:
        """The items of these ids that are there, in this order."""
        ...

    def items(self, *, label: str | None = None, after: str = "", limit: int = 1000) -> list[Item]:
        """Up to `limit` items in the order of their ids, beginning behind `after`."""
        ...

    def search(self, vectors: np.ndarray, k: int) -> list[list[Match]]:
        """The `k` nearest of each of (Q, D) vectors, best first; ties in the order of the ids."""
        ...

    def setting(self, name: str) -> Any:
        """A text or number that was kept by this name; None: there is none."""
        ...

    def set(self, **values: Any) -> None:
        """Keep texts or numbers by their names."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

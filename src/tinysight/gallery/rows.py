"""The rows of a gallery as one reader has them: mapped ones of the matrix, and a tail that came since."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

from tinysight.gallery import nearest
from tinysight.gallery.index import ApproximateIndex, places_of
from tinysight.gallery.matrix import Layout


class Rows:
    """Rows of one generation; later ones are added at the end.

    Args:
        layout: of a row.
        base: the mapped rows.
        key: file and number of the mapped rows, by which a reader knows that they are still the right ones.

    Attributes:
        generation: of the database that they are the rows of.
        seq: number of the last row in the database.
        removed: number of the last removal that was noted.
    """

    def __init__(self, layout: Layout, base: np.ndarray, key: Any) -> None:
        self.layout, self.base, self.key = layout, base, key
        self.generation, self.seq, self.removed = -1, 0, 0
        self._tail, self._count = np.zeros(64, layout.record), 0
        self.gone: list[int] = []  # places of rows that do not count

    @cached_property
    def _squares(self) -> np.ndarray:
        """Of the mapped rows, side by side: an exact search reads them all."""
        return np.ascontiguousarray(self.base["square"])

    @property
    def tail(self) -> np.ndarray:
        """The rows behind the mapped ones."""
        return self._tail[: self._count]

    def add(self, rows: np.ndarray) -> None:
        """More rows, in the order of their numbers."""
        need = self._count + len(rows)
        if need > len(self._tail):
            grown = np.zeros(max(need, 2 * len(self._tail)), self._tail.dtype)
            grown[: self._count] = self.tail
            self._tail = grown
        self._tail[self._count : need] = rows
        self._count = need

    def remove(self, seqs: Iterable[int]) -> None:
        """Pass over the rows of these numbers, as far as they are here."""
        wanted = np.fromiter(seqs, np.int64)
        for part, start in ((self.base, 0), (self.tail, len(self.base))):
            self.gone += (places_of(part["seq"], wanted) + start).tolist()

    def at(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places."""
        far = places >= len(self.base)
        found = np.empty(len(places), self.layout.record)
        found[~far] = self.base[places[~far]]
        found[far] = self.tail[places[far] - len(self.base)]
        return found

    def nearest(
        self, queries: np.ndarray, k: int, index: ApproximateIndex | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each query the numbers and exact scores of the rows that may be among the `k` nearest.

        Args:
            queries: (Q, width), comparable.
            k: at least 1.
            index: proposes mapped rows, in place of a look at all of them.
        """
        edge, metric = len(self.base), self.layout.metric
        gone = np.array(sorted(self.gone), np.int64)
        before, behind = gone[gone < edge], gone[gone >= edge] - edge
        start, near = 0, [np.zeros(0, np.int64)] * len(queries)
        if index is not None:
            numbers = self.base["seq"]
            near = list(index.propose(queries, k, numbers, before))
            start = bisect_right(numbers, index.measured.last)
        if start < edge:
            squares = self._squares if index is None else self.base["square"][start:]
            base, passed = self.base["vector"][start:], before[before >= start] - start
            newer = nearest.propose(metric, base, squares, passed, queries, k)
            near = [np.concatenate([a, b + start]) for a, b in zip(near, newer, strict=True)]
        tail = self.tail["vector"], self.tail["square"]
        late = nearest.propose(metric, *tail, behind, queries, k)
        found = []
        for query, first, second in zip(queries, near, late, strict=True):
            rows = self.at(np.concatenate([first, second + edge]))
            found.append((rows["seq"], nearest.exact_scores(metric, rows["vector"], query)))
        return found

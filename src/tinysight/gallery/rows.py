"""The rows of a gallery as one reader has them: mapped ones of the matrix, and a tail that came since."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinysight.gallery import nearest
from tinysight.gallery.matrix import Layout

# From comparable queries (Q, width) and k to the places of mapped rows, (Q, C); -1 where there are fewer.
Approximate = Callable[[np.ndarray, int], np.ndarray]


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
        # One number a row, side by side: they are read at each search.
        self._squares = np.ascontiguousarray(base["square"])

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
            if len(part) and len(wanted):
                numbers = part["seq"]
                places = np.searchsorted(numbers, wanted).clip(max=len(part) - 1)
                hits = places[numbers[places] == wanted]
                self.gone += (hits + start).tolist()

    def at(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places."""
        far = places >= len(self.base)
        found = np.empty(len(places), self.layout.record)
        found[~far] = self.base[places[~far]]
        found[far] = self.tail[places[far] - len(self.base)]
        return found

    def nearest(
        self, queries: np.ndarray, k: int, approximate: Approximate | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each query the numbers and exact scores of the rows that may be among the `k` nearest.

        Args:
            queries: (Q, width), comparable.
            k: at least 1.
            approximate: proposes mapped rows, with enough to spare for those that are gone.
        """
        edge, metric = len(self.base), self.layout.metric
        gone = np.array(sorted(self.gone), np.int64)
        before, behind = gone[gone < edge], gone[gone >= edge] - edge
        if approximate is not None and edge:
            near = [p[(p >= 0) & ~np.isin(p, before)] for p in np.asarray(approximate(queries, k))]
        else:
            base = self.base["vector"]
            near = nearest.propose(metric, base, self._squares, before, queries, k)
        tail = self.tail["vector"], self.tail["square"]
        late = nearest.propose(metric, *tail, behind, queries, k)
        found = []
        for query, first, second in zip(queries, near, late, strict=True):
            rows = self.at(np.concatenate([first, second + edge]))
            found.append((rows["seq"], nearest.exact_scores(metric, rows["vector"], query)))
        return found

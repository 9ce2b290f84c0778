"""Images that cannot be read: counted, named once, and too many of them stop the run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from tinysight.data.lists import SampleList
from tinysight.errors import DataError

logger = logging.getLogger(__name__)

_NAMED = 10  # unreadable images that a message names


class Unreadable:
    """The unreadable images of the training list.

    Args:
        samples: the list.
        limit: the share of them that may be unreadable.
        known: reason by place in the list; changed in place.
        tell: whether this process names them.
    """

    def __init__(
        self, samples: SampleList, limit: float, known: dict[int, str], tell: bool = True
    ) -> None:
        self.known = known
        self._tell = tell
        self._samples = samples
        self._limit = limit

    def note(self, found: Iterable[tuple[int, str]]) -> None:
        """Take in the unreadable images of a batch.

        Raises:
            DataError: there are too many by now.
        """
        new = {index: reason for index, reason in found if index not in self.known}
        if not new:
            return
        self.known.update(new)
        cap(self.named(), self._samples, self._limit)
        if self._tell and len(self.known) <= _NAMED:
            for index, reason in new.items():
                logger.warning(
                    "%s: %s; left out of the training", self._samples[index].path, reason
                )

    def named(self) -> list[tuple[str, str]]:
        """Path and reason of each, in the order of the list."""
        return [(str(self._samples[i].path), reason) for i, reason in sorted(self.known.items())]


def cap(unreadable: Sequence[tuple[str, str]], samples: SampleList, limit: float) -> None:
    """Raise a `DataError` if more than `limit` of the images are unreadable."""
    if len(unreadable) <= limit * len(samples):
        return
    lines = [f"\n  {path}: {reason}" for path, reason in unreadable[:_NAMED]]
    if len(unreadable) > _NAMED:
        lines.append(f"\n  and {len(unreadable) - _NAMED} more")
    raise DataError(
        str(samples.source),
        f"{len(unreadable)} of {len(samples)} images are unreadable",
        f"repair or remove them, or raise data.max_bad_fraction ({limit:g}):" + "".join(lines),
    )

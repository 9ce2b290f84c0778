"""What one worker does with a shard; the same here, in another process, and on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinysight.batch.shards import Row
from tinysight.bundle import Bundle
from tinysight.pipelines.classify import Classifier
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks.results import as_row


class Worker:
    """A bundle that answers shard after shard.

    Args:
        bundle: loaded where the command was given; its network travels with it.
        options: of the `Classifier`.
        folder: that relative paths are meant from.
    """

    def __init__(self, bundle: Bundle, options: dict[str, Any], folder: str) -> None:
        self._folder = folder
        kind = Classifier
        if bundle.manifest.postprocess["name"] == "boxes":
            from tinysight.pipelines.detect import Detector as kind
        self._classifier = kind(bundle, **options)

    def answer(self, names: Sequence[str]) -> list[Row]:
        """A row for each image, in order: the answer, or why there is none."""
        found = (ImageInput(name, str(Path(self._folder, name))) for name in names)
        return [as_row(item) for item in self._classifier.stream(found)]

"""A detector: a bundle whose network gives rows of boxes and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinysight.pipelines.pipeline import BundlePipeline, Network
from tinysight.tasks.detection import rows_of
from tinysight.tasks.results import BoxResult


class _Row(NamedTuple):
    row: np.ndarray  # the network's input (1, C, H, W)
    size: tuple[int, int]  # of the image: height, width


class BoxNetwork(Network):
    """A network whose outputs are rows of boxes, (B, 6), and their number in each image, (N,)."""

    gives_boxes: ClassVar[bool] = True

    def row(self, row: np.ndarray, pixels: np.ndarray) -> _Row:
        """The row and the size of the image."""
        return _Row(row, pixels.shape[:2])

    def run(self, rows: list[Any]) -> Sequence[np.ndarray]:
        """Rows and counts, boxes in pixels of the images as they were given."""
        images: list[_Row] = rows
        if len(images) > 1 and self._bundle.manifest.input.shape[0] == 1:  # made for one image
            parts = zip(*(self.run([image]) for image in images), strict=True)
            return [np.concatenate(part) for part in parts]
        batch = np.concatenate([image.row for image in images])
        shape, sizes = batch.shape[2:], np.array([image.size for image in images], np.float32)
        factors = np.asarray(shape, np.float32) / sizes  # of height and of width
        known = {
            "im_shape": np.broadcast_to(np.asarray(shape, np.float32), sizes.shape),
            "scale_factor": factors,
        }
        about = self._bundle.manifest
        feeds = {name: np.ascontiguousarray(known[what]) for name, what in about.feeds.items()}
        outputs = self.opened().run_all({about.input.name: batch, **feeds})
        if len(outputs) == 2 and outputs[0].ndim == 3 and about.postprocess.get("suppress"):
            split = rows_of(outputs, about)
            outputs = [np.concatenate(split), np.array([len(rows) for rows in split])]
        if len(outputs) != 2 or outputs[1].size != len(images):
            found = [output.shape for output in outputs]
            what = f"boxes and counts expected for {len(images)} images, the network gives {found}"
            raise self._wrong(what)
        self.finite(outputs[0])
        if "scale_factor" not in about.feeds.values():
            outputs = _in_the_image(outputs, factors)
        return outputs


def _in_the_image(outputs: Sequence[np.ndarray], factors: np.ndarray) -> list[np.ndarray]:
    """Boxes in pixels of the network's input, brought back to the images' own."""
    rows, counts = outputs
    sides = np.repeat(factors, counts.reshape(-1), axis=0)  # (B, 2): height, width
    rows = rows.copy()
    rows[:, 2:] /= sides[:, [1, 0, 1, 0]]
    return [rows, counts]


class Detector(BundlePipeline[BoxResult]):
    """A detector's bundle, ready to predict; arguments and errors as for `Classifier`.

    Boxes are in pixels of the image as it was given. `scores` gives the network's outputs, rows and counts.
    """

    network: ClassVar[type[Network]] = BoxNetwork

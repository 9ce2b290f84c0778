"""Images in, boxes out, through a bundle whose network finds things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.errors import BundleError
from tinysight.pipelines.classify import Classifier


class _Prepared(NamedTuple):
    row: np.ndarray  # the network's input (1, C, H, W)
    size: tuple[int, int]  # of the image: height, width


class Detector(Classifier):
    """A detector's bundle, ready to answer: `predict` gives `postprocess.boxes.Found` with the `filename`.

    Arguments, attributes and errors as for `Classifier`; boxes are in pixels of the image as it was given. `scores`
    gives the network's outputs, rows and counts, instead of scores.
    """

    _as_given: ClassVar[bool] = True

    def _prepare(self, pixels: np.ndarray) -> _Prepared:
        return _Prepared(self._input(pixels), pixels.shape[:2])

    def _run(self, rows: list[Any]) -> Any:
        images = rows
        batch = np.concatenate([image.row for image in images])
        shape, sizes = batch.shape[2:], np.array([image.size for image in images], np.float32)
        factors = np.asarray(shape, np.float32) / sizes  # of height and of width
        known = {
            "im_shape": np.broadcast_to(np.asarray(shape, np.float32), sizes.shape),
            "scale_factor": factors,
        }
        about = self.manifest
        feeds = {name: np.ascontiguousarray(known[what]) for name, what in about.feeds.items()}
        outputs = self._session.run_all({about.input.name: batch, **feeds})
        if len(outputs) != 2 or outputs[1].size != len(images):
            shapes = [output.shape for output in outputs]
            what = f"boxes and counts expected for {len(images)} images, the network gives {shapes}"
            raise BundleError(self._where, what, "export the bundle again")
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


def open_bundle(model: str | Path | Bundle, **options: Any) -> Classifier:
    """A `Detector` where the bundle answers with boxes, else a `Classifier`; `options` are theirs."""
    bundle = model if isinstance(model, Bundle) else Bundle.load(model)
    boxes = bundle.manifest.postprocess["name"] == "boxes"
    return (Detector if boxes else Classifier)(bundle, **options)

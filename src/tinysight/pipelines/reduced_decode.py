"""Measures whether reduced decoding changes predictions, and records the result in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinysight.bundle import Bundle, fill, new_bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.errors import DataError
from tinysight.pipelines.pipeline import open_bundle, pipeline_for
from tinysight.transforms.compose import min_decode_size
from tinysight.transforms.decode import denominator
from tinysight.transforms.header import HeaderError, read_header

MAX_FLIPS = 0.001  # of the images
LEAST_IMAGES = 1000
MARGINS = (1.0, 2.0, 4.0)
_BATCH = 8


def measure(bundle: Bundle, paths: Sequence[str], margin: float) -> ReducedDecode:
    """Compare the results of `bundle` with reduced and with whole decoding.

    Only images that are reduced at this margin are compared and counted: for the others the two
    are the same, and would make any change look rarer than it is. A label flips when anything but
    the scores of what is printed changes: of the k best classes any id.

    Raises:
        DataError: the bundle's first transform is no resize, or its results are boxes.
    """
    manifest, where = bundle.manifest, str(bundle.folder)
    if pipeline_for(manifest).network.gives_boxes:
        what = "boxes are in pixels of the whole image, so it is always decoded whole"
        raise DataError(where, what)
    if (least := min_decode_size(manifest.transforms, margin)) is None:
        what = "the first transform is no resize, so JPEGs are always decoded whole"
        raise DataError(where, what)
    paths = [path for path in paths if _is_reduced(path, least)]
    allowed = replace(bundle, manifest=manifest._replace(decode=ReducedDecode(margin, 0, 0, 0.0)))
    whole, reduced = (open_bundle(allowed, exact=e, batch_size=_BATCH) for e in (True, False))
    images, flips, apart = 0, 0, [0.0]
    for (_, a), (_, b) in zip(whole.scores(paths), reduced.scores(paths), strict=True):
        images += len(a)
        apart.append(float(np.abs(a - b).max()))
        results = zip(whole.steps.decide(a), reduced.steps.decide(b), strict=True)
        flips += sum(x.decision() != y.decision() for x, y in results)
    return ReducedDecode(margin, images, flips, float(np.max(apart)))


def is_acceptable(found: ReducedDecode) -> bool:
    """Whether fewer than one label in a thousand changed, over enough reduced images to say so."""
    return found.images >= LEAST_IMAGES and found.label_flips < MAX_FLIPS * found.images


def _is_reduced(path: str, least: tuple[int, int]) -> bool:
    try:
        header = read_header(Path(path).read_bytes())
    except (OSError, HeaderError):
        return False
    needed = least if header.orientation < 5 else least[::-1]
    return header.format == "JPEG" and denominator((header.width, header.height), needed) > 1


def write_reduced_decode(bundle: Bundle, decode: ReducedDecode | None) -> Bundle:
    """The bundle with another permission to decode reduced, in its place; its other files unchanged.

    Raises:
        BundleError: it cannot be read or written.
    """
    sealed = Bundle.load(bundle.folder)
    files = {name: (sealed.folder / name).read_bytes() for name in sealed.manifest.files}
    with new_bundle(sealed.folder, overwrite=True) as draft:
        fill(draft, sealed.manifest._replace(decode=decode), files)
        written = Bundle.load(draft)
    return replace(written, folder=sealed.folder)

"""Whether a bundle's network bears JPEGs that are decoded reduced; measured, then written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tinysight.bundle import Bundle, fill, new_bundle
from tinysight.bundle.manifest import ReducedDecode
from tinysight.errors import DataError
from tinysight.pipelines.classify import Classifier
from tinysight.registry import postprocesses
from tinysight.tasks.answers import without_scores
from tinysight.transforms.compose import min_decode_size
from tinysight.transforms.decode import denominator
from tinysight.transforms.header import HeaderError, read_header

MAX_FLIPS = 0.001  # of the images
LEAST_IMAGES = 1000
MARGINS = (1.0, 2.0, 4.0)
_BATCH = 8


def compare(bundle: Bundle, paths: Sequence[str], margin: float) -> ReducedDecode:
    """The answers of `bundle` with reduced and with whole decoding.

    Only images that are reduced at this margin are compared and counted: for the others the two
    are the same, and would make any change look rarer than it is.

    Raises:
        DataError: the bundle's first transform is no resize, or it answers with boxes.
    """
    if bundle.manifest.postprocess["name"] == "boxes":
        what = "boxes are in pixels of the whole image, so it is always decoded whole"
        raise DataError(str(bundle.folder), what)
    least = min_decode_size(bundle.manifest.transforms, margin)
    if least is None:
        what = "the first transform is no resize, so JPEGs are always decoded whole"
        raise DataError(str(bundle.folder), what)
    paths = [path for path in paths if _is_reduced(path, least)]
    leave = ReducedDecode(margin, 0, 0, 0.0)
    allowed = replace(bundle, manifest=bundle.manifest._replace(decode=leave))
    answer = postprocesses.build(bundle.manifest.postprocess, labels=bundle.manifest.labels)
    images = flips = 0
    difference = 0.0
    for (_, a), (_, b) in zip(
        Classifier(bundle, exact=True, batch_size=_BATCH).scores(list(paths)),
        Classifier(allowed, batch_size=_BATCH).scores(list(paths)),
        strict=True,
    ):
        images += len(a)
        difference = max(difference, float(np.abs(a - b).max()))
        flips += sum(
            without_scores(x) != without_scores(y)
            for x, y in zip(answer(a), answer(b), strict=True)
        )
    return ReducedDecode(margin, images, flips, difference)


def admitted(found: ReducedDecode) -> bool:
    """Whether fewer than one label in a thousand changed, over enough reduced images to say so."""
    return found.images >= LEAST_IMAGES and found.label_flips < MAX_FLIPS * found.images


def _is_reduced(path: str, least: tuple[int, int]) -> bool:
    try:
        header = read_header(Path(path).read_bytes())
    except (OSError, HeaderError):
        return False
    needed = least if header.orientation < 5 else least[::-1]
    return header.format == "JPEG" and denominator((header.width, header.height), needed) > 1


def seal(bundle: Bundle, decode: ReducedDecode | None) -> Bundle:
    """The bundle with another leave to decode reduced, in its place; its other files unchanged.

    Raises:
        BundleError: it cannot be read or written.
    """
    sealed = Bundle.load(bundle.folder)
    files = {name: (sealed.folder / name).read_bytes() for name in sealed.manifest.files}
    with new_bundle(sealed.folder, overwrite=True) as draft:
        fill(draft, sealed.manifest._replace(decode=decode), files)
        written = Bundle.load(draft)
    return replace(written, folder=sealed.folder)

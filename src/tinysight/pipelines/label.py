"""Answers of a network that is no bundle yet: the same sources, transforms and post-processing around any callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from tinysight.errors import ImageError
from tinysight.pipelines.results import Result, Unreadable, result
from tinysight.pipelines.sources import Picture
from tinysight.postprocess import Answer
from tinysight.transforms import Compose, decode, to_batch


def label_pictures(
    predict: Callable[[np.ndarray], np.ndarray],
    transforms: Compose,
    answers: Callable[[np.ndarray], list[Answer]],
    found: Iterable[Picture],
    batch_size: int,
    on_unreadable: Callable[[Unreadable], None],
) -> Iterator[list[Result]]:
    """Answers, one list per batch, in the order of the pictures.

    Args:
        predict: (N, C, H, W) float32 to (N, K) probabilities.
        transforms: from a decoded picture to one input; not random.
        answers: the post-processor.
        found: unread pictures.
        batch_size: pictures per call; a batch with unreadable ones is smaller.
        on_unreadable: called with each picture that cannot be read.
    """
    stream = iter(found)
    while chunk := list(islice(stream, batch_size)):
        names, images = [], []
        for picture in chunk:
            try:
                pixels = picture.data
                images.append(
                    transforms(pixels if isinstance(pixels, np.ndarray) else decode(pixels))
                )
                names.append(picture.name)
            except ImageError as error:
                on_unreadable(Unreadable(picture.name, error.problems[0].what))
        if images:
            given = answers(predict(to_batch(images)))
            yield [result(answer, name) for answer, name in zip(given, names, strict=True)]

"""Answers of a network that is no bundle yet: the same sources, transforms and post-processing around any callable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from tinysight.errors import ImageError
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks import Answer
from tinysight.tasks.results import Result, Unreadable, result
from tinysight.transforms import Compose, decode, to_batch


def label_images(
    predict: Callable[[np.ndarray], np.ndarray],
    transforms: Compose,
    answers: Callable[[np.ndarray], list[Answer]],
    found: Iterable[ImageInput],
    batch_size: int,
    on_unreadable: Callable[[Unreadable], None],
) -> Iterator[list[Result]]:
    """Answers, one list per batch, in the order of the images.

    Args:
        predict: (N, C, H, W) float32 to (N, K) probabilities.
        transforms: from a decoded image to one input; not random.
        answers: the post-processor.
        found: unread images.
        batch_size: images per call; a batch with unreadable ones is smaller.
        on_unreadable: called with each image that cannot be read.
    """
    stream = iter(found)
    while chunk := list(islice(stream, batch_size)):
        names, images = [], []
        for image in chunk:
            try:
                pixels = image.data
                images.append(
                    transforms(pixels if isinstance(pixels, np.ndarray) else decode(pixels))
                )
                names.append(image.name)
            except ImageError as error:
                on_unreadable(Unreadable(image.name, error.problems[0].what))
        if images:
            given = answers(predict(to_batch(images)))
            yield [result(answer, name) for answer, name in zip(given, names, strict=True)]

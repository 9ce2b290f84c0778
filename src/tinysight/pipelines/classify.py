"""Pictures in, answers out, through a bundle."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinysight.bundle import Bundle
from tinysight.errors import BundleError, ConfigError, ImageError
from tinysight.manifest import NO_CLASSES
from tinysight.pipelines.results import Result, Unreadable, result
from tinysight.pipelines.sources import Picture, Source, pictures
from tinysight.registry import postprocesses, sessions

if TYPE_CHECKING:
    from tinysight.runtime import Session
    from tinysight.transforms import Compose

_A = TypeVar("_A")
_B = TypeVar("_B")
_DECODERS = 4  # more threads than this wait for the network, not for pictures


class Classifier:
    """A bundle, ready to answer.

    Separate instances may be used from separate threads; one instance runs one `predict` at a
    time.

    Args:
        model: a shipped bundle's name, a bundle's folder, or a bundle that is loaded.
        batch_size: pictures a batch, at least 1. The answers do not depend on it.
        threads: threads of the network, at least 1. Pictures are decoded beside it.
        topk: the so many best classes instead of the bundle's post-processing.
        threshold: instead of the bundle's own, in [0, 1].

    Attributes:
        manifest: what the bundle says about itself.
        unreadable: pictures that the latest `predict` or `scores` could not read, and why.
        on_unreadable: called with each of them when its turn comes; logs a warning by default.

    Raises:
        BundleError: the bundle is missing, altered, truncated or too new.
        ConfigError: an argument is out of range.

    >>> for batch in Classifier("clarity_assessment").predict("holiday/"):  # doctest: +SKIP
    ...     for answer in batch:
    ...         print(answer["filename"], answer["label_names"])
    """

    def __init__(
        self,
        model: str | Path | Bundle,
        *,
        batch_size: int = 1,
        threads: int = 1,
        topk: int | None = None,
        threshold: float | None = None,
    ) -> None:
        _at_least_one("batch_size", batch_size)
        _at_least_one("threads", threads)
        bundle = model if isinstance(model, Bundle) else Bundle.load(model)
        self.manifest = bundle.manifest
        self.batch_size = batch_size
        self.unreadable: list[Unreadable] = []
        self.on_unreadable: Callable[[Unreadable], None] = _log
        self._where = str(bundle.folder)
        spec = _changed(self.manifest.postprocess, topk, threshold)
        # The session first: it goes on in the background while the rest is imported.
        self._session: Session = sessions.build(
            {"name": "onnxruntime"}, model=bundle.model, threads=threads
        )
        from tinysight.transforms import Compose, decode, to_batch

        self._decode, self._to_batch = decode, to_batch
        self._compose: Compose = Compose.from_specs(self.manifest.transforms, "transforms")
        self._answers = postprocesses.build(spec, labels=self.manifest.labels)

    def predict(self, input_data: Source) -> Iterator[list[Result]]:
        """Answers, one list per batch, in the order of the pictures; see `sources.pictures`.

        A picture that cannot be read is skipped, logged, and listed in `unreadable`; the batch is
        filled up with the next ones. The last batch may be smaller.

        Raises:
            DataError: `input_data` is a path that does not exist, or has no picture in it.
        """
        batches = self.scores(input_data)
        return (
            [result(a, name) for a, name in zip(self._answers(scores), names, strict=True)]
            for names, scores in batches
        )

    def scores(self, input_data: Source) -> Iterator[tuple[list[str], np.ndarray]]:
        """As `predict`, but names and probabilities (N, K) float32 instead of answers."""
        found = pictures(input_data)  # a missing path is an error here, not at the first batch
        self.unreadable = []
        return self._scores(found, self.unreadable)

    def _scores(
        self, found: Iterator[Picture], unreadable: list[Unreadable]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        names: list[str] = []
        images: list[Any] = []
        for name, image in _overlapped(self._read, found, 2 * self.batch_size):
            if isinstance(image, str):
                unreadable.append(Unreadable(name, image))
                self.on_unreadable(unreadable[-1])
                continue
            names.append(name)
            images.append(image)
            if len(images) == self.batch_size:
                yield names, self._run(images)
                names, images = [], []
        if images:
            yield names, self._run(images)

    def _read(self, picture: Picture) -> tuple[str, Any]:
        """The network's input for one picture, or the reason why there is none."""
        try:
            pixels = picture.data
            if not isinstance(pixels, np.ndarray):
                pixels = self._decode(pixels)
            elif pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                what = f"an array is uint8 RGB (H, W, 3), got {pixels.dtype} {pixels.shape}"
                raise ImageError(picture.name, what)
            elif not pixels.size:
                raise ImageError(picture.name, "an empty array")
            return picture.name, self._prepare(pixels)
        except ImageError as error:
            problem = error.problems[0]
            return picture.name, "; ".join(filter(None, (problem.what, problem.hint)))

    def _prepare(self, pixels: np.ndarray) -> Any:
        return self._compose(pixels)

    def _run(self, images: list[Any]) -> Any:
        scores, labels = self._session.run(self._to_batch(images)), len(self.manifest.labels)
        if scores.shape != (len(images), labels or scores.shape[-1]):
            what = f"{labels} labels, but the network's scores are {scores.shape}"
            raise BundleError(self._where, what, "export the bundle again")
        return scores


def _overlapped(work: Callable[[_A], _B], items: Iterator[_A], ahead: int) -> Iterator[_B]:
    """`map(work, items)` in order, with up to `ahead` and a few more results prepared in threads.

    A single item is worked on here: no thread is started for it.
    """
    first, second = next(items, None), next(items, None)
    if first is None:
        return
    if second is None:
        yield work(first)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    count = min(_DECODERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(count, "tinysight-decode") as pool:
        waiting: deque[Future[_B]] = deque([pool.submit(work, first), pool.submit(work, second)])
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                # As early as possible, but never so that a decoder would have nothing to do.
                while len(waiting) > count and (waiting[0].done() or len(waiting) > ahead + count):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _changed(spec: dict[str, Any], topk: int | None, threshold: float | None) -> dict[str, Any]:
    """The bundle's post-processing, or the one that the caller asks for."""
    if topk is not None and threshold is not None:
        raise ConfigError("topk, threshold", "only one of the two makes sense")
    kind = spec["name"]
    if kind == "embedding" and threshold is not None or kind in NO_CLASSES and topk is not None:
        raise ConfigError("topk, threshold", f"the answers of this bundle are its {kind}")
    if topk is not None:
        _at_least_one("topk", topk)
        return {"name": "topk", "k": topk}
    if threshold is None:
        return spec
    if not 0 <= threshold <= 1:
        raise ConfigError("threshold", f"should be between 0 and 1, got {threshold}")
    if "threshold" in spec:
        return {**spec, "threshold": threshold}
    if kind not in ("topk", "scores"):
        raise ConfigError("threshold", f"{spec['name']} has no such thing")
    return {"name": "threshold", "threshold": threshold}


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(name, f"should be 1 or more, got {value}")


def _log(picture: Unreadable) -> None:
    import logging  # 5 ms that only an unreadable picture costs

    logging.getLogger(__name__).warning("%s: %s", *picture)

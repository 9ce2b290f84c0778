"""Images in, answers out, through a bundle."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from tinysight.bundle import Bundle
from tinysight.bundle.manifest import NO_CLASSES
from tinysight.engines import Normalization, open_engine
from tinysight.errors import BundleError, ConfigError, ImageError
from tinysight.pipelines.latency_card import workers_for
from tinysight.pipelines.sources import ImageInput, Source, iter_images
from tinysight.pipelines.stream import grouped, ordered_map
from tinysight.registry import postprocesses
from tinysight.tasks.results import Result, Unreadable, result

if TYPE_CHECKING:
    from tinysight.tasks.answers import AnyAnswer
    from tinysight.transforms.prepare import Prepare

_AHEAD = 8  # answers that wait for a slow image before them, for each worker

# What became of each image of a batch, in order: its name, or why it could not be read. The
# scores are those of the names, None where there are none.
_Scored = tuple[list["str | Unreadable"], Any]


class Steps(NamedTuple):
    """What happens to one image, one thing after the other; for those who take the time of it."""

    decode: Callable[[str], np.ndarray]
    prepare: Callable[[np.ndarray], Any]
    run: Callable[[Any], Any]
    answers: Callable[[Any], Sequence[AnyAnswer]]


class Classifier:
    """A bundle, ready to answer.

    Separate instances may be used from separate threads; one instance runs one `predict` at a
    time.

    Each worker takes one image from its file to its scores (or, in batches, one of the two
    halves), so the cores need not wait for each other.

    Args:
        model: a shipped bundle's name, a bundle's folder, or a bundle that is loaded.
        batch_size: images a batch, at least 1. The answers do not depend on it.
        threads: threads of one run of the network, at least 1.
        workers: images that are worked on at the same time. Default: what the bundle's latency
            card found fastest if it was made on this kind of machine, else the processors that this
            process may use, divided by `threads`.
        engine: what runs the network: "onnxruntime" or "openvino", or one of the bundle's variants
            ("ncnn", "openvino-int8") in its own engine.
        precision: of the network, where the engine has a choice: "f32", "bf16", "f16".
        exact: decode every JPEG whole, whatever the bundle allows.
        topk: the so many best classes instead of the bundle's post-processing.
        threshold: instead of the bundle's own, in [0, 1].

    Attributes:
        manifest: what the bundle says about itself.
        unreadable: images that the latest `predict` or `scores` could not read, and why.
        on_unreadable: called with each of them when its turn comes; logs a warning by default.

    Raises:
        BundleError: the bundle is missing, altered, truncated or too new.
        ConfigError: an argument is out of range.

    >>> for batch in Classifier("clarity_assessment").predict("holiday/"):  # doctest: +SKIP
    ...     for answer in batch:
    ...         print(answer["filename"], answer["label_names"])
    """

    # Whether the answers need the image at its own size: then nothing is reduced.
    _as_given: ClassVar[bool] = False

    def __init__(
        self,
        model: str | Path | Bundle,
        *,
        batch_size: int = 1,
        threads: int = 1,
        workers: int | None = None,
        engine: str = "onnxruntime",
        precision: str = "f32",
        exact: bool = False,
        topk: int | None = None,
        threshold: float | None = None,
    ) -> None:
        _at_least_one("batch_size", batch_size)
        _at_least_one("threads", threads)
        bundle = model if isinstance(model, Bundle) else Bundle.load(model)
        if workers is None:
            workers = workers_for(bundle.folder, threads, engine)
        self.workers = workers
        _at_least_one("workers", self.workers)
        self.manifest = bundle.manifest
        self.batch_size = batch_size
        self.unreadable: list[Unreadable] = []
        self.on_unreadable: Callable[[Unreadable], None] = _log
        self._where = str(bundle.folder)
        spec = _changed(self.manifest.postprocess, topk, threshold)
        # The engine first: it goes on in the background while the rest is imported.
        self._session = open_engine(
            bundle, engine, precision=precision, threads=threads, streams=self.workers
        )
        from tinysight.transforms import Compose
        from tinysight.transforms.prepare import Prepare, enough

        compose = Compose.from_specs(self.manifest.transforms, "transforms")
        reduced = None if exact or self._as_given else self.manifest.decode
        least = enough(self.manifest.transforms, reduced.margin) if reduced else None
        self._input: Prepare = Prepare(compose, least)
        last = None if self._as_given else self._input.normalization
        if last and self._session.take_pixels(Normalization(last.mean, last.std, last.scale)):
            self._input.keep_pixels()
        self._answers = postprocesses.build(spec, labels=self.manifest.labels)

    @property
    def steps(self) -> Steps:
        """File to pixels, pixels to what the network takes, that to its answer, and in words."""
        return Steps(self._input.decode, self._prepare, lambda row: self._run([row]), self._answers)

    def predict(self, input_data: Source) -> Iterator[list[Result]]:
        """Answers, one list per batch, in the order of the images; see `sources.iter_images`.

        An image that cannot be read is skipped, logged, and listed in `unreadable`; the batch is
        filled up with the next ones. The last batch may be smaller.

        Raises:
            DataError: `input_data` is a path that does not exist, or has no image in it.
        """
        batches = self.scores(input_data)
        return (
            [result(a, name) for a, name in zip(self._answers(scores), names, strict=True)]
            for names, scores in batches
        )

    def scores(self, input_data: Source) -> Iterator[tuple[list[str], np.ndarray]]:
        """As `predict`, but names and probabilities (N, K) float32 instead of answers."""
        found = iter_images(input_data)  # a missing path is an error here, not at the first batch
        self.unreadable = []
        return self._scores(found, self.unreadable)

    def stream(self, input_data: Source) -> Iterator[Result | Unreadable]:
        """What became of each image, one at a time, in order; nothing is kept or logged.

        Raises:
            DataError: as `predict`.
        """
        return self._stream(iter_images(input_data))

    def _stream(self, found: Iterator[ImageInput]) -> Iterator[Result | Unreadable]:
        with closing(self._batches(found)) as batches:
            for entries, scores in batches:
                answers = iter(() if scores is None else self._answers(scores))
                for entry in entries:
                    if isinstance(entry, Unreadable):
                        yield entry
                    else:
                        yield result(next(answers), entry)

    def _scores(
        self, found: Iterator[ImageInput], unreadable: list[Unreadable]
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        with closing(self._batches(found)) as batches:
            for entries, scores in batches:
                names = []
                for entry in entries:
                    if isinstance(entry, Unreadable):
                        unreadable.append(entry)
                        self.on_unreadable(entry)
                    else:
                        names.append(entry)
                if names:
                    yield names, scores

    def _batches(self, found: Iterator[ImageInput]) -> Generator[_Scored, None, None]:
        if self.batch_size == 1:
            ahead = _AHEAD * self.workers
            yield from ordered_map(
                lambda p: self._batch([self._read(p)]), found, self.workers, ahead
            )
            return
        read = ordered_map(self._read, found, self.workers, 2 * self.batch_size)
        with closing(read):
            groups = grouped(read, self.batch_size, lambda r: not isinstance(r[1], str))
            yield from ordered_map(self._batch, groups, self.workers, 0)

    def _read(self, image: ImageInput) -> tuple[str, Any]:
        """The network's input (1, C, H, W) for one image, or the reason why there is none."""
        try:
            pixels = image.data
            if not isinstance(pixels, np.ndarray):
                pixels = self._input.decode(pixels)
            elif pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                what = f"an array is uint8 RGB (H, W, 3), got {pixels.dtype} {pixels.shape}"
                raise ImageError(image.name, what)
            elif not pixels.size:
                raise ImageError(image.name, "an empty array")
            return image.name, self._prepare(pixels)
        except ImageError as error:
            problem = error.problems[0]
            return image.name, "; ".join(filter(None, (problem.what, problem.hint)))

    def _batch(self, images: list[tuple[str, Any]]) -> _Scored:
        rows = [row for _, row in images if not isinstance(row, str)]
        entries: list[str | Unreadable] = [
            Unreadable(name, row) if isinstance(row, str) else name for name, row in images
        ]
        return entries, self._run(rows) if rows else None

    def _prepare(self, pixels: np.ndarray) -> Any:
        """What the network gets of one image; no text."""
        return self._input(pixels)

    def _run(self, rows: list[Any]) -> Any:
        """What the network says about these; what the post-processing takes."""
        labels = len(self.manifest.labels)
        scores = self._session.run(rows[0] if len(rows) == 1 else np.concatenate(rows))
        if scores.shape != (len(rows), labels or scores.shape[-1]):
            what = f"{labels} labels, but the network's scores are {scores.shape}"
            raise BundleError(self._where, what, "export the bundle again")
        return scores


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


def _log(image: Unreadable) -> None:
    import logging  # 5 ms that only an unreadable image costs

    logging.getLogger(__name__).warning("%s: %s", *image)

"""Images in, results out: one pipeline for every network, and those that a bundle determines.

A pipeline holds no state between calls. It may be called from any number of threads, in a process that was forked
after it was made, and, with a bundle, in another process that it was sent to. A bundle's network is opened in its
engine once in each process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from weakref import WeakSet

import numpy as np

from tinysight.bundle import Bundle
from tinysight.concurrency import grouped, ordered_map, thread_count, usable_cores
from tinysight.engines import Engine, Normalization, open_engine
from tinysight.errors import BundleError, ConfigError, ImageError, TinysightError
from tinysight.pipelines.sources import (
    ImageInput,
    ImageSource,
    Source,
    iter_images,
    one_image,
    several,
)  # fmt: skip
from tinysight.registry import postprocesses, transforms
from tinysight.tasks.postprocess import override, result_type
from tinysight.tasks.results import BoxResult, Result, Unreadable

if TYPE_CHECKING:
    from tinysight.bundle.manifest import Manifest
    from tinysight.transforms.photometric import Normalize

R = TypeVar("R", bound=Result)

_AHEAD = 8  # results that wait for a slow image before them, for each worker
CARD_FILE = "latency.json"  # see `latency_card`
_engines: WeakSet[Engine] = WeakSet()


class Steps(NamedTuple):
    """What happens to an image, one step after the other.

    Attributes:
        decode: from a path or a file's bytes to uint8 RGB (H, W, 3).
        prepare: from these pixels to the network's input of one image.
        run: from the inputs of N images to the network's outputs.
        decide: from these to N results without file names.
    """

    decode: Callable[[Any], np.ndarray]
    prepare: Callable[[np.ndarray], Any]
    run: Callable[[list[Any]], Any]
    decide: Callable[[Any], list[Any]]


class _Batch(NamedTuple):
    images: list[str | Unreadable]  # in order: a name where there is a result
    outputs: Any  # of the network for those that were read; None if there are none


def log_unreadable(image: Unreadable) -> None:
    """Log a warning."""
    import logging  # 5 ms that only an unreadable image costs

    logging.getLogger(__name__).warning("%s: %s", *image)


class Pipeline(Generic[R]):
    """The four steps around any network.

    Each worker takes one image from its file to its scores (or, in batches, one of the two
    halves), so the cores need not wait for each other.

    Args:
        steps: each may be called by several threads at the same time.
        batch_size: images a batch, at least 1. The results do not depend on it.
        workers: images that are worked on at the same time, at least 1.
    """

    def __init__(self, steps: Steps, batch_size: int = 1, workers: int = 1) -> None:
        self.steps, self.batch_size, self.workers = steps, batch_size, workers

    def __call__(self, image: ImageSource) -> R:
        """The result for one image, made in the caller's thread.

        Args:
            image: a path, the bytes of an image file, a file opened for reading bytes, pixels as uint8 RGB
                (H, W, 3), or one of these with a name as `ImageInput`.

        Raises:
            ImageError: it cannot be read.
            DataError: it is none of these.
        """
        named = one_image(image)
        result: R
        (result,) = self.steps.decide(self.steps.run([self._prepare(named)]))
        return result.named(named.name)

    def batch(
        self, images: Iterable[ImageSource], *, errors: Literal["raise", "return"] = "raise"
    ) -> list[R | Unreadable]:
        """The results for several images, as many and in the same order.

        Args:
            images: each as in a call; all of them are kept in memory.
            errors: "return" puts an `Unreadable` in the place of an image that cannot be read.

        Raises:
            ImageError: an image cannot be read, and `errors` is "raise".
            DataError: one is no image at all, or `images` is not several.
        """
        if errors not in ("raise", "return"):
            raise ConfigError("errors", f"should be 'raise' or 'return', got {errors!r}")
        results = list(self._stream(several(images)))
        for result in results if errors == "raise" else ():
            if isinstance(result, Unreadable):
                raise ImageError(*result)
        return results

    def stream(self, input_data: Source) -> Iterator[R | Unreadable]:
        """What became of each image, one at a time, in order, with bounded memory.

        Args:
            input_data: see `sources.iter_images`.

        Raises:
            DataError: a path that does not exist, or has no image in it.
        """
        return self._stream(iter_images(input_data))

    def predict(
        self, input_data: Source, *, on_unreadable: Callable[[Unreadable], None] = log_unreadable
    ) -> Iterator[list[R]]:
        """Results, one list per batch, in the order of the images.

        An image that cannot be read is skipped; the batch is filled up with the next ones. The last
        batch may be smaller.

        Args:
            input_data: see `sources.iter_images`.
            on_unreadable: called with each image that cannot be read when its turn comes.

        Raises:
            DataError: a path that does not exist, or has no image in it.
        """
        decide, batches = self.steps.decide, self.scores(input_data, on_unreadable=on_unreadable)
        pairs = (zip(decide(outputs), names, strict=True) for names, outputs in batches)
        return ([result.named(name) for result, name in rows] for rows in pairs)

    def scores(
        self, input_data: Source, *, on_unreadable: Callable[[Unreadable], None] = log_unreadable
    ) -> Iterator[tuple[list[str], Any]]:
        """As `predict`, but the names and the network's outputs, such as probabilities (N, K) float32."""

        def given(images: Iterator[ImageInput]) -> Iterator[tuple[list[str], Any]]:
            with closing(self._batches(images)) as batches:
                for batch in batches:
                    for image in batch.images:
                        if isinstance(image, Unreadable):
                            on_unreadable(image)
                    if batch.outputs is not None:
                        yield [i for i in batch.images if isinstance(i, str)], batch.outputs

        images = iter_images(input_data)  # a missing path is an error here, not at the first batch
        return given(images)

    def _stream(self, images: Iterator[ImageInput]) -> Iterator[R | Unreadable]:
        with closing(self._batches(images)) as batches:
            for batch in batches:
                results = iter(() if batch.outputs is None else self.steps.decide(batch.outputs))
                for image in batch.images:
                    yield image if isinstance(image, Unreadable) else next(results).named(image)

    def _batches(self, images: Iterator[ImageInput]) -> Generator[_Batch, None, None]:
        if self.batch_size == 1:
            ahead = _AHEAD * self.workers
            work = lambda image: self._run([self._read(image)])  # noqa: E731
            yield from ordered_map(work, images, self.workers, ahead)
            return
        read = ordered_map(self._read, images, self.workers, 2 * self.batch_size)
        with closing(read):
            groups = grouped(read, self.batch_size, lambda r: not isinstance(r, Unreadable))
            yield from ordered_map(self._run, groups, self.workers, 0)

    def _read(self, image: ImageInput) -> tuple[str, Any] | Unreadable:
        """Its name and the network's input, or why there is none."""
        try:
            return image.name, self._prepare(image)
        except ImageError as error:
            problem = error.problems[0]
            return Unreadable(image.name, "; ".join(filter(None, (problem.what, problem.hint))))

    def _prepare(self, image: ImageInput) -> Any:
        pixels = image.data
        if not isinstance(pixels, np.ndarray):
            return self.steps.prepare(self.steps.decode(pixels))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            what = f"an array is uint8 RGB (H, W, 3), got {pixels.dtype} {pixels.shape}"
            raise ImageError(image.name, what)
        if not pixels.size:
            raise ImageError(image.name, "an empty array")
        return self.steps.prepare(pixels)

    def _run(self, images: list[tuple[str, Any] | Unreadable]) -> _Batch:
        rows = [image[1] for image in images if not isinstance(image, Unreadable)]
        names = [image if isinstance(image, Unreadable) else image[0] for image in images]
        return _Batch(names, self.steps.run(rows) if rows else None)


def _keep_engines() -> None:
    """In a forked child: never close what the parent opened, which would wait for threads that are not here."""
    import ctypes

    for engine in _engines:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_engines)


class Network:
    """A network of one input and one output, (N, K).

    Args:
        bundle: that the network is from.
        engine: name of the engine, or of a variant; see `engines.open_engine`.
        options: `precision`, `threads` and `streams` of `engines.open_engine`.
    """

    gives_boxes: ClassVar[bool] = False

    def __init__(self, bundle: Bundle, engine: str, **options: Any) -> None:
        self._bundle, self._name, self._options = bundle, engine, options
        self._normalization: Normalization | None = None  # what the engine does itself
        self._engines = {os.getpid(): self._open()}

    def take_pixels(self, normalization: Normalize) -> bool:
        """Whether the engine takes pixels from now on and normalises them itself."""
        given = Normalization(normalization.mean, normalization.std, normalization.scale)
        took = self.opened().take_pixels(given)
        self._normalization = given if took else None
        return took

    def opened(self) -> Engine:
        """The engine of this process: its threads do not survive a fork."""
        process = os.getpid()
        if process not in self._engines:
            engine = self._open()
            if self._normalization:
                engine.take_pixels(self._normalization)
            self._engines.setdefault(process, engine)
        return self._engines[process]

    def row(self, row: np.ndarray, pixels: np.ndarray) -> Any:
        """What `run` takes of one image.

        Args:
            row: prepared, (1, C, h, w) float32, or pixels (1, h, w, 3).
            pixels: the image itself, (H, W, 3).
        """
        return row

    def run(self, rows: list[Any]) -> Any:
        """The outputs for N images."""
        labels = len(self._bundle.manifest.labels)
        scores = self.opened().run(rows[0] if len(rows) == 1 else np.concatenate(rows))
        if scores.shape != (len(rows), labels or scores.shape[-1]):
            raise self._wrong(f"{labels} labels, but the network's scores are {scores.shape}")
        return self.finite(scores)

    def finite(self, outputs: np.ndarray) -> np.ndarray:
        """`outputs`, of which every number is one; raises `BundleError` else."""
        if not np.isfinite(outputs).all():
            raise self._wrong("the network gives numbers that are not finite (NaN or infinite)")
        return outputs

    def _open(self) -> Engine:
        engine = open_engine(self._bundle, self._name, **self._options)
        _engines.add(engine)
        return engine

    def _wrong(self, what: str) -> BundleError:
        return BundleError(str(self._bundle.folder), what, "export the bundle again")


class BundlePipeline(Pipeline[R]):
    """A pipeline that a bundle determines; see `Classifier` and `Detector`.

    Attributes:
        manifest: what the bundle says about itself.
    """

    network: ClassVar[type[Network]] = Network

    def __init__(
        self, model: str | Path | Bundle, *, batch_size: int = 1, threads: int = 1,
        workers: int | None = None, engine: str = "onnxruntime", precision: str = "f32",
        exact: bool = False, topk: int | None = None, threshold: float | None = None,
    ) -> None:  # fmt: skip
        given = {"batch_size": batch_size, "threads": threads, "workers": workers}
        if batch_size < 1:
            raise ConfigError("batch_size", f"should be 1 or more, got {batch_size}")
        counts = {
            "threads": threads,
            "workers": workers,
            "threads * workers": threads * (workers or 1),
        }
        for name, count in counts.items():
            thread_count(count, name)
        bundle = model if isinstance(model, Bundle) else Bundle.load(model)
        if workers is None:
            workers = default_workers(bundle.folder, threads, engine)
        self.manifest = bundle.manifest
        self._state = {
            "model": bundle, **given, "engine": engine, "precision": precision, "exact": exact,
            "topk": topk, "threshold": threshold,
        }  # fmt: skip
        spec = override(self.manifest.postprocess, topk, threshold)
        boxes = self.network.gives_boxes
        if (result_type(spec) is BoxResult) is not boxes:
            what = "gives results of another kind than this pipeline"
            raise ConfigError(str(bundle.folder), what, "open_bundle makes the one that fits")
        # The engine first: it is opened in the background while the rest is imported.
        options = {"precision": precision, "threads": threads, "streams": workers}
        network = self.network(bundle, engine, **options)
        from tinysight.transforms import Compose, InputPipeline
        from tinysight.transforms.compose import min_decode_size

        compose = Compose.from_specs(self.manifest.transforms, "transforms")
        if compose.random:
            what = "its transforms are random"
            raise ConfigError(str(bundle.folder), what, "export the bundle again")
        decode = None if exact or boxes else self.manifest.decode
        least = min_decode_size(self.manifest.transforms, decode.margin) if decode else None
        read = InputPipeline(compose, least, None if boxes else network.take_pixels)
        decide = postprocesses.build(spec, labels=self.manifest.labels)
        prepare = self._blaming(bundle.folder, lambda x: network.row(read(x), x))
        steps = Steps(read.decode, prepare, network.run, self._blaming(bundle.folder, decide))
        super().__init__(steps, batch_size, workers)
        self._network, self._gives_pixels = network, read.gives_pixels

    @property
    def engine(self) -> Engine | None:
        """What runs the network in this process on prepared float32 images; None where it takes pixels."""
        return None if self._gives_pixels else self._network.opened()

    def _blaming(self, folder: Path, act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`act`, whose failure is an error of the bundle where a value in its manifest is of another type.

        Only then are the types looked at: that takes longer than to predict.
        """

        def blaming(value: Any) -> Any:
            try:
                return act(value)
            except TinysightError:
                raise
            except Exception:
                specs = [
                    (transforms, f"transforms.{i}", s)
                    for i, s in enumerate(self.manifest.transforms)
                ]
                specs.append((postprocesses, "postprocess", self.manifest.postprocess))
                if problems := [
                    p for kind, where, spec in specs for p in kind.check(spec, where)[1]
                ]:
                    where = str(folder)
                    raise BundleError.of(where, problems) from None
                raise

        return blaming

    def __getstate__(self) -> dict[str, Any]:
        return self._state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class Classifier(BundlePipeline[Result]):
    """A bundle of classes, labels, attributes or vectors, ready to predict.

    Holds no state between calls: any number of threads and generators may use one classifier, and
    it may be pickled and used after a fork.

    Args:
        model: a shipped bundle's name, a bundle's folder, or a bundle that is loaded.
        batch_size: images per batch, >= 1. The results do not depend on it.
        threads: CPU threads per inference call, >= 1.
        workers: images in parallel, >= 1. Default: what the bundle's latency
            card found fastest if it was made on this kind of machine, else the processors that this
            process may use, divided by `threads`.
        engine: what runs the network: "onnxruntime" or "openvino", or `target/<name>`, one of the
            bundle's variants in its own engine.
        precision: of the network, where the engine has a choice: "f32", "bf16", "f16".
        exact: True to disable reduced decoding.
        topk: number of highest-scoring classes to return instead of the bundle's post-processing, >= 1.
        threshold: decision threshold instead of the bundle's own, in [0, 1].

    Raises:
        BundleError: the bundle is missing, altered, truncated or too new.
        ConfigError: an argument is out of range, or the bundle is a detector's.

    >>> classifier = Classifier("clarity_assessment")  # doctest: +SKIP
    >>> classifier("photo.jpg").label_names  # doctest: +SKIP
    ('blurred',)
    >>> for batch in classifier.predict("holiday/"):  # doctest: +SKIP
    ...     for result in batch:
    ...         print(result.filename, result.label_names, result.scores)
    """


def default_workers(folder: Path, threads: int, engine: str) -> int:
    """Number of images at a time that was fastest here, or as many as there are processors for.

    Args:
        folder: of the bundle, where its latency card lies.
        threads: threads of one run of the network; the card is asked only about 1.
        engine: OpenVINO wakes a thread of its own for each run, and a processor would wait for that
            moment if there were no further image to work on.
    """
    if threads == 1 and (folder / CARD_FILE).exists():
        from tinysight.pipelines.latency_card import recorded_workers

        if recorded := recorded_workers(folder):
            return recorded
    waiting = 1 if engine.removeprefix("target/").startswith("openvino") else 0
    return max(1, usable_cores() // threads) + waiting


def open_bundle(model: str | Path | Bundle, **options: Any) -> BundlePipeline[Any]:
    """A `Detector` where the bundle's results are boxes, else a `Classifier`; `options` are theirs."""
    bundle = model if isinstance(model, Bundle) else Bundle.load(model)
    return pipeline_for(bundle.manifest)(bundle, **options)


def pipeline_for(manifest: Manifest) -> type[BundlePipeline[Any]]:
    """The class of pipeline that runs a bundle."""
    if result_type(manifest.postprocess) is BoxResult:
        from tinysight.pipelines.detect import Detector

        return Detector
    return Classifier

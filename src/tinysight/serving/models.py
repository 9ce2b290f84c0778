"""A bundle that is being served: its pipeline, its queue, and what the protocol says about its tensors.

Each is offered twice: as NAME, the network alone, tensors to tensors; and as NAME.image, files to results, with the
bundle's transforms, threshold and labels.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tinysight.bundle import Bundle
from tinysight.engines import Engine, open_engine
from tinysight.errors import ConfigError, ImageError
from tinysight.pipelines.pipeline import open_bundle
from tinysight.registry import postprocesses
from tinysight.serving.batching import BatchCall, BatchQueue, Done, WorkPool
from tinysight.serving.limits import Refusal, ServerLimits
from tinysight.serving.tensors import BYTES, TensorSpec, datatype
from tinysight.tasks.postprocess import override, result_type
from tinysight.tasks.results import BoxResult, CodeResult, EmbeddingResult, Result, Unreadable
from tinysight.transforms.header import HeaderError, read_header

IMAGE = ".image"  # after the name of a model that takes files
_ROUTES: dict[type[Result], str] = {
    BoxResult: "detect", EmbeddingResult: "embed", CodeResult: "embed",
}  # fmt: skip
_PROBE = 64  # side of an image where any goes


class ModelView(NamedTuple):
    """A model as the protocol sees it."""

    name: str
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def tensors(self) -> dict[str, Any]:
        """Inputs and outputs as the protocol's metadata has them."""
        return {
            "inputs": [spec._asdict() for spec in self.inputs],
            "outputs": [spec._asdict() for spec in self.outputs],
        }


class ServedModel:
    """One version of one bundle.

    Args:
        name: its name in addresses.
        version: of it, such as "1".
        bundle: verified.
        options: `engine`, `precision` and `exact` of a pipeline.
        pool: threads that run it.
        limits: of the server.
        counts: where its requests are counted; those of an earlier load go on.

    Raises:
        BundleError: the engine cannot run it.
    """

    def __init__(
        self, name: str, version: str, bundle: Bundle, options: Mapping[str, Any],
        pool: WorkPool, limits: ServerLimits, counts: Counter[str],
    ) -> None:  # fmt: skip
        self.name, self.version, self.bundle, self._limits = name, version, bundle, limits
        self._pipeline = open_bundle(bundle, workers=pool.threads, **options)
        self._decide = lru_cache(32)(self._build)  # a client may ask for any threshold
        manifest = bundle.manifest
        self.route = _ROUTES.get(result_type(manifest.postprocess), "classify")
        self._pipeline(np.full((64, 64, 3), 127, np.uint8))  # it is ready when this has worked
        self._engine: Engine = self._pipeline.engine or open_engine(bundle, **_engine(options))
        shapes = {t.name: _open(t.shape) for t in self._engine.inputs}
        inputs = tuple(TensorSpec(name, "FP32", shape) for name, shape in shapes.items())
        probe = {
            name: np.ones([_PROBE if d < 0 else d for d in (abs(shape[0]), *shape[1:])], np.float32)
            for name, shape in shapes.items()
        }
        gave = self._engine.run_all(probe)
        outputs = tuple(
            TensorSpec(t.name, datatype(array), _open(t.shape))
            for t, array in zip(self._engine.outputs, gave, strict=True)
        )
        platform = f"tinysight_{options['engine']}"
        self.network = ModelView(name, platform, inputs, outputs)
        files, results = TensorSpec("image", BYTES, (-1,)), TensorSpec("result", BYTES, (-1,))
        self.images = ModelView(name + IMAGE, "tinysight_pipeline", (files,), (results,))
        # Rows of boxes do not say which image they are of; inputs of fixed or many sizes do not stack.
        self._stacks = len(outputs) == 1 and all(shape[0] < 0 for shape in shapes.values())
        one_size = manifest.input.shape[0] is None and None not in manifest.input.shape[1:]
        self.queue = BatchQueue(pool, limits.batch if one_size else 1, limits.queue, counts)

    def about(self) -> dict[str, Any]:
        """What a user of the task routes wants to know."""
        manifest = self.bundle.manifest
        return {
            "name": self.name, "version": self.version, "route": f"/v1/{self.route}",
            "description": manifest.description, "labels": manifest.labels,
        }  # fmt: skip

    def _build(self, topk: int | None, threshold: float | None) -> Callable[[Any], list[Result]]:
        manifest = self.bundle.manifest
        spec = override(manifest.postprocess, topk, threshold)
        made: Callable[[Any], list[Result]] = postprocesses.build(spec, labels=manifest.labels)
        return made

    def decide(self, outputs: np.ndarray) -> list[Result]:
        """The results for scores that the network gave; a `Refusal` where one is no number."""
        if not np.isfinite(outputs).all():
            raise Refusal(422, "the network gives numbers that are not finite for this batch")
        return self._decide(None, None)(outputs)

    async def predict(
        self, image: bytes, filename: str, deadline: float,
        topk: int | None = None, threshold: float | None = None,
    ) -> Result | Unreadable:  # fmt: skip
        """What became of one image file.

        Raises:
            Refusal: not in time, or an argument that does not fit this bundle.
        """
        try:
            self._decide(topk, threshold)
        except ConfigError as error:
            raise Refusal(400, str(error)) from None
        call = BatchCall(self._run_images, (topk, threshold))
        result: Result | Unreadable = await self.queue.submit(call, image, deadline)
        if isinstance(result, Unreadable):
            return result._replace(filename=filename)
        return result.named(filename)

    async def infer(
        self, view: ModelView, inputs: Mapping[str, np.ndarray], deadline: float
    ) -> dict[str, np.ndarray]:
        """Outputs for inputs, both by name, of the network or of the images.

        Raises:
            Refusal: other inputs than these, not in time, or an image that cannot be read.
        """
        check_inputs(view, inputs)
        if view == self.network:
            outputs = await self._infer(inputs, deadline)
            return dict(zip((spec.name for spec in view.outputs), outputs, strict=True))
        images = inputs["image"].tolist()
        results = await self.predict_all([("", image) for image in images], deadline)
        for i, result in enumerate(results):
            if isinstance(result, Unreadable):
                raise Refusal(422, f"image {i}: {result.reason}")
        texts = [msgspec.json.encode(result.to_json()) for result in results]
        return {"result": np.array([*texts, None], object)[:-1]}

    async def predict_all(
        self, images: Sequence[tuple[str, bytes]], deadline: float, **options: Any
    ) -> list[Result | Unreadable]:
        """What became of several images, each its file name and its bytes; see `predict`."""
        if not 0 < len(images) <= self._limits.images:
            raise Refusal(400, f"a request holds 1 to {self._limits.images} images")
        each = (self.predict(data, name, deadline, **options) for name, data in images)
        return list(await asyncio.gather(*each))

    async def _infer(self, inputs: Mapping[str, np.ndarray], deadline: float) -> list[np.ndarray]:
        rows = {len(array) for array in inputs.values()}
        if len(rows) != 1:
            raise Refusal(400, "the inputs have different numbers of rows")
        shared = tuple(inputs[spec.name].shape[1:] for spec in self.network.inputs)
        call = BatchCall(self._run_tensors, (shared if self._stacks else object(),))
        outputs: list[np.ndarray] = await self.queue.submit(call, inputs, deadline)
        return outputs

    def _run_images(self, images: list[bytes], topk: int | None, threshold: float | None) -> Done:
        started = time.perf_counter()
        outcomes: list[Any] = [self._prepared(data) for data in images]
        rows = [row for row in outcomes if not isinstance(row, Unreadable)]
        ready = time.perf_counter()
        outputs = self._pipeline.steps.run(rows) if rows else None
        ran = time.perf_counter()
        results = iter(self._decide(topk, threshold)(outputs) if rows else ())
        outcomes = [o if isinstance(o, Unreadable) else next(results) for o in outcomes]
        done = time.perf_counter()
        return Done(outcomes, (ready - started, ran - ready, done - ran))

    def _prepared(self, data: bytes) -> Any:
        try:
            check_pixels(data, self._limits.pixels)
            return self._pipeline.steps.prepare(self._pipeline.steps.decode(data))
        except ImageError as error:
            problem = error.problems[0]
            return Unreadable("", "; ".join(filter(None, (problem.what, problem.hint))))

    def _run_tensors(self, feeds: list[Mapping[str, np.ndarray]], _: object) -> Done:
        started = time.perf_counter()
        if len(feeds) == 1:
            outputs = self._engine.run_all(feeds[0])
            return Done([outputs], (0.0, time.perf_counter() - started, 0.0))
        whole = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        ready = time.perf_counter()
        (output,) = self._engine.run_all(whole)
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1]
        parts = [[part] for part in np.split(output, ends)]
        return Done(parts, (ready - started, time.perf_counter() - ready, 0.0))


def _open(shape: Sequence[int | None]) -> tuple[int, ...]:
    """A shape with -1 where any number goes."""
    return tuple(-1 if side is None else side for side in shape)


def _engine(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": options["engine"], "precision": options["precision"]}


def check_pixels(data: bytes, most: int) -> None:
    """Raise `ImageError` for an image of more than `most` pixels; what is none is the decoder's to name."""
    try:
        header = read_header(data)
    except HeaderError:
        return
    if header.width * header.height > most:
        what = f"{header.width} x {header.height} pixels are more than the limit of {most}"
        raise ImageError("image", what, "reduce the image")


def check_inputs(view: ModelView, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse inputs that are not exactly those of the model."""
    names = {spec.name for spec in view.inputs}
    if names != inputs.keys():
        text = f"model {view.name!r} takes {sorted(names)}, got {sorted(inputs)}"
        raise Refusal(400, text[:300])
    for spec in view.inputs:
        spec.check(inputs[spec.name])

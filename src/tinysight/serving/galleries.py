"""Galleries behind routes: what is in an image, what is nearest to it, and their keeping by an administrator."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tinysight.errors import ConfigError, GalleryError, ImageError
from tinysight.gallery.gallery import Gallery
from tinysight.pipelines.recognize import Recognizer, members_of
from tinysight.pipelines.sources import ImageInput
from tinysight.serving.batching import BatchCall, BatchQueue, Done
from tinysight.serving.guard import unless_gone
from tinysight.serving.limits import Refusal
from tinysight.serving.models import check_pixels
from tinysight.serving.rest import RestApi, as_json, number
from tinysight.tasks.results import Unreadable

_MOST = 100  # neighbours that a request may ask for


def parse_galleries(texts: Sequence[str]) -> dict[str, Path]:
    """`[NAME=]FOLDER` words; the name is that of the folder by default.

    Raises:
        ConfigError: two have one name, or one cannot stand in an address.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.rpartition("=")
        path = Path(folder)
        name = name if equals else path.resolve().name
        if not name or "/" in name:
            raise ConfigError("--gallery", f"{name!r} is no name", "write NAME=FOLDER")
        if name in found:
            raise ConfigError("--gallery", f"two are named {name!r}", "write NAME=FOLDER")
        found[name] = path
    return found


@dataclass(frozen=True)
class GalleryRoutes:
    """Makes the routes of a process.

    Attributes:
        galleries: folders by name.
        system: folder of a system, or of an embedder; None: no recognition.
        options: `engine` and `precision` of the networks.
    """

    galleries: Mapping[str, Path]
    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, rest: RestApi) -> tuple[Route, ...]:
        """The routes; every bundle is loaded, so that what is missing stops the server and not a request."""
        made = _Galleries(rest, self)
        one = "/v1/galleries/{name}"
        return (
            Route("/v1/galleries", made.overview),
            Route(one + "/query", made.query, methods=["POST"]),
            Route(one + "/add", made.add, methods=["POST"]),
            Route(one + "/remove", made.remove, methods=["POST"]),
            *([Route("/v1/recognize", made.recognize, methods=["POST"])] if self.system else []),
        )


class _Galleries:
    def __init__(self, rest: RestApi, about: GalleryRoutes) -> None:
        self._rest, limits, pool = rest, rest.limits, rest.repository.pool
        self._galleries: dict[str, Gallery] = {}
        self._recognizers: dict[str, Recognizer] = {}
        model = members_of(about.system)[1] if about.system else None
        for name, folder in about.galleries.items():
            self._galleries[name] = gallery = Gallery(folder, model=model, **about.options)
            gallery.pipeline  # noqa: B018 - opened now
            if about.system:
                self._recognizers[name] = Recognizer(about.system, gallery.store, **about.options)
        self._queues = {
            name: BatchQueue(pool, limits.batch, limits.queue, Counter())
            for name in self._galleries
        }

    def _named(self, name: str) -> str:
        if name not in self._galleries:
            raise Refusal(404, f"no gallery {name[:50]!r} here")
        return name

    async def overview(self, request: Request) -> Response:
        """Each gallery, with its number of items."""
        rows = [
            {"name": name, "items": g.store.count(), "metric": g.store.metric, "dim": g.store.dim}
            for name, g in self._galleries.items()
        ]
        return as_json({"galleries": rows})

    async def recognize(self, request: Request) -> Response:
        """What a gallery says about the parts of each image."""
        for option in {"threshold", "topk"} & {*request.query_params}:
            what = f"?{option}= is not of this route; the gallery and the system say it"
            raise Refusal(400, what)
        names = list(self._galleries)
        name = self._named(request.query_params.get("gallery", names[0] if names else ""))
        results = await self._each(request, name, self._recognizers[name])
        return _answer(results, lambda result: result.to_json())

    async def query(self, request: Request) -> Response:
        """The items that are nearest to each image."""
        name = self._named(request.path_params["name"])
        k = number(request.query_params.get("k", "5"), "k", int)
        if not 1 <= k <= _MOST:
            raise Refusal(400, f"k should be from 1 to {_MOST}, got {k}")
        gallery = self._galleries[name]
        results = await self._each(request, name, lambda image: gallery.query(image, k))
        rows = lambda found: {"matches": [match._asdict() for match in found]}  # noqa: E731
        return _answer(results, rows)

    async def add(self, request: Request) -> Response:
        """Add images under one label; `id` is allowed for one image, else it follows from the bytes."""
        gallery = self._galleries[self._named(request.path_params["name"])]
        _administrator(request)
        label, chosen = request.query_params.get("label"), request.query_params.get("id", "")
        if not (label and label.strip()):
            raise Refusal(400, "?label=... says what the images show")
        async with self._rest.bodies.read(request) as body:
            images, _ = await self._rest.images(request, body)
        if chosen and len(images) > 1:
            raise Refusal(400, "an id is for one image")
        inputs = [(ImageInput(chosen, data) if chosen else data, label) for _, data in images]

        def work() -> Response:
            for name, data in images:  # what cannot be read would be an item all the same
                try:
                    self._check(data)
                    gallery.pipeline.steps.decode(data)
                except ImageError as error:
                    text = error.problems[0].what
                    raise Refusal(422, f"{name}: {text}" if len(images) > 1 else text) from None
            done = gallery.add(inputs)
            return as_json({"added": done.written, "unchanged": done.unchanged})

        return await _in_thread(work)

    async def remove(self, request: Request) -> Response:
        """Remove the items of `{"ids": [...]}`."""
        gallery = self._galleries[self._named(request.path_params["name"])]
        _administrator(request)
        async with self._rest.bodies.read(request) as body:
            try:
                ids = msgspec.json.decode(body, type=dict[str, list[str]])["ids"]
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
                raise Refusal(400, 'the JSON is {"ids": [ID, ...]}') from None
        return await _in_thread(lambda: as_json({"removed": gallery.store.remove(ids)}))

    async def _each(
        self, request: Request, name: str, ask: Callable[[ImageInput], Any]
    ) -> tuple[list[Any], bool]:
        """What `ask` says of each image of a request, in the queue of a gallery; and whether they are many."""
        async with self._rest.bodies.read(request) as body:
            images, many = await self._rest.images(request, body)
            if not 0 < len(images) <= self._rest.limits.images:
                raise Refusal(400, f"a request holds 1 to {self._rest.limits.images} images")
            deadline, call = self._rest.deadline(), BatchCall(self._run, (ask,))
            jobs = [self._queues[name].submit(call, ImageInput(*i), deadline) for i in images]
            gathered = asyncio.gather(*jobs)
            return list(await unless_gone(request, gathered)), many  # type: ignore[arg-type]

    def _run(self, images: Sequence[ImageInput], ask: Callable[[ImageInput], Any]) -> Done:
        outcomes: list[Any] = []
        for image in images:
            try:
                self._check(image.data)
                outcomes.append(ask(image))
            except ImageError as error:
                problem = error.problems[0]
                reason = "; ".join(filter(None, (problem.what, problem.hint)))
                outcomes.append(Unreadable(image.name, reason))
        return Done(outcomes)

    def _check(self, data: Any) -> None:
        check_pixels(data, self._rest.limits.pixels)


async def _in_thread(work: Callable[[], Response]) -> Response:
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except ImageError as error:
        raise Refusal(422, error.problems[0].what) from None
    except GalleryError as error:
        raise Refusal(409, error.problems[0].what) from None


def _administrator(request: Request) -> None:
    # The guard says it of those that it has let in as such.
    if not request.scope.get("admin"):
        raise Refusal(403, "needs an admin token")


def _answer(results: tuple[list[Any], bool], tree: Callable[[Any], dict[str, Any]]) -> Response:
    rows, many = results
    trees = [row.to_json() if isinstance(row, Unreadable) else tree(row) for row in rows]
    if many:
        return as_json({"results": trees})
    return as_json(trees[0], 422 if isinstance(rows[0], Unreadable) else 200)

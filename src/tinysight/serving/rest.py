"""The HTTP routes: Open Inference Protocol v2 with Triton's extensions, a route for each kind of result, metrics."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from tinysight import __version__
from tinysight.files import read_yaml
from tinysight.serving.guard import Bodies, unless_gone
from tinysight.serving.limits import Refusal, ServerLimits
from tinysight.serving.models import ModelView, ServedModel
from tinysight.serving.observing import Snapshots, metrics, statistics
from tinysight.serving.protocol import LENGTH, chosen, parse_request, render
from tinysight.serving.repository import Repository
from tinysight.serving.tensors import BYTES, TensorSpec
from tinysight.tasks.results import Result, Unreadable

EXTENSIONS = [
    "binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics",
]  # fmt: skip
Fetch = Callable[[str, int], bytes]  # of an image's address and the most bytes that it may have
_RAW = ("image/", "application/octet-stream")


def as_json(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def say(answer: Callable[[], Any]) -> Callable[[Request], Awaitable[Response]]:
    """A route that asks nothing of the request."""

    async def route(request: Request) -> Response:
        return as_json(answer())

    return route


@cache
def _contract() -> Any:
    return read_yaml(Path(__file__).with_name("openapi.yaml"))


class RestApi:
    """The routes and what they need.

    Args:
        repository: of the models.
        limits: of the server.
        responses: answers by status, for the metrics.
        snapshots: counts of all workers.
        triton: True to give metrics under Triton's names too.
        fetch: what reads an image's address; None: addresses are refused.
    """

    def __init__(
        self, repository: Repository, limits: ServerLimits, responses: Counter[str],
        snapshots: Snapshots, triton: bool = False, fetch: Fetch | None = None,
    ) -> None:  # fmt: skip
        self.repository, self.limits, self._responses = repository, limits, responses
        self._snapshots, self._triton, self._fetch = snapshots, triton, fetch
        self.bodies = Bodies(limits)

    def router(self, more: tuple[Route, ...] = ()) -> Router:
        """The application; `more` are routes of other protocols."""
        one, get, repository = "/v2/models/{name}", self._get, "/v2/repository"
        everything = lambda: self.statistics(self.repository.models())  # noqa: E731
        models = [Route("/v2/models/stats", say(everything))]
        for path in (one, one + "/versions/{version}"):
            models += [
                Route(path, get(lambda m, v: self.metadata(m, v))),
                Route(path + "/ready", get(lambda m, v: {"name": v.name, "ready": True})),
                Route(path + "/config", get(lambda m, v: self.config(m, v))),
                Route(path + "/stats", get(lambda m, v: self.statistics([m]))),
                Route(path + "/infer", self._infer, methods=["POST"]),
            ]
        routes = [
            Route("/v2", say(self.about)), Route("/v2/health/live", say(lambda: {"live": True})),
            Route("/v2/health/ready", self._ready), *models,
            Route(repository + "/index", say(self.repository.index), methods=["POST"]),
            Route(repository + "/models/{name}/load", self._load, methods=["POST"]),
            Route(repository + "/models/{name}/unload", self._load, methods=["POST"]),
            *(Route(f"/v1/{route}", self._predict, methods=["POST"]) for route in ("classify", "detect", "embed")),
            Route("/v1/models", say(lambda: {"models": [m.about() for m in self.repository.models()]})),
            Route("/metrics", self._metrics), Route("/openapi.json", say(self._openapi)),
            *more,
        ]  # fmt: skip
        self._paths = {route.path for route in routes}
        return Router(routes, redirect_slashes=False)

    def deadline(self, seconds: float = 0.0) -> float:
        """The time of the loop until which a request that is whole now may take."""
        most = self.limits.deadline
        return asyncio.get_running_loop().time() + (min(seconds, most) if seconds else most)

    def _get(
        self, answer: Callable[[ServedModel, ModelView], Any]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            return as_json(answer(*self._model(request)))

        return route

    def _model(self, request: Request) -> tuple[ServedModel, ModelView]:
        params = request.path_params
        return self.repository.get(params["name"], params.get("version", ""))

    def about(self) -> dict[str, Any]:
        """The server's name and what it can do."""
        return {"name": "tinysight", "version": __version__, "extensions": EXTENSIONS}

    async def _ready(self, request: Request) -> Response:
        ready = self.repository.ready
        return as_json({"ready": ready}, 200 if ready else 503)

    def metadata(self, model: ServedModel, view: ModelView) -> dict[str, Any]:
        """What a model takes and gives."""
        about = {"name": view.name, "versions": self.repository.versions(model.name)}
        return {**about, **view.tensors(), "platform": view.platform}

    def config(self, model: ServedModel, view: ModelView) -> dict[str, Any]:
        """The same as Triton's model configuration."""
        return {
            "name": view.name, "platform": view.platform, "backend": "tinysight", "max_batch_size": 0,
            "input": configured(view.inputs), "output": configured(view.outputs),
        }  # fmt: skip

    def statistics(self, models: list[ServedModel]) -> dict[str, Any]:
        """What these models have done, in all workers."""
        counts, _ = self._snapshots.total(self.repository.counts, self._responses)
        keys = [(m.name, m.version) for m in models]
        both = zip(keys, models, strict=True)
        return {"model_stats": [statistics(*k, counts[k], m.queue.last_ms) for k, m in both]}

    async def _load(self, request: Request) -> Response:
        name, repository = request.path_params["name"], self.repository
        # The guard says it of those that it has let in as such.
        if not request.scope.get("admin"):
            raise Refusal(403, "needs an admin token")
        unload = request.url.path.endswith("/unload")
        await (repository.unload(name) if unload else repository.load(name))
        return as_json({})

    async def _metrics(self, request: Request) -> Response:
        models, responses = self._snapshots.total(self.repository.counts, self._responses)
        waiting = {(m.name, m.version): m.queue.waiting for m in self.repository.models()}
        text = metrics(models, responses, waiting, self._triton)
        return Response(text, media_type="text/plain; version=0.0.4")

    def _openapi(self) -> Any:
        pages = _contract()
        names = [face.name for m in self.repository.models() for face in (m.network, m.images)]
        pages["info"]["version"] = __version__
        pages["paths"] = {p: page for p, page in pages["paths"].items() if p in self._paths}
        pages["components"]["schemas"]["ModelName"]["enum"] = names
        return pages

    async def _infer(self, request: Request) -> Response:
        _, view = self._model(request)
        async with self.bodies.read(request) as body:
            asked = parse_request(body, request.headers.get(LENGTH), view)
            model, view = self._model(request)  # which may have been replaced meanwhile
            work = model.infer(view, asked.inputs, self.deadline(asked.seconds))
            outputs = await unless_gone(request, work)
        about = {"model_name": view.name, "model_version": model.version}
        found = chosen(asked, outputs, model.bundle.manifest.labels)
        data, head = render({**about, **({"id": asked.id} if asked.id else {})}, found)
        if head is None:
            return Response(data, media_type="application/json")
        return Response(data, headers={LENGTH: str(head)}, media_type="application/octet-stream")

    async def _predict(self, request: Request) -> Response:
        route, query = request.url.path.rpartition("/")[2], request.query_params
        options = {
            "topk": number(query.get("topk"), "topk", int),
            "threshold": number(query.get("threshold"), "threshold", float),
        }
        async with self.bodies.read(request) as body:
            images, many = await self.images(request, body)
            model = self.repository.for_route(route, query.get("model", ""))
            work = model.predict_all(images, self.deadline(), **options)
            results = await unless_gone(request, work)
        if not many:
            return one_result(results[0])
        return as_json({"results": [result.to_json() for result in results]})

    async def images(self, request: Request, body: bytes) -> tuple[list[tuple[str, bytes]], bool]:
        """The images of a task route, by their file names, and whether the answer is a list."""
        kind = request.headers.get("content-type", _RAW[1])
        if kind.startswith("multipart/form-data"):
            parts = form_parts(kind, body, self.limits.images)
            return parts, len(parts) > 1
        if kind.startswith("application/json"):
            try:
                asked = msgspec.json.decode(body, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise Refusal(400, f"no JSON object: {str(error)[:200]}") from None
            if asked.keys() == {"images"} and isinstance(asked["images"], list):
                return [("image", from_base64(text)) for text in asked["images"]], True
            if asked.keys() == {"image"}:
                return [("image", from_base64(asked["image"]))], False
            if asked.keys() == {"url"} and isinstance(asked["url"], str):
                return [(asked["url"], await self.fetch(asked["url"]))], False
            forms = '{"image": BASE64}, {"images": [BASE64, ...]} or {"url": ADDRESS}'
            raise Refusal(400, f"the JSON is {forms}")
        if not kind.startswith(_RAW):
            kinds = "image/*, application/octet-stream, application/json or multipart/form-data"
            raise Refusal(415, f"send {kinds}")
        return [("image", body)], False

    async def fetch(self, url: str) -> bytes:
        """The image at an address, where the server reads addresses at all."""
        if self._fetch is None:
            raise Refusal(400, "this server reads no addresses; send the image itself")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._fetch, url, self.limits.body_bytes)


def configured(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    """Tensors as a model configuration of Triton has them."""
    kinds = {BYTES: "TYPE_STRING"}
    return [
        {"name": name, "data_type": kinds.get(kind, f"TYPE_{kind}"), "dims": list(shape)}
        for name, kind, shape in specs
    ]


def one_result(result: Result | Unreadable) -> Response:
    """The answer for one image: its result, or 422 and the reason."""
    return as_json(result.to_json(), 422 if isinstance(result, Unreadable) else 200)


def number(text: str | None, name: str, kind: type[int] | type[float]) -> Any:
    """A number in a query; None where there is none."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        raise Refusal(400, f"{name} should be a number, got {text[:20]!r}") from None  # type: ignore[index]


def from_base64(text: Any) -> bytes:
    """The bytes of an image in JSON, plain or as a `data:` address."""
    try:
        return base64.b64decode(re.sub(r"^data:[\w/+.-]*;base64,", "", text), validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Refusal(400, "an image in JSON is a text in base64") from None


def form_parts(content_type: str, body: bytes, most: int) -> list[tuple[str, bytes]]:
    """File name and bytes of each part of a form.

    Raises:
        Refusal: it is no form, or has more parts than images are allowed.
    """
    header = Message()
    header["content-type"] = content_type
    boundary = b"--" + str(header.get_param("boundary", "")).encode("utf-8", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + boundary, most + 2)
    if len(boundary) < 3 or len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise Refusal(400, f"no form of 1 to {most} parts between its boundaries")
    parts = []
    for piece in pieces[1:-1]:
        head, blank, data = piece.partition(b"\r\n\r\n")
        if not blank:
            raise Refusal(400, "a part of the form has no blank line after its head")
        about = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                about["content-disposition"] = value.strip()
        if about.get_param("name", header="content-disposition") != "image":
            raise Refusal(400, "the parts of a form are named `image`")
        parts.append((about.get_filename("image"), data))
    return parts

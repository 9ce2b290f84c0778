"""The routes and envelopes of PaddleX, Paddle Serving and PaddleHub serving, answered by the models of our server.

Their clients move by changing an address. Sources: PaddleX 3.7 basic serving, PaddleClas' `deploy/paddleserving` and
`deploy/hubserving`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tinysight.errors import UnknownName
from tinysight.serving.guard import unless_gone
from tinysight.serving.limits import Refusal
from tinysight.serving.models import ServedModel
from tinysight.serving.rest import RestApi, as_json, from_base64
from tinysight.serving.tensors import from_bytes
from tinysight.tasks.results import BoxResult, ClassResult, EmbeddingResult, Result, Unreadable

_Answer = Callable[[dict[str, Any]], Awaitable[Any]]
_DTYPES = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "uint8": "UINT8"}
_ADDRESS = ("http://", "https://")


class _Front:
    """One of the three: how it reads a request and wraps an answer or an error."""

    def __init__(self, rest: RestApi) -> None:
        self.rest = rest

    def wrap(self, answer: Any) -> Response:
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> Response:
        raise NotImplementedError

    def route(
        self, path: str, answer: Callable[[Request, dict[str, Any]], Awaitable[Any]]
    ) -> Route:
        async def handle(request: Request) -> Response:
            try:
                async with self.rest.bodies.read(request) as body:
                    try:
                        asked = msgspec.json.decode(body, type=dict[str, Any])
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        raise Refusal(422, "the body is no JSON object") from None
                    return self.wrap(await unless_gone(request, answer(request, asked)))  # type: ignore[arg-type]
            except Refusal as refusal:
                return self.refuse(refusal)

        return Route(path, handle, methods=["POST"])

    async def predict(self, model: ServedModel, image: bytes, **options: Any) -> Result:
        """The result for one image; unreadable is a refusal."""
        result = await model.predict(image, "", self.rest.deadline(), **options)
        if isinstance(result, Unreadable):
            raise Refusal(422, result.reason)
        return result


class _PaddleX(_Front):
    def routes(self) -> tuple[Route, ...]:
        kinds = {
            "/image-classification": ("classify", _categories), "/object-detection": ("detect", _objects),
            "/image-multilabel-classification": ("classify", _categories), "/image-feature": ("embed", _feature),
        }  # fmt: skip
        made = [self.route(path, self._answer(*kind)) for path, kind in kinds.items()]
        return (Route("/health", self._health), *made)

    def wrap(self, answer: Any) -> Response:
        about = {"logId": uuid.uuid4().hex, "errorCode": 0, "errorMsg": "Success"}
        return as_json({**about, "result": answer})

    def refuse(self, refusal: Refusal) -> Response:
        about = {"logId": uuid.uuid4().hex, "errorCode": refusal.status}
        return as_json({**about, "errorMsg": refusal.text}, refusal.status)

    async def _health(self, request: Request) -> Response:
        if not self.rest.repository.ready:
            raise Refusal(503, "not ready")
        return as_json({"logId": uuid.uuid4().hex, "errorCode": 0, "errorMsg": "Healthy"})

    def _answer(self, route: str, shape: Callable[[Any], dict[str, Any]]) -> Any:
        async def answer(request: Request, asked: dict[str, Any]) -> Any:
            text, topk = asked.get("image"), asked.get("topk")
            if topk is not None and type(topk) is not int:
                raise Refusal(422, "topk is a number of classes")
            remote = isinstance(text, str) and text.startswith(_ADDRESS)
            image = await self.rest.fetch(str(text)) if remote else from_base64(text)
            model = self.rest.repository.for_route(route, request.query_params.get("model", ""))
            return {**shape(await self.predict(model, image, topk=topk)), "image": None}

        return answer


def _categories(result: Result) -> dict[str, Any]:
    found = _classes(result)
    names = found.label_names or tuple(map(str, found.class_ids.tolist()))
    rows = zip(found.class_ids.tolist(), names, found.scores.tolist(), strict=True)
    return {"categories": [{"id": i, "name": name, "score": score} for i, name, score in rows]}


def _objects(result: Result) -> dict[str, Any]:
    assert isinstance(result, BoxResult)  # of a model of the route `detect`
    rows = zip(
        result.boxes_xyxy.tolist(), result.label_ids.tolist(), result.label_names, result.scores.tolist(), strict=True
    )  # fmt: skip
    keys = ("bbox", "categoryId", "categoryName", "score")
    return {"detectedObjects": [dict(zip(keys, row, strict=True)) for row in rows]}


def _feature(result: Result) -> dict[str, Any]:
    if not isinstance(result, EmbeddingResult):
        raise Refusal(422, "the model gives codes, not vectors")
    return {"feature": result.embedding.tolist()}


def _classes(result: Result) -> ClassResult:
    if not isinstance(result, ClassResult):
        raise Refusal(422, "the model's results are no classes")
    return result


class _PaddleServing(_Front):
    def routes(self) -> tuple[Route, ...]:
        return (self.route("/{service}/prediction", self._answer),)

    def wrap(self, answer: Any) -> Response:
        keys, values = list(answer), [str(value) for value in answer.values()]  # Python's own texts
        return as_json({"err_no": 0, "err_msg": "", "key": keys, "value": values, "tensors": []})

    def refuse(self, refusal: Refusal) -> Response:
        about = {"err_no": refusal.status, "err_msg": refusal.text}
        return as_json({**about, "key": [], "value": [], "tensors": []})

    async def _answer(self, request: Request, asked: dict[str, Any]) -> Any:
        keys, values = asked.get("key"), asked.get("value")
        if not isinstance(keys, list) or not isinstance(values, list) or len(keys) != len(values):
            raise Refusal(422, "`key` and `value` are lists of one length")
        given = {str(key): value for key, value in zip(keys, values, strict=True)}
        name, repository = request.path_params["service"], self.rest.repository
        model = repository.for_route("classify", name if repository.versions(name) else "")
        found = _classes(await self.predict(model, from_base64(given.get("image"))))
        return {"label": list(found.label_names), "prob": found.scores.tolist()}


class _HubServing(_Front):
    def routes(self) -> tuple[Route, ...]:
        return (self.route("/predict/{module}", self._answer),)

    def wrap(self, answer: Any) -> Response:
        return as_json({"msg": "", "results": answer, "status": "000"})

    def refuse(self, refusal: Refusal) -> Response:
        return as_json({"msg": refusal.text, "results": "", "status": "101"})

    async def _answer(self, request: Request, asked: dict[str, Any]) -> Any:
        started, about = time.perf_counter(), asked.get("revert_params")
        if not isinstance(about, dict) or not isinstance(about.get("shape"), list):
            raise Refusal(422, "`revert_params` says the shape and the dtype of the batch")
        shape, kind = about["shape"], _DTYPES.get(str(about.get("dtype")), "")
        if not all(type(side) is int for side in shape) or not kind:
            raise Refusal(422, f"the batch is an array of {', '.join(_DTYPES)}")
        batch = from_bytes("images", kind, shape, from_base64(asked.get("images")))
        name, repository = request.path_params["module"], self.rest.repository
        model = repository.for_route("classify", name if repository.versions(name) else "")
        view = model.network
        feeds = {view.inputs[0].name: batch.astype(np.float32)}
        outputs = await model.infer(view, feeds, self.rest.deadline())
        rows = [result.to_json() for result in model.decide(outputs[view.outputs[0].name])]
        for row in rows:
            del row["filename"]
        return {"prediction": rows, "elapse": time.perf_counter() - started}


_FRONTS = {"paddlex": _PaddleX, "paddleserving": _PaddleServing, "hubserving": _HubServing}


def compat_routes(names: str) -> tuple[Callable[[RestApi], tuple[Route, ...]], ...]:
    """What makes the routes of the named fronts, separated by commas.

    Raises:
        UnknownName: there is no such front.
    """
    wanted = [name for name in names.replace(" ", "").split(",") if name]
    for name in wanted:
        if name not in _FRONTS:
            raise UnknownName("front", name, _FRONTS, "--compat")
    return tuple(lambda rest, front=_FRONTS[name]: front(rest).routes() for name in wanted)

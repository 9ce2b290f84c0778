"""The gRPC service of the Open Inference Protocol v2, with the checks and the answers of the HTTP routes.

The message classes are made from `inference.binpb`, the descriptor set of `inference.proto`, in a pool of their own,
so that a client of the same protocol may live in this process with its own.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import AsyncIterator, Callable
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from tinysight.serving import tensors
from tinysight.serving.guard import Guard
from tinysight.serving.limits import Access, Refusal, ServerLimits
from tinysight.serving.observing import log
from tinysight.serving.protocol import InferenceRequest, WantedOutput, chosen, deadline_of
from tinysight.serving.rest import RestApi

# Of a request and its context; gives a message, its fields, or nothing.
_Call: TypeAlias = Callable[[Any, Any], Any]
SERVICE = "inference.GRPCInferenceService"
_ADMIN = ("RepositoryModelLoad", "RepositoryModelUnload")
_OPEN = ("ServerLive", "ServerReady")  # what a probe without a token asks
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED, 404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED, 429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL, 503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip
_CONTENTS = {
    "BOOL": "bool_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"), "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"), "UINT64": "uint64_contents",
}  # fmt: skip


def _message_types() -> dict[str, Any]:
    data = Path(__file__).with_name("inference.binpb").read_bytes()
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    found = pool.FindFileByName("inference.proto").message_types_by_name
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


MESSAGES = _message_types()


class GrpcApi:
    """The calls of the service.

    Args:
        rest: the routes of the same server.
        access: who may call.
        guard: of the HTTP side; counts answers, and says whether the server is ending.
    """

    def __init__(self, rest: RestApi, access: Access, guard: Guard) -> None:
        self._rest, self._access, self._guard = rest, access, guard

    def server(self, limits: ServerLimits, shared_port: bool) -> Any:
        """A server with these calls, not started and on no port.

        Args:
            limits: of the server.
            shared_port: True if other workers listen on the same port.
        """
        options = [
            ("grpc.max_receive_message_length", limits.body_bytes), ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", limits.head_bytes), ("grpc.so_reuseport", int(shared_port)),
            ("grpc.max_connection_idle_ms", 300_000), ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]  # fmt: skip
        at_once = max(8, limits.held_bytes // limits.body_bytes)  # each may hold a whole message
        made = grpc.aio.server(options=options, maximum_concurrent_rpcs=at_once)
        rest, models = self._rest, self._rest.repository
        of: Callable[[Any], Any] = lambda r: models.get(r.name, r.version)  # noqa: E731
        calls: dict[str, _Call] = {
            "ServerLive": lambda r, _: {"live": True}, "ServerReady": lambda r, _: {"ready": models.ready},
            "ModelReady": lambda r, _: {"ready": models.has(r.name, r.version)},
            "ServerMetadata": lambda r, _: rest.about(), "ModelMetadata": lambda r, _: rest.metadata(*of(r)),
            "ModelConfig": lambda r, _: {"config": rest.config(*of(r))}, "ModelInfer": self._infer,
            "ModelStatistics": lambda r, _: rest.statistics([of(r)[0]] if r.name else models.models()),
            "RepositoryIndex": lambda r, _: {"models": models.index()},
            "RepositoryModelLoad": lambda r, _: models.load(r.model_name),
            "RepositoryModelUnload": lambda r, _: models.unload(r.model_name),
        }  # fmt: skip
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(partial(self._answer, name, call))
            for name, call in calls.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        return made

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        response = MESSAGES["ModelStreamInferResponse"]
        async for data in requests:
            try:
                found = await self._asked("ModelStreamInfer", self._infer, data, context)
                yield response(infer_response=found).SerializeToString()
            except Refusal as refusal:
                yield response(error_message=refusal.text).SerializeToString()

    async def _answer(self, name: str, call: _Call, data: bytes, context: Any) -> bytes:
        try:
            found = await self._asked(name, call, data, context)
            if found is None or isinstance(found, dict):
                response = MESSAGES[f"{name}Response"]()
                found = json_format.ParseDict(found or {}, response, ignore_unknown_fields=True)
            return bytes(found.SerializeToString())
        except Refusal as refusal:
            code, text = _CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT), refusal.text
        await context.abort(code, text)
        raise AssertionError  # `abort` raises

    async def _asked(self, name: str, call: _Call, data: bytes, context: Any) -> Any:
        """What `call` answers; anything that goes wrong is a `Refusal`."""
        self._guard.accepted += 1
        started, status = time.perf_counter(), "CANCELLED"
        client = context.peer().rpartition(":")[0]
        try:
            if name not in _OPEN:
                given = dict(context.invocation_metadata() or ()).get("authorization", "")
                self._access.admit(client, str(given), admin=name in _ADMIN)
            kind = MESSAGES[f"{name.replace('Stream', '')}Request"]
            found = call(kind.FromString(data), context)
            found = await found if isawaitable(found) else found
        except DecodeError:
            status = "400"
            raise Refusal(400, f"the message is no {name}Request") from None
        except Refusal as refusal:
            status = str(refusal.status)
            raise
        except Exception as error:
            status = "500"
            log("error", call=name, error=repr(error), trace=traceback.format_exc())
            raise Refusal(500, "internal error; the server's log has it") from None
        else:
            status = "OK"
            return found
        finally:
            self._guard.responses[f"grpc {status}"] += 1
            self._guard.answered += 1
            ms = round((time.perf_counter() - started) * 1e3, 2)
            log("call", call=name, client=client, status=status, bytes=len(data), ms=ms)

    async def _infer(self, request: Any, context: Any) -> Any:
        asked = _parse(request)
        model, view = self._rest.repository.get(request.model_name, request.model_version)
        limits = [s for s in (asked.seconds, context.time_remaining()) if s]
        deadline = self._rest.deadline(min(limits, default=0.0))
        outputs = await model.infer(view, asked.inputs, deadline)
        response = MESSAGES["ModelInferResponse"](
            model_name=view.name, model_version=model.version, id=asked.id
        )
        for wanted, array in chosen(asked, outputs, model.bundle.manifest.labels):
            kind = tensors.datatype(array)
            row = response.outputs.add(name=wanted.name, datatype=kind, shape=array.shape)
            if asked.binary:
                response.raw_output_contents.append(tensors.to_bytes(array))
            else:
                values = array.reshape(-1).tolist()
                getattr(row.contents, _CONTENTS[kind]).extend(values)
        return response


def _parse(request: Any) -> InferenceRequest:
    raw, inputs = request.raw_input_contents, dict[str, np.ndarray]()
    if raw and len(raw) != len(request.inputs):
        raise Refusal(400, f"{len(raw)} raw inputs for {len(request.inputs)} inputs")
    for i, given in enumerate(request.inputs):
        about = given.name, given.datatype, list(given.shape)
        if given.name in inputs or (raw and given.HasField("contents")):
            raise Refusal(400, f"input {given.name[:100]!r} comes twice")
        if raw:
            inputs[given.name] = tensors.from_bytes(*about, raw[i])
        elif (field := _CONTENTS.get(given.datatype)) is None:
            raise Refusal(400, f"no data type {given.datatype[:20]!r} in typed contents")
        else:
            values = list(getattr(given.contents, field))
            inputs[given.name] = tensors.from_values(*about, values)
    outputs = []
    for one in request.outputs:
        classes = _plain(one.parameters).get("classification", 0)
        if type(classes) is not int:
            raise Refusal(400, "classification is a number")
        outputs.append(WantedOutput(one.name, classification=classes))
    seconds = deadline_of(_plain(request.parameters).get("timeout"))
    return InferenceRequest(request.id, inputs, tuple(outputs), bool(raw), seconds)


def _plain(parameters: Any) -> dict[str, Any]:
    found = {key: value.WhichOneof("parameter_choice") for key, value in parameters.items()}
    return {key: getattr(parameters[key], which) for key, which in found.items() if which}

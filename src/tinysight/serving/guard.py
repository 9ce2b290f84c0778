"""What every HTTP request passes: identification, admission, one form of errors, safe headers, a line in the log."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import traceback
import uuid
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tinysight.serving.limits import Access, Refusal, ServerLimits
from tinysight.serving.observing import log

T = TypeVar("T")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_OPEN = ("/v2/health/live", "/v2/health/ready", "/health")  # what a probe without a token asks
_ADMIN = re.compile(r"/v2/repository/models/[^/]+/(un)?load/?|/v1/galleries/[^/]+/(add|remove)/?")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"), (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"), (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]  # fmt: skip


class Guard:
    """The outermost application.

    Args:
        app: what answers.
        access: who may ask.
        responses: answers by status, counted here.
    """

    def __init__(self, app: ASGIApp, access: Access, responses: Counter[str]) -> None:
        self._app, self._access, self.responses = app, access, responses
        self.accepted = self.answered = 0
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        self.accepted += 1
        started = time.perf_counter()
        headers = {k: v.decode("latin-1") for k, v in scope["headers"]}
        given = headers.get(b"x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        client, path = (scope["client"] or ("unknown",))[0], scope["path"]
        sent = {"status": 0, "bytes": 0}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                own = [(b"x-request-id", request_id.encode()), *_HEADERS]
                own += [(b"connection", b"close")] if self.stopping else []
                message["headers"] = [*message.get("headers", ()), *own]
            sent["bytes"] += len(message.get("body", b""))
            await send(message)

        scope["app"] = self  # an unknown address becomes an exception
        try:
            self._access.check_host(headers.get(b"host", ""))
            if path not in _OPEN:
                admin = scope["admin"] = bool(_ADMIN.fullmatch(path))
                self._access.admit(client, headers.get(b"authorization", ""), admin=admin)
            await self._app(scope, receive, sending)
        except Refusal as refusal:
            await error_response(refusal)(scope, receive, sending)
        except HTTPException as error:
            found = error_response(Refusal(error.status_code, error.detail))
            found.headers.update(error.headers or {})
            await found(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - a bug of ours is told in the log alone
            log("error", id=request_id, error=repr(error), trace=traceback.format_exc())
            if not sent["status"]:
                text = f"internal error; the server's log has it under {request_id}"
                await error_response(Refusal(500, text))(scope, receive, sending)
        finally:
            self.responses[str(sent["status"])] += 1
            self.answered += 1
            ms = round((time.perf_counter() - started) * 1e3, 2)
            about = {"method": scope["method"], "path": path[:200], "client": client}
            log("request", id=request_id, **about, **sent, ms=ms)


def error_response(refusal: Refusal) -> Response:
    """The refusal as JSON."""
    headers = {"content-type": "application/json"}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(max(1, round(refusal.retry_after)))
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.status in (408, 413):  # the rest of the body is not read
        headers["connection"] = "close"
    return Response(json.dumps({"error": refusal.text}), refusal.status, headers)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client closes the connection."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "the client has gone")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


class Bodies:
    """Reads the bodies of requests within the limits of one request and of all together."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits, self._held = limits, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, decompressed; it counts as held until the block ends.

        Raises:
            Refusal: too large, too slow, or not what its headers say.
        """
        most, pieces = self._limits.body_bytes, list[bytes]()
        if int(request.headers.get("content-length", 0)) > most:
            raise Refusal(413, f"more than {most} bytes")
        try:
            try:
                await asyncio.wait_for(self._collect(request, pieces), self._limits.body_seconds)
            except asyncio.TimeoutError:
                text = f"the body did not come within {self._limits.body_seconds:g} s"
                raise Refusal(408, text) from None
            yield _plain(b"".join(pieces), request.headers.get("content-encoding", ""), most)
        finally:
            self._held -= sum(map(len, pieces))

    async def _collect(self, request: Request, pieces: list[bytes]) -> None:
        size, more = 0, True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Refusal(499, "the client has gone")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            self._held += len(pieces[-1])
            more = message.get("more_body", False)
            if size > self._limits.body_bytes:
                raise Refusal(413, f"more than {self._limits.body_bytes} bytes")
            if self._held > self._limits.held_bytes:
                raise Refusal(503, "the server holds as many bytes as it may", 1)


def _plain(data: bytes, encoding: str, most: int) -> bytes:
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "deflate"):
        raise Refusal(415, "content-encoding is gzip, deflate or identity")
    inflate = zlib.decompressobj(47)  # of either, by its header
    try:
        plain = inflate.decompress(data, most + 1)
    except zlib.error:
        raise Refusal(400, f"the body is not {encoding}") from None
    if len(plain) > most:
        raise Refusal(413, f"more than {most} bytes when decompressed")
    if not inflate.eof or inflate.unused_data:
        raise Refusal(400, f"the body is not one whole {encoding} stream")
    return plain


class QuietServer(uvicorn.Server):
    """Uvicorn's server, which leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 with limits on the head of a request and on answers that nobody takes."""

    limits = ServerLimits()
    _in_head, _head_bytes, _ends = True, 0, 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client may take some seconds for the first head."""
        super().connection_made(transport)
        raw = transport.get_extra_info("socket")
        if raw is not None and hasattr(socket, "TCP_USER_TIMEOUT") and raw.family != socket.AF_UNIX:
            ms = int(self.limits.body_seconds * 1000)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ms)
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is timed any more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that is not complete."""
        ends = self._ends
        super().data_received(data)
        if self._in_head and ends == self._ends and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes:
                self.send_400_response("The head of the request is too large.")
            elif self._head_timer is None:
                self._time_head()

    def on_headers_complete(self) -> None:
        """The head is complete; a large one that came at once is refused here."""
        self._end_head()
        self._in_head, self._head_bytes, self._ends = False, 0, self._ends + 1
        if sum(len(k) + len(v) for k, v in self.headers) + len(self.url) > self.limits.head_bytes:
            raise ValueError("the head is too large")  # which the parser makes a 400
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another head."""
        self._in_head, self._ends = True, self._ends + 1
        super().on_message_complete()

    def _time_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.head_seconds, self._late)

    def _late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._time_head()  # an answer to an earlier request is under way
        elif not self.transport.is_closing():
            self.transport.close()

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

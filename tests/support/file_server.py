"""A web server on this machine that serves files well or badly, as a test asks for.

Every trouble is real: bytes go over a socket, connections are cut, answers come late.
"""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple


@dataclass
class Page:
    """One path. The lists are used up, one entry a request; an empty list means: no trouble."""

    body: bytes = b""
    etag: str = '"v1"'
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)  # answered instead of the file
    cuts: list[int] = field(default_factory=list)  # bytes sent before the connection is cut
    location: str = ""  # redirect
    claim: int = 0  # added to the length that is announced
    chunked: bool = False
    length: bool = True
    pause: float = 0.0  # seconds before each tenth of the body
    headers: dict[str, str] = field(default_factory=dict)


class Request(NamedTuple):
    path: str
    range: str
    if_range: str
    status: int


class FileServer:
    """`with FileServer() as server: server.pages["/x"] = Page(b"...")`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(owner: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            page = owner.pages.get(self.path)
            if page is None:
                self.answer(404)
            elif page.location:
                self.answer(302, {"Location": page.location})
            elif page.statuses:
                self.answer(page.statuses.pop(0), page.headers)
            else:
                self.serve(page)

        def serve(self, page: Page) -> None:
            first, asked = 0, self.headers.get("Range", "")
            if page.ranges and asked and self.headers.get("If-Range", page.etag) == page.etag:
                first = int(asked.removeprefix("bytes=").removesuffix("-"))
                if first >= len(page.body):
                    self.answer(416)
                    return
            body = page.body[first:]
            headers = {"ETag": page.etag, **page.headers}
            if first:
                headers["Content-Range"] = (
                    f"bytes {first}-{len(page.body) - 1}/{len(page.body) + page.claim}"
                )
            if page.chunked:
                headers["Transfer-Encoding"] = "chunked"
            elif page.length:
                headers["Content-Length"] = str(len(body) + page.claim)
            self.answer(206 if first else 200, headers, body=True)
            cut = page.cuts.pop(0) if page.cuts else len(body)
            step = max(1, len(body) // 10) if page.pause else len(body) or 1
            for i in range(0, min(cut, len(body)), step):
                time.sleep(page.pause)
                piece = body[i : min(i + step, cut)]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if page.chunked else piece)
            if page.chunked and cut >= len(body):
                self.wfile.write(b"0\r\n\r\n")

        def answer(
            self, status: int, headers: dict[str, str] | None = None, body: bool = False
        ) -> None:
            owner.requests.append(
                Request(
                    self.path,
                    self.headers.get("Range", ""),
                    self.headers.get("If-Range", ""),
                    status,
                )
            )
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            if not body:
                self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()

    return Handler

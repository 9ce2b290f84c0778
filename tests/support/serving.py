"""Real servers: `tinysight serve` in a process of its own, and requests to it over sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from support.commands import environment


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """`with Server(folder, "clarity_assessment", "--rate", 5) as server: server.post("/v1/classify", data)`.

    Its log goes to a file in `folder`; what it said is read there.
    """

    def __init__(
        self, folder: Path, *words: object, grpc: bool = True, seconds: float = 60
    ) -> None:
        self._log = folder / f"log-{time.monotonic_ns()}.jsonl"
        self._words = [str(w) for w in words] + ["--port", "0"]
        self._words += ["--grpc-port", "0"] if grpc else ["--no-grpc"]
        self._seconds = seconds
        self.port = self.grpc_port = self.pid = 0

    def __enter__(self) -> Server:
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tinysight", "serve", *self._words],
                env=environment(),
                stdout=log,
                stderr=log,
            )
        ready = self.wait_for("ready", self._seconds)
        self.port, self.grpc_port, self.pid = ready["port"], ready["grpc_port"], self.process.pid
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if kind is None:
            assert code == 0, self.text()
            assert not self.events("error"), self.events("error")

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def text(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def wait_for(self, event: str, seconds: float = 20, count: int = 1) -> dict[str, Any]:
        """The `count`-th line of that event, once it is there."""
        ends = time.monotonic() + seconds
        while len(found := self.events(event)) < count:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < ends, f"no {event} in {seconds} s:\n{self.text()}"
            time.sleep(0.02)
        return found[count - 1]

    def terminate(self) -> dict[str, Any]:
        """End it by SIGTERM; what it says in the end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.text()
        return self.events("stopped")[-1]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @contextlib.contextmanager
    def raw(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), 30) as found:
            yield found

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        over: http.client.HTTPConnection | None = None,
    ) -> Answer:
        connection = over or self.connect()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            if over is None:
                connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(
        self,
        path: str,
        body: bytes | Mapping[str, Any],
        over: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        given.setdefault("content-type", "application/octet-stream")
        return self.request("POST", path, body, given, over)

    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def threads(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())

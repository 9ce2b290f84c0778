"""Runs a server: one process, or several that share the ports under a supervisor that starts again what dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinysight.concurrency import usable_cores
from tinysight.errors import ConfigError, TinysightError
from tinysight.serving.limits import LOOPBACK, Access, ServerLimits, read_tokens
from tinysight.serving.observing import ModelCounts, Snapshots, log

if TYPE_CHECKING:
    from starlette.routing import Route

    from tinysight.serving.repository import Wanted
    from tinysight.serving.rest import RestApi

_ENDS = (signal.SIGTERM, signal.SIGINT)
_MISTAKE = 2  # exit code of a worker that cannot start with these settings
_HEALTHY = 5.0  # seconds that a worker has to live for its end to be an accident


@dataclass(frozen=True)
class ServerSettings:
    """Everything that a server is started with.

    Attributes:
        models: folders of bundles by name and version.
        host, port: where HTTP is answered; port 0 takes a free one.
        grpc_port: the same for gRPC; None for none.
        options: engine, precision and exact of the pipelines.
        limits: what a process takes on.
        token_file, admin_token_file: digests of the tokens that may ask, and that may load and unload.
        tls_cert, tls_key: PEM files; both or none.
        workers: processes.
        store: folder of bundles that may be loaded by name.
        triton_metrics: True to give metrics under Triton's names too.
        url_hosts: hosts whose images may be read by their address.
        more_routes: makes routes of other protocols.
    """

    models: Wanted
    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    options: dict[str, Any] = field(default_factory=dict)
    limits: ServerLimits = ServerLimits()
    token_file: str | None = None
    admin_token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    workers: int = 1
    store: str | None = None
    triton_metrics: bool = False
    url_hosts: tuple[str, ...] = ()
    more_routes: tuple[Callable[[RestApi], tuple[Route, ...]], ...] = ()

    def check(self) -> None:
        """Refuse what is unsafe or does not fit together."""
        if self.host not in LOOPBACK and not self.token_file:
            hint = "add --token-file FILE; `tinysight serve --new-token FILE` makes one"
            raise ConfigError("--host", f"{self.host} is open to others, which needs a token", hint)
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("--tls-cert, --tls-key", "one of the two alone")
        if self.tls_cert and self.tls_key:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.tls_cert, self.tls_key)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError("--tls-cert, --tls-key", f"cannot be used: {error}") from None
        if self.workers < 1:
            raise ConfigError("--workers", f"should be 1 or more, got {self.workers}")
        if not hasattr(os, "fork"):
            raise ConfigError("tinysight serve", "runs on Linux and macOS")
        if self.store and not Path(self.store).is_dir():
            raise ConfigError("--store", f"no such folder: {self.store}")

    def access(self) -> Access:
        """Tokens and rates."""
        files = self.token_file, self.admin_token_file
        tokens, admin = (read_tokens(file) if file else None for file in files)
        return Access(tokens, admin, self.limits.rate / self.workers)


def serve(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises:
        ConfigError: a port is taken, or the settings do not fit together.
        BundleError: a bundle cannot be run.
    """
    settings.check()
    settings.access()
    with _listening(settings.host, settings.port) as listener:
        if settings.workers == 1:
            return run(settings, listener)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nothing in it has to last
        with tempfile.TemporaryDirectory(prefix="tinysight-serve-", dir=memory) as folder:
            return _supervise(settings, listener, Path(folder))


@contextmanager
def _listening(host: str, port: int) -> Any:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except (OSError, OverflowError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"{host}:{port}", f"cannot be listened on: {what}") from None
        listener.listen(1024)
        listener.setblocking(False)
        yield listener


def run(
    settings: ServerSettings, listener: socket.socket, slot: int = 0, folder: Path | None = None
) -> int:
    """One process that serves on `listener`; see `serve`.

    Args:
        settings: of the server.
        listener: bound and listening.
        slot: number among the workers.
        folder: what the workers share; None for one process.
    """
    import uvloop

    return int(uvloop.run(_run(settings, listener, slot, folder)))


async def _run(
    settings: ServerSettings, listener: socket.socket, slot: int, folder: Path | None
) -> int:
    import uvicorn

    from tinysight.serving.batching import WorkPool
    from tinysight.serving.guard import Guard, GuardedProtocol, QuietServer
    from tinysight.serving.remote import RemoteImages
    from tinysight.serving.repository import Repository
    from tinysight.serving.rest import RestApi

    limits, loop = settings.limits, asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in _ENDS:
        loop.add_signal_handler(number, stop.set)
    pool = WorkPool(max(1, usable_cores() // settings.workers))
    shared = folder / "wanted.json" if folder else None
    store = Path(settings.store) if settings.store else None
    repository = Repository(settings.models, settings.options, pool, limits, store, shared)
    responses, snapshots = Counter[str](), Snapshots(folder, slot)
    snapshots.resume(repository.counts, responses)
    fetch = RemoteImages(settings.url_hosts) if settings.url_hosts else None
    rest = RestApi(repository, limits, responses, snapshots, settings.triton_metrics, fetch)
    routes = tuple(route for make in settings.more_routes for route in make(rest))
    access = settings.access()
    guard = Guard(rest.router(routes), access, responses)
    protocol = type("Protocol", (GuardedProtocol,), {"limits": limits})
    server = QuietServer(uvicorn.Config(
        guard, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, limit_concurrency=limits.connections, ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key, timeout_graceful_shutdown=round(limits.deadline + limits.body_seconds) + 5,
    ))  # fmt: skip
    await repository.start()
    other, grpc_port = None, None
    if settings.grpc_port is not None:
        from tinysight.serving.grpc_api import GrpcApi

        other = GrpcApi(rest, access, guard).server(limits, settings.workers > 1)
        grpc_port = _grpc_port(other, settings)
        await other.start()
    watching = [
        asyncio.ensure_future(repository.watch()),
        asyncio.ensure_future(_keep(snapshots, repository.counts, responses, stop)),
    ]
    serving = asyncio.ensure_future(server.serve([listener]))
    port = listener.getsockname()[1]
    log("ready", pid=os.getpid(), host=settings.host, port=port, grpc_port=grpc_port)
    await stop.wait()
    repository.ready, guard.stopping = False, True
    await asyncio.sleep(limits.drain)
    server.should_exit = True
    await asyncio.gather(serving, *([other.stop(limits.deadline)] if other else []))
    for task in watching:
        task.cancel()
    snapshots.save(repository.counts, responses)
    log("stopped", accepted=guard.accepted, answered=guard.answered, responses=guard.responses)
    return 0


async def _keep(
    snapshots: Snapshots, counts: ModelCounts, responses: Counter[str], stop: asyncio.Event
) -> None:
    """Leave the counts for the other workers, and end when the supervisor has gone."""
    parent = os.getppid()
    while True:
        await asyncio.sleep(0.25)
        snapshots.save(counts, responses)
        if os.getppid() != parent:
            stop.set()


def _grpc_port(server: Any, settings: ServerSettings) -> int:
    """Listen for gRPC; returns the port."""
    from grpc import ssl_server_credentials

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if settings.tls_cert and settings.tls_key:
            pair = Path(settings.tls_key).read_bytes(), Path(settings.tls_cert).read_bytes()
            return int(server.add_secure_port(address, ssl_server_credentials([pair])))
        return int(server.add_insecure_port(address))
    except RuntimeError:
        raise ConfigError(address, "cannot be listened on", "choose another --grpc-port") from None


def _supervise(settings: ServerSettings, listener: socket.socket, folder: Path) -> int:
    """Keep as many workers as wanted alive until told to end."""
    with socket.socket(listener.family, socket.SOCK_STREAM) as reserved:
        if settings.grpc_port is not None:  # one port for all, also where a free one is taken
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                reserved.bind((settings.host, settings.grpc_port))
            except OSError as error:
                place = f"{settings.host}:{settings.grpc_port}"
                raise ConfigError(place, f"cannot be listened on: {error.strerror}") from None
            settings = replace(settings, grpc_port=reserved.getsockname()[1])
        workers: dict[int, tuple[int, float]] = {}  # slot and start by process
        ending: list[int] = []

        def end(number: int, frame: object) -> None:
            ending.append(number)
            for worker in list(workers):
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGTERM)

        def start(slot: int) -> None:
            # None comes between the fork and its note.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
            workers[_fork(settings, listener, slot, folder)] = slot, time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)

        for number in _ENDS:
            signal.signal(number, end)
        for slot in range(settings.workers):
            start(slot)
        code = 0
        while workers:
            process, status = os.wait()
            slot, started = workers.pop(process, (-1, 0.0))
            failed = os.waitstatus_to_exitcode(status)
            if slot < 0 or ending:
                continue
            if failed == _MISTAKE:  # another try would end in the same way
                code = failed
                end(signal.SIGTERM, None)
                continue
            log("worker ended", pid=process, slot=slot, status=failed)
            time.sleep(0.0 if time.monotonic() - started > _HEALTHY else 0.5)
            if not ending:
                start(slot)
        return code


def _fork(settings: ServerSettings, listener: socket.socket, slot: int, folder: Path) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for number in _ENDS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        code = run(settings, listener, slot, folder)
    except TinysightError as error:
        sys.stderr.write(f"error: {error}\n" * (slot == 0))  # the others say the same
        code = _MISTAKE
    except BaseException:  # noqa: BLE001 - the child ends here, and never runs what is the parent's
        log("error", trace=traceback.format_exc())
    finally:
        os._exit(code)

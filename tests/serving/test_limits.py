"""Tokens, rates, limits and backpressure: who is let in, how much, and how long."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import ssl
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tritonclient.grpc as over_grpc

from support.bundles import tiny_bundle
from support.commands import tinysight
from support.nasty import cloud
from support.serving import Server
from tinysight.errors import ConfigError
from tinysight.serving.limits import Access, Refusal, ServerLimits, new_token, read_tokens

BRIGHT = cv2.imencode(".png", np.full((8, 8, 3), 255, np.uint8))[1].tobytes()
LARGE = cv2.imencode(".jpg", cloud(2400, 1800))[1].tobytes()  # takes some 30 ms


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes little."""
    folder = tmp_path_factory.mktemp("strict")
    tiny_bundle(folder / "brightness")
    words = ["--queue", 3, "--batch", 1, "--body-bytes", 1_000_000, "--pixels", 5_000_000]
    words += ["--head-seconds", 1, "--body-seconds", 1, "--deadline", 2, "--connections", 40]
    with Server(folder, f"brightness={folder / 'brightness'}", *words) as found:
        yield found


def test_overload_is_refused_at_once(strict: Server) -> None:
    def ask(_: int) -> tuple[int, dict[str, str]]:
        found = strict.post("/v1/classify", LARGE)
        return found.status, found.headers

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(ask, range(64)))
    statuses = Counter(status for status, _ in found)
    assert set(statuses) == {200, 429}
    assert all(int(headers["retry-after"]) >= 1 for status, headers in found if status == 429)
    assert strict.post("/v1/classify", BRIGHT).status == 200


def tensor(rows: int) -> Any:
    given = over_grpc.InferInput("images", [rows, 3, 8, 8], "FP32")
    given.set_data_from_numpy(np.ones((rows, 3, 8, 8), np.float32))
    return given


def test_overload_over_grpc(strict: Server) -> None:
    client = over_grpc.InferenceServerClient(strict.grpc_url)
    image = over_grpc.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([LARGE], object))
    found: list[Any] = []
    for _ in range(30):
        client.async_infer("brightness.image", [image], lambda result, error: found.append(error))
    ends = time.monotonic() + 30
    while len(found) < 30:
        assert time.monotonic() < ends
        time.sleep(0.01)
    statuses = {error.status() if error else "OK" for error in found}
    assert statuses == {"OK", "StatusCode.RESOURCE_EXHAUSTED"}


def test_deadlines_of_clients(strict: Server) -> None:
    client = over_grpc.InferenceServerClient(strict.grpc_url)
    image = over_grpc.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([LARGE], object))
    with pytest.raises(over_grpc.InferenceServerException) as caught:
        client.infer("brightness.image", [image], client_timeout=0.005)
    status = str(caught.value.status())  # late, or refused since it cannot be in time
    assert status in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
    request = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(LARGE) + 4},
            }
        ],
        "parameters": {"timeout": 1},
    }
    head = json.dumps(request).encode()
    body = head + len(LARGE).to_bytes(4, "little") + LARGE
    found = strict.request(
        "POST",
        "/v2/models/brightness.image/infer",
        body,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert found.status in (429, 504)  # refused if it cannot be in time, late if it was not


def test_a_client_that_goes_cancels(strict: Server) -> None:
    def outcome(name: str) -> float:
        lines = strict.get("/metrics").body.decode().splitlines()
        return float(next(line for line in lines if f'outcome="{name}"' in line).split()[-1])

    before = outcome("cancelled")
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(
        LARGE
    )
    for _ in range(6):
        with strict.raw() as connection:
            connection.sendall(head + LARGE)
    ends = time.monotonic() + 10
    while outcome("cancelled") == before:
        assert time.monotonic() < ends
        time.sleep(0.05)
        with strict.raw() as connection:
            connection.sendall(head + LARGE)


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_are_capped(strict: Server, announced: bool) -> None:
    with strict.raw() as connection:
        length = b"Content-Length: 999999999" if announced else b"Transfer-Encoding: chunked"
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            for _ in range(0 if announced else 200):
                connection.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]


def test_bombs(strict: Server) -> None:
    import gzip

    found = strict.post("/v1/classify", gzip.compress(b"\0" * 50_000_000), content_encoding="gzip")
    assert found.status == 413
    assert strict.post("/v1/classify", b"\x1f\x8b", content_encoding="gzip").status == 400
    assert strict.post("/v1/classify", b"x", content_encoding="br").status == 415
    wide = cv2.imencode(".png", np.zeros((2600, 2000, 3), np.uint8))[1].tobytes()
    found = strict.post("/v1/classify", wide)
    assert found.status == 422
    assert "limit of 5000000" in found.json()["error"]
    scans = cv2.imencode(".jpg", cloud(1000, 1000), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert strict.post("/v1/classify", scans).status == 200
    found = strict.post("/v1/classify", scans[:-2] + b"\xff\xda" * 800 + scans[-2:])
    assert found.status == 422
    assert "scans" in found.json()["error"]
    plain = cv2.imencode(".jpg", cloud(1000, 1000))[1].tobytes()  # what is no scan counts for none
    comment = b"\xff\xfe" + (2 + 2 * 800).to_bytes(2, "big") + b"\xff\xda" * 800
    assert strict.post("/v1/classify", plain[:2] + comment + plain[2:]).status == 200
    many = over_grpc.InferenceServerClient(strict.grpc_url)
    with pytest.raises(over_grpc.InferenceServerException) as caught:
        many.infer("brightness", [tensor(2000)])
    assert "RESOURCE_EXHAUSTED" in str(caught.value.status())


def test_slow_clients_are_dropped(strict: Server) -> None:
    heads = [
        b"",
        b"\r\n",
        b"POST /v1/classify HTTP/1.1\r\nX: ",
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    ]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(strict.raw()) for _ in heads]
        for connection, head in zip(connections, heads, strict=True):
            connection.sendall(head)
        ends = time.monotonic() + 6
        waiting = list(connections)
        while waiting:  # drips do not help
            assert time.monotonic() < ends
            time.sleep(0.2)
            for connection in list(waiting):
                connection.settimeout(0.01)
                try:
                    connection.sendall(b"y")
                    data = connection.recv(4096)
                    if not data or b" 408 " in data:
                        waiting.remove(connection)
                except TimeoutError:
                    pass
                except OSError:
                    waiting.remove(connection)
    assert strict.get("/v2/health/live").status == 200


def test_connections_are_capped(strict: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(strict.raw())
        time.sleep(0.1)
        assert strict.get("/v2").status == 503
    time.sleep(0.2)
    assert strict.get("/v2").status == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem", folder / "key.pem"
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [openssl, *words, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True
    )
    return made


def test_tokens_and_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Open to others: with a token, over TLS, at a rate."""
    import grpc

    tiny_bundle(tmp_path / "b")
    token = tinysight("serve", "--new-token", tmp_path / "tokens").out.strip()
    cert, key = certificate
    words = [
        "--host",
        "0.0.0.0",
        "--token-file",
        tmp_path / "tokens",
        "--tls-cert",
        cert,
        "--tls-key",
        key,
    ]
    with Server(
        tmp_path,
        f"brightness={tmp_path / 'b'}",
        *words,
        "--compat",
        "paddlex,paddleserving",
        "--rate",
        20,
    ) as server:
        context = ssl.create_default_context(cafile=cert)

        def ask(path: str, given: str = "") -> tuple[int, dict[str, str]]:
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context)
            headers = {"Authorization": given} if given else {}
            connection.request(
                "GET" if path.startswith(("/v2", "/metrics")) else "POST", path, BRIGHT, headers
            )
            response = connection.getresponse()
            response.read()
            connection.close()
            return response.status, {k.lower(): v for k, v in response.getheaders()}

        assert ask("/v2/health/ready")[0] == 200
        status, headers = ask("/v1/classify")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("Bearer x", token, f"Basic {token}", f"Bearer {token}x", "Bearer \xff"):
            assert ask("/v1/classify", wrong)[0] == 401
        for path in (
            "/metrics",
            "/health/prediction",
            "/healthy/prediction",
            "/v2/health/live/../../../v1/classify",
            "//health",
        ):
            assert ask(path)[0] == 401, path
        assert ask("/v1/classify", f"Bearer {token}")[0] == 200
        credentials = over_grpc.InferenceServerClient(
            f"localhost:{server.grpc_port}", ssl=True, root_certificates=str(cert)
        )
        assert credentials.is_server_live()
        with pytest.raises(over_grpc.InferenceServerException) as caught:
            credentials.infer("brightness", [tensor(1)])
        assert str(grpc.StatusCode.UNAUTHENTICATED) in str(caught.value.status())
        found = credentials.infer(
            "brightness", [tensor(1)], headers={"authorization": f"Bearer {token}"}
        )
        assert found.as_numpy("scores").shape == (1, 2)
        statuses = Counter(ask("/v2", f"Bearer {token}")[0] for _ in range(60))
        assert set(statuses) == {200, 429}
        with pytest.raises((OSError, http.client.HTTPException)):  # noqa: PT011 - either
            server.get("/v2")  # not without TLS
    assert token not in server.text()


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    first, second = new_token(path), new_token(path)
    assert len(read_tokens(path)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first not in path.read_text("ascii")
    access = Access(read_tokens(path))
    access.admit("a", f"Bearer {second}")
    with pytest.raises(Refusal) as caught:
        access.admit("a", "Bearer " + first[:-1])
    assert caught.value.status == 401
    path.write_text(first, "ascii")
    with pytest.raises(ConfigError, match="new-token"):
        read_tokens(path)


def test_rates_are_of_each_client() -> None:
    access = Access(rate=5)
    for _ in range(5):
        access.admit("a", "")
    with pytest.raises(Refusal) as caught:
        access.admit("a", "")
    assert caught.value.status == 429
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 0.2
    access.admit("b", "")
    time.sleep(0.25)
    access.admit("a", "")
    for i in range(20_000):
        with contextlib.suppress(Refusal):
            access.admit(f"c{i}", "")
    assert len(access._clients) <= 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which bundle?"),
        (["nothing"], "nothing"),
        (["clarity_assessment", "--host", "0.0.0.0"], "--token-file"),
        (["clarity_assessment", "--token-file", "missing"], "cannot be read"),
        (["clarity_assessment", "--tls-cert", "x.pem"], "one of the two"),
        (["clarity_assessment", "--tls-cert", "x.pem", "--tls-key", "y.pem"], "cannot be used"),
        (["clarity_assessment", "--workers", "0"], "--workers"),
        (["clarity_assessment", "--port", "99999"], "cannot be listened on"),
        (
            ["clarity_assessment", "--host", "256.1.1.1", "--token-file", "{tokens}"],
            "cannot be listened on",
        ),
        (["clarity_assessment", "--queue", "0"], "--queue"),
        (["clarity_assessment", "--deadline", "nan"], "--deadline"),
        (["clarity_assessment", "clarity_assessment"], "served already"),
        (["../x=clarity_assessment"], "no name of a model"),
        (["a.image=clarity_assessment"], "no name of a model"),
        (["a:b=clarity_assessment"], "no name of a model"),
        (["clarity_assessment", "--compat", "tensorflow"], "unknown front"),
        (["clarity_assessment", "--store", "/nowhere"], "no such folder"),
        (["clarity_assessment", "--engine", "nothing"], "unknown engine"),
        (["clarity_assessment", "--workers", "2", "--engine", "nothing"], "unknown engine"),
        (["--new-token", "/nowhere/at/all"], "cannot be written"),
    ],
)
def test_mistakes_are_one_message(words: list[str], message: str, tmp_path: Path) -> None:
    from support.commands import process

    new_token(tmp_path / "tokens")
    words = [word.format(tokens=tmp_path / "tokens") for word in words]
    # A worker that was forked from this process would run the rest of these tests.
    run = process if "--workers" in words else tinysight
    done = run(
        "serve", *words, *(["--no-grpc"] if "--port" in words else ["--port", "0", "--no-grpc"])
    )
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert threading.active_count() < 50


def test_limits_of_the_defaults() -> None:
    assert ServerLimits().deadline == 10
    with pytest.raises(ConfigError, match="--body-bytes"):
        ServerLimits(body_bytes=0)

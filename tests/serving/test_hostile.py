"""Exchanges that mean harm, made from seeds: each is refused with one sentence, and the server goes on as before."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.commands import tinysight  # noqa: F401 - the path of this checkout
from support.file_server import FileServer, Page
from support.serving import Server
from tinysight.certificate.compare import edge_case_files
from tinysight.serving.grpc_api import MESSAGES, SERVICE
from tinysight.serving.limits import Refusal
from tinysight.serving.remote import RemoteImages, is_public

BRIGHT = cv2.imencode(".png", np.full((8, 8, 3), 255, np.uint8))[1].tobytes()
SECRET = "a-secret-beside-the-bundle"
NAMES = [
    *(
        "brightness",
        "brightness.image",
        "../secret",
        "..%2f..%2fsecret",
        "%2e%2e/secret",
        "secret",
        "\0",
        "a" * 3000,
    ),
    *(
        "brightness%00",
        "C:\\secret",
        "~",
        "${HOME}",
        "brightness/../secret",
        "%",
        "%zz",
        "\xff",
        "'; drop",
        "{{7*7}}",
    ),
    "",
]
ROUTES = [
    *(
        "/v2/models/{}",
        "/v2/models/{}/infer",
        "/v2/models/{}/versions/{}/infer",
        "/v1/classify?model={}",
        "/{}",
    ),
    *("/v2/repository/models/{}/load", "/v2/repository/models/{}/unload", "/openapi.json?{}"),
]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    tiny_bundle(folder / "store" / "brightness")
    (folder / "secret").mkdir()
    (folder / "secret" / "bundle.yaml").write_text(SECRET, "ascii")
    words = [
        "--body-bytes",
        2_000_000,
        "--head-seconds",
        2,
        "--body-seconds",
        2,
        "--queue",
        500,
        "--store",
        folder / "store",
    ]
    words += ["--pixels", 5_000_000]
    with Server(folder, f"brightness={folder / 'store' / 'brightness'}", *words) as found:
        yield found


def http(
    method: bytes, path: bytes, body: bytes, *headers: bytes, length: bytes | None = None
) -> bytes:
    size = b"Content-Length: " + (length if length is not None else str(len(body)).encode())
    return b"\r\n".join(
        [
            method + b" " + path + b" HTTP/1.1",
            b"Host: localhost",
            b"Connection: close",
            size,
            *headers,
            b"",
            body,
        ]
    )


def bad_lengths(rng: random.Random) -> bytes:
    length = rng.choice(
        [
            b"-1",
            b"+5",
            b"0x10",
            b"1e3",
            b"99999999999999999999",
            b" ",
            b"5, 5",
            b"5\r\nContent-Length: 6",
        ]
    )
    return http(b"POST", b"/v1/classify", b"x" * rng.randrange(20), length=length)


def chunk_games(rng: random.Random) -> bytes:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
    head += rng.choice([b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: identity\r\n"])
    sizes = [
        b"-1",
        b"zz",
        b"ffffffffffffffff",
        b"5;" + b"e" * rng.randrange(9000),
        b"0",
        b"3",
        b"\r\n",
    ]
    body = b"".join(
        rng.choice(sizes) + b"\r\n" + rng.randbytes(3) + b"\r\n" for _ in range(rng.randrange(9))
    )
    return head + b"\r\n" + body + b"0\r\n\r\n"


def heads(rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    many = b"\r\n".join(
        b"X-%d: %b" % (i, b"v" * rng.randrange(900)) for i in range(rng.randrange(400))
    )
    return [
        http(b"GET", b"/v2", b"", many),
        http(b"GET", b"/" + b"a" * rng.randrange(200_000), b""),
        http(rng.choice([b"GARBAGE", b"get", b"", b"PRI", b"CONNECT"]), b"/v2", b""),
        http(b"GET", b"/v2", b"", b"X\0Y: 1", b"Bad Name: 2", b": 3", b"X: \r\n folded"),
        rng.randbytes(rng.randrange(1, 3000)) + b"\r\n\r\n",
        http(b"GET", b"/v2", b"", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"),
    ][kind]  # fmt: skip


def paths(rng: random.Random) -> bytes:
    path = rng.choice(ROUTES)
    text = path.format(*(rng.choice(NAMES) for _ in range(path.count("{}"))))
    return http(rng.choice([b"GET", b"POST", b"PUT", b"DELETE"]), text.encode("latin-1"), b"{}")


def tensors(rng: random.Random) -> bytes:
    """An inference request in which something is wrong."""
    name = rng.choice(["brightness", "brightness.image"])
    given: dict[str, Any] = {
        "name": "images",
        "datatype": "FP32",
        "shape": [1, 3, 8, 8],
        "data": [0.5] * 192,
    }
    odd = [
        None,
        -1,
        2**63,
        1e308,
        "x",
        [],
        {},
        [[]],
        [2**31] * 4,
        [0],
        True,
        "FP64",
        "BYTES",
        [None],
        {"a": 1},
        "\ud800",
        [[[[1]]]],
    ]
    for _ in range(rng.randrange(1, 3)):
        given[rng.choice(["name", "datatype", "shape", "data", "parameters"])] = rng.choice(odd)
    request = {
        "inputs": rng.choice([[given], given, [given] * 3, [[]], None]),
        "outputs": rng.choice([[], None, [{"name": "x"}], 5]),
    }
    body = json.dumps(request).encode()
    if rng.random() < 0.5:
        body = bytearray(body)  # type: ignore[assignment]
        for _ in range(rng.randrange(1, 6)):
            body[rng.randrange(len(body))] = rng.randrange(256)  # type: ignore[index]
    tail = rng.randbytes(rng.randrange(2000)) if rng.random() < 0.5 else b""
    length = rng.choice([len(body), 0, len(body) - 1, len(body) + len(tail) + 1, 10**18])
    headers = [b"Inference-Header-Content-Length: %d" % length] if tail else []
    return http(b"POST", f"/v2/models/{name}/infer".encode(), bytes(body) + tail, *headers)


FILES = [file.data for file in edge_case_files()]


def images(rng: random.Random) -> bytes:
    """An image file with wrong bytes in it, sent in one of the ways."""
    data = bytearray(rng.choice(FILES)[:300_000] or b"\xff\xd8\xff")
    for _ in range(rng.randrange(1, 30)):
        data[rng.randrange(min(len(data), 2000))] = rng.randrange(256)
    body = bytes(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.5 else data)
    kind = rng.choice(
        [
            b"image/png",
            b"application/json",
            b"multipart/form-data; boundary=b",
            b"multipart/form-data",
            b"text/x",
            b"\xff",
        ]
    )
    if kind.startswith(b"multipart") and rng.random() < 0.8:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="../../%b"\r\n\r\n%b\r\n--b--'
            % (rng.randbytes(4).hex().encode(), body)
        )
    return http(b"POST", b"/v1/classify", body, b"Content-Type: " + kind)


KINDS: list[Callable[[random.Random], bytes]] = [
    bad_lengths,
    chunk_games,
    heads,
    paths,
    tensors,
    images,
]


def exchange(server: Server, data: bytes) -> bytes:
    with server.raw() as connection:
        connection.settimeout(20)
        with contextlib.suppress(OSError):  # it may be closed before all of it is sent
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                answer += piece
        return answer


def check_answer(kind: str, data: bytes, answer: bytes) -> None:
    assert SECRET.encode() not in answer
    assert b"Traceback" not in answer
    for status in re.findall(rb"HTTP/1\.1 (\d+)", answer):
        good = status in (b"200", b"101", b"503") or status.startswith(b"4")
        assert good, f"{kind}: {data[:300]!r} is answered by {answer[:500]!r}"
        assert status != b"101"
    body = answer.partition(b"\r\n\r\n")[2]
    if re.match(rb"HTTP/1\.1 4", answer) and b"application/json" in answer:
        text = json.loads(body)["error"] if b'"error"' in body else ""
        assert text.count("\n") == 0
        assert len(text) < 500


def http_exchanges(server: Server, seeds: range) -> None:
    for seed in seeds:
        kind = KINDS[seed % len(KINDS)]
        data = kind(random.Random(seed))
        check_answer(kind.__name__, data, exchange(server, data))


def grpc_exchanges(server: Server, seeds: range) -> None:
    """Messages that are damaged, or say what is not so."""
    names = (
        "OK",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "UNIMPLEMENTED",
        "RESOURCE_EXHAUSTED",
    )
    allowed = {getattr(grpc.StatusCode, name) for name in names}
    with grpc.insecure_channel(server.grpc_url, [("grpc.max_send_message_length", -1)]) as channel:
        for seed in seeds:
            rng = random.Random(seed)
            request = MESSAGES["ModelInferRequest"](
                model_name=rng.choice(["brightness", "brightness.image", "../x"])
            )
            for _ in range(rng.randrange(3)):
                given = request.inputs.add(
                    name=rng.choice(["images", "image", "x"]),
                    datatype=rng.choice(["FP32", "BYTES", "FP16", "X"]),
                )
                given.shape.extend(rng.choice([[1, 3, 8, 8], [-1], [2**62, 4], [0], [], [1]]))
                given.contents.fp32_contents.extend([1.0] * rng.choice([0, 0, 1, 192]))
                given.parameters["x"].double_param = float("nan")
            for _ in range(rng.randrange(4)):
                lying = struct.pack("<I", rng.choice([0, 1, 2**32 - 1])) + rng.randbytes(
                    rng.randrange(800)
                )
                request.raw_input_contents.append(lying)
            request.outputs.add(name="scores").parameters[
                "classification"
            ].int64_param = rng.choice([0, -1, 2**62])
            data = bytearray(request.SerializeToString())
            for _ in range(rng.choice([0, 1, 20])):
                data[rng.randrange(len(data))] = rng.randrange(256)
            method = rng.choice(
                [
                    "ModelInfer",
                    "ModelInfer",
                    "ModelMetadata",
                    "RepositoryModelLoad",
                    "ModelConfig",
                    "Nothing",
                    "ModelStatistics",
                ]
            )
            call = channel.unary_unary(f"/{SERVICE}/{method}")
            found = call.future(bytes(data), timeout=20)
            assert found.code() in allowed, (seed, found.details())
            assert "Traceback" not in (found.details() or "")


def still_well(server: Server, files: int) -> None:
    found = server.post("/v1/classify", BRIGHT)
    assert found.json()["label_names"] == ["bright"]
    assert server.process.poll() is None
    assert server.files() <= files + 8
    assert not server.events("error"), server.events("error")[:1]


@pytest.mark.parametrize("count", [900, pytest.param(4000, marks=pytest.mark.slow)])
def test_hostile_http(target: Server, count: int) -> None:
    files = target.files()
    http_exchanges(target, range(count))
    still_well(target, files)


@pytest.mark.parametrize("count", [400, pytest.param(1000, marks=pytest.mark.slow)])
def test_hostile_grpc(target: Server, count: int) -> None:
    files = target.files()
    grpc_exchanges(target, range(count))
    still_well(target, files)


# --- addresses of images

PRIVATE = """
127.0.0.1 127.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.9.9 192.168.0.1 192.168.255.1 169.254.169.254
169.254.0.1 0.0.0.0 0.1.2.3 100.64.0.1 100.127.255.254 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 ::1 :: fe80::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1
::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1::
2002:a00:1:: 2002:a9fe:a9fe:: 2001:db8::1 2001::1 2001:10::1 100::1 fe80::1%lo fec0::1 localhost 127.1 0x7f.1
017700000001
"""
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::",
]
ADDRESSES = r"""
http://127.0.0.1/ http://localhost/ http://[::1]/ http://0/ http://2130706433/ http://0x7f000001/ http://0177.0.0.1/
http://127.1/ http://127.0.0.1.nip.io/ http://good.example@127.0.0.1/ http://127.0.0.1@good.example/ HTTP://127.0.0.1/
http://good.example:80@127.0.0.1/ http://other#@good.example/ http://good.example%00.evil/ http://good.example./
http://good.example%2f@evil/ http://good.example.evil/ http://evilgood.example/ http://good.example:22/ http:///x
http://good.example:8080/ http://good.example:0/ http://good.example:99999/ http://good.example:x/
https://good.example:80/
ftp://good.example/ file:///etc/passwd gopher://good.example/ data:image/png;base64,AAAA dict://good.example/ http://
jar:http://good.example!/ //good.example/ good.example http:/good.example http:///good.example http://[::1 about:blank
http://[good.example]/ http://good.example\@evil/ http://gооd.example/ http://ｇood.example/
http://169.254.169.254/latest
http://metadata.google.internal/ http://[fd00:ec2::254]/ http://[::ffff:127.0.0.1]/ http://[fe80::1%25lo]/
ldap://good.example/
unix:///var/run/docker.sock sftp://good.example/ http+unix://x/ javascript:alert(1)
\\evil\share c:\x ?q=1 #x /etc/passwd
https://127.0.0.1/ https://good.example.evil/ https://user:word@good.example/ http://good.example:443/ 
http://GOOD.EXAMPLE:81/
"""
LISTED = [
    *ADDRESSES.split(),
    "http://good.example\r\n/",
    "http://go\tod.example/",
    "http://good.example/\r\nX: 1",
    " http://good.example/",
]


def test_there_are_enough_cases() -> None:
    assert len(PRIVATE.split()) + len(LISTED) + len(PUBLIC) >= 120


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("url", LISTED)
def test_addresses_that_are_not_listed(url: str) -> None:
    with pytest.raises(Refusal) as caught:
        RemoteImages(["good.example"])(url, 1000)
    assert caught.value.status == 400
    assert (
        "listed" in caught.value.text or "lists" in caught.value.text or "none" in caught.value.text
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_listed_name_that_is_private(host: str) -> None:
    with FileServer() as server:
        port = int(server.url.rpartition(":")[2])
        server.pages["/a.png"] = Page(BRIGHT)
        with pytest.raises(Refusal, match="public"):
            RemoteImages([f"{host}:{port}"])(f"http://{host}:{port}/a.png", 10_000)
        assert not server.requests


def test_reading_from_an_address() -> None:
    """Everything but the network is real: the one that is admitted here is this machine's own."""
    with FileServer() as server:
        host = server.url.removeprefix("http://")
        read = RemoteImages([host], seconds=1.0, admissible=lambda address: address == "127.0.0.1")
        server.pages |= {
            "/a.png": Page(BRIGHT),
            "/moved": Page(location="/a.png"),
            "/large": Page(b"x" * 5000),
            "/slow": Page(BRIGHT, pause=1.0),
            "/cut": Page(BRIGHT, cuts=[5]),
        }
        assert read(f"{server.url}/a.png", 10_000) == BRIGHT
        for path, words in {
            "moved": "302",
            "large": "bytes",
            "slow": "image",
            "cut": "cannot",
            "no": "404",
        }.items():
            with pytest.raises(Refusal, match=words) as caught:
                read(f"{server.url}/{path}", 1000)
            assert caught.value.status in (400, 413)


def test_addresses_over_the_routes(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "b")
    with FileServer() as files:
        files.pages["/a.png"] = Page(BRIGHT)
        host = files.url.removeprefix("http://")
        with Server(
            tmp_path, tmp_path / "b", "--url-host", host, "--compat", "paddlex", grpc=False
        ) as server:
            for path in ("/v1/classify", "/image-classification"):
                key = "url" if path.startswith("/v1") else "image"
                found = server.post(path, {key: f"{files.url}/a.png"})
                assert found.status == 400
                assert b"public" in found.body
                assert b"lists" in server.post(path, {key: "http://other/a.png"}).body
        assert not files.requests

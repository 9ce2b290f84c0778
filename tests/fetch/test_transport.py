"""Single requests: busy servers, redirects, addresses, no network, encryption."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from support.commands import python
from support.fetching import BODY, QUICK, SHA, refused
from support.file_server import FileServer, Page
from tinysight.fetch import download


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_busy_server_is_asked_again(server: FileServer, tmp_path: Path, status: int) -> None:
    server.pages["/f"] = Page(BODY, statuses=[status, status])
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert [r.status for r in server.requests] == [status, status, 200]


def test_a_server_that_stays_busy_is_given_up_with_the_count(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, statuses=[503] * 9)
    assert "503 Service Unavailable, 3 times in a row" in refused(f"{server.url}/f", tmp_path / "f")
    assert len(server.requests) == 3


def test_the_pause_that_a_server_asks_for_is_kept_and_capped(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, statuses=[503], headers={"Retry-After": "3600"})
    started = time.monotonic()
    download(f"{server.url}/f", tmp_path / "f", policy=QUICK._replace(max_backoff=0.2))
    assert 0.19 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("status", "says"), [(404, "404 Not Found"), (403, "not public"), (410, "removed")]
)
def test_what_is_not_there_is_said_at_once(
    server: FileServer, tmp_path: Path, status: int, says: str
) -> None:
    server.pages["/f"] = Page(statuses=[status])
    assert says in refused(f"{server.url}/f", tmp_path / "f")
    assert len(server.requests) == 1


def test_redirects_are_followed_and_counted(server: FileServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY)
    server.pages["/a"] = Page(location="/b")
    server.pages["/b"] = Page(location=f"{server.url}/f")
    server.pages["/loop"] = Page(location="/loop")
    assert download(f"{server.url}/a", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert "more than 5 redirects" in refused(f"{server.url}/loop", tmp_path / "g")


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://example.com/x", "data:,x"]
)
def test_redirects_lead_nowhere_else(server: FileServer, tmp_path: Path, target: str) -> None:
    server.pages["/a"] = Page(location=target)
    message = refused(f"{server.url}/a", tmp_path / "f")
    assert "302" in message or f"redirects to {target}" in message
    assert [r.path for r in server.requests] == ["/a"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/f", "only https"),
        ("ftp://example.com/f", "not an https address"),
        ("file:///etc/passwd", "not an https address"),
        ("https://", "not an https address"),
        ("https://me:secret@example.com/f", "password"),
        ("https://example.com/a b", "blanks"),
        ("https://example.com:99999/", "not an address"),
        ("https://[::1", "not an address"),
    ],
)
def test_an_address_is_checked_before_anything_is_sent(tmp_path: Path, url: str, says: str) -> None:
    message = refused(url, tmp_path / "f")
    assert says in message
    assert "secret" not in message


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_no_network_is_one_line(tmp_path: Path) -> None:
    assert "refuses the connection" in refused(
        f"http://127.0.0.1:{closed_port()}/f", tmp_path / "f"
    )
    message = refused("https://no-such-host.invalid/f", tmp_path / "f")
    assert "no-such-host.invalid cannot be looked up; is there a network?" in message
    assert len(message) < 300


def test_a_dead_proxy_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    assert "https_proxy" in refused("https://example.com/f", tmp_path / "f")


def test_a_silent_server_runs_into_the_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/f"
        message = refused(url, tmp_path / "f", QUICK._replace(timeout=0.1, attempts=2))
    assert "no answer within 0.1 s, 2 times in a row" in message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed; its file holds the key too."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the openssl command to make a certificate")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    )
    both = [
        *words.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(file),
        "-out",
        f"{file}.crt",
    ]
    subprocess.run([openssl, *both], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


def test_https_works_and_is_never_left(
    server: FileServer, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.pages["/f"] = Page(BODY)
    with FileServer(context) as secure:
        secure.pages["/f"] = Page(BODY, cuts=[300_000])
        secure.pages["/down"] = Page(location=f"{server.url}/f")
        message = refused(f"{secure.url}/f", tmp_path / "f")
        assert "certificate of 127.0.0.1 is not valid" in message
        assert "SSL_CERT_FILE" in message
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        assert download(f"{secure.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
        assert "redirects from https to http" in refused(f"{secure.url}/down", tmp_path / "g")
        assert server.requests == []


def test_a_server_without_encryption_is_one_line(server: FileServer, tmp_path: Path) -> None:
    assert "no encrypted connection" in refused(
        server.url.replace("http:", "https:") + "/f", tmp_path / "f"
    )


def test_importing_touches_no_network() -> None:
    code = (
        "import socket\n"
        "def no(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = no\n"
        "import tinysight.fetch, tinysight.cli.models, sys\n"
        "from tinysight.compat.paddle.catalog import artifacts; artifacts()\n"
        "assert not {'torch', 'numpy', 'pydantic', 'rich', 'requests'} & set(sys.modules)"
    )
    done = python("-c", code)
    assert done.code == 0, done.err

"""Downloads from a real server on this machine: cut, changed, lying, slow, absent, forbidden."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.file_server import FileServer, Page
from tinysight.errors import FetchError
from tinysight.fetch import Policy, download

QUICK = Policy(attempts=3, backoff=0.005, timeout=2.0)
BODY = bytes(range(256)) * 4000  # 1 MB
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TINYSIGHT_OFFLINE", "TINYSIGHT_CACHE", "TINYSIGHT_MIRROR", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


def refused(url: str, path: Path, policy: Policy = QUICK, sha256: str | None = None) -> str:
    """The one-line message of a download that must fail, and leaves no file."""
    with pytest.raises(FetchError) as caught:
        download(url, path, policy=policy, sha256=sha256)
    assert not path.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_comes_whole_with_its_hash_and_leaves_nothing_beside_it(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY)
    seen: list[tuple[int, int | None]] = []
    done = download(
        f"{server.url}/f",
        tmp_path / "deep" / "f",
        policy=QUICK,
        report=lambda n, t: seen.append((n, t)),
    )
    assert done == (SHA, len(BODY), True)
    assert (tmp_path / "deep" / "f").read_bytes() == BODY
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert [n for n, _ in seen] == sorted(n for n, _ in seen)
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"f", ".f.lock"}
    again = download(f"{server.url}/f", tmp_path / "deep" / "f", policy=QUICK)
    assert again == (SHA, len(BODY), False)
    assert len(server.requests) == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_connection_is_resumed_where_it_broke(
    server: FileServer, tmp_path: Path, chunked: bool
) -> None:
    server.pages["/f"] = Page(BODY, cuts=[300_000, 400_000], chunked=chunked)
    done = download(f"{server.url}/f", tmp_path / "f", policy=QUICK)
    assert done.sha256 == SHA
    ranges = [(r.range, r.if_range, r.status) for r in server.requests]
    assert ranges == [("", "", 200), ("bytes=300000-", '"v1"', 206), ("bytes=700000-", '"v1"', 206)]


def test_a_part_is_resumed_by_a_later_call(server: FileServer, tmp_path: Path) -> None:
    page = server.pages["/f"] = Page(BODY, cuts=[300_000, 0, 0])
    message = refused(f"{server.url}/f", tmp_path / "f", QUICK._replace(attempts=2))
    assert "cut after 300000 of 1024000 bytes" in message
    assert "300000 bytes are kept" in message
    page.cuts.clear()
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert server.requests[-1].range == "bytes=300000-"


def test_a_part_that_was_tampered_with_is_caught_by_the_hash(
    server: FileServer, tmp_path: Path
) -> None:
    page = server.pages["/f"] = Page(BODY, cuts=[300_000])
    refused(f"{server.url}/f", tmp_path / "f", QUICK._replace(attempts=1))
    part = tmp_path / ".f.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    page.cuts.clear()
    message = refused(f"{server.url}/f", tmp_path / "f", sha256=SHA)
    assert "SHA-256" in message
    assert not part.exists()
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK, sha256=SHA).sha256 == SHA


@pytest.mark.parametrize("etag", ['"v1"', ""])
def test_a_server_without_ranges_starts_again_cleanly(
    server: FileServer, tmp_path: Path, etag: str
) -> None:
    server.pages["/f"] = Page(BODY, cuts=[300_000], ranges=False, etag=etag)
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert [r.status for r in server.requests] == [200, 200]


def test_a_file_that_changes_between_two_parts_is_fetched_anew(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, cuts=[300_000])
    refused(f"{server.url}/f", tmp_path / "f", QUICK._replace(attempts=1))
    server.pages["/f"] = Page(b"new" + BODY, etag='"v2"')
    done = download(f"{server.url}/f", tmp_path / "f", policy=QUICK)
    assert done.sha256 == hashlib.sha256(b"new" + BODY).hexdigest()
    assert server.requests[-1][1:] == ("bytes=300000-", '"v1"', 200)


def test_a_server_that_ignores_if_range_cannot_mix_two_versions(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, cuts=[300_000])
    refused(f"{server.url}/f", tmp_path / "f", QUICK._replace(attempts=1))
    new = BODY[::-1]
    server.pages["/f"] = Page(
        new, etag='"v1"', headers={"ETag": '"v2"'}
    )  # sends 206 with another ETag
    assert (
        download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256
        == hashlib.sha256(new).hexdigest()
    )
    assert [r.status for r in server.requests] == [200, 206, 200]


def test_a_part_longer_than_the_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, cuts=[300_000])
    refused(f"{server.url}/f", tmp_path / "f", QUICK._replace(attempts=1))
    (tmp_path / ".f.part").write_bytes(BODY + b"more")
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert [r.status for r in server.requests] == [200, 416, 200]


@pytest.mark.parametrize("length", [-1, 5])
def test_a_wrong_length_is_never_taken_for_the_file(
    server: FileServer, tmp_path: Path, length: int
) -> None:
    server.pages["/f"] = Page(BODY, claim=length, ranges=False)
    if length > 0:
        assert "cut after 1024000 of 1024005 bytes" in refused(f"{server.url}/f", tmp_path / "f")
    else:  # nothing can be seen without a hash: HTTP ends where the length says
        assert "SHA-256" in refused(f"{server.url}/f", tmp_path / "f", sha256=SHA)


def test_an_answer_of_unknown_length_is_refused_unless_the_hash_is_known(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, length=False)
    assert "how long the file is" in refused(f"{server.url}/f", tmp_path / "f")
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK, sha256=SHA).sha256 == SHA


def test_the_limit_on_size_holds_for_what_is_said_and_for_what_is_sent(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/said"], server.pages["/sent"] = Page(BODY), Page(BODY, chunked=True)
    small = QUICK._replace(max_bytes=100_000)
    assert "1024000 bytes, more than the limit of 100000" in refused(
        f"{server.url}/said", tmp_path / "f", small
    )
    assert "limit of 100000" in refused(f"{server.url}/sent", tmp_path / "f", small)


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


def test_offline_touches_no_network(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/f"] = Page(BODY)
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    message = refused(f"{server.url}/f", tmp_path / "f")
    assert "TINYSIGHT_OFFLINE" in message
    assert str(tmp_path / "f") in message
    assert server.requests == []
    (tmp_path / "f").write_bytes(BODY)
    assert download(f"{server.url}/f", tmp_path / "f").sha256 == SHA
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "0")
    assert download(f"{server.url}/f", tmp_path / "g", policy=QUICK).sha256 == SHA


def test_a_disk_without_room_is_seen_before_the_download(
    server: FileServer, tmp_path: Path
) -> None:
    page = server.pages["/f"] = Page(b"")
    page.claim = shutil.disk_usage(tmp_path).free + (1 << 40)
    assert "do not fit on the disk" in refused(
        f"{server.url}/f", tmp_path / "f", QUICK._replace(max_bytes=1 << 60)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX resource limits")
def test_a_disk_that_fills_up_is_one_line_and_the_part_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY)
    code = f"""
        import resource
        from pathlib import Path
        from tinysight.errors import FetchError
        from tinysight.fetch import download
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            download({f"{server.url}/f"!r}, Path({str(tmp_path / "f")!r}))
        except FetchError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert "the disk is full" in done.stdout, done.stderr
    assert not (tmp_path / "f").exists()
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert server.requests[-1].range.startswith("bytes=")


def test_a_folder_that_cannot_be_written_to_is_one_line(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written to" in refused(f"{server.url}/f", tmp_path / "file" / "f")


def test_a_slow_server_is_shown_with_progress(server: FileServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, pause=0.03)
    seen: list[tuple[float, int]] = []
    download(
        f"{server.url}/f",
        tmp_path / "f",
        policy=QUICK,
        report=lambda n, _: seen.append((time.monotonic(), n)),
    )
    assert len(seen) > 8
    assert seen[-1][0] - seen[0][0] > 0.2
    assert any(0 < n < len(BODY) for _, n in seen)


def test_two_processes_fetch_one_file_once(server: FileServer, tmp_path: Path) -> None:
    server.pages["/f"] = Page(BODY, pause=0.05)
    code = (
        "import sys; from pathlib import Path; from tinysight.fetch import download\n"
        f"print(download({f'{server.url}/f'!r}, Path({str(tmp_path / 'f')!r})))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [p.communicate(timeout=20)[0] for p in both]
    assert all(SHA in a for a in answers)
    assert sorted("fresh=True" in a for a in answers) == [False, True]
    assert [r.status for r in server.requests] == [200]
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_killed_process_frees_its_lock_and_its_part_is_resumed(
    server: FileServer, tmp_path: Path
) -> None:
    server.pages["/f"] = Page(BODY, pause=0.05)
    code = (
        "from pathlib import Path; from tinysight.fetch import download\n"
        f"download({f'{server.url}/f'!r}, Path({str(tmp_path / 'f')!r}), report=lambda n, t: print(n, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 300_000:
        pass
    process.kill()
    process.communicate()
    server.pages["/f"].pause = 0
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert server.requests[-1].status == 206
    assert (tmp_path / "f").read_bytes() == BODY


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
        "tinysight.fetch.artifacts()\n"
        "assert not {'torch', 'numpy', 'pydantic', 'rich', 'requests'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

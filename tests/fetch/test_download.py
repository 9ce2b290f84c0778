"""Downloads from a real server on this machine: cut, changed, lying, slow, in competition, out of space."""

from __future__ import annotations

import hashlib
import shutil
import sys
import textwrap
import time
from pathlib import Path

import pytest

from support.commands import python, start
from support.fetching import BODY, QUICK, SHA, refused
from support.file_server import FileServer, Page
from tinysight.fetch import download


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
    done = python("-c", textwrap.dedent(code))
    assert "the disk is full" in done.out, done.err
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
    both = [start("-c", code) for _ in range(2)]
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
    process = start("-c", code)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 300_000:
        pass
    process.kill()
    process.communicate()
    server.pages["/f"].pause = 0
    assert download(f"{server.url}/f", tmp_path / "f", policy=QUICK).sha256 == SHA
    assert server.requests[-1].status == 206
    assert (tmp_path / "f").read_bytes() == BODY

"""From a name to a verified file: trust on first use, change refused, mirrors, archives, and the command."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.commands import python, start
from support.file_server import FileServer, Page
from tinysight.cli import main
from tinysight.compat.paddle.catalog import find
from tinysight.errors import FetchError
from tinysight.fetch import Artifact, Policy, cache_folder, cached, fetch
from tinysight.fetch.cache import path_for, recorded

QUICK = Policy(attempts=2, backoff=0.005, timeout=2.0)
BODY = bytes(range(256)) * 400


def inference_tar(prefix: str = "safety_helmet_infer/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, body in (("inference.pdmodel", b"program"), ("inference.pdiparams", BODY)):
            info = tarfile.TarInfo(prefix + name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TINYSIGHT_OFFLINE", "TINYSIGHT_MIRROR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def test_the_first_use_records_and_the_next_verifies(server: FileServer, cache: Path) -> None:
    server.pages["/f.pdparams"] = Page(BODY)
    url = f"{server.url}/f.pdparams"
    first = fetch(url, policy=QUICK)
    assert first.path.read_bytes() == BODY
    assert first.fresh
    entry = json.loads((cache / "hashes.json").read_text("utf-8"))[url]
    assert entry == {
        "sha256": first.sha256,
        "size": len(BODY),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    assert fetch(url, policy=QUICK) == first._replace(fresh=False)
    assert len(server.requests) == 1


def test_a_changed_file_is_refused_by_name_until_it_is_accepted(
    server: FileServer, cache: Path
) -> None:
    server.pages["/f.pdparams"] = Page(BODY)
    url = f"{server.url}/f.pdparams"
    first = fetch(url, policy=QUICK)
    first.file.unlink()
    server.pages["/f.pdparams"] = Page(BODY[::-1], etag='"v2"')
    with pytest.raises(
        FetchError, match=r"f\.pdparams: has changed since .*fetch http://\S+ --accept-change"
    ) as caught:
        fetch(url, policy=QUICK)
    assert "\n" not in str(caught.value)
    assert not first.file.exists()
    known = recorded(url, cache)
    assert known is not None
    assert known.sha256 == first.sha256
    accepted = fetch(url, policy=QUICK, accept_change=True)
    assert accepted.path.read_bytes() == BODY[::-1]
    assert fetch(url, policy=QUICK).sha256 == accepted.sha256


def test_a_damaged_cached_file_is_fetched_again_or_refused_offline(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/f.pdparams"] = Page(BODY)
    url = f"{server.url}/f.pdparams"
    first = fetch(url, policy=QUICK)
    first.file.write_bytes(b"x")
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    with pytest.raises(FetchError, match="is not what was fetched on"):
        fetch(url, policy=QUICK)
    monkeypatch.delenv("TINYSIGHT_OFFLINE")
    assert fetch(url, policy=QUICK).fresh
    assert first.file.read_bytes() == BODY


def test_offline_uses_the_cache(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["/f.pdparams"] = Page(BODY)
    url = f"{server.url}/f.pdparams"
    fetch(url, policy=QUICK)
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    assert not fetch(url).fresh
    with pytest.raises(FetchError, match="TINYSIGHT_OFFLINE forbids"):
        fetch(find("safety_helmet"))


def test_a_file_copied_into_the_cache_by_hand_serves_offline(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the offline message says; its hash is recorded then."""
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    with pytest.raises(FetchError) as caught:
        fetch(find("person_exists"))
    place = Path(str(caught.value).rpartition("copy it to ")[2])
    place.parent.mkdir(parents=True)
    place.write_bytes(inference_tar())
    done = fetch(find("person_exists"))
    assert (done.path / "inference.pdmodel").read_bytes() == b"program"
    assert recorded(done.url, cache) is not None


def test_an_archive_is_unpacked_once_and_its_folder_given(server: FileServer) -> None:
    server.pages["/m.tar"] = Page(inference_tar())
    done = fetch(f"{server.url}/m.tar", policy=QUICK)
    assert {p.name for p in done.path.iterdir()} == {"inference.pdmodel", "inference.pdiparams"}
    assert done.path.name == "safety_helmet_infer"
    (done.path / "inference.pdmodel").write_bytes(b"ours")
    assert (
        fetch(f"{server.url}/m.tar", policy=QUICK).path / "inference.pdmodel"
    ).read_bytes() == b"ours"
    server.pages["/flat.tar"] = Page(inference_tar(prefix=""))
    flat = fetch(f"{server.url}/flat.tar", policy=QUICK)
    assert (flat.path / "inference.pdmodel").read_bytes() == b"program"


def test_a_hostile_archive_is_refused_and_nothing_unpacked(server: FileServer, cache: Path) -> None:
    server.pages["/m.tar"] = Page(inference_tar(prefix="../../"))
    with pytest.raises(FetchError, match="leads out"):
        fetch(f"{server.url}/m.tar", policy=QUICK)
    assert not [p for p in cache.rglob("inference*")]


def test_the_second_address_is_asked_when_the_first_is_gone(server: FileServer) -> None:
    server.pages["/new/m.tar"] = Page(inference_tar())
    row = Artifact("m", "inference", (f"{server.url}/old/m.tar", f"{server.url}/new/m.tar"), "")
    assert fetch(row, policy=QUICK).url.endswith("/new/m.tar")
    assert [r.status for r in server.requests] == [404, 200]
    assert not fetch(row, policy=QUICK).fresh
    assert len(server.requests) == 2
    gone = row._replace(urls=(f"{server.url}/a", f"{server.url}/b"))
    with pytest.raises(FetchError, match="/b: the server answers 404"):
        fetch(gone, policy=QUICK)


def test_a_mirror_serves_catalog_names_and_may_not_change_them(
    server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "/mirror/paddleclas.bj.bcebos.com/models/PULC/safety_helmet_infer.tar"
    server.pages[place] = Page(inference_tar())
    monkeypatch.setenv("TINYSIGHT_MIRROR", f"{server.url}/mirror/")
    done = fetch(find("safety_helmet"), policy=QUICK)
    assert (done.path / "inference.pdiparams").read_bytes() == BODY
    assert done.artifact.labels == ("wearing_helmet", "unwearing_helmet")
    assert done.file == cache / "paddleclas.bj.bcebos.com/models/PULC/safety_helmet_infer.tar"
    assert cached(done.artifact) == done.file
    done.file.unlink()
    server.pages[place] = Page(inference_tar(prefix="other/"))
    with pytest.raises(FetchError, match="has changed"):
        fetch(find("safety_helmet"), policy=QUICK)


def test_a_damaged_record_is_said_not_ignored(server: FileServer, cache: Path) -> None:
    server.pages["/f"] = Page(BODY)
    for text in ("{", "[]", '{"a": 1}', '{"a": {"sha256": "x"}}'):
        cache.mkdir(exist_ok=True)
        (cache / "hashes.json").write_text(text, encoding="utf-8")
        with pytest.raises(FetchError, match=r"hashes\.json: is damaged"):
            fetch(f"{server.url}/f", policy=QUICK)


def test_the_cache_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TINYSIGHT_CACHE")
    if sys.platform != "win32":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_folder() == tmp_path / "xdg" / "tinysight"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to ignore it
        monkeypatch.setenv("HOME", str(tmp_path))
        assert tmp_path in cache_folder().parents


@given(st.lists(st.text(max_size=12), max_size=4), st.text(max_size=8))
def test_no_address_leads_out_of_the_cache(parts: list[str], query: str) -> None:
    path = path_for(f"https://example.com/{'/'.join(parts)}?{query}", Path("/cache"))
    inside = path.relative_to("/cache").parts
    assert inside[0] == "example.com"
    assert all(re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*", p) for p in inside)
    assert len(inside) >= 2


def test_addresses_that_differ_get_different_places() -> None:
    urls = ["https://a/x", "https://a/x?1", "https://a/x?2", "https://a/%2E%2E/x", "https://a/x%20y", "https://a/x_y",
            "https://a:444/x", "https://b/x", "https://a/", "https://a/?q"]  # fmt: skip
    assert len({path_for(u, Path("c")) for u in urls}) == len(urls)


# The command.


def test_list_and_show_work_without_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "helmet"]) == 0
    assert "safety_helmet_pretrained  weights" in capsys.readouterr().out
    assert main(["models", "list", "PPHGNetV2*", "--kind", "inference", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 7
    assert main(["models", "show", "SAFETY-HELMET"]) == 0
    out = capsys.readouterr().out
    assert "https://paddleclas.bj.bcebos.com/models/PULC/safety_helmet_infer.tar" in out
    assert "wearing_helmet, unwearing_helmet" in out
    assert "Apache-2.0" in out


def test_fetch_ends_with_one_line_and_show_knows_the_file(
    server: FileServer,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.pages["/paddleclas.bj.bcebos.com/models/PULC/inference/safety_helmet_infer.tar"] = Page(
        inference_tar()
    )
    monkeypatch.setenv("TINYSIGHT_MIRROR", server.url)
    assert main(["models", "fetch", "safety_helmet", "--cache", str(cache / "other")]) == 0
    said = capsys.readouterr()
    assert re.fullmatch(
        r"safety_helmet: fetched 0\.11 MB in [\d.]+ s, [\d.]+ MB/s: \S+\n", said.out
    )
    assert said.err == ""
    assert (
        main(["models", "fetch", "safety_helmet", "--cache", str(cache / "other"), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["fresh"] is False
    assert main(["models", "show", "safety_helmet", "--cache", str(cache / "other")]) == 0
    assert "sha256:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fetch", "safety_helmt"], "did you mean 'safety_helmet'"),
        (["fetch"], "takes a NAME"),
        (["list", "nothing-like-it"], "nothing matches"),
        (["fetch", "safety_helmet"], "TINYSIGHT_OFFLINE"),
        (["fetch", "http://example.com/x"], "only https"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    assert main(["models", *words]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_list_networks_says_what_it_needs() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from tinysight.cli import main\n"
        "sys.exit(main(['models', 'list', '--networks']))"
    )
    done = python("-c", code)
    assert done.code == 2
    assert done.err.startswith("error: tinysight models: needs torch")
    assert done.err.count("\n") == 1


def test_list_networks_counts_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "PPLCNet_x0_25", "--networks"]) == 0
    assert re.search(r"pplcnet_x0_25 +1.52 M parameters +16.8 M MACs", capsys.readouterr().out)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_size_and_rate_while_a_slow_file_comes(server: FileServer) -> None:
    pytest.importorskip("rich")
    import pty

    server.pages["/slow.bin"] = Page(BODY * 10, pause=0.06)
    ours, theirs = pty.openpty()
    words = ("-m", "tinysight", "models", "fetch", f"{server.url}/slow.bin")
    process = start(*words, stderr=theirs, TERM="xterm", COLUMNS="100")
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux reports the closed terminal as an error
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "slow.bin: fetched 1.02 MB" in out
    partial = re.findall(r"(\d+\.\d+)/1\.0 MB", shown.decode("utf-8", "replace"))
    assert any(0 < float(p) < 1 for p in partial), shown
    assert b"B/s" in shown

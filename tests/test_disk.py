"""Files that are no regular ones, outputs that two processes write, and what a killed write leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from support.bundles import tiny_bundle, tiny_manifest, tiny_onnx
from support.commands import SRC, python, tinysight
from tinysight.bundle import MODEL, Bundle, new_bundle
from tinysight.disk import read_regular, reserved, write_atomic
from tinysight.errors import BundleError, DataError

posix = pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links")
# Ends itself inside the n-th call of `os.replace` or `Path.rename`.
KILLED = """
import os, pathlib, sys
from support.bundles import tiny_bundle
from tinysight.disk import write_atomic
def deadly(*args, **options):
    os.kill(os.getpid(), 9)
what, place = sys.argv[1:]
if what == "file":
    os.replace = deadly
    write_atomic(pathlib.Path(place), "half")
else:
    rename, calls = pathlib.Path.rename, []
    def second(self, target):
        calls.append(target)
        return deadly() if len(calls) == 2 else rename(self, target)
    pathlib.Path.rename = second
    from tinysight.bundle import Bundle
    from support.bundles import tiny_manifest, tiny_onnx
    Bundle.write(place, tiny_manifest(), {"model.onnx": tiny_onnx()}, overwrite=True)
"""


def killed(*words: object) -> None:
    done = python("-c", KILLED, *words, PYTHONPATH=f"{SRC}{os.pathsep}{Path(__file__).parent}")
    assert done.code == -signal.SIGKILL, done.err


@posix
def test_links_are_followed_and_what_is_no_file_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/target")
    for text in ("new", "newer"):
        write_atomic(tmp_path / "link", text)
        assert (tmp_path / "real" / "target").read_text() == text
        assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nobody reads this pipe") as error:
        write_atomic(tmp_path / "pipe", "x")
    assert error.value.filename == str(tmp_path / "pipe")
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_text()))
    reader.start()
    while not heard:
        try:
            write_atomic(tmp_path / "pipe", "heard")
        except OSError:
            time.sleep(0.01)
            continue
        reader.join()
    assert heard == ["heard"]
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe", "real"]


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="root makes devices")
def test_devices_stay_devices(tmp_path: Path) -> None:
    for name, minor in (("null", 3), ("full", 7)):
        os.mknod(tmp_path / name, 0o020666, os.makedev(1, minor))
    write_atomic(tmp_path / "null", "gone")
    with pytest.raises(OSError, match="No space left") as error:
        write_atomic(tmp_path / "full", "x")
    assert error.value.filename == str(tmp_path / "full")
    assert all((tmp_path / name).is_char_device() for name in ("null", "full"))
    (tmp_path / "a.png").write_bytes(b"no image")
    tiny_bundle(tmp_path / "model")
    for form in ("--json", "--csv", "--exact"):
        words = ("predict", tmp_path / "a.png", "--model", tmp_path / "model", form, "--output")
        assert tinysight(*words, tmp_path / "null").code == 1
        assert (tmp_path / "null").is_char_device()
    assert tinysight(*words[:-2], "--json", "--output", tmp_path / "full").code == 2


@posix
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "link"])
def test_standard_output_has_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    (tmp_path / "a.png").write_bytes(b"no image")
    tiny_bundle(tmp_path / "model")
    words = ("predict", "a.png", "--model", "model", "--json", "--output", name)
    done = python("-m", "tinysight", *words, cwd=tmp_path)
    assert done.out.startswith('{"error"') or '"filename": "a.png"' in done.out
    assert (tmp_path / "link").is_symlink()
    assert not list(tmp_path.glob("*.part"))
    (tmp_path / "X.yaml").write_text("task: a\nmodel: {backbone: pplcnet_x0_25}\n")
    assert tinysight("recipe", "convert", "X.yaml", "--out", name, cwd=tmp_path).code == 2


@posix
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    for name, most, what in (
        ("pipe", None, "not a regular file"),
        ("file", 4, "larger than 4 bytes"),
    ):
        with pytest.raises(OSError, match=what):
            read_regular(tmp_path / name, most)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)


def test_threads_that_write_one_file_leave_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    texts = [str(i) * 5000 for i in range(8)]
    threads = [threading.Thread(target=write_atomic, args=(path, text)) for text in texts * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@posix
def test_a_second_writer_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    with reserved(tmp_path / "f", wait=False) as part:
        part.write_text("first")
        with (
            pytest.raises(DataError, match="another process is writing this file"),
            reserved(tmp_path / "f", wait=False),
        ):
            pass
        assert part.read_text() == "first"
    with new_bundle(tmp_path / "b") as draft:
        with pytest.raises(DataError, match="another process"), new_bundle(tmp_path / "b"):
            pass
        assert draft.is_dir()
        raise_later = Bundle
    assert raise_later is Bundle


@posix
def test_what_a_killed_write_left_is_taken_over(tmp_path: Path) -> None:
    killed("file", tmp_path / "f")
    assert [p.name for p in tmp_path.iterdir()] == [".f.part"]
    write_atomic(tmp_path / "f", "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    bundle = tiny_bundle(tmp_path / "b", description="the first")
    killed("bundle", bundle.folder)
    assert not bundle.folder.exists()
    with pytest.raises(BundleError, match="already exists"):
        Bundle.write(bundle.folder, tiny_manifest(), {MODEL: tiny_onnx()})
    assert Bundle.load(bundle.folder).manifest.description == "the first"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "f"]


@posix
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "utf-8"])
def test_what_an_output_cannot_encode_is_written_with_backslashes(
    encoding: str, tmp_path: Path
) -> None:
    tiny_bundle(tmp_path / "model")
    (tmp_path / "门 😀\udcff.jpg").write_bytes(b"no image")
    words = [sys.executable, "-m", "tinysight", "predict", ".", "--model", "model", "--csv"]
    variables = {**os.environ, "PYTHONPATH": SRC, "PYTHONIOENCODING": encoding}
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, check=False)
    shown = {
        "ascii": rb"\u95e8 \U0001f600",
        "cp1252": rb"\u95e8 \U0001f600",
        "gbk": "门".encode("gbk") + rb" \U0001f600",
    }
    name = shown.get(encoding, "门 😀".encode()) + b"\xff.jpg"
    assert done.returncode == 1, done.stderr
    assert name in done.stdout
    assert name in done.stderr

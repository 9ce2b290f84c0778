"""Full disks, read-only folders and bit flips: named, and repaired where they can be."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gallery.conformance import agree, items_of, oracle, vectors
from support.commands import environment, python, tinysight
from support.faults import _PRIVATE, can_mount
from tinysight.errors import GalleryError
from tinysight.gallery.base import Item
from tinysight.gallery.health import repair, verify
from tinysight.gallery.sqlite_store import SqliteStore

DIM, COUNT = 32, 1500


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery with a matrix and a tail behind it."""
    folder = tmp_path_factory.mktemp("whole") / "g"
    store = SqliteStore.create(folder, dim=DIM)
    rows = list(items_of(vectors("cosine", COUNT, DIM)).values())
    store.add(rows[:-100])
    store.add(rows[-100:])
    assert len(list(folder.glob("matrix-*.bin"))) == 1
    store.close()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "g")
    return tmp_path / "g"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << (place % 8)
    path.write_bytes(data)


def found_right(store: SqliteStore, left_out: str = "") -> None:
    rows = items_of(vectors("cosine", COUNT, DIM))
    rows.pop(left_out, None)
    query = vectors("cosine", 1, DIM, seed=5)
    agree(store.search(query, 10)[0], oracle("cosine", rows, query[0], 10))


def test_a_flipped_vector_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = vectors("cosine", COUNT, DIM)[7]
    data = (folder / "gallery.db").read_bytes()
    flip(folder / "gallery.db", data.index(row.tobytes()) + 5)
    store = SqliteStore(folder)
    problems = verify(store)
    assert [p.what for p in problems] == ["1 damaged items: i0007"]
    assert [p.what for p in repair(store)] == ["1 damaged items: i0007"]
    assert "item 'i0007' is damaged" in caplog.text
    found_right(store, left_out="i0007")
    with pytest.raises(GalleryError, match="item 'i0007' is damaged"):
        store.get(["i0007"])
    store.remove(["i0007"])
    store.add([Item("i0007", "label 0", row)])
    assert verify(store) == []
    found_right(store)


def test_a_flipped_label_is_named(folder: Path) -> None:
    data = (folder / "gallery.db").read_bytes()
    flip(folder / "gallery.db", data.index(b"i0007label 0") + 6)
    assert "1 damaged items: i0007" in [p.what for p in verify(SqliteStore(folder))]


@pytest.mark.parametrize("what", ["row", "header", "cut", "gone", "emptied"])
def test_a_damaged_matrix_is_made_anew(folder: Path, what: str) -> None:
    (path,) = folder.glob("matrix-*.bin")
    if what == "row":
        flip(path, 64 + 300 * (64 + 4 * DIM) + 64 + 9)
    elif what == "header":
        flip(path, 3)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif what == "gone":
        path.unlink()
    else:
        path.write_bytes(b"")
    store = SqliteStore(folder)
    (problem,) = verify(store)
    assert str(path) == problem.where
    assert "doctor" in problem.hint
    if what != "row":  # a search notices the rest by itself
        found_right(store)
        assert verify(store) == []
    assert repair(store) == []
    found_right(store)


def test_rows_that_the_matrix_lacks_are_counted(folder: Path) -> None:
    store = SqliteStore(folder)
    with store.database.writing():
        store.database.set(matrix_rows=1000)
    assert "400 items are missing from it" in [p.what for p in verify(store)]
    assert repair(store) == []
    found_right(SqliteStore(folder))


def test_any_flipped_bits_of_the_database(whole: Path, tmp_path: Path) -> None:
    """Never another error than ours, and never another item than before that `verify` has not named."""
    rng = random.Random(3)
    original = (whole / "gallery.db").read_bytes()
    rows = items_of(vectors("cosine", COUNT, DIM))
    named = 0
    for trial in range(40):
        folder = tmp_path / str(trial)
        folder.mkdir()
        place = rng.randrange(100) if trial % 4 == 0 else rng.randrange(len(original))
        data = bytearray(original)
        data[place] ^= 1 << rng.randrange(8)
        (folder / "gallery.db").write_bytes(data)
        try:
            store = SqliteStore(folder)
            problems = [p.what for p in verify(store)]
            if not problems or problems == ["is no matrix"]:
                for item in store.items(limit=COUNT):
                    assert item._replace(vector=None) == rows[item.id]._replace(vector=None), place
                    assert np.array_equal(item.vector, rows[item.id].vector)  # type: ignore[arg-type]
                assert store.count() == COUNT, place
            named += bool(problems and problems != ["is no matrix"])
            store.close()
        except GalleryError:
            named += 1
        shutil.rmtree(folder)
    assert named > 20


def test_commands_name_the_damage(folder: Path) -> None:
    path = folder / "gallery.db"
    path.write_bytes(b"no database at all" * 1000)
    for words in (["list"], ["verify"], ["doctor"], ["undo"], ["stats"]):
        done = tinysight("gallery", *words, folder)
        assert (done.code, done.out) == (2, "")
        assert "gallery.db is damaged: file is not a database" in done.err
    path.unlink()
    assert "no gallery here" in tinysight("gallery", "list", folder).err


FULL = """
import sys
from pathlib import Path
import numpy as np
from tinysight.errors import GalleryError
from tinysight.gallery.base import Item
from tinysight.gallery.health import verify
from tinysight.gallery.sqlite_store import SqliteStore
folder = Path(sys.argv[1])
store, reader = SqliteStore(folder), SqliteStore(folder)
rng = np.random.default_rng(0)
count, errors = store.count(), set()
for batch in range(200):
    items = [Item(f"new {batch} {i}", "x", rng.standard_normal(32).astype(np.float32)) for i in range(50)]
    try:
        store.add(items)
        count += 50
    except GalleryError as error:
        errors.add(str(error).split(":")[1].strip())
        if len(errors) and batch > 190: break
assert errors and all("cannot be written" in e for e in errors), errors
for one in (store, reader, SqliteStore(folder)):
    assert one.count() == count, (one.count(), count)
    assert len(one.search(np.ones((1, 32), np.float32), 20_000)[0]) == count
assert [p for p in verify(SqliteStore(folder)) if "gallery.db" in p.where] == []
print("full", count)
"""
READ_ONLY = """
import sys
import numpy as np
from tinysight.errors import GalleryError
from tinysight.gallery.base import Item
from tinysight.gallery.sqlite_store import SqliteStore
from tinysight.gallery.health import verify
store = SqliteStore(sys.argv[1])
assert len(store.search(np.ones((1, 32), np.float32), 20)[0]) == 20
assert verify(store) == []
for act in (lambda: store.add([Item("a", "b")]), store.undo, store.compact, store.rewrite):
    try:
        act()
    except GalleryError as error:
        assert "read-only" in str(error), error
    else:
        raise AssertionError("written")
print("read-only")
"""


def in_namespace(mounts: str, script: str, folder: Path) -> str:
    words = [*_PRIVATE, f'{mounts}; exec "$@"', "sh", sys.executable, "-c", script, str(folder)]
    done = subprocess.run(
        words, env=environment(), capture_output=True, text=True, check=False, cwd=folder.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not can_mount(), reason="needs mounts of its own")
def test_a_full_disk_loses_nothing(folder: Path) -> None:
    mounts = f"cp -r {folder} {folder}.from; mount -t tmpfs -o size=2500k none {folder}; cp {folder}.from/* {folder}"
    assert in_namespace(mounts, FULL, folder).startswith("full")


@pytest.mark.skipif(not can_mount(), reason="needs mounts of its own")
def test_a_read_only_folder_can_be_searched(folder: Path) -> None:
    mounts = f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"
    assert in_namespace(mounts, READ_ONLY, folder) == "read-only\n"


def test_files_that_may_not_grow(folder: Path) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (700_000, -1))\n" + FULL
    done = python("-c", script, folder)
    assert done.code == 0, done.err
    assert done.out.startswith("full")


def test_two_that_make_one_gallery(tmp_path: Path) -> None:
    SqliteStore.create(tmp_path / "g", dim=8).close()
    with pytest.raises(GalleryError, match="already exists"):
        SqliteStore.create(tmp_path / "g", dim=8)
    assert [p.name for p in (tmp_path / "g").iterdir()] == ["gallery.db"]


def test_a_copy_is_one_state(folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(folder)
    store.copy(tmp_path / "copy")
    store.remove(["i0001"])
    copy = SqliteStore(tmp_path / "copy")
    assert verify(copy) == []
    found_right(copy)
    assert copy.count() == COUNT
    assert copy.undo() == "add"
    with pytest.raises(GalleryError, match="exists already"):
        store.copy(tmp_path / "copy")

"""Galleries on servers and the way there and back; thresholds, from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery.conformance import items_of, vectors
from support.commands import tinysight
from support.galleries import draw, embedding_bundle, make_photos
from tinysight.errors import GalleryError
from tinysight.gallery.base import Item, Store
from tinysight.gallery.decide import decision_of, held_out
from tinysight.gallery.places import migrate, open_store, store_like
from tinysight.gallery.sqlite_store import SqliteStore

lite = pytest.mark.filterwarnings("ignore")


def test_a_folder_is_copied_to_another_and_taken_up(tmp_path: Path) -> None:
    one = SqliteStore.create(tmp_path / "one", metric="l2", dim=16, model="mine")
    rows = items_of(vectors("l2", 1300, 16))
    one.add([*rows.values(), Item("", "x")._replace(id="none")])
    one.set(decision='{"k": 3}')
    two = store_like(one, tmp_path / "two")
    assert migrate(one, two) == (1301, 1301)
    assert migrate(one, two) == (1301, 0)
    assert (two.model, two.metric, two.setting("decision")) == ("mine", "l2", '{"k": 3}')
    one.add([rows["i0003"]._replace(label="new")])
    assert migrate(one, store_like(one, tmp_path / "two")) == (1301, 1)
    assert same(one, two)
    one.remove(["i0004"])
    with pytest.raises(GalleryError, match="two: has 1 items that"):
        migrate(one, two)


def same(one: Store, two: Store) -> bool:
    pairs = zip(one.items(limit=5000), two.items(limit=5000), strict=True)
    return all(
        a._replace(vector=None) == b._replace(vector=None)
        and (a.vector is None) == (b.vector is None)
        and (a.vector is None or np.array_equal(a.vector, b.vector))
        for a, b in pairs
    )


def test_other_vectors_are_not_mixed(tmp_path: Path) -> None:
    one = SqliteStore.create(tmp_path / "one", metric="l2", dim=16)
    SqliteStore.create(tmp_path / "two", metric="l2", dim=8)
    with pytest.raises(GalleryError, match="two: another dim"):
        store_like(one, tmp_path / "two")


@lite
def test_a_killed_copy_to_milvus_is_taken_up_and_comes_back(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    one = SqliteStore.create(tmp_path / "one", dim=16)
    one.add(items_of(vectors("cosine", 3000, 16)).values())
    url = f"milvus://{tmp_path}/lite.db/products"
    command = [sys.executable, "-m", "tinysight", "gallery", "migrate", str(tmp_path / "one")]
    child = subprocess.Popen([*command, "--store", url], start_new_session=True)
    data = tmp_path / "lite.db"
    try:
        # Killed once something is written, wherever that is.
        while child.poll() is None and not (data.exists() and size_of(data) > 200_000):
            time.sleep(0.01)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    done = tinysight("gallery", "migrate", tmp_path / "one", "--store", url, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["items"] == 3000 and said["written"] > 0
    back = tinysight("gallery", "migrate", url, "--store", tmp_path / "two")
    assert back.code == 0, back.err
    assert same(one, SqliteStore(tmp_path / "two"))


def size_of(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(p.stat().st_size for p in files if p.is_file())


@lite
def test_a_gallery_on_a_server_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    embedding_bundle(tmp_path / "bundle")
    photos, url = make_photos(tmp_path / "photos"), f"milvus://{tmp_path}/lite.db/tea"
    built = tinysight("gallery", "build", url, photos, "--model", tmp_path / "bundle", "--json")
    assert built.code == 0, built.err
    assert json.loads(built.out)["embedded"] == 6
    again = tinysight("gallery", "build", url, photos, "--json")
    assert json.loads(again.out)["unchanged"] == 6 and json.loads(again.out)["embedded"] == 0
    asked = tinysight("gallery", "query", url, photos / "cola" / "1.png", "-k", "1")
    one, label, _ = asked.out.split("\t")
    assert one.endswith("cola/1.png") and label == "cola"
    assert tinysight("gallery", "remove", url, one).code == 0
    assert len(tinysight("gallery", "list", url).out.splitlines()) == 5
    refused = tinysight("gallery", "undo", url)
    assert refused.code == 2 and "has no `undo`" in refused.err
    none = tinysight("gallery", "list", url + "2")
    assert none.code == 2 and "there is no such collection" in none.err


def test_held_out_items_are_asked_without_their_label(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "g", dim=2)
    turn = np.array([0, 0.1, 0.25, 0.9, 1.0, 2.0])
    labels = ["a", "a", "a", "b", "b", "c"]
    rows = np.stack([np.cos(turn), np.sin(turn)], 1).astype(np.float32)
    store.add(
        Item(f"i{j}", label, row) for j, (label, row) in enumerate(zip(labels, rows, strict=True))
    )
    store.add([Item("none", "d")])
    unknown, known = held_out(store, 2)
    strange = {
        t + m[0].id: [x.label for x in m][:2]
        for t, m in zip(unknown.truth, unknown.matches, strict=True)
    }
    assert len(unknown.truth) == 6
    assert strange == {"ai3": ["b", "b"], "bi2": ["a", "a"], "ci4": ["b", "b"]}
    assert sorted(known.truth) == ["a", "a", "a", "b", "b"]
    nearest = sorted((t, m[0].id) for t, m in zip(known.truth, known.matches, strict=True))
    assert nearest == [("a", "i0"), ("a", "i1"), ("a", "i1"), ("b", "i3"), ("b", "i4")]


def test_a_threshold_from_the_command_line(tmp_path: Path) -> None:
    embedding_bundle(tmp_path / "bundle")
    names = tuple(f"n{i:02}" for i in range(40))
    photos = make_photos(tmp_path / "photos", names, each=2)
    gallery = tmp_path / "g"
    assert tinysight("gallery", "build", gallery, photos, "--model", tmp_path / "bundle").code == 0
    done = tinysight("gallery", "calibrate", gallery, "--false-accept", "0.05", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["false_accepts"]["value"] <= 0.05 < said["false_accepts"]["high"]
    assert said["right"]["value"] == 1 and not said["enough"]
    store = SqliteStore(gallery)
    assert decision_of(store).to_json() == said["decision"]
    # Other images of what the gallery knows, and of what it does not.
    for start, most in ((0, 0), (50, 5)):
        folder = tmp_path / str(start)
        folder.mkdir()
        for label in range(start, start + 20):
            image = cv2.cvtColor(draw(99, label), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{names[label - start]}.png"), image)
        asked = tinysight("gallery", "query", gallery, folder, "--json").out.splitlines()
        wanted = [name if start == 0 else None for name in names[:20]]
        answers = [json.loads(line)["label"] for line in asked]
        assert sum(a != b for a, b in zip(answers, wanted, strict=True)) <= most
    text = tinysight("gallery", "query", gallery, folder, "-k", "1").out.splitlines()
    assert text.count("unknown") >= 15 and len(text) == 40 + text.count(
        "unknown"
    )  # the file, an item
    others = make_photos(tmp_path / "others", tuple(f"o{i}" for i in range(20)), each=1)
    text = tinysight("gallery", "calibrate", gallery, "--unknown", others, "--votes", "3")
    assert text.code == 0 and "false accepts: 0.0000 of 20" in text.out
    assert "too few images" in text.out
    assert decision_of(open_store(gallery)).k == 3
    for wrong in (("--votes", "0"), ("--false-accept", "2")):
        assert tinysight("gallery", "calibrate", gallery, *wrong).code == 2

"""`tinysight gallery` end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from support.commands import python, tinysight
from support.galleries import embedding_bundle, make_photos


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedding_bundle(tmp_path_factory.mktemp("bundle") / "embedder").folder


@pytest.fixture(scope="module")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    make_photos(folder / "photos")
    done = tinysight("gallery", "build", "g", "photos", "--model", bundle, cwd=folder)
    assert done.code == 0, done.err
    assert done.out == "g: 6 written, 6 embedded, 0 reused, 0 unchanged, 6 items\n"
    return folder


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A folder with the images and a gallery of its own."""
    shutil.copytree(built, tmp_path / "here")
    return tmp_path / "here"


def test_nothing_to_a_recognised_object(here: Path) -> None:
    done = tinysight("gallery", "query", "g", "photos/cola/1.png", "-k", "2", cwd=here)
    assert done.code == 0, done.err
    first, second = (line.split("\t") for line in done.out.splitlines())
    assert first == ["photos/cola/1.png", "cola", "1.000000"]
    assert second[1] == "cola"
    assert 0.9 < float(second[2]) < 1


def test_building_again_embeds_nothing(here: Path, bundle: Path) -> None:
    done = tinysight("gallery", "build", "g", "photos", "--json", cwd=here)
    assert done.code == 0, done.err
    assert json.loads(done.out) == {
        "written": 0, "embedded": 0, "reused": 0, "unchanged": 6, "items": 6, "unreadable": [],
    }  # fmt: skip
    (here / "photos" / "cola" / "1.png").rename(here / "photos" / "cola" / "new.png")
    done = tinysight("gallery", "add", "g", "photos", "--json", cwd=here)
    assert json.loads(done.out)["embedded"] == 0
    assert json.loads(done.out)["reused"] == 1


def run(here: Path, *words: object, code: int = 0) -> str:
    done = tinysight("gallery", *words, cwd=here)
    assert (done.code, done.err) == (code, ""), done
    return done.out


def test_edits_and_undo(here: Path) -> None:
    assert run(here, "list", "g", "--label", "cola").splitlines() == [
        f"photos/cola/{i}.png\tcola" for i in range(3)
    ]
    done = tinysight("gallery", "remove", "g", "photos/cola/0.png", "nobody", cwd=here)
    assert (done.code, done.out, done.err) == (1, "g: removed 1\n", "g: no item 'nobody'\n")
    done = tinysight("gallery", "remove", "g", "--label", "nothing", cwd=here)
    assert (done.code, done.err) == (1, "g: no item of the label 'nothing'\n")
    assert run(here, "remove", "g", "--label", "green tea") == "g: removed 3\n"
    assert run(here, "undo", "g") == "g: undone remove\n"
    assert (
        run(here, "update", "g", "photos/cola/1.png", "--label", "Cola 1 l", "--set", "price=2")
        == "g: updated 1\n"
    )
    row = json.loads(run(here, "list", "g", "--label", "Cola 1 l", "--json"))
    assert (row["id"], row["metadata"], row["vector"]) == (
        "photos/cola/1.png",
        {"price": "2"},
        True,
    )
    for what in ("update", "remove"):
        assert run(here, "undo", "g") == f"g: undone {what}\n"
    assert len(run(here, "list", "g").splitlines()) == 6
    assert run(here, "compact", "g") == "g: compacted\n"
    done = tinysight("gallery", "undo", "g", cwd=here)
    assert (done.code, done.err) == (2, "error: g: there is no operation to undo\n")


def test_health(here: Path, bundle: Path) -> None:
    assert run(here, "verify", "g") == "g: whole\n"
    (here / "photos" / "cola" / "bad.png").write_bytes(b"bad")
    done = tinysight("gallery", "build", "g", "photos", cwd=here)
    assert done.code == 1
    assert done.out == "g: 1 written, 0 embedded, 0 reused, 6 unchanged, 7 items\n"
    assert "photos/cola/bad.png: " in done.err
    assert "1 images could not be read" in done.err
    found = json.loads(run(here, "verify", "g", "--json", code=1))
    assert "1 items have no embedding: photos/cola/bad.png" in found["problems"][0]["what"]
    assert "1 items have no embedding" in run(here, "doctor", "g", code=1)
    run(here, "remove", "g", "photos/cola/bad.png")
    assert run(here, "doctor", "g") == "g: whole\n"
    stats = json.loads(run(here, "stats", "g", "--near", "0.5", "--json"))
    assert (stats["items"], stats["labels"]) == (6, {"cola": 3, "green tea": 3})
    assert {one["how"] for one in stats["duplicates"]} == {"near"}
    assert "label 'green tea': 3" in run(here, "stats", "g")


def test_copies_and_other_bundles(here: Path, tmp_path: Path) -> None:
    assert run(here, "snapshot", "g", "copy") == "g: snapshot copy\n"
    assert run(here, "verify", "copy") == "copy: whole\n"
    assert run(here, "export", "g", "g.jsonl") == "g: items 6\n"
    assert run(here, "import", "h", "g.jsonl") == "h: items 6\n"
    assert run(here, "query", "h", "photos/cola") == run(here, "query", "g", "photos/cola")
    other = embedding_bundle(tmp_path / "other", description="another").folder
    done = tinysight("gallery", "query", "g", "photos/cola/0.png", "--model", other, cwd=here)
    assert done.code == 2
    assert "its vectors are of the bundle embedder, not of this other" in done.err
    out = run(here, "re-embed", "g", "--model", other, "--out", "g2")
    assert out == "g2: 6 written, 6 embedded, 0 reused, 0 unchanged, 6 items\n"
    out = run(here, "re-embed", "g", "--model", other, "--out", "g2")
    assert out == "g2: 0 written, 0 embedded, 0 reused, 6 unchanged, 6 items\n"


def test_an_unreadable_query_is_named(here: Path) -> None:
    (here / "bad.png").write_bytes(b"")
    done = tinysight("gallery", "query", "g", "bad.png", "photos/cola/0.png", "--json", cwd=here)
    assert done.code == 1
    assert "bad.png" in done.err
    (line,) = done.out.splitlines()
    assert json.loads(line)["matches"][0]["label"] == "cola"


def test_the_lines_of_several_images_say_which(here: Path) -> None:
    found = run(here, "query", "g", "photos/cola", "-k", "1").splitlines()
    assert found[::2] == [f"photos/cola/{i}.png:" for i in range(3)]
    assert [line.split("\t")[0] for line in found[1::2]] == [
        f"photos/cola/{i}.png" for i in range(3)
    ]


def test_mistakes(here: Path, bundle: Path) -> None:
    (here / "list.txt").write_text("photos/cola/0.png cola\n")
    (here / "empty.txt").write_text("")
    (here / "twice.csv").write_text("path,label,label\nphotos/cola/0.png,a,b\n")
    for words, text in (
        (["build", "new", "photos"], "--model: which bundle?"),
        (["add", "new", "photos"], "no gallery here"),
        (["add", "g", "photos/cola"], "lies in no folder of a label"),
        (["query", "g", "photos/cola/0.png", "-k", "0"], "k: should be 1 or more"),
        (["remove", "g"], "ID: which items?"),
        (["update", "g", "nobody", "--label", "x"], "no item 'nobody'"),
        (["update", "g", "photos/cola/0.png"], "update: nothing to change"),
        (["update", "g", "photos/cola/0.png", "--set", "a"], "--set: expected KEY=VALUE, got 'a'"),
        (["update", "g", "photos/cola/0.png", "--label", ""], "label: the label is empty"),
        (["add", "g", "photos/cola/0.png", "--label", " "], "label: the label is empty"),
        (["build", "g", "photos", "--metric", "l2"], "--metric: l2, but g compares by cosine"),
        (["build", "new", "photos/cola", "--model", bundle], "lies in no folder of a label"),
        (["build", "new", "list.txt", "--model", bundle], "or give --delimiter"),
        (["build", "new", "empty.txt", "--model", bundle], "empty.txt: the list is empty"),
        (["build", "new", "twice.csv", "--model", bundle], "has two columns 'label'"),
        (["build", "g", "list.txt", "--delimiter", ""], "delimiter: is empty"),
        (["re-embed", "g", "--model", bundle, "--out", "./g"], "--out: is the gallery itself"),
        (["migrate", "g", "--store", "ftp://new"], "ftp://new: no such kind of address"),
        (["stats", "g", "--near", "nan"], "--near: should be a number"),
        (["import", "new", "nowhere.jsonl"], "nowhere.jsonl: not readable: No such file"),
        (
            ["build", "new", "photos", "--model", bundle, "--metric", "cosinus"],
            "unknown metric 'cosinus'",
        ),
    ):
        done = tinysight("gallery", *words, cwd=here)
        assert (done.code, done.out) == (2, ""), words
        assert text in done.err, words
    assert not (here / "new").exists()


def test_a_prediction_imports_no_gallery() -> None:
    code = """import sys, tinysight.pipelines.pipeline
assert not [m for m in sys.modules if "gallery" in m or m == "sqlite3"]"""
    assert python("-c", code).code == 0

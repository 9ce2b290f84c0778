"""The C++ command on a system and a gallery: the boxes, labels and words of the Python one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from support.bundles import tiny_detector
from support.cpp import run_cpp
from support.galleries import draw, embedding_bundle, make_photos
from tinysight.bundle import Bundle
from tinysight.bundle.system import SYSTEM, Rules, System, SystemManifest
from tinysight.gallery.base import Item
from tinysight.gallery.decide import Decision
from tinysight.gallery.gallery import Gallery
from tinysight.gallery.sqlite_store import SqliteStore
from tinysight.pipelines.recognize import Recognizer

RULES = Rules(threshold=0.3, score_threshold=0.6, nms_threshold=0.3)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A system, a gallery of two labels, and images of which one is broken."""
    embedder = embedding_bundle(tmp_path / "embedder")
    members = {"detector": tiny_detector(tmp_path / "detector"), "embedder": embedder}
    System.write(tmp_path / "system", SystemManifest("shelf", {}, RULES), members)
    gallery = Gallery.create(tmp_path / "drinks", model=embedder)
    gallery.add(make_photos(tmp_path / "photos", ("grüner Tee", "cola")))
    gallery.close()
    (tmp_path / "images").mkdir()
    for i in range(4):
        image = cv2.cvtColor(draw(50 + i, i), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), image)
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    return tmp_path


def check(
    place: Path, system: Path, gallery: Path, *words: str, **options: Any
) -> list[dict[str, Any]]:
    """Both say the same of every image; what the C++ command said."""
    recognizer = Recognizer(system, gallery, **options)
    expected = {p.name: recognizer(str(p)) for p in sorted((place / "images").glob("?.png"))}
    kind = "--system" if (system / SYSTEM).exists() else "--model"
    asked = ("recognize", place / "images", kind, system, "--gallery", gallery, *words)
    done = run_cpp(*asked, "--json")
    assert done.code == 1, done.errors
    rows = {Path(row["filename"]).name: row for row in done.rows}
    assert "error" in rows.pop("broken.png")
    assert rows.keys() == expected.keys()
    for name, row in rows.items():
        own = expected[name].to_json()
        assert list(row) == list(own)
        for key in ("label_names", "ids", "boxes_xyxy", "filename"):
            assert row[key] == own[key]
        assert row["scores"] == pytest.approx(own["scores"], abs=1e-5)
    lines = [line for result in expected.values() for line in result.to_text().splitlines()]
    assert run_cpp(*asked).out.splitlines() == lines
    return [*rows.values()]


def test_a_system(place: Path) -> None:
    rows = check(place, place / "system", place / "drinks")
    assert {name for row in rows for name in row["label_names"]} == {"grüner Tee", "cola"}
    rules = RULES._replace(score_threshold=-1.0)
    assert check(place, place / "system", place / "drinks", "--threshold", "-1", rules=rules)
    check(place, place / "system", place / "drinks", "--no-detector", detect=False)


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
def test_metrics(place: Path, metric: Any) -> None:
    embedder = place / "embedder"
    gallery = Gallery.create(place / metric, model=embedder, metric=metric)
    gallery.add(place / "photos")
    gallery.close()
    limit = {"cosine": 0.5, "inner_product": 0.1, "l2": 1.0}[metric]
    rules = Rules(score_threshold=limit)
    words = ("--no-detector", "--threshold", str(limit))
    assert any(r["ids"] for r in check(place, embedder, place / metric, *words, rules=rules))


def test_codes(place: Path) -> None:
    plain = embedding_bundle(place / "shifted", shift=1e-3)  # no number is nearly 0
    spec = {"name": "binarize", "method": "sign"}
    files = {name: plain.read(name) for name in plain.manifest.files}
    Bundle.write(place / "codes", plain.manifest._replace(postprocess=spec), files)
    gallery = Gallery.create(place / "bits", model=place / "codes")
    gallery.add(place / "photos")
    gallery.close()
    words = ("--no-detector", "--threshold", "12")
    rows = check(place, place / "codes", place / "bits", *words, rules=Rules(score_threshold=12))
    assert any(row["scores"] for row in rows)
    assert all(type(score) is int for row in rows for score in row["scores"])


def test_what_is_added_is_found(place: Path) -> None:
    """And of equal vectors the first id, whatever came first; a row that is damaged is passed over."""
    store = SqliteStore(place / "drinks")
    vector = Gallery(place / "drinks").embed([str(place / "images" / "3.png")])[0]
    store.add([Item(f"new/{i}", "new", vector) for i in (2, 1, 3)])
    rows = check(place, place / "system", place / "drinks", "--no-detector", detect=False)
    assert rows[3]["ids"] == ["new/1"]
    with store.database.writing() as connection:
        connection.execute("UPDATE items SET label = 'forged' WHERE id = 'new/1'")
    store.close()
    words = ("--system", place / "system", "--gallery", place / "drinks", "--json")
    done = run_cpp("recognize", place / "images" / "3.png", *words, "--no-detector")
    assert done.rows[0]["ids"] == ["new/2"]


@pytest.mark.parametrize("by_label", [{}, {"cola": 0.999}])
def test_what_was_calibrated(place: Path, by_label: dict[str, float]) -> None:
    """Votes and thresholds are the gallery's, unless the caller gives one."""
    gallery = SqliteStore(place / "drinks")
    decision = Decision("cosine", k=3, threshold=0.4, by_label=by_label)
    gallery.set(decision=json.dumps(decision.to_json()))
    gallery.close()
    rows = check(place, place / "system", place / "drinks", "--no-detector", detect=False)
    assert ("cola" in [name for row in rows for name in row["label_names"]]) is not bool(by_label)
    rules = RULES._replace(score_threshold=0.6)
    check(place, place / "system", place / "drinks", "--threshold", "0.6", rules=rules)


def test_an_empty_gallery(place: Path) -> None:
    Gallery.create(place / "empty", model=place / "embedder").close()
    rows = check(place, place / "system", place / "empty")
    assert not any(row["ids"] for row in rows)


def test_refusals(place: Path) -> None:
    image, system, gallery = place / "images" / "0.png", place / "system", place / "drinks"

    def refused(*words: str | Path) -> str:
        done = run_cpp("recognize", image, *words)
        assert (done.code, done.out) == (2, "")
        assert done.errors.startswith("error: ")
        return done.errors

    other = embedding_bundle(place / "other", shift=0.1).folder
    assert "not of this other" in refused("--model", other, "--gallery", gallery, "--no-detector")
    assert "no gallery here" in refused("--system", system, "--gallery", place / "photos")
    assert "--gallery" in refused("--system", system)
    assert "--no-detector" in refused("--model", place / "embedder", "--gallery", gallery)
    detector = ("--model", place / "detector", "--no-detector", "--gallery", gallery)
    assert "no vectors" in refused(*detector)
    shutil.copytree(gallery, place / "forged")
    store = SqliteStore(place / "forged")
    store.set(dim=24)
    store.close()
    assert "damaged in its settings" in refused("--system", system, "--gallery", place / "forged")
    manifest = system / SYSTEM
    text = manifest.read_text("utf-8")
    manifest.write_text(text.replace("0.6", "0.1"), "utf-8")
    assert "edited after it was sealed" in refused("--system", system, "--gallery", gallery)
    manifest.write_text(text, "utf-8")
    sealed = system / "embedder" / "bundle.yaml"
    sealed.write_bytes((system / "detector" / "bundle.yaml").read_bytes())
    assert "altered" in refused("--system", system, "--gallery", gallery)

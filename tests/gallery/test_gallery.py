"""A gallery of images: sources, what is embedded and what is not, other bundles, bad images, duplicates."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery.conformance import agree, oracle
from support.bundles import tiny_bundle
from support.galleries import DIM, draw, embedding_bundle, make_photos
from tinysight.errors import ConfigError, DataError, GalleryError
from tinysight.gallery import gallery as module
from tinysight.gallery.entries import GalleryEntry, all_items, entries_of, iter_entries
from tinysight.gallery.gallery import Gallery, update
from tinysight.gallery.health import duplicates, stats, verify
from tinysight.gallery.transfer import export_items, import_items
from tinysight.pipelines.pipeline import open_bundle
from tinysight.pipelines.sources import ImageInput


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedding_bundle(tmp_path_factory.mktemp("bundle") / "embedder").folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos") / "photos", ("green  tea", "cola", "水"))


@pytest.fixture
def gallery(bundle: Path, tmp_path: Path) -> Gallery:
    return Gallery.create(tmp_path / "gallery", model=bundle)


def test_vectors_are_those_of_the_pipeline(gallery: Gallery, photos: Path, bundle: Path) -> None:
    done = gallery.add(photos)
    assert (done.written, done.embedded, done.unreadable) == (9, 9, [])
    assert (gallery.store.metric, gallery.store.dim) == ("cosine", DIM)
    pipeline = open_bundle(bundle, exact=True)
    rows = {item.id: item for item in all_items(gallery.store)}
    for item in rows.values():
        assert item.label == Path(item.id).parent.name
        assert item.vector is not None
        np.testing.assert_array_equal(item.vector, pipeline(item.source).embedding)
    query = draw(77, label=2)
    found = gallery.query(query, k=4)
    assert [match.label for match in found[:3]] == ["水"] * 3
    agree(found, oracle("cosine", rows, pipeline(query).embedding, 4))
    assert stats(gallery.store)["labels"] == {"cola": 3, "green  tea": 3, "水": 3}


def test_a_list_keeps_blanks_of_its_labels(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "data_file.txt"
    lines = ["a b/1.jpg\tOolong  tea\t500 ml", "a b/1.jpg\tOolong  tea\t500 ml", "", "x.jpg\t水 "]
    listed.write_text("\ufeff" + "\r\n".join(lines), "utf-8")
    found = list(iter_entries(listed, root="/images"))
    assert [entry[:2] for entry in found] == [
        ("/images/a b/1.jpg", "Oolong  tea\t500 ml"), ("/images/a b/1.jpg#2", "Oolong  tea\t500 ml"),
        ("/images/x.jpg", "水"),
    ]  # fmt: skip
    assert found[1].image == ImageInput("/images/a b/1.jpg", "/images/a b/1.jpg")
    listed.write_text("x.jpg red pen\n", "utf-8")
    assert [e.label for e in iter_entries(listed, delimiter=" ")] == ["red pen"]
    with pytest.raises(DataError, match=r"data_file.txt:1: expected a path"):
        list(iter_entries(listed))


def test_a_table_has_ids_and_metadata(tmp_path: Path) -> None:
    table = tmp_path / "items.csv"
    table.write_text('label,path,id,price\n"tea, green",a.png,t1,3.50\ncola,b.png,c1,2\n', "utf-8")
    found = list(iter_entries(table))
    assert [entry[:2] for entry in found] == [("t1", "tea, green"), ("c1", "cola")]
    assert found[0].metadata == {"price": "3.50"}
    table.write_text("path,label\na.png\n", "utf-8")
    with pytest.raises(DataError, match=r"items.csv:2"):
        list(iter_entries(table))
    table.write_text("path,name\na.png,x\n", "utf-8")
    with pytest.raises(DataError, match="no column label"):
        list(iter_entries(table))


def test_sources_without_labels_are_refused(photos: Path, tmp_path: Path) -> None:
    loose = photos / "cola"
    with pytest.raises(DataError, match="lies in no folder of a label"):
        list(iter_entries(loose))
    with pytest.raises(DataError, match="has no label"):
        list(iter_entries(loose / "0.png"))
    with pytest.raises(DataError, match="no such file"):
        iter_entries(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has none"):
        iter_entries(draw(1))
    assert {entry.label for entry in iter_entries(loose, "Cola")} == {"Cola"}


def test_images_from_python(gallery: Gallery, photos: Path) -> None:
    given = [(draw(1, 0), "zero"), (draw(2, 1), "one"), (photos / "cola" / "0.png", "cola")]
    assert gallery.add(given).written == 3
    assert gallery.add(given).unchanged == 3
    entry = GalleryEntry("mine", "zero", ImageInput("cam 1", draw(3, 0)), {"shelf": 4})
    assert gallery.add([entry]).embedded == 1
    (item,) = gallery.store.get(["mine"])
    assert (item.source, item.metadata) == ("cam 1", {"shelf": 4})
    assert {m.label for m in gallery.query(draw(4, 0), 2)} == {"zero"}
    assert gallery.embed([draw(1), draw(2)]).shape == (2, DIM)


def test_nothing_is_embedded_twice(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    assert gallery.add(mine).embedded == 9
    generation = stats(gallery.store)["generation"]
    again = gallery.add(mine)
    assert (again.written, again.embedded, again.unchanged) == (0, 0, 9)
    assert stats(gallery.store)["generation"] == generation
    shutil.copy(mine / "cola" / "0.png", mine / "cola" / "copy.png")
    (mine / "cola" / "1.png").rename(mine / "水" / "moved.png")
    done = gallery.add(mine)
    assert (done.written, done.embedded, done.reused, done.unchanged) == (2, 0, 2, 8)
    cv2.imwrite(str(mine / "cola" / "0.png"), draw(99, 1))
    done = gallery.add(mine)
    assert (done.written, done.embedded, done.unchanged) == (1, 1, 9)
    assert stats(gallery.store)["generation"] > generation
    done = gallery.add(mine / "水", label="water")  # the same images, another label
    assert (done.written, done.embedded) == (4, 0)
    assert gallery.store.count("label = 'water'") == 4


def test_bad_images_are_listed_and_counted(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    (mine / "cola" / "bad.png").write_bytes((mine / "cola" / "0.png").read_bytes()[:60])
    (mine / "cola" / "bad2.png").write_bytes(b"")
    (mine / "cola" / "gone.png").symlink_to("nowhere")
    done = gallery.add(mine)
    assert (done.written, done.embedded) == (12, 9)
    names = {Path(bad.filename).name for bad in done.unreadable}
    assert names == {"bad.png", "bad2.png", "gone.png"}
    (problem,) = verify(gallery.store)
    assert "3 items have no embedding" in problem.what
    shutil.copy(mine / "cola" / "1.png", mine / "cola" / "bad.png")
    (mine / "cola" / "gone.png").unlink()
    again = gallery.add(mine)
    assert (again.reused, len(again.unreadable)) == (1, 1)
    gallery.store.remove([str(mine / "cola" / name) for name in ("bad2.png", "gone.png")])
    assert verify(gallery.store) == []


def test_a_gallery_refuses_another_bundle(
    gallery: Gallery, photos: Path, bundle: Path, tmp_path: Path
) -> None:
    gallery.add(photos)
    other = embedding_bundle(tmp_path / "other", shift=0.25, description="another").folder
    with pytest.raises(GalleryError, match="are of the bundle embedder, not of this other"):
        Gallery(gallery.store.folder, model=other)
    moved = Gallery.create(tmp_path / "new", model=other)
    done = moved.add(entries_of(gallery.store))
    assert done.embedded == 9
    old, new = ({i.id: i for i in all_items(g.store)} for g in (gallery, moved))
    assert [i._replace(vector=None) for i in old.values()] == [
        i._replace(vector=None) for i in new.values()
    ]
    one = next(iter(old))
    assert old[one].vector is not None and new[one].vector is not None
    assert not np.allclose(old[one].vector, new[one].vector)
    copy = tmp_path / "elsewhere"
    shutil.copytree(bundle, copy)  # the same bundle under another name is the same
    assert Gallery(gallery.store.folder, model=copy).query(draw(1), 1)


def test_bundles_that_give_no_vectors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a gallery needs embeddings"):
        Gallery.create(tmp_path / "g", model=tiny_bundle(tmp_path / "b").folder)
    assert not (tmp_path / "g").exists()
    with pytest.raises(GalleryError, match="no gallery here"):
        Gallery(tmp_path / "g")


def test_codes_are_compared_bit_by_bit(tmp_path: Path, photos: Path) -> None:
    binary = embedding_bundle(tmp_path / "b", postprocess={"name": "binarize", "method": "sign"})
    gallery = Gallery.create(tmp_path / "g", model=binary.folder)
    gallery.add(photos)
    assert (gallery.store.metric, gallery.store.dim) == ("hamming", DIM)
    found = gallery.query(photos / "cola" / "0.png", 3)
    assert (found[0].label, found[0].score) == ("cola", 0)
    with pytest.raises(ConfigError, match="codes, not compared by cosine"):
        Gallery.create(tmp_path / "g2", model=binary.folder, metric="cosine")


def test_a_build_is_one_operation(
    gallery: Gallery, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    gallery.add([(photos / "cola" / "0.png", "first")])
    gallery.add(photos, what="build")
    assert [what for _, what, _ in gallery.store.operations()] == ["build", "add"]
    assert gallery.store.undo() == "build"
    assert [item.label for item in all_items(gallery.store)] == ["first"]
    assert gallery.store.undo() == "add"
    with pytest.raises(GalleryError, match="no operation to undo"):
        gallery.store.undo()


def test_updates(gallery: Gallery, photos: Path) -> None:
    gallery.add(photos)
    ids = [item.id for item in gallery.store.items(label="cola")]
    assert update(gallery.store, ids, "Cola 1 l", {"price": 2}) == 3
    assert {(i.label, i.metadata["price"]) for i in gallery.store.get(ids)} == {("Cola 1 l", 2)}
    assert gallery.query(photos / "cola" / "0.png", 1)[0].label == "Cola 1 l"
    with pytest.raises(GalleryError, match="no item 'nobody'"):
        update(gallery.store, [*ids, "nobody"], "x")
    gallery.store.undo()
    assert [item.id for item in gallery.store.items(label="cola")] == ids


def test_duplicates_of_three_kinds(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    gallery.add(photos, "x")
    image = cv2.imread(str(photos / "cola" / "0.png"))
    cv2.imwrite(str(tmp_path / "same.bmp"), image)
    shutil.copy(photos / "cola" / "1.png", tmp_path / "copy.png")
    image[0, 0] += 1
    cv2.imwrite(str(tmp_path / "near.png"), image)
    gallery.add([(tmp_path / name, "x") for name in ("same.bmp", "copy.png", "near.png")])
    found = list(duplicates(gallery.store, near=0.9999))
    named = [(one.how, {Path(i).name for i in one.ids}) for one in found]
    assert named[:2] == [("bytes", {"copy.png", "1.png"}), ("pixels", {"same.bmp", "0.png"})]
    assert ("near", {"near.png", "0.png"}) in named
    assert ("near", {"near.png", "same.bmp"}) in named
    assert all(one.score is not None and one.score >= 0.9999 for one in found[2:])


def test_exported_and_imported(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    gallery.add(photos)
    gallery.add([(tmp_path / "nowhere.png", "no image")])
    assert export_items(gallery.store, tmp_path / "out.jsonl") == 10
    assert import_items(tmp_path / "copy", tmp_path / "out.jsonl") == 10
    copy = Gallery(tmp_path / "copy")
    for a, b in zip(all_items(gallery.store), all_items(copy.store), strict=True):
        assert a._replace(vector=None) == b._replace(vector=None)
        assert (a.vector is None and b.vector is None) or np.array_equal(a.vector, b.vector)  # type: ignore[arg-type]
    assert copy.query(photos / "cola" / "0.png", 3) == gallery.query(photos / "cola" / "0.png", 3)
    copy.store.undo()
    assert copy.store.count() == 0
    text = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    for bad in ("{", '{"id": 3}', '{"id": "a", "label": "b", "vector": [1, 2]}'):
        (tmp_path / "bad.jsonl").write_text("\n".join([text[0], text[1], bad]), "utf-8")
        with pytest.raises(DataError):
            import_items(tmp_path / "copy", tmp_path / "bad.jsonl")
        assert copy.store.count() == 0

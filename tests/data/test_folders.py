from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tinysight.data.folders import folder_names, read_folder
from tinysight.data.samples import Gathered, SampleList
from tinysight.data.targets import Form
from tinysight.errors import DataError


def tree(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def read(folder: Path, *names: str, form: Form | None = None) -> SampleList:
    into = Gathered()
    read_folder(folder, form or Form(names=names), into)
    return into.done()


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    tree(tmp_path, "dog/2.jpg", "dog/1.PNG", "cat/x y/3.webp", "cat/b.jpg", ".git/c/4.jpg", "r.jpg")
    samples = read(tmp_path)
    assert folder_names(tmp_path) == ("cat", "dog")
    assert [(s.path.relative_to(tmp_path).as_posix(), s.label, s.line) for s in samples] == [
        ("cat/b.jpg", 0, 0),
        ("cat/x y/3.webp", 0, 0),
        ("dog/1.PNG", 1, 0),
        ("dog/2.jpg", 1, 0),
    ]


def test_the_order_of_the_names_counts(tmp_path: Path) -> None:
    tree(tmp_path, "dog/1.jpg", "cat/1.jpg")
    assert [(s.path.parent.name, s.label) for s in read(tmp_path, "dog", "bird", "cat")] == [
        ("dog", 0),
        ("cat", 2),
    ]


def test_what_is_no_image_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree(tmp_path, "dog/1.jpg", "dog/Thumbs.db", "dog/.hidden.jpg", "cat/1.jpg")
    with caplog.at_level(logging.INFO):
        assert len(read(tmp_path)) == 2
    assert "1 files are no images by their names: dog/Thumbs.db" in caplog.text


def test_nothing_vanishes_from_a_folder(tmp_path: Path) -> None:
    tree(tmp_path, "dog/1.JPG", "dog/a/2.jpg", "dog/x.heic", "cat/1.jpg", "3.jpg", "far/4.jpg")
    for name in ("dog/gone.jpg", "dog/gone", "bird"):
        (tmp_path / name).symlink_to("nowhere")
    (tmp_path / "dog" / "round.jpg").symlink_to("round.jpg")
    (tmp_path / "dog" / "a" / "far").symlink_to(tmp_path / "far")
    found = read(tmp_path, "cat", "dog", "far")
    shown = [s.path.relative_to(tmp_path).as_posix() for s in found]
    inside = ["dog/1.JPG", "dog/gone.jpg", "dog/round.jpg", "dog/x.heic", "dog/a/2.jpg"]
    assert shown == ["cat/1.jpg", *inside, "far/4.jpg"]
    others = ["dog/gone", "dog/a/far", "3.jpg", "bird"]
    assert found.passed_over == tuple(str(tmp_path / name) for name in others)


def test_bad_folders_are_named_together(tmp_path: Path) -> None:
    tree(tmp_path, "dogs/1.jpg", "cat/notes.txt")
    with pytest.raises(DataError) as caught:
        read(tmp_path, "cat", "dog")
    first, second = caught.value.problems
    assert (first.where, first.hint) == (str(tmp_path / "dogs"), "did you mean 'dog'?")
    assert (second.where, second.what) == (str(tmp_path / "cat"), "no image in this folder")


@pytest.mark.parametrize("name", ["", "none"])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no such folder" if name else "no folder in it"):
        read(tmp_path / name)


def test_without_labels_all_images_count(tmp_path: Path) -> None:
    tree(tmp_path, "a.jpg", "b/c.jpg")
    samples = read(tmp_path, form=Form("transform"))
    assert samples.labels.tolist() == [-1, -1]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    tree(tmp_path, "dog/1.jpg", "cat/1.jpg")
    (tmp_path / "dog" / "loop").symlink_to(tmp_path)
    assert len(read(tmp_path)) == 2

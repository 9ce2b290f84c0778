"""Where images come from: order, names, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinysight.errors import DataError
from tinysight.pipelines.sources import ImageInput, Source, _natural, count, iter_images
from tinysight.transforms.base import EXTENSIONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files are not opened by sources, so they may be empty."""
    for name in (
        "img10.jpg", "img2.JPG", "Img1.Png", "notes.md", ".hidden.jpg", "b/1.webp", "b/0.bmp",
        "a dir/x y.tif", ".cache/z.jpg", "b/deep/er/9.jpeg", "日本/写真.jpg",
    ):  # fmt: skip
        path = tmp_path / "pics" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "pics"


def names(source: Source, root: Path | None = None) -> list[str]:
    return [image.name for image in iter_images(source, root=root)]


def test_a_folder_in_natural_order_files_first(folder: Path) -> None:
    shown = [os.path.relpath(n, folder) for n in names(folder)]
    assert shown == [
        "Img1.Png", "img2.JPG", "img10.jpg", "a dir/x y.tif", "b/0.bmp", "b/1.webp",
        "b/deep/er/9.jpeg", "日本/写真.jpg",
    ]  # fmt: skip
    assert names(str(folder)) == names(folder)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_in_any_case(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a{extension}").touch()
    (tmp_path / f"b{extension.upper()}").touch()
    assert len(names(tmp_path)) == 2


def test_a_link_to_a_folder_is_followed_but_not_in_circles(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "far.jpg").touch()
    (folder / "linked").symlink_to(outside)
    (folder / "b" / "up").symlink_to(folder)
    found = names(folder)
    assert str(folder / "linked" / "far.jpg") in found
    assert len(found) == 9


def test_a_file_keeps_the_name_it_was_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert names("img10.jpg") == ["img10.jpg"]
    assert names(Path("b/0.bmp")) == ["b/0.bmp"]
    assert names("notes.md") == ["notes.md"]  # asked for by name: tried, and reported if it fails


def test_patterns(folder: Path) -> None:
    assert [Path(n).name for n in names(f"{folder}/img*")] == ["img2.JPG", "img10.jpg"]
    assert [Path(n).name for n in names(f"{folder}/**/*.jpeg")] == ["9.jpeg"]
    assert [Path(n).name for n in names(f"{folder}/b/[01].*")] == ["0.bmp", "1.webp"]
    (folder / "odd[1].jpg").touch()
    assert names(f"{folder}/odd[1].jpg") == [f"{folder}/odd[1].jpg"]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("b/0.bmp 1", "b/0.bmp"),
        ("b/0.bmp\t1", "b/0.bmp"),
        ("b/0.bmp", "b/0.bmp"),
        ("a dir/x y.tif 0", "a dir/x y.tif"),
        ("a dir/x y.tif\t0", "a dir/x y.tif"),
        ("a dir/x y.tif", "a dir/x y.tif"),
        ("日本/写真.jpg 1", "日本/写真.jpg"),
        ("gone.jpg 1", "gone.jpg"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lists(folder: Path, line: str, path: str, end: str) -> None:
    (folder / "list.txt").write_bytes(f"\ufeff\n{line}{end}".encode())
    assert names(folder / "list.txt") == [str(folder / path)]


def test_a_list_relative_to_another_root(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "elsewhere.TXT"
    listed.write_text("b/0.bmp 1\nimg10.jpg 0\n")
    assert names(listed, folder) == [str(folder / "b/0.bmp"), str(folder / "img10.jpg")]
    assert names([listed, folder / "b"], folder)[:3] == [
        str(folder / "b/0.bmp"), str(folder / "img10.jpg"), str(folder / "b/0.bmp"),
    ]  # fmt: skip


def test_bytes_arrays_and_mixtures(folder: Path) -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    assert list(iter_images(b"\xff\xd8")) == [ImageInput("<bytes>", b"\xff\xd8")]
    assert [p.name for p in iter_images(pixels)] == ["<array>"]
    mixed = [
        folder / "img10.jpg",
        b"x",
        pixels,
        ImageInput("mine", b"y"),
        str(folder / "b"),
        "gone.jpg",
    ]
    assert names(iter(mixed)) == [
        str(folder / "img10.jpg"), "<bytes 1>", "<array 2>", "mine", str(folder / "b/0.bmp"),
        str(folder / "b/1.webp"), str(folder / "b/deep/er/9.jpeg"), "gone.jpg",
    ]  # fmt: skip


def test_an_iterable_is_read_as_it_is_needed() -> None:
    def endless() -> object:
        while True:
            yield b"x"

    stream = iter_images(endless())  # type: ignore[arg-type]
    assert [next(stream).name for _ in range(3)] == ["<bytes 0>", "<bytes 1>", "<bytes 2>"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.jpg", "nowhere.jpg: no such file or folder"),
        ("nowhere/", "no such file or folder"),
        ("*.gif", "no file matches this pattern"),
        ("http://example.org/a.jpg", "addresses are not fetched"),
        ("empty", "no image in this folder or below it"),
        ("empty.txt", "this list is empty"),
        ("binary.txt", "not readable as a list"),
        (7, "int: is no source of images"),
        (None, "is no source of images"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: object, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty/inside").mkdir(parents=True)
    Path("empty/readme.md").touch()
    Path("empty.txt").write_text("\n \n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=words.replace("*", r"\*")):
        iter_images(source)  # type: ignore[arg-type]  # refused by the call, not by the iteration


@given(st.lists(st.text(min_size=1), unique=True))
def test_natural_order_is_an_order(words: list[str]) -> None:
    assert sorted(words, key=_natural) == sorted(reversed(words), key=_natural)
    numbers = [f"{w}{n}" for w in ("a", "b") for n in (1, 2, 9, 10, 100)]
    assert sorted(reversed(numbers), key=_natural) == numbers


def test_counting_gives_as_many_as_reading(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("pics/img10.jpg 0\npics/img2.JPG 1\n")
    sources = [folder, listed, str(folder / "**" / "*.*"), folder / "img10.jpg", b"x"]
    for source in sources:
        assert count(source) == len(names(source))
    assert count(tmp_path / "nowhere.jpg") is None
    assert count(iter([folder])) is None


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**30), unique=True), st.text("ab", min_size=1))
def test_numbers_of_any_length_sort_by_value(numbers: list[int], word: str) -> None:
    shuffled = sorted((f"{word}{n}x" for n in numbers), key=hash)
    assert sorted(shuffled, key=_natural) == [f"{word}{n}x" for n in sorted(numbers)]


def test_nothing_vanishes_from_a_folder(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("gone.jpg", "gone"):
        (folder / name).symlink_to("nowhere")
    (folder / "round.png").symlink_to("round.png")
    for name in ("IMG.HEIC", "b/x.jxl"):
        (folder / name).touch()
    before = names(folder)
    assert {os.path.relpath(n, folder) for n in before} >= {
        *("gone.jpg", "round.png", "IMG.HEIC", "b/x.jxl")
    }
    (line,) = caplog.messages
    assert line == f"{folder}: 2 files are no images by their names: gone, notes.md"
    assert names(f"{folder}/g*") == [f"{folder}/gone", f"{folder}/gone.jpg"]
    assert count(folder) == len(before)
    assert len(caplog.messages) == 1


def test_a_list_that_others_wrote(tmp_path: Path) -> None:
    for name in ("a.jpg", "b c.jpg"):
        (tmp_path / name).touch()
    path = tmp_path / "list.txt"
    for text in ("a.jpg\n\ufeffb c.jpg\n", "a.jpg\rb c.jpg\r", "a.jpg, 0\r\nb c.jpg, 1\r\n"):
        path.write_bytes(text.encode())
        assert names(path) == [str(tmp_path / "a.jpg"), str(tmp_path / "b c.jpg")]
    path.write_text('a.jpg\n"b c.jpg"\n')
    with pytest.raises(DataError, match=r':2: quotes around the path "b c.jpg"'):
        names(path)


def test_a_file_object_is_one_image(tmp_path: Path) -> None:
    import io

    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with path.open("rb") as file:
        assert [i.data for i in iter_images(file)] == [b"\xff\xd8\xff"]
    assert [i.name for i in iter_images([io.BytesIO(b"x"), io.BytesIO(b"y")])] == [
        "<file 0>",
        "<file 1>",
    ]
    with path.open(encoding="utf-8") as words:
        for opened in (words, io.StringIO("text"), file):  # the last one is closed
            with pytest.raises(DataError, match="open it for reading bytes"):
                list(iter_images(opened))


def test_what_can_be_iterated_over_and_is_no_list_of_images() -> None:
    import array

    import torch

    for source in (torch.zeros(3, 4), {"a.jpg": 1}, array.array("B", b"abc"), 3):
        with pytest.raises(DataError, match="is no source of images"):
            list(iter_images(source))  # type: ignore[arg-type]

"""`tinysight data check`: every kind of trouble, in a list, a recipe and folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.tiny import make_images, write_recipe
from tinysight.cli import main

PHOTOS = sorted((Path(__file__).parents[3] / "samples" / "clarity" / "sharp").glob("*.jpg"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photographs `0.jpg` to `7.jpg` in a folder with a blank and Chinese characters."""
    folder = tmp_path / "我的 图片"
    folder.mkdir()
    for i, path in enumerate(PHOTOS[:8]):
        shutil.copy(path, folder / f"{i}.jpg")
    return folder


def listed(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def check(*words: Path | str) -> tuple[int, dict[str, Any]]:
    out = Path(words[0]).parent / "found.json"
    code = main(["data", "check", *map(str, words), "--json", str(out)])
    tree = json.loads(out.read_text("utf-8"))
    return code, {f["kind"]: f["items"] for f in tree["findings"]} | {"balance": tree["balance"]}


def test_nothing_wrong(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = listed(photos, "train.txt", "0.jpg 0", "1.jpg 1", "2.jpg 0")
    val = listed(photos, "val.txt", "3.jpg 0", "4.jpg 1")
    code, found = check(train, val)
    assert code == 0
    assert found == {
        "balance": {"0": {"train.txt": 2, "val.txt": 1}, "1": {"train.txt": 1, "val.txt": 1}}
    }
    assert "nothing wrong" in capsys.readouterr().out


def test_every_trouble_is_named(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(PHOTOS[0].read_bytes()[:700])
    image = cv2.imread(str(PHOTOS[0]))
    cv2.imwrite(str(photos / "small copy.png"), cv2.resize(image, (90, 70)))
    cv2.imwrite(str(photos / "one.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(
        str(photos / "grey16.png"), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257
    )
    shutil.copy(photos / "1.jpg", photos / "same.jpg")
    train = listed(
        photos, "train.txt",
        "0.jpg 0", "1.jpg 1", "same.jpg 0", "2.jpg 1", "2.jpg 1", "broken.jpg 0", "none.jpg 0",
        "one.png 1", "3.jpg 5", "4.jpg",
    )  # fmt: skip
    val = listed(photos, "val.txt", "small copy.png 0", "2.jpg 1", "grey16.png 0")
    labels = listed(photos, "labels.txt", "cat", "dog", "bird")
    code, found = check(train, val, "--labels", labels, "--min-size", "80")
    assert code == 1
    assert [i["where"].split(":")[-1] for i in found["bad line"]] == ["9", "10"]
    assert [Path(i["path"]).name for i in found["missing"]] == ["none.jpg"]
    assert [(Path(i["path"]).name, i["where"]) for i in found["unreadable"]] == [
        ("broken.jpg", f"{train}:6")
    ]
    assert [Path(i["path"]).name for i in found["small"]] == ["one.png", "small copy.png"]
    assert found["empty class"][0]["what"] == "no image of bird"
    both = {tuple(Path(p["path"]).name for p in i["pictures"]) for i in found["both sides"]}
    assert both == {("0.jpg", "small copy.png", "grey16.png"), ("2.jpg", "2.jpg", "2.jpg")}
    (conflict,) = found["label conflict"]
    assert (conflict["how"], [p["label"] for p in conflict["pictures"]]) == ("exact", [1, 0])
    assert [len(i["pictures"]) for i in found["listed twice"]] == [2]
    assert [i["how"] for i in found["duplicate"]] == ["exact"]
    assert found["balance"]["dog"] == {"train.txt": 4, "val.txt": 1}
    shown = capsys.readouterr().out
    assert f"broken.jpg ({train}:6): the JPEG is cut short" in shown
    _, plain = check(train, val, "--no-near")
    both = {tuple(Path(p["path"]).name for p in i["pictures"]) for i in plain["both sides"]}
    assert both == {("2.jpg", "2.jpg", "2.jpg")}


def test_several_labels_conflict_too(photos: Path) -> None:
    shutil.copy(photos / "1.jpg", photos / "same.jpg")
    train = listed(photos, "train.txt", "1.jpg\t0,1", "same.jpg\t1,1", "2.jpg\t0,0")
    code, found = check(train, "--target", "multilabel")
    assert code == 1
    assert [p["label"] for p in found["label conflict"][0]["pictures"]] == [[0, 1], [1, 1]]
    assert found["balance"] == {"0": {"train.txt": 1}, "1": {"train.txt": 2}}


def test_a_recipe(tmp_path: Path) -> None:
    root = make_images(tmp_path / "pictures")
    code, found = check(write_recipe(root), "--no-near")
    assert code == 0
    assert found["balance"] == {"red": {"train": 11, "eval": 4}, "blue": {"train": 10, "eval": 4}}
    (root / "val.txt").write_text("val_0.png 0\ntrain_0.png 0\nval_1.png 2\n", "utf-8")
    code, found = check(root / "recipe.yaml", "--no-near")
    assert code == 1
    assert [i["where"] for i in found["bad line"]] == [f"{root / 'val.txt'}:3"]
    assert [[p["side"] for p in i["pictures"]] for i in found["both sides"]] == [["train", "eval"]]


def test_folders_of_classes(photos: Path, tmp_path: Path) -> None:
    for i in range(8):
        folder = tmp_path / ("train" if i < 6 else "val") / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        (photos / f"{i}.jpg").rename(folder / f"{i}.jpg")
    code, found = check(tmp_path / "train", tmp_path / "val")
    assert code == 0
    assert found["balance"] == {"cat": {"train": 3, "val": 1}, "dog": {"train": 3, "val": 1}}


def test_a_folder_of_images_without_labels(photos: Path) -> None:
    shutil.copy(photos / "0.jpg", photos / "again.jpg")
    code, found = check(photos)
    assert code == 0
    assert [sorted(Path(p["path"]).name for p in i["pictures"]) for i in found["duplicate"]] == [
        ["0.jpg", "again.jpg"]
    ]
    assert found["balance"] == {"(no label)": {photos.name: 9}}


def test_json_alone_is_printed(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = listed(photos, "train.txt", "0.jpg 0", "1.jpg 1")
    assert main(["data", "check", str(train), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["sides"] == {"train.txt": 2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.txt"], "no such list file"),
        (["none"], "no such recipe"),
        (["empty"], "no folder in it"),
        (["a.txt", "-o", "x=1"], "no recipe to change"),
        (["a.txt", "a.txt"], "the same list twice"),
    ],
)
def test_a_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("a.jpg 0\n", "utf-8")
    assert main(["data", "check", *words]) == 2
    assert message in capsys.readouterr().err


def test_what_the_decoded_pixels_do_not_show(photos: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 40, 4), np.uint8)
    for name, share in (("most.png", 0.9), ("most.webp", 0.9), ("some.png", 0.2)):
        pixels[:, :, 3] = 255 * (np.arange(1600).reshape(40, 40) >= 1600 * share)
        Image.fromarray(pixels).save(photos / name, lossless=True)
    few = Image.fromarray(pixels[:, :, :3]).quantize(16)
    few.putpalette([0] * 48)
    few.save(photos / "palette.png", transparency=bytes(16))
    deep = rng.integers(0, 2**12, (40, 40), np.uint16)
    for bits in (12, 16):
        cv2.imwrite(str(photos / f"{bits}.png"), deep << (bits - 12))
    found = check(photos)[1]["hidden"]
    assert {Path(item["path"]).name: item["what"] for item in found} == {
        "12.png": "uses 12 of 16 bits, and the high 8 are read: nearly black; multiply its values by 16",
        "most.png": "90% of the pixels are transparent; what lies under them counts",
        "most.webp": "90% of the pixels are transparent; what lies under them counts",
        "palette.png": "100% of the pixels are transparent; what lies under them counts",
    }


def test_damage_inside_a_jpeg_is_found(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = (photos / "0.jpg").read_bytes()
    middle = len(data) // 2
    (photos / "zeros.jpg").write_bytes(data[:middle] + bytes(500) + data[middle + 500 :])
    (photos / "closed.jpg").write_bytes(data[:middle] + b"\xff\xd9")
    code, found = check(photos)
    assert code == 1
    assert [Path(item["path"]).name for item in found["unreadable"]] == ["closed.jpg", "zeros.jpg"]
    assert capfd.readouterr().err == ""


def test_what_a_folder_has_besides_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("IMG.HEIC", "b.jxl", "notes"):
        (photos / name).touch()
    (photos / "gone.jpg").symlink_to("nowhere")
    code, found = check(photos)
    assert code == 1
    assert [Path(item["path"]).name for item in found["missing"]] == ["gone.jpg"]
    unreadable = [Path(item["path"]).name for item in found["unreadable"]]
    assert unreadable == ["IMG.HEIC", "b.jxl"]  # images, but none that is read here
    assert [Path(item["where"]).name for item in found["passed over"]] == ["notes"]
    assert "warning: passed over, 1" in capsys.readouterr().out


def test_a_table_of_names_needs_no_list_of_labels(photos: Path) -> None:
    table = listed(photos, "list.csv", "path,label", "0.jpg,cat", "1.jpg,dog", "2.jpg,cat")
    assert check(table)[1]["balance"] == {"cat": {"list.csv": 2}, "dog": {"list.csv": 1}}


def test_a_path_with_what_is_not_seen(photos: Path) -> None:
    (item,) = check(listed(photos, "list.txt", "0.jpg 0", "1\u200b.jpg 0"))[1]["missing"]
    assert item["what"] == "no such file (its path has U+200B, which is not seen)"

"""Annotations read and refused, boxes enlarged, groups kept on one side."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinysight.cli import main
from tinysight.data.prepare.annotations import Box, read_boxes, read_coco, read_voc
from tinysight.data.prepare.crops import enlarged
from tinysight.data.prepare.splits import divide
from tinysight.errors import DataError

VOC = """<annotation><filename>{name}</filename><size><width>40</width><height>30</height></size>
<object><name>hat</name><bndbox><xmin>11</xmin><ymin>6</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>
<object><name>person</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object>
</annotation>"""
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotation>&z;</annotation>'


def photographs(folder: Path, count: int = 6) -> Path:
    """Photographs in which a pixel says its place: red is x, green is y."""
    y, x = np.mgrid[:30, :40]
    image = np.stack([np.zeros_like(x), y * 8, x * 6], axis=2).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"p{i}.png"), image)
        (folder / f"p{i}.xml").write_text(VOC.format(name=f"p{i}.png"), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("box", "scale", "expected"),
    [
        ((10, 5, 20, 15), 1, (10, 5, 20, 15)),
        ((10, 5, 20, 15), 3, (0, 0, 30, 25)),  # 30 wide about 15, 30 high about 10: clipped above
        ((0, 0, 8, 8), 3, (0, 0, 16, 16)),
        ((30, 20, 39, 29), 3, (21, 11, 40, 30)),
        ((1.4, 1.4, 2.6, 2.6), 1, (1, 1, 3, 3)),
    ],
)
def test_a_box_grows_about_its_centre(
    box: tuple[float, float, float, float], scale: float, expected: tuple[int, int, int, int]
) -> None:
    assert enlarged(Box("hat", *box), scale, 40, 30) == expected


def test_voc_counts_pixels_from_one(tmp_path: Path) -> None:
    found, bad = read_voc(photographs(tmp_path, 1), tmp_path)
    assert not bad
    assert found[0].boxes == (Box("hat", 10, 5, 20, 15), Box("person", 0, 0, 8, 8))
    assert found[0].size == (40, 30)


def test_a_bomb_is_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    photographs(tmp_path, 1)
    (tmp_path / "bomb.xml").write_text(BOMB, "utf-8")
    (tmp_path / "cut.xml").write_text("<annotation><object>", "utf-8")
    (tmp_path / "none.xml").write_text("<annotation><object><name>hat</name></object></annotation>")
    (tmp_path / "deep.xml").write_text("<a>" * 1000 + "</a>" * 1000, "utf-8")
    found, bad = read_voc(tmp_path, tmp_path)
    assert len(found) == 1
    assert [Path(p.where).name for p in bad] == ["bomb.xml", "cut.xml", "deep.xml", "none.xml"]
    assert "declares a document type" in bad[0].what
    assert "no bndbox" in bad[3].what


def test_coco(tmp_path: Path) -> None:
    tree = {
        "categories": [{"id": 7, "name": "hat"}],
        "images": [{"id": 1, "file_name": "a b.jpg", "width": 40, "height": 30}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4]},
            {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"image_id": 1, "category_id": 8, "bbox": [1, 2, 3, 4]},
        ],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(tree), "utf-8")
    (photograph,), bad = read_coco(path, tmp_path)
    assert photograph.path == tmp_path / "a b.jpg"
    assert photograph.boxes == (Box("hat", 1, 2, 4, 6),)
    assert [p.where for p in bad] == [f"{path}: annotation 2"]
    for text in ("{", "[]", '{"images": 3}'):
        path.write_text(text, "utf-8")
        with pytest.raises(DataError, match="not readable as COCO"):
            read_coco(path, tmp_path)


def test_a_list_of_boxes(tmp_path: Path) -> None:
    path = tmp_path / "boxes.txt"
    path.write_text("a b.jpg 1 2 3.5 4 hat\n\nc.jpg 1 2 3\na b.jpg\t5\t6\t7\t8\tperson\n", "utf-8")
    (photograph,), bad = read_boxes(path, tmp_path)
    assert [box.name for box in photograph.boxes] == ["hat", "person"]
    assert [p.where for p in bad] == [f"{path}:3"]


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 3))
def test_no_group_is_on_both_sides(draw: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(draw)
    pairs = rng.integers(0, (3, count), (60, 2)).tolist()
    labels, groups = [p[0] for p in pairs], [str(p[1]) for p in pairs]
    try:
        found = divide(labels, groups, fraction=0.3, seed=seed)
    except DataError:
        return  # a class in too few groups
    assert sorted(found.train + found.test) == list(range(len(pairs)))
    assert not {groups[i] for i in found.train} & {groups[i] for i in found.test}
    assert found == divide(labels, groups, fraction=0.3, seed=seed)


def test_so_many_of_each_class() -> None:
    labels = [0] * 30 + [1] * 10
    groups = [str(i // 3) for i in range(40)]
    found = divide(labels, groups, per_class=4, seed=3)
    test = [labels[i] for i in found.test]
    assert (test.count(0), test.count(1)) == (4, 4)
    assert not {groups[i] for i in found.train} & {
        groups[i] for i in (*found.test, *found.left_out)
    }
    assert len(found.train) + len(found.test) + len(found.left_out) == 40
    assert 0 < len(found.left_out) <= 4
    alone = divide(labels, list(map(str, range(40))), per_class=4)
    assert alone.left_out == []
    with pytest.raises(DataError, match="class 1 has 10 images, 11 are wanted"):
        divide(labels, groups, per_class=11)


def test_a_share_of_each_class() -> None:
    found = divide([0] * 80 + [1] * 20, list(map(str, range(100))), fraction=0.25)
    assert (sum(i < 80 for i in found.test), sum(i >= 80 for i in found.test)) == (20, 5)


def prepare(*words: str) -> int:
    return main(["data", "prepare", *words])


def test_crops_of_voc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = photographs(tmp_path / "我的 photos"), tmp_path / "out"
    (source / "p5.png").write_bytes(b"no image")
    words = ["voc", str(source), "--out", str(out), "--scale", "3", "--test-fraction", "0.4"]
    assert prepare(*words, "--classes", "wearing=hat", "unwearing=person") == 1
    assert "p5.png" in capsys.readouterr().out
    assert (out / "labels.txt").read_text("utf-8") == "0 wearing\n1 unwearing\n"
    sides = {
        s: (out / f"{s}_list.txt").read_text("utf-8").split("\n")[:-1] for s in ("train", "val")
    }
    assert (len(sides["train"]), len(sides["val"])) == (6, 4)
    groups = {side: {line.split("_")[0] for line in text} for side, text in sides.items()}
    assert not groups["train"] & groups["val"]
    crop = cv2.imread(str(out / "images" / "p0_1.jpg"))
    assert crop.shape == (25, 30, 3)  # 30 x 30 about (15, 10), clipped
    assert np.abs(crop[12, 15].astype(int) - [0, 12 * 8, 15 * 6]).max() < 12
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["complete"]
    assert manifest["counts"]["train"] == {"wearing": 3, "unwearing": 3}
    assert [Path(p["where"]).name for p in manifest["problems"]] == ["p5.png"]


def test_nothing_is_overwritten_and_a_broken_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = photographs(tmp_path / "photos"), tmp_path / "out"
    words = ["voc", str(source), "--out", str(out)]
    assert prepare(*words) == 0
    lists = (out / "train_list.txt").read_bytes()
    assert prepare(*words) == 2
    assert "already made" in capsys.readouterr().err
    manifest = out / "manifest.json"
    tree = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps({**tree, "complete": False}), "utf-8")
    assert prepare(*words) == 2
    assert "--resume continues it" in capsys.readouterr().err
    assert prepare(*words, "--resume", "--scale", "2") == 2
    assert "begun with other arguments" in capsys.readouterr().err
    kept = out / "images" / "p0_1.jpg"
    stamp = kept.stat().st_mtime_ns
    (out / "images" / "p1_1.jpg").unlink()
    assert prepare(*words, "--resume") == 0
    assert kept.stat().st_mtime_ns == stamp
    assert (out / "images" / "p1_1.jpg").is_file()
    assert (out / "train_list.txt").read_bytes() == lists
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert prepare("voc", str(source), "--out", str(tmp_path / "full")) == 2
    assert "not empty" in capsys.readouterr().err


def test_what_is_skipped_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photographs(tmp_path, 4)
    text = "".join(f"p{i}.png 0 0 9 9 a\np{i}.png 0 0 20 20 b\n" for i in range(4))
    boxes = source / "boxes.txt"
    boxes.write_text(text + "p0.png 5 5 5 9 a\np1.png 0 0 2 2 a\np1.png 0 0 9 9 c\n", "utf-8")
    words = ["boxes", str(boxes), "--out", str(tmp_path / "out"), "--classes", "a", "b"]
    assert prepare(*words, "--min-size", "4") == 1
    shown = capsys.readouterr().out
    assert "boxes of another class, skipped: 1" in shown
    assert "boxes too small, skipped: 1" in shown
    assert "the box 5, 5, 5, 9 of a holds nothing" in shown


def test_an_annotation_of_another_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = photographs(tmp_path / "photos")
    cv2.imwrite(str(source / "p0.png"), np.zeros((40, 30, 3), np.uint8))
    assert prepare("voc", str(source), "--out", str(tmp_path / "out")) == 1
    assert "the annotation says 40 x 30 pixels, the image has 30 x 40" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "hatt", "person"], "did you mean 'hat'?"),
        (["--scale", "0"], "--scale"),
        (["--test-fraction", "1"], "--test-fraction"),
        (["--group", "("], "not a regular expression"),
        (["--group", "^x"], "does not match"),
        (["--test-per-class", "50"], "50 are wanted"),
    ],
)
def test_a_wrong_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    source = photographs(tmp_path / "photos")
    assert prepare("voc", str(source), "--out", str(tmp_path / "out"), *words) == 2
    assert message in capsys.readouterr().err


def test_a_list_is_divided_by_group(tmp_path: Path) -> None:
    lines = [f"cam{i % 5}/{i}.jpg {i % 2}\n" for i in range(40)]
    (tmp_path / "all.txt").write_text("".join(lines), "utf-8")
    out = tmp_path / "out"
    words = ["split", str(tmp_path / "all.txt"), "--out", str(out), "--group", "^(cam[0-9])/"]
    assert prepare(*words, "--test-fraction", "0.2") == 0
    val = (out / "val_list.txt").read_text("utf-8").splitlines()
    assert len(val) == 8
    assert len({line.split("/")[0] for line in val}) == 1


def coco(folder: Path, **parts: object) -> Path:
    """Two images, two categories and a box each; `parts` replace some of it."""
    tree = {
        "categories": [{"id": 1, "name": "hat"}, {"id": 2, "name": "head"}],
        "images": [{"id": 1, "file_name": "p0.png"}, {"id": 2, "file_name": "p1.png"}],
        "annotations": [{"image_id": i, "category_id": i, "bbox": [1, 2, 20, 20]} for i in (1, 2)],
    }
    path = folder / "coco.json"
    path.write_text(json.dumps({**tree, **parts}), "utf-8")
    return path


@pytest.mark.parametrize(
    ("part", "records", "message"),
    [
        (
            "images",
            [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}],
            "image records with the same id: 1",
        ),
        (
            "images",
            [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}],
            "image records with the same id: 1",
        ),
        ("images", [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], "same file_name: a"),
        (
            "categories",
            [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}],
            "category records with the same id: 3",
        ),
        (
            "categories",
            [{"id": 3, "name": "a"}, {"id": 4, "name": "a"}],
            "category records with the same name: a",
        ),
    ],
)
def test_coco_keys_occur_once(tmp_path: Path, part: str, records: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_coco(coco(tmp_path, **{part: records}), tmp_path)


@pytest.mark.parametrize(
    ("part", "record", "where", "what"),
    [
        (
            "annotations",
            {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]},
            "annotation 0",
            "image 9 is not listed",
        ),
        (
            "annotations",
            {"image_id": None, "category_id": 1, "bbox": [1, 2, 3, 4]},
            "annotation 0",
            "None is not listed",
        ),
        (
            "annotations",
            {"image_id": [1], "category_id": 1, "bbox": [1, 2, 3, 4]},
            "annotation 0",
            "is not listed",
        ),
        (
            "annotations",
            {"image_id": 1, "category_id": [1], "bbox": [1, 2, 3, 4]},
            "annotation 0",
            "no such box",
        ),
        (
            "annotations",
            {"image_id": 1, "category_id": 1, "bbox": None},
            "annotation 0",
            "no such box",
        ),
        ("annotations", 3, "annotation 0", "no such box"),
        ("images", {"id": 5}, "image 0", "no id, or no file_name"),
        ("images", {"file_name": "a.jpg"}, "image 0", "no id, or no file_name"),
        ("images", {"id": True, "file_name": "a.jpg"}, "image 0", "no id, or no file_name"),
        ("images", {"id": 5, "file_name": 7}, "image 0", "no id, or no file_name"),
        (
            "images",
            {"id": 5, "file_name": "a", "width": "wide", "height": 3},
            "image 5",
            "no number",
        ),
        ("categories", {"id": 5, "name": None}, "category 0", "no id, or no name"),
        ("categories", None, "category 0", "no id, or no name"),
    ],
)
def test_a_coco_record_that_refers_to_nothing_is_named(
    tmp_path: Path, part: str, record: object, where: str, what: str
) -> None:
    path = coco(tmp_path, **{part: [record]})
    _, bad = read_coco(path, tmp_path)
    assert [what in p.what for p in bad if p.where == f"{path}: {where}"] == [True], bad


def test_coco_ids_as_text_a_mark_in_front_and_sizes_that_are_not_said(tmp_path: Path) -> None:
    images = [
        {"id": "1", "file_name": "a", "width": None, "height": 3},
        {"id": 2.0, "file_name": "b"},
    ]
    path = coco(tmp_path, images=images)
    path.write_text("\ufeff" + path.read_text("utf-8"), "utf-8")
    found, bad = read_coco(path, tmp_path)
    assert bad == []
    assert [(p.path.name, p.size, [b.name for b in p.boxes]) for p in found] == [
        ("a", (0, 0), ["hat"]),
        ("b", (0, 0), ["head"]),
    ]


def test_boxes_in_shares_of_the_image_are_no_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(tmp_path, 2)
    boxes = [{"image_id": i, "category_id": i, "bbox": [0.1, 0.2, 0.5, 0.8]} for i in (1, 2)]
    path = coco(tmp_path, annotations=boxes)
    assert main(["data", "prepare", "coco", str(path), "--out", str(tmp_path / "made")]) == 2
    assert (
        "p0.png: the box 0.1, 0.2, 0.6, 1 of hat lies in the first pixel" in capsys.readouterr().err
    )


def test_xml_in_the_encodings_that_it_declares(tmp_path: Path) -> None:
    for name in (
        "GB2312",
        "gbk",
        "Big5",
        "shift_jis",
        "euc-kr",
        "utf8",
        "UTF-16",
        "windows-1251",
        "latin-1",
    ):
        letter = {"windows-1251": "ш", "latin-1": "é", "shift_jis": "頭", "euc-kr": "모"}.get(
            name, "頭"
        )
        letter = "头" if name == "GB2312" else letter
        text = f"<?xml version='1.0' encoding='{name}'?>\n" + VOC.replace("hat", letter).format(
            name="a.png"
        )
        (tmp_path / "a.xml").write_bytes(text.encode(name))
        (found,), bad = read_voc(tmp_path, tmp_path)
        assert (found.boxes[0].name, bad) == (letter, []), name


def test_an_encoding_that_nobody_has_is_the_reason_that_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "<?xml version='1.0' encoding='klingon'?>" + VOC.format(name="a.png")
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).write_text(text)
    command = ["data", "prepare", "voc", str(tmp_path), "--out", str(tmp_path / "made")]
    for more in ([], ["--classes", "hat", "person"]):
        assert main([*command, *more]) == 2
        assert (
            "a.xml: not readable as VOC annotation: unknown encoding: klingon"
            in capsys.readouterr().err
        )


def test_each_photograph_has_one_xml_file(tmp_path: Path) -> None:
    folder = photographs(tmp_path, 4)
    (folder / "p1.xml").write_text(VOC.format(name="p0.png"))  # copied, p1.png is there
    (folder / "q.xml").write_text(VOC.format(name="p2.png"))  # two of one photograph
    (folder / "r.XML").write_text(VOC.format(name="elsewhere.png"))  # only its name differs
    (folder / "below").mkdir()
    (folder / "below" / "s.xml").write_text(VOC.format(name="p3.png"))
    found, bad = read_voc(folder, folder)
    assert [p.path.name for p in found] == ["p0.png", "p2.png", "p3.png", "elsewhere.png"]
    assert [(Path(p.where).name, p.what) for p in bad] == [
        ("below", "1 XML files in a folder below are not read"),
        ("p1.xml", "names p0.png, but p1.png is there"),
        ("q.xml", "names p2.png, as p2.xml does"),
    ]


def test_a_size_that_is_left_empty_is_not_said(tmp_path: Path) -> None:
    text = VOC.format(name="a.png").replace("<width>40</width>", "<width/>")
    (tmp_path / "a.xml").write_text(text)
    (found,), bad = read_voc(tmp_path, tmp_path)
    assert (found.size, bad) == ((0, 30), [])


@pytest.mark.parametrize("classes", [["hat", "hat=person"], ["hat", "b=hat"]])
def test_classes_and_their_boxes_are_named_once(
    tmp_path: Path, classes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photographs(tmp_path / "in", 2)
    command = ["data", "prepare", "voc", str(folder), "--out", str(tmp_path / "made")]
    assert main([*command, "--classes", *classes]) == 2
    assert "two classes" in capsys.readouterr().err


def test_a_table_of_names_is_divided(tmp_path: Path) -> None:
    rows = "".join(f"{i}.jpg,{'dog' if i % 2 else 'cat'}\n" for i in range(10))
    (tmp_path / "list.csv").write_text("path,label\n" + rows)
    out = tmp_path / "made"
    assert main(["data", "prepare", "split", str(tmp_path / "list.csv"), "--out", str(out)]) == 0
    assert (out / "labels.txt").read_text() == "0 cat\n1 dog\n"
    assert "1.jpg\t1\n" in (out / "train_list.txt").read_text() + (out / "val_list.txt").read_text()


def test_a_folder_of_classes_is_divided(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "in" / name / f"{i}.jpg").touch()
    out = tmp_path / "made"
    assert main(["data", "prepare", "split", str(tmp_path / "in"), "--out", str(out)]) == 0
    assert (out / "labels.txt").read_text() == "0 cat\n1 dog\n"
    lines = (out / "train_list.txt").read_text() + (out / "val_list.txt").read_text()
    assert len(lines.splitlines()) == 10
    assert "dog/4.jpg\t1\n" in lines


def test_a_folder_without_classes_is_no_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "prepare", "split", str(tmp_path), "--out", str(tmp_path / "made")]) == 2
    assert "one folder per class is expected" in capsys.readouterr().err

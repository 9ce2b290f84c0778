"""PP-ShiTu's recorded galleries, searches, pipelines and evaluations, by its own configurations."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.commands import tinysight
from support.exports import tar_of
from support.file_server import FileServer, Page
from support.golden import OWN, Case, each
from support.paddleclas import DEPLOY, PADDLECLAS, published
from support.shitu import (
    MEAN,
    STD,
    Setup,
    entries,
    index,
    is_binary,
    overridden,
    plain,
    recorded,
)
from tinysight.compat.paddle import PaddleClas
from tinysight.compat.paddle.faiss_index import read_gallery, read_id_map, read_index
from tinysight.compat.paddle.shitu import (
    change,
    part_of,
    read_shitu,
    recall_at_k,
    recall_lines,
    recognizer_of,
)
from tinysight.compat.paddle.shitu_index import every, import_index, open_index, split_line
from tinysight.errors import ConfigError, DataError, WeightsError
from tinysight.files import sha256, to_yaml
from tinysight.gallery.sqlite_store import SqliteStore
from tinysight.pipelines.detect import Detector
from tinysight.pipelines.recognize import Embedded, inside_image, recognised
from tinysight.transforms.decode import decode

BOX, VECTOR, SCORE = 5e-3, 1e-4, 1e-4


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("shitu"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path_factory.getbasetemp() / "shitu_cache"))


def read(setup: Setup, case: Case, folder: Path, **more: object) -> Any:
    """The configuration of a recording."""
    given = {"binary": is_binary(case), "detector": case.get("detector", "det_clip")}
    path = setup.write(folder / "config.yaml", **given)
    config = read_shitu(path, overridden(case["overrides"], **more))
    assert config
    return config


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def built_lines(case: Case, setup: Setup) -> dict[int, str]:
    """The lines of a gallery that PaddleClas could not change, as it should have come out."""
    before = case.tree["galleries"].get(case.get("built_on"), {}).get("id_map", {})
    found = {int(key): line for key, line in before.items()}
    listed = lines_of((setup.folder / case["data_file"]).read_text("utf-8"))
    if any(o.endswith("=remove") for o in case["overrides"]):
        return {key: line for key, line in found.items() if line not in listed}
    first = max(found, default=-1) + 1
    return found | {first + i: line for i, line in enumerate(listed)}


@each(
    "case",
    [p for p in entries("galleries") if p.values[0].get("data_file", "bad.txt") != "bad.txt"],
    "shitu",
)
def test_galleries(case: Case, setup: Setup, tmp_path: Path) -> None:
    """Also where PaddleClas fails: IVF, removing from HNSW, appending to bits."""
    if "built_on" in case:
        import_index(index(case["built_on"]), tmp_path / "index")
    listed = setup.folder / case["data_file"]
    config = read(
        setup,
        case,
        tmp_path,
        IndexProcess__index_dir=tmp_path / "index",
        IndexProcess__data_file=listed,
    )
    if case["id"] == "bad_embedding_size":
        with pytest.raises(ConfigError, match="embedding_size"):
            change(config)
        return
    done = change(config)
    works = "error" not in case
    expected = {int(k): v for k, v in case["id_map"].items()} if works else built_lines(case, setup)
    store = open_index(config.gallery)
    items = {int(item.id): item for item in every(store)}
    assert {k: f"{i.source}\t{i.label}" for k, i in items.items()} == expected
    assert done.total == store.count() == len(expected)
    if works:
        assert (store.count(), store.dim) == (case["ntotal"], case["d"])
        _, theirs = read_gallery(index(case["id"]))
        for item in theirs:
            assert np.abs(item.vector.astype(float) - items[int(item.id)].vector).max() < VECTOR
    if case["data_file"] == "gallery.txt":
        own = "bytes" if is_binary(case) else "features"
        features = case.file_arrays[f"gallery|{own}"].astype(float)
        for place, row in enumerate(features):
            assert np.abs(items[place].vector - row).max() < VECTOR


@each("case", entries("search"), "shitu")
def test_searches(case: Case, tmp_path: Path) -> None:
    """Of an index that PaddleClas wrote, imported without faiss."""
    store = import_index(index(case["id"]), tmp_path / "index")
    arrays = case.file_arrays
    which = "bytes_sign" if store.metric == "hamming" else "features"
    found = store.search(arrays[f"query|{which}"], case["k"])
    scores, ids = (arrays[f"search|{case['id']}|{part}"] for part in "DI")
    for matches, row, places in zip(found, scores, ids, strict=True):
        there = places >= 0
        assert len(matches) == there.sum()
        np.testing.assert_allclose([m.score for m in matches], row[there], atol=SCORE)
        mine = np.array([int(m.id) for m in matches])
        for score in np.unique(np.round(row[there], 4)):  # of equal ones either may come first
            same = np.abs(row[there] - score) < 2 * SCORE
            assert sorted(mine[same]) == sorted(places[there][same])


@pytest.mark.golden
def test_lists_of_an_index_are_whole() -> None:
    """IVF, written by faiss: the vectors come in the order of its lists."""
    for case in recorded():
        found = read_index(index("ivf4_faiss") / "vector.index")
        expected = Case({}, "", case.path, case.path.with_name("data.npz")).file_arrays
        vectors = found.vectors[np.argsort(found.ids)]
        assert np.array_equal(vectors, expected["ivf4_faiss|vectors"])
        assert len(read_id_map(index("ivf4_faiss") / "id_map.pkl")) == len(vectors)


def resized_alike(case: Case, query: str, pixels: np.ndarray) -> bool:
    """Whether this machine's OpenCV resizes an image as the recording's did, bit for bit.

    Its bicubic interpolation is a library that takes another path on another processor: some grey levels differ by 1.
    """
    (row,) = (row for row in case.tree["detector_input"] if row["query"] == query)
    height, width = row["tensor"]["shape"][2:]
    tensor = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC) / np.float32(255)
    tensor -= np.array(MEAN)
    tensor /= np.array(STD)
    found = np.ascontiguousarray(tensor.transpose(2, 0, 1)[None])
    return sha256(found.tobytes()) == row["tensor"]["sha256"]


@each("case", entries("pipelines"), "shitu")
def test_pipelines(case: Case, setup: Setup, tmp_path: Path) -> None:
    """Detections, crops, features, matches and printed lines."""
    if not (case["detector"] == "none" or (setup.folder / "models" / case["detector"]).is_dir()):
        pytest.skip(f"the network {case['detector']} is not recorded")
    config = read(setup, case, tmp_path, IndexProcess__index_dir=index(case["index"]))
    recognizer = recognizer_of(config)
    only = config._replace(gallery=None, embedder=None)
    detector = Detector(part_of(only)) if config.detector else None
    arrays = case.file_arrays
    for place, expected in enumerate(case["results"]):
        path = str(setup.folder / "images" / expected["query"])
        pixels = decode(path)
        (image,) = recognizer.embedded([recognizer.steps.prepare(pixels)])
        if "error" in expected:  # what PaddleClas cannot do
            assert len(image.boxes) >= 1
            continue
        boxes = np.array([d["bbox"] for d in expected["detections"]]).reshape(-1, 4)
        alike = detector is None or resized_alike(case, expected["query"], pixels)
        if detector:
            found = detector(path)
            if alike or not len(boxes):
                assert len(found.scores) == len(boxes)
            if len(found.scores) == len(boxes):
                np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=BOX if alike else 1)
                scores = [d["score"] for d in expected["detections"]]
                np.testing.assert_allclose(found.scores, scores, atol=SCORE if alike else 5e-3)
        inside = inside_image(boxes, pixels.shape, True)
        if alike:
            assert image.boxes.tolist() == inside.tolist()
        crops = [pixels[y1:y2, x1:x2] for x1, y1, x2, y2 in inside.tolist()]
        for crop, recorded_crop in zip(crops, expected.get("crops", ()), strict=False):
            assert sha256(np.ascontiguousarray(crop).tobytes()) == recorded_crop["sha256"]
        (result,) = recognizer.steps.decide([image])
        image = image if alike else Embedded(inside, recognizer.vectors(crops))
        assert image.boxes[-1].tolist() == expected["whole_box"]
        if (own := f"{case['id']}|{place}|features") in arrays:
            assert np.abs(arrays[own].astype(float) - image.vectors).max() < VECTOR
        (matches,) = recognizer.matches([image])
        assert [int(m.id) for m in matches if m] == [t["id"] for t in expected["top1"]]
        top = [t["score"] for t in expected["top1"]]
        np.testing.assert_allclose([m.score for m in matches if m], top, atol=SCORE)
        rules = recognizer.gallery.metric, recognizer.rules, True
        check_printed(
            recognised(image.boxes, matches, *rules).to_deploy_text(), expected["printed"]
        )
        if alike:
            check_printed(result.to_deploy_text(), expected["printed"])


def check_printed(mine: str, theirs: str) -> None:
    """Printed lines alike: boxes and labels as they are, of which PaddleClas prints the first word, scores nearly."""
    ours, recorded_ = ast.literal_eval(mine), ast.literal_eval(plain(theirs))
    assert len(ours) == len(recorded_)
    for row, expected in zip(ours, recorded_, strict=True):
        assert list(row) == list(expected)
        assert row["bbox"] == expected["bbox"]
        assert row["rec_docs"].split()[0] == expected["rec_docs"]
        assert type(row["rec_scores"]) is type(expected["rec_scores"])
        assert row["rec_scores"] == pytest.approx(expected["rec_scores"], abs=SCORE)


@each("case", entries("evaluation"), "shitu")
def test_evaluations(case: Case, setup: Setup, tmp_path: Path) -> None:
    tree = setup.config()
    tree["Global"]["rec_nms_thresold"], tree["IndexProcess"]["score_thres"] = 1.0, -1.0
    tree["IndexProcess"] |= {"delimiter": " ", "data_file": str(setup.folder / "eval_gallery.txt")}
    tree["IndexProcess"]["index_dir"] = str(tmp_path / "index")
    asked = {"name": "Vechicles", "image_root": str(setup.folder / "images")}
    tree["Eval"] = {
        **asked,
        "cls_label_path": str(setup.folder / "eval_list.txt"),
        "output_dir": str(tmp_path),
    }
    (tmp_path / "evaluation_general.yaml").write_text(to_yaml(tree), "utf-8")
    config = read_shitu(tmp_path / "evaluation_general.yaml", case["overrides"])
    assert config
    assert recall_lines(recall_at_k(config)) == case["printed"]
    assert (tmp_path / "eval_resutls.txt").read_text("utf-8") == case["file"]


@each("case", [p for p in entries("commands") if p.id in ("predict_det", "predict_rec")], "shitu")
def test_printed_numbers(case: Case, setup: Setup, tmp_path: Path) -> None:
    """What the two scripts of a part print, as far as it is recorded."""
    config = setup.config()
    del config["IndexProcess"]
    mine = {"predict_det": "rec", "predict_rec": "det"}[case["id"]]
    config["Global"].pop(f"{mine}_inference_model_dir")
    (tmp_path / "part.yaml").write_text(to_yaml(config), "utf-8")
    query = setup.folder / "images" / next(iter(recorded()))["queries"][0]
    done = tinysight("predict", "-c", tmp_path / "part.yaml", "-o", f"Global.infer_imgs={query}")
    assert done.code == 0, done.err
    number = re.compile(r"-?\d+\.\d*(?:e-?\d+)?")
    if case["id"] == "predict_rec":
        assert done.out.startswith("100.jpeg:\t[")
        theirs = [float(n) for line in case["stdout_tail"] for n in number.findall(line)]
        ours = [float(n) for n in number.findall(done.out)][-len(theirs) :]
        np.testing.assert_allclose(ours, theirs, atol=VECTOR)
        return
    theirs = plain(case["stdout_tail"][-1]).split("bbox")
    ours_ = done.out.split("bbox")
    for one, other in zip(ours_[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(
            [float(n) for n in number.findall(one)],
            [float(n) for n in number.findall(other)],
            atol=BOX,
        )


def test_a_missing_image_is_named_and_the_rest_is_built(setup: Setup, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("drinks/100.jpeg\tcola\ndrinks/none.jpeg\tnone\n", "utf-8")
    path = setup.write(tmp_path / "general.yaml")
    words = [f"IndexProcess.data_file={listed}", f"IndexProcess.index_dir={tmp_path / 'index'}"]
    options = [word for text in words for word in ("-o", text)]
    done = tinysight("predict", "-c", path, "--build_gallery=True", *options)
    assert done.code == 1
    assert "none.jpeg" in done.err
    assert done.out == "1 images added, 0 removed, 1 in the gallery\n"
    listed.write_text("drinks/100.jpeg cola\n", "utf-8")
    done = tinysight("predict", "-c", path, "--build_gallery=True", *options)
    assert (done.code, done.out) == (2, "")
    assert f"{listed}:1: no path" in done.err


def test_what_is_not_there_to_be_removed_is_named(setup: Setup, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("drinks/100.jpeg\tcola\n", "utf-8")
    path = setup.write(tmp_path / "general.yaml")
    texts = [f"IndexProcess.data_file={listed}", f"IndexProcess.index_dir={tmp_path / 'index'}"]
    words = ["predict", "-c", path, "--build_gallery=True", *(w for t in texts for w in ("-o", t))]
    assert tinysight(*words).code == 0
    listed.write_text("drinks/100.jpeg\tbeer\n", "utf-8")
    done = tinysight(*words, "-o", "IndexProcess.index_operation=remove")
    assert (done.code, done.out) == (1, "0 images added, 0 removed, 1 in the gallery\n")
    assert "drinks/100.jpeg: the gallery has no item of this path and label" in done.err


def test_vectors_of_two_networks_are_not_mixed(setup: Setup, tmp_path: Path) -> None:
    about = json.dumps({"name": "other", "folder": "other", "sha256": "0" * 64})
    SqliteStore.create(tmp_path / "index", metric="inner_product", dim=64, model=about).close()
    path = setup.write(tmp_path / "general.yaml")
    texts = [f"IndexProcess.data_file={setup.folder / 'gallery.txt'}"]
    texts.append(f"IndexProcess.index_dir={tmp_path / 'index'}")
    words = [word for text in texts for word in ("-o", text)]
    for what in ("new", "append"):
        operation = ("-o", f"IndexProcess.index_operation={what}")
        done = tinysight("predict", "-c", path, "--build_gallery=True", *words, *operation)
        assert (done.code, done.out) == (2, ""), what
        assert "its vectors are of the bundle other" in done.err


def test_the_documented_command(setup: Setup, tmp_path: Path) -> None:
    """`predict_system.py` as documented ends in a KeyError; ours prints, draws, and keeps the blanks of labels."""
    path = setup.write(tmp_path / "inference_general.yaml")
    at = {"index_dir": tmp_path / "index", "data_file": setup.folder / "gallery.txt"}
    options = [w for key, value in at.items() for w in ("-o", f"IndexProcess.{key}={value}")]
    built = tinysight("predict", "-c", path, "--build_gallery=True", *options)
    assert built.out == "6 images added, 0 removed, 6 in the gallery\n"
    images = setup.folder / "images" / "drinks"
    words = ("predict", "-c", path, *options[:2], "-o", "Global.use_gpu=False", "-o")
    done = tinysight(*words, f"Global.infer_imgs={images}", cwd=tmp_path)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 8
    assert all(re.fullmatch(r"Inference: \d+\.\d+ ms per batch image", line) for line in lines[::2])
    rows = [ast.literal_eval(line) for line in lines[1::2]]
    labels = {row["rec_docs"] for row in sum(rows, [])}
    assert "nongfu spring 550ml" in labels and "元气森林" in labels
    assert sorted(p.stem for p in (tmp_path / "output").iterdir()) == sorted(
        p.stem for p in images.iterdir()
    )
    nothing = tinysight(
        *words,
        f"Global.infer_imgs={images / '100.jpeg'}",
        "-o",
        "IndexProcess.score_thres=1.5",
        cwd=tmp_path,
    )
    assert nothing.out.splitlines()[1] == "[]"


def test_lines_keep_the_blanks_of_labels() -> None:
    assert split_line("a b.jpg\tnongfu spring 550ml\n", "\t") == ("a b.jpg", "nongfu spring 550ml")
    assert split_line("a.jpg two words", None) == ("a.jpg", "two words")
    assert split_line("label", None) == ("", "label")


def test_entries_that_are_not_understood(setup: Setup, tmp_path: Path) -> None:
    path = setup.write(tmp_path / "general.yaml")
    wrong = ["IndexProcess.dist_tpye=IP", "DetPreProcess.transform_ops.0.DetResize.keep_ratio=True",
             "IndexProcess.index_method=PQ", "RecPreProcess.transform_ops.0.ResizeImage.sice=3"]  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read_shitu(path, wrong)
    for words in ("dist_tpye", "keeps proportions", "index_method", "sice"):
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match="threshold: should be a number"):
        read_shitu(path, ["Global.threshold=high"])
    with pytest.raises(DataError, match="no gallery"):
        recognizer_of(read_shitu(path, [f"IndexProcess.index_dir={tmp_path}"]))


PATH = "/paddle-imagenet-models-name.bj.bcebos.com/dygraph/rec/models/inference"
PARTS = {
    "mainbody_640": f"{PATH}/picodet_PPLCNet_x2_5_mainbody_lite_v1.0_infer.tar",
    "general_rec_512": f"{PATH}/PP-ShiTuV2/general_PPLCNetV2_base_pretrained_v1.0_infer.tar",
}


@pytest.fixture
def published_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The two networks of PP-ShiTuV2 at their real size, on a server in place of the publisher's."""
    monkeypatch.delenv("TINYSIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as running:
        monkeypatch.setenv("TINYSIGHT_MIRROR", running.url)
        for name, address in PARTS.items():
            running.pages[address] = Page(tar_of(PADDLECLAS / "models" / name, f"{name}_infer"))
        yield


@pytest.mark.slow
@published
def test_the_package(published_networks: None, tmp_path: Path) -> None:
    """`paddleclas --build_gallery=True ...`, `--predict_type=shitu`, and the class, with networks of real size."""
    images = PADDLECLAS / "images"
    listed = tmp_path / "list.txt"
    listed.write_text(
        "drinks/100.jpeg\t元气森林\ndrinks/nongfu_spring.jpeg\tnongfu spring 550ml\n", "utf-8"
    )
    index_dir = f"IndexProcess.index_dir={tmp_path / 'index'}"
    options = [f"IndexProcess.image_root={images}", index_dir, f"IndexProcess.data_file={listed}"]
    words = [word for text in options for word in ("-o", text)]
    done = tinysight("predict", "--build_gallery=True", "--model_name=PP-ShiTuV2", *words)
    assert (done.code, done.out) == (0, "2 images added, 0 removed, 2 in the gallery\n"), done.err
    query = images / "drinks" / "100.jpeg"
    words = [
        "--model_name=PP-ShiTuV2",
        "--predict_type=shitu",
        "-o",
        index_dir,
        f"--infer_imgs={query}",
    ]
    done = tinysight("predict", *words, cwd=tmp_path)
    assert done.code == 0, done.err
    rows = ast.literal_eval(done.out.splitlines()[1])
    row = rows[0]
    assert (row["bbox"], row["rec_docs"]) == ([0, 0, 1200, 802], "元气森林")
    assert row["rec_scores"] == pytest.approx(1, abs=1e-5)
    model = PaddleClas(model_name="PP-ShiTuV2", index_dir=str(tmp_path / "index"))
    assert next(iter(model.predict(str(query), predict_type="shitu"))) == rows
    with pytest.raises(ConfigError, match="shitu"):
        next(iter(model.predict(str(query))))
    built = PaddleClas(
        build_gallery=True, gallery_image_root=str(images), gallery_data_file=str(listed),
        index_dir=str(tmp_path / "again"), model_name="PP-ShiTuV2",
    )  # fmt: skip
    assert next(iter(built.predict(str(query), predict_type="shitu"))) == rows


@pytest.mark.slow
@published
def test_the_scenarios_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the document, with the shipped configurations and networks of real size, on PaddleClas' images."""
    models = {
        "det": PADDLECLAS / "models" / "mainbody_640",
        "rec": PADDLECLAS / "models" / "general_rec_512",
    }
    folder = tmp_path / "drink_dataset_v2.0"
    shutil.copytree(PADDLECLAS / "images" / "drinks", folder / "gallery")
    shutil.copytree(folder / "gallery", folder / "test_images")
    rows = {
        "100": "元气森林",
        "mosilian": "莫斯利安",
        "nongfu_spring": "农夫 山泉",
        "youjia": "优加",
    }
    lines = "".join(f"{name}.jpeg\t{label}\n" for name, label in rows.items())
    (folder / "gallery" / "drink_label.txt").write_text(lines, "utf-8")
    places = [f"Global.{part}_inference_model_dir={path}" for part, path in models.items()]
    options = [word for place in places for word in ("-o", place)]
    for file in ("inference_general.yaml", "inference_drink.yaml"):
        words = ("predict", "-c", DEPLOY / file, *options)
        assert tinysight(*words, "--build_gallery=True", cwd=tmp_path).code == 0
        image = "Global.infer_imgs=./drink_dataset_v2.0/test_images/100.jpeg"
        done = tinysight(*words, "-o", "Global.use_gpu=False", "-o", image, cwd=tmp_path)
        assert done.code == 0, done.err
        assert ast.literal_eval(done.out.splitlines()[1])[0]["rec_docs"] == "元气森林"
    done = tinysight(
        *words, "-o", "Global.infer_imgs=./drink_dataset_v2.0/test_images", cwd=tmp_path
    )
    printed = [ast.literal_eval(line) for line in done.out.splitlines()[1::2]]
    assert [row[0]["rec_docs"] for row in printed] == [*rows.values()]
    for file, part in (("inference_det.yaml", "det"), ("inference_rec.yaml", "rec")):
        place = f"Global.{part}_inference_model_dir={models[part]}"
        image = f"Global.infer_imgs={folder / 'test_images' / '100.jpeg'}"
        done = tinysight("predict", "-c", DEPLOY / file, "-o", place, "-o", image)
        assert done.code == 0, done.err
        assert done.out.startswith(
            "[{'class_id': 0, 'score': " if part == "det" else "100.jpeg:\t["
        )


def test_a_hostile_id_map(tmp_path: Path) -> None:
    """Nothing of it runs, and no file is read that does not belong to it."""
    shutil.copytree(OWN / "shitu" / "index" / "flat_ip", tmp_path / "index")
    (tmp_path / "index" / "id_map.pkl").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    with pytest.raises(WeightsError, match="unsafe"):
        import_index(tmp_path / "index", tmp_path / "gallery")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "gallery").exists()
    good = (OWN / "shitu" / "index" / "flat_ip" / "id_map.pkl").read_bytes()
    (tmp_path / "index" / "id_map.pkl").write_bytes(good[: len(good) // 2])
    with pytest.raises(WeightsError):
        import_index(tmp_path / "index", tmp_path / "gallery")


@pytest.mark.parametrize("name", ["flat_ip", "hnsw32_ip", "ivf4_faiss", "hnsw32_hamming"])
def test_damaged_indices(name: str, tmp_path: Path) -> None:
    """Cut off or changed anywhere: read as something else, or refused in words; never more."""
    whole, rng = (
        (OWN / "shitu" / "index" / name / "vector.index").read_bytes(),
        np.random.default_rng(0),
    )
    path = tmp_path / "vector.index"
    for _ in range(150):
        data = bytearray(whole)
        data[int(rng.integers(min(len(data), 200)))] = int(rng.integers(256))
        path.write_bytes(data[: int(rng.integers(1, len(data)))] if rng.random() < 0.5 else data)
        with suppress(WeightsError):
            read_index(path)


def test_paddlex_writes_its_map_as_yaml(tmp_path: Path) -> None:
    """`gallery import` takes such a folder, too; whole lines are labels there."""
    shutil.copytree(OWN / "shitu" / "index" / "flat_ip", tmp_path / "index")
    (tmp_path / "index" / "id_map.pkl").unlink()
    table = {i: f"label {i}" if i % 2 else f"label{i}" for i in range(6)}
    (tmp_path / "index" / "id_map.yaml").write_text(
        to_yaml({"id_map": table, "metric_type": "IP", "index_type": "Flat"}), "utf-8"
    )
    done = tinysight("gallery", "import", tmp_path / "gallery", tmp_path / "index")
    assert done.code == 0, done.err
    labels = [item.label for item in every(SqliteStore(tmp_path / "gallery"))]
    assert labels == [*table.values()]

"""Recognition: which boxes are looked up, which matches count, and that a changed gallery is seen at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from support.commands import tinysight
from support.galleries import draw, embedding_bundle, make_photos
from tinysight.bundle.system import Rules, System, SystemManifest
from tinysight.errors import BundleError, GalleryError
from tinysight.gallery.base import Match, Metric
from tinysight.gallery.gallery import Gallery
from tinysight.pipelines.recognize import Recognizer, inside_image, recognised
from tinysight.tasks.results import RecognitionResult, Unreadable, result_from_json

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system whose detector frames (2, 1, 6, 5) of 8 x 8 in bright images, and a gallery of two labels."""
    folder = tmp_path_factory.mktemp("recognize")
    members = {
        "detector": tiny_detector(folder / "detector"),
        "embedder": embedding_bundle(folder / "embedder"),
    }
    System.write(folder / "system", SystemManifest("tiny", {}, Rules(score_threshold=0.9)), members)
    make_photos(folder / "photos", ("green tea", "乌龙茶"), each=3)
    words = (
        "gallery",
        "build",
        folder / "gallery",
        folder / "photos",
        "--model",
        folder / "embedder",
    )
    assert tinysight(*words).code == 0
    return folder


def match(score: float, label: str = "a") -> Match:
    return Match(f"id of {label}", label, score)


def kept(scores: Sequence[float | None], metric: Metric, **rules: object) -> list[float]:
    found = [None if score is None else match(score) for score in scores]
    return recognised(BOXES, found, metric, Rules(**rules)).scores.tolist()  # type: ignore[arg-type]


def test_boxes_inside_the_image() -> None:
    """Fractions are cut off, corners clipped, and what is empty then is left out."""
    boxes = np.array([[-5.5, 2.9, 7.9, 4.2], [-9, 0, -1, 5], [3, 3, 3.5, 9], [np.nan, 0, 99, 99]])
    assert inside_image(boxes, (6, 8, 3), whole=True).tolist() == [
        [0, 2, 7, 4], [0, 0, 8, 6], [0, 0, 8, 6],
    ]  # fmt: skip
    assert inside_image(boxes[:0], (6, 8, 3), whole=False).shape == (0, 4)


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
def test_similarities(metric: Metric) -> None:
    """Of the two boxes that overlap the more similar is left; the threshold itself is enough."""
    scores = kept([0.75, 0.5, 1.0, 0.25], metric, score_threshold=0.5)
    assert scores == [1.0, 0.75]
    assert kept([0.75, 0.5, None, 0.25], metric, score_threshold=-1) == [0.75, 0.25]
    assert kept([0.75, 0.5, 1.0, 0.25], metric, score_threshold=0.5, nms_threshold=1.0) == [1.0, 0.75, 0.5]  # fmt: skip
    assert kept([None] * 4, metric) == []


@pytest.mark.parametrize("metric", ["l2", "hamming"])
def test_distances(metric: Metric) -> None:
    """Up to the threshold, the nearest first; as PaddleClas does it the farthest, and L2 from the threshold on."""
    assert kept([3, 2, 0, 9], metric, score_threshold=3) == [0, 2]
    found = [match(score) for score in (3.0, 2.0, 0.0, 9.0)]
    theirs = recognised(BOXES, found, metric, Rules(score_threshold=3), as_paddleclas=True)
    assert theirs.scores.tolist() == ([3, 0] if metric == "hamming" else [9, 3])


def test_results_in_every_form() -> None:
    result = recognised(BOXES[2:], [match(0.5, "绿 茶"), match(0.7)], "cosine", Rules()).named(
        "d/a.jpg"
    )
    assert result.to_text() == "d/a.jpg: a 0.70000 40 0 50 10\nd/a.jpg: 绿 茶 0.50000 20 0 30 10"
    assert result_from_json(json.loads(json.dumps(result.to_json()))) == result
    assert result.to_csv() == [
        "d/a.jpg",
        "id of a;id of 绿 茶",
        f"{np.float32(0.7)};0.5",
        "a;绿 茶",
        "",
    ]
    line = "[{'bbox': [40, 0, 50, 10], 'rec_docs': 'a', 'rec_scores': 0.7}, {'bbox': [20, 0, 30, 10], 'rec_docs': '绿 茶', 'rec_scores': 0.5}]"  # noqa: E501
    assert result.to_deploy_text() == line
    nothing = recognised(BOXES[:0], [], "cosine", Rules()).named("a.jpg")
    assert (nothing.to_deploy_text(), nothing.to_text()) == ("[]", "a.jpg: nothing recognised")
    assert nothing.boxes_xyxy.shape == (0, 4)


def test_a_box_and_the_whole_image(folder: Path) -> None:
    """The part that the detector frames is the green tea; the image as a whole is nothing."""
    image = np.full((64, 64, 3), 255, np.uint8)
    image[8:40, 16:48] = draw(0, 0)
    recognizer = Recognizer(folder / "system", folder / "gallery")
    result = recognizer(image)
    assert (result.label_names, result.boxes_xyxy.tolist()) == (("green tea",), [[16, 8, 48, 40]])
    assert result.scores[0] > 0.95
    whole = Recognizer(folder / "system", folder / "gallery", detect=False)
    assert whole(image).label_names == ()
    assert whole(draw(3, 1)).label_names == ("乌龙茶",)
    rules = recognizer.rules._replace(append_whole_image=False, threshold=1.0)
    assert (
        Recognizer(folder / "system", folder / "gallery", rules=rules)(draw(3, 1)).label_names == ()
    )
    alone = Recognizer(folder / "embedder", folder / "gallery", rules=rules)
    assert alone(draw(3, 1)).boxes_xyxy.tolist() == [[0, 0, 32, 32]]


def test_batches_and_threads_change_nothing(folder: Path) -> None:
    images = [draw(seed, seed % 3) for seed in range(12)]
    expected = [Recognizer(folder / "system", folder / "gallery")(image) for image in images]
    many = Recognizer(folder / "system", folder / "gallery", batch_size=5, workers=2)
    for one, other in zip(expected, many.batch(images), strict=True):
        assert isinstance(other, RecognitionResult)
        assert (other.ids, other.boxes_xyxy.tolist()) == (one.ids, one.boxes_xyxy.tolist())
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-6)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(many, images))
    assert [r.ids for r in found] == [r.ids for r in expected]


def test_a_changed_gallery_is_seen_at_once(folder: Path, tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "gallery", model=folder / "embedder")
    recognizer = Recognizer(folder / "system", gallery)
    assert recognizer(draw(1, 7)).label_names == ()
    gallery.add([draw(2, 7), draw(3, 7)], label="new")
    assert recognizer(draw(1, 7)).label_names == ("new",)
    gallery.store.undo()
    assert recognizer(draw(1, 7)).label_names == ()


def test_what_does_not_fit(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no vectors"):
        Recognizer(tiny_bundle(tmp_path / "classes"), folder / "gallery")
    members = {"detector": tiny_detector(tmp_path / "detector")}
    System.write(tmp_path / "half", SystemManifest("half", {}), members)
    with pytest.raises(BundleError, match="has no member 'embedder'"):
        Recognizer(tmp_path / "half", folder / "gallery")
    with pytest.raises(GalleryError, match="its vectors are of the bundle"):
        Recognizer(embedding_bundle(tmp_path / "other", shift=0.1), folder / "gallery")


def test_the_commands(folder: Path, tmp_path: Path) -> None:
    """A system made, an image recognised and drawn, a broken one named; equal names do not collide."""
    words = ("--detector", folder / "detector", "--embedder", folder / "embedder")
    made = tinysight(
        "export",
        "--system",
        tmp_path / "system",
        *words,
        "--rule",
        "score_threshold=0.9",
        "top_k=1",
    )
    assert made.code == 0, made.err
    assert System.load(tmp_path / "system").manifest.rules == Rules(score_threshold=0.9, top_k=1)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "same.png"), draw(4, 1)[:, :, ::-1])
    (tmp_path / "b" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    words = (
        tmp_path / "a",
        tmp_path / "b",
        "--system",
        tmp_path / "system",
        "--gallery",
        folder / "gallery",
    )
    done = tinysight("recognize", *words, "--json", "--draw", tmp_path / "drawn")
    assert done.code == 1
    assert "torn.png" in done.err and "1 of 3 images could not be read" in done.err
    rows = [result_from_json(json.loads(line)) for line in done.out.splitlines()]
    assert [isinstance(row, Unreadable) for row in rows] == [False, False, True]
    assert rows[0]["label_names"] == ["乌龙茶"]
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in drawn] == ["same.png", "same_2.png"]
    plain = tinysight("recognize", tmp_path / "a", *words[2:])
    assert plain.out.startswith(f"{tmp_path / 'a' / 'same.png'}: 乌龙茶 ")
    alone = ("--model", folder / "embedder", "--gallery", folder / "gallery")
    refused = tinysight("recognize", tmp_path / "a", *alone)
    assert (refused.code, refused.out) == (2, "") and "--no-detector" in refused.err
    whole = tinysight("recognize", tmp_path / "a", *alone, "--no-detector", "--threshold", "1.01")
    assert whole.out == f"{tmp_path / 'a' / 'same.png'}: nothing recognised\n"
    for words, what in (((*alone, "--no-detector", "--threshold", "nan"), "should be a number"),
                        ((*alone, "--no-detector", "--draw", tmp_path / "a"), "overwritten")):  # fmt: skip
        refused = tinysight("recognize", tmp_path / "a", *words)
        assert refused.code == 2 and what in refused.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--embedder", "classes"), "no vectors"),
        (("--detector", "detector"), "--embedder: which bundle?"),
        (("--embedder", "embedder", "--rule", "topk=1"), "did you mean 'top_k'"),
        (("--embedder", "embedder", "--rule", "threshold=2"), "from 0 to 1"),
        (("--embedder", "embedder", "--rule", "top_k=x"), "`docs/recognize.md` has the rules"),
        (("--embedder", "embedder", "--run", "runs/x"), "--run: is not of a system"),
    ],
)
def test_systems_that_are_refused(
    words: tuple[str, ...], what: str, folder: Path, tmp_path: Path
) -> None:
    tiny_bundle(tmp_path / "classes")
    places = {"classes": tmp_path, "detector": folder, "embedder": folder}
    there = [places[word] / word if word in places else word for word in words]
    done = tinysight("export", "--system", tmp_path / "system", *there)
    assert done.code == 2
    assert what in done.err
    assert not (tmp_path / "system").exists()

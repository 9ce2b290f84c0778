"""From images to answers: order, batches, unreadable ones, every kind of file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import tinysight
from support.bundles import tiny_bundle, tiny_manifest, tiny_onnx
from support.golden import own_path
from tinysight.bundle import MODEL, Bundle
from tinysight.errors import BundleError, ConfigError, DataError
from tinysight.pipelines.pipeline import Classifier
from tinysight.tasks.results import Unreadable

FORMATS = own_path("preprocess", "inputs")


def grey(level: int, shape: tuple[int, int] = (10, 12)) -> np.ndarray:
    return np.full((*shape, 3), level, np.uint8)


def bright(level: int) -> float:
    """Probability of `bright` for a grey image, worked out by hand."""
    return float(1 / (1 + np.exp(12 - 24 * level / 255)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "model").folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven images that get brighter, and broken ones in the middle and at the end."""
    out = tmp_path / "images with ünicode 图"
    out.mkdir()
    for i in range(11):
        ok, data = cv2.imencode(".png", grey(25 * i))
        assert ok
        (out / f"{i}.png").write_bytes(data.tobytes())
    (out / "5a.png").write_bytes(b"")
    (out / "99.jpg").write_text("no image")
    return out


def flat(batches: Iterator[list[Any]]) -> list[Any]:
    return [r for b in batches for r in b]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 11, 64])
def test_a_folder_in_batches(model: Path, folder: Path, batch_size: int) -> None:
    unreadable: list[Unreadable] = []
    classifier = Classifier(model, batch_size=batch_size)
    batches = list(classifier.predict(folder, on_unreadable=unreadable.append))
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    found = [r for b in batches for r in b]
    assert [r.filename for r in found] == [str(folder / f"{i}.png") for i in range(11)]
    for i, answer in enumerate(found):
        yes = bright(25 * i)
        assert answer.class_ids.tolist() == [int(yes >= 0.5)]
        assert answer.label_names == (["dark", "bright"][yes >= 0.5],)
        assert answer.scores == pytest.approx([max(yes, 1 - yes)], abs=1e-5)
    assert [u.filename for u in unreadable] == [
        str(folder / "5a.png"), str(folder / "99.jpg"),
    ]  # fmt: skip
    assert all(u.reason for u in unreadable)


def test_the_documented_interface(model: Path, folder: Path) -> None:
    result = tinysight.Classifier(model, batch_size=2).predict(input_data=str(folder / "10.png"))
    (answer,) = next(result)
    assert list(answer.to_json()) == ["class_ids", "scores", "label_names", "filename"]
    with pytest.raises(StopIteration):
        next(result)


def test_unreadable_images_are_logged_once(
    model: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "tinysight"):
        list(Classifier(model).predict(folder))
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        str(folder / "5a.png"), str(folder / "99.jpg"),
    ]  # fmt: skip


def test_only_unreadable_images(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    classifier, unreadable = Classifier(model), list[Unreadable]()
    assert list(classifier.predict(tmp_path / "a.jpg")) == []
    images = [tmp_path / "a.jpg", "gone.png"]
    assert list(classifier.predict(images, on_unreadable=unreadable.append)) == []
    assert [Path(u.filename).name for u in unreadable] == ["a.jpg", "gone.png"]
    assert (
        list(classifier.stream(images)) == classifier.batch(images, errors="return") == unreadable
    )


def test_a_missing_path_is_an_error_of_the_call(model: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        Classifier(model).predict("nowhere.jpg")


def test_bytes_and_arrays_and_files_agree(model: Path, folder: Path) -> None:
    path = folder / "6.png"
    sources = [path, path.read_bytes(), grey(150)]
    found = flat(Classifier(model, batch_size=2).predict(sources))
    assert [r.scores.tolist() for r in found] == [found[0].scores.tolist()] * 3
    assert [r.filename for r in found] == [str(path), "<bytes 1>", "<array 2>"]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"got uint8 (4, 4)"),
        (np.zeros((4, 4, 3), np.float32), "got float32"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 RGB (H, W, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
    ],
)
def test_an_array_of_another_kind_is_unreadable(model: Path, array: np.ndarray, words: str) -> None:
    ((name, reason),) = Classifier(model).stream(array)
    assert name == "<array>"
    assert words in reason


@pytest.mark.golden
@pytest.mark.parametrize(
    "name",
    ["one_pixel.png", "gray16.png", "cmyk.jpg", "rgba.png", "palette_trns.png", "bilevel.png",
     "rgb.webp", "rgb.bmp", "rgb_progressive.jpg"],
)  # fmt: skip
def test_unusual_images_are_answered(model: Path, name: str) -> None:
    (answer,) = next(Classifier(model).predict(FORMATS / name))
    assert 0.5 <= answer.scores[0] <= 1


@pytest.mark.golden
def test_orientation_makes_no_difference(model: Path) -> None:
    files = [FORMATS / f"exif_{i}.jpg" for i in range(1, 9)]
    scores = np.array([r.scores for r in flat(Classifier(model).predict(files))])
    assert scores.shape == (8, 1)
    # The same scene, stored in eight ways: recompressed, so not the same to the last bit.
    assert np.ptp(scores) < 0.05


def test_topk_instead_of_the_bundles_own(model: Path) -> None:
    (answer,) = next(Classifier(model, topk=2).predict(grey(255)))
    assert answer.class_ids.tolist() == [1, 0]
    assert answer.scores == pytest.approx([1, 0], abs=2e-5)


@pytest.mark.parametrize(("threshold", "label"), [(0.6, "dark"), (0.4, "bright"), (0, "bright")])
def test_a_threshold_instead_of_the_bundles_own(model: Path, threshold: float, label: str) -> None:
    (answer,) = next(Classifier(model, threshold=threshold).predict(grey(128)))
    assert answer.label_names == (label,)


def test_a_bundle_of_several_labels_takes_a_threshold(tmp_path: Path) -> None:
    folder = tiny_bundle(
        tmp_path / "m", postprocess={"name": "multilabel", "threshold": 0.5, "decimals": 2},
        threshold=None,
    ).folder  # fmt: skip
    names = [Classifier(folder, threshold=t)(grey(128)).label_names for t in (None, 0.9, 0.1)]
    assert names == [("bright",), (), ("dark", "bright")]


def test_a_bundle_of_attributes_answers_in_words(tmp_path: Path) -> None:
    labels = tuple(f"a{i}" for i in range(6))
    folder = tiny_bundle(
        tmp_path / "m", postprocess={"name": "table_attribute"}, labels=labels, threshold=None
    ).folder
    (answer,) = next(Classifier(folder).predict(grey(0)))
    assert list(answer.to_json()) == ["attributes", "output", "filename"]
    assert answer.attributes[:2] == ("Scanned", "Numerous")
    assert answer.output.tolist() == [1, 0, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match="table_attribute has no such thing"):
        Classifier(folder, threshold=0.5)


def test_a_threshold_for_a_bundle_without_one(tmp_path: Path) -> None:
    folder = tiny_bundle(
        tmp_path / "m", postprocess={"name": "topk", "k": 1}, threshold=None
    ).folder
    (answer,) = next(Classifier(folder, threshold=0.9).predict(grey(140)))
    assert answer.label_names == ("dark",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size: should be 1 or more, got 0"),
        ({"threads": 0}, "threads: should be 1 or more"),
        ({"topk": 0}, "topk: should be 1 or more"),
        ({"threshold": 1.5}, "threshold: should be between 0 and 1, got 1.5"),
        ({"threshold": float("nan")}, "threshold: should be between 0 and 1, got nan"),
        ({"threshold": 0.5, "topk": 1}, "only one of the two"),
    ],
)
def test_arguments_out_of_range(model: Path, options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Classifier(model, **options)


def test_a_network_that_does_not_fit_its_manifest(tmp_path: Path) -> None:
    manifest = tiny_manifest(labels=("a", "b", "c"), postprocess={"name": "topk", "k": 1},
                             threshold=None)  # fmt: skip
    bundle = Bundle.write(tmp_path / "m", manifest, {MODEL: tiny_onnx(classes=2)})
    with pytest.raises(BundleError, match=r"3 labels, but the network's scores are \(1, 2\)"):
        next(Classifier(bundle).predict(grey(1)))


def test_a_long_stream_is_not_read_ahead_without_bound(model: Path) -> None:
    taken = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield grey(taken % 256)

    batches = Classifier(model, batch_size=4, workers=2).predict(stream())
    for _ in range(5):
        next(batches)
    batches.close()  # type: ignore[attr-defined]
    # Three batches made or waiting for the network, two more of images, and one in each hand.
    assert 20 <= taken <= 20 + 3 * 4 + 2 * 4 + 4


def test_closing_a_stream_ends_its_threads(model: Path) -> None:
    before = threading.active_count()
    batches = Classifier(model).predict(grey(i % 256) for i in range(10_000))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1  # the thread that made the session may linger


def test_an_error_of_the_stream_reaches_the_caller(model: Path) -> None:
    def stream() -> Iterator[np.ndarray]:
        yield grey(1)
        yield grey(2)
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(Classifier(model).predict(stream()))

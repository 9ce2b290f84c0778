from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from tinysight.data.lists import Sample
from tinysight.errors import ConfigError, DataError, ImageError
from tinysight.evaluation.predictor import compute_metrics, evaluate
from tinysight.tasks.base import Scored
from tinysight.transforms import Compose

PREPARE = Compose.from_specs([{"name": "resize", "size": [8, 8]}, {"name": "normalize"}])
TOP1 = [{"name": "topk", "k": [1]}]
LABELS = ("dark", "bright")


def make_samples(folder: Path, greys: list[int]) -> list[Sample]:
    """Uniform images; the label says whether the grey is above 127."""
    samples = []
    for i, grey in enumerate(greys):
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), np.full((10, 12, 3), grey, np.uint8))
        samples.append(Sample(path, int(grey > 127), i + 1))
    return samples


def by_brightness(images: np.ndarray) -> np.ndarray:
    """A perfect classifier: (N, 3, 8, 8) -> (N, 2)."""
    bright = 1 / (1 + np.exp(-2 * images.mean(axis=(1, 2, 3)) - 0.1))
    return np.stack([1 - bright, bright], axis=1).astype(np.float32)


def test_the_result_is_in_the_order_of_the_list(tmp_path: Path) -> None:
    greys = [0, 200, 255, 30, 180, 90, 240]
    samples = make_samples(tmp_path, greys)
    found = evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=3, labels=LABELS, threads=3)
    assert found.metrics == {"top1": 1.0}
    assert found.labels.tolist() == [0, 1, 1, 0, 1, 0, 1]
    assert found.paths == tuple(str(s.path) for s in samples)
    assert np.argsort(found.scores[:, 1]).tolist() == np.argsort(greys).tolist()
    assert found.scores.shape == (7, 2)
    assert found.unreadable == ()
    assert found.task.confusion(Scored(found.scores, found.labels)).tolist() == [[3, 0], [0, 4]]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("threads", [1, 4])
def test_batches_are_full_but_for_the_last(tmp_path: Path, batch_size: int, threads: int) -> None:
    samples = make_samples(tmp_path, [10 * i for i in range(9)])
    samples[2].path.write_bytes(b"")
    samples[5].path.unlink()
    sizes: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        assert threading.current_thread() is threading.main_thread()
        assert images.dtype == np.float32
        assert images.flags.c_contiguous
        assert images.shape[1:] == (3, 8, 8)
        sizes.append(len(images))
        return by_brightness(images)

    found = evaluate(
        predict, samples, PREPARE, TOP1, batch_size=batch_size, labels=LABELS, threads=threads
    )
    full, rest = divmod(7, batch_size)
    assert sizes == [batch_size] * full + [rest] * (rest > 0)
    alone = evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=7, labels=LABELS)
    assert np.array_equal(found.scores, alone.scores)


def test_unreadable_images_are_left_out_and_reported(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0, 255, 0, 255])
    samples[1].path.write_bytes(b"not an image")
    samples[2].path.unlink()
    found = evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=2, labels=LABELS)
    assert [path for path, _ in found.unreadable] == [str(samples[1].path), str(samples[2].path)]
    assert all(reason for _, reason in found.unreadable)
    assert found.paths == (str(samples[0].path), str(samples[3].path))
    assert found.labels.tolist() == [0, 1]


def test_a_image_that_a_transform_cannot_take_is_unreadable(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0, 255])
    cv2.imwrite(str(samples[1].path), np.zeros((40, 40, 3), np.uint8))
    crop = Compose.from_specs([{"name": "center_crop", "size": 30}, {"name": "normalize"}], "eval")
    found = evaluate(by_brightness, samples, crop, TOP1, batch_size=2, labels=LABELS)
    ((path, reason),) = found.unreadable
    assert path == str(samples[0].path)
    assert reason.startswith("eval.0 (center_crop): ")


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0, 255])
    for sample in samples:
        sample.path.unlink()
    with pytest.raises(DataError, match="none of the 2 images could be read"):
        evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=2, labels=LABELS)
    with pytest.raises(DataError, match="no images to evaluate"):
        evaluate(by_brightness, [], PREPARE, TOP1, batch_size=2, labels=LABELS)


def test_other_labels_than_the_model_has_are_an_error(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0, 255])
    with pytest.raises(ConfigError, match="3 labels, but the model answers"):
        evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=2, labels=("a", "b", "c"))


def test_images_of_several_sizes_are_an_error(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0, 255])
    cv2.imwrite(str(samples[1].path), np.zeros((40, 40, 3), np.uint8))
    plain = Compose.from_specs([{"name": "normalize"}])
    with pytest.raises(ImageError, match="resize to a size"):
        evaluate(by_brightness, samples, plain, TOP1, batch_size=2, labels=LABELS)


def test_random_transforms_are_repeatable(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = make_samples(tmp_path, [0] * 6)
    for sample in samples:
        cv2.imwrite(str(sample.path), rng.integers(0, 255, (64, 64, 3), np.uint8))
    blur = Compose.from_specs(
        [{"name": "random_blur"}, {"name": "resize", "size": [8, 8]}, {"name": "normalize"}]
    )
    assert blur.sets_label
    runs = [
        evaluate(by_brightness, samples, blur, TOP1, batch_size=4, labels=LABELS, threads=threads)
        for threads in (1, 4)
    ]
    assert np.array_equal(runs[0].scores, runs[1].scores)
    assert runs[0].labels.tolist() == runs[1].labels.tolist()
    assert set(runs[0].labels.tolist()) == {0, 1}  # the list says 0 for all


def test_the_error_of_predict_comes_through(tmp_path: Path) -> None:
    samples = make_samples(tmp_path, [0] * 50)

    def fails(images: np.ndarray) -> np.ndarray:
        raise RuntimeError("engine")

    with pytest.raises(RuntimeError, match="engine"):
        evaluate(fails, samples, PREPARE, TOP1, batch_size=2, labels=LABELS)
    assert not [t for t in threading.enumerate() if t.name.startswith("tinysight")]


def test_opencv_keeps_its_number_of_threads(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    samples = make_samples(tmp_path, [0, 255])
    evaluate(by_brightness, samples, PREPARE, TOP1, batch_size=2, labels=LABELS)
    assert cv2.getNumThreads() == before


def test_metrics_keep_their_order_and_names_given_twice_are_numbered() -> None:
    scores = np.array([[0.6, 0.4, 0.0], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    labels = np.array([0, 2, 1])
    specs = [{"name": "topk", "k": [2, 1]}, {"name": "topk", "k": [1]}, {"name": "topk", "k": [1]}]
    assert list(compute_metrics(specs, scores, labels).items()) == [
        ("top2", 1.0),
        ("top1", pytest.approx(1 / 3)),
        ("top1_2", pytest.approx(1 / 3)),
        ("top1_3", pytest.approx(1 / 3)),
    ]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ConfigError, match=r"metrics\.0.*did you mean 'topk'"):
        compute_metrics([{"name": "topq"}], np.ones((1, 2)), np.array([0]))

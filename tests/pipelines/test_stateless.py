"""One pipeline in threads, after a fork and in another process: the results, and the errors, of one thread."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from tinysight.bundle import Bundle
from tinysight.engines import onnx_engines
from tinysight.errors import ConfigError, DataError, ImageError
from tinysight.pipelines.pipeline import BundlePipeline, Classifier, open_bundle
from tinysight.pipelines.sources import ImageInput
from tinysight.tasks.results import Unreadable

IMAGES = [np.full((9, 9 + i, 3), 6 * i, np.uint8) for i in range(40)]
ENGINES = onnx_engines()
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(params=[tiny_bundle, tiny_detector], ids=["classifier", "detector"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    made: Bundle = request.param(tmp_path / "b")
    return made


def rows(pipeline: BundlePipeline[Any]) -> list[dict[str, Any]]:
    return [pipeline(image).to_json() for image in IMAGES]


@pytest.mark.parametrize("engine", ENGINES)
def test_sixteen_threads(bundle: Bundle, engine: str) -> None:
    """A third of the calls fail, each in the thread that made it."""
    pipeline = open_bundle(bundle, engine=engine)
    expected = rows(pipeline)

    def work(number: int) -> list[Any]:
        found: list[Any] = []
        for i, image in enumerate(IMAGES):
            try:
                bad = (i + number) % 3 == 0
                found.append(pipeline(b"no %d %d" % (number, i) if bad else image).to_json())
            except ImageError as error:
                found.append(error.problems[0].where)
        return found

    with ThreadPoolExecutor(16) as pool:
        for number, found in enumerate(pool.map(work, range(16))):
            for i, row in enumerate(found):
                bad = f"{len(b'no %d %d' % (number, i))} bytes"
                assert row == (bad if (i + number) % 3 == 0 else expected[i])


def in_child(work: Callable[[], bytes]) -> bytes:
    """What `work` gives in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        code = 1
        try:
            os.write(writing, work())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        data = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return data


@needs_fork
@pytest.mark.parametrize(
    ("engine", "threads"), [("onnxruntime", 1), ("onnxruntime", 2), ("openvino", 1)]
)
def test_a_fork_right_after_construction(bundle: Bundle, engine: str, threads: int) -> None:
    if engine not in ENGINES:
        pytest.skip(f"no {engine} here")
    pipeline = open_bundle(bundle, engine=engine, threads=threads)
    found = in_child(lambda: repr(rows(pipeline)).encode())
    assert found == repr(rows(pipeline)).encode(), "and the parent goes on"
    again = in_child(lambda: repr(rows(pipeline)).encode())
    assert again == found


def _worker(pipeline: BundlePipeline[Any], images: list[np.ndarray]) -> list[dict[str, Any]]:
    return [result.to_json() for result in pipeline.batch(images)]


def test_in_a_worker_process(bundle: Bundle) -> None:
    pipeline = open_bundle(bundle, batch_size=4, threshold=0.25)
    expected = _worker(pipeline, IMAGES)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_worker, (pipeline, IMAGES)) == expected
    copy = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - made here
    assert type(copy) is type(pipeline)
    assert copy.batch_size == 4


def test_a_call_takes_whatever_holds_an_image(tmp_path: Path) -> None:
    classifier = Classifier(tiny_bundle(tmp_path / "b"))
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), IMAGES[7])
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), IMAGES[7], file, BytesIO(path.read_bytes())]
        results = [classifier(source) for source in sources]
    assert [r.filename for r in results] == [
        str(path), str(path), "<bytes>", "<array>", str(path), "<file>",
    ]  # fmt: skip
    assert len({r.to_text().rpartition(", filename")[0] for r in results}) == 1
    named = classifier.batch([IMAGES[7], path.read_bytes(), path])
    assert [r.filename for r in named] == ["<array 0>", "<bytes 1>", str(path)]


class Pillow:
    """As an image of Pillow looks from outside."""

    def getexif(self) -> dict[int, int]:
        return {}


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("gone.jpg", ImageError, "gone.jpg: no such file"),
        (".", ImageError, "is a folder"),
        (b"", ImageError, "0 bytes: "),
        (np.zeros((4, 4), np.uint8), ImageError, "<array>: an array is uint8 RGB"),
        (np.zeros((0, 4, 3), np.uint8), ImageError, "<array>: an empty array"),
        (7, DataError, "int: is no source of images"),
        (["a.jpg"], DataError, "list: is no source of images"),
        (Pillow(), DataError, r"Pillow: .*convert\('RGB'\)"),
    ],
)
def test_what_is_no_image_raises(tmp_path: Path, source: Any, error: type, words: str) -> None:
    classifier = Classifier(tiny_bundle(tmp_path / "b"))
    with pytest.raises(error, match=words):
        classifier(source)
    with pytest.raises(error):
        classifier.batch([IMAGES[0], source])
    if error is ImageError:
        _, found, _ = classifier.batch([IMAGES[0], source, IMAGES[1]], errors="return")
        assert isinstance(found, Unreadable)
    with pytest.raises(ConfigError, match="errors: should be 'raise' or 'return'"):
        classifier.batch([], errors="skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_several_generators_at_a_time(bundle: Bundle, batch_size: int) -> None:
    pipeline = open_bundle(bundle, batch_size=batch_size, workers=2)
    one, other = pipeline.stream(IMAGES), pipeline.stream(IMAGES[::-1])
    pairs = list(zip(one, other, strict=True))
    expected = [pipeline(image).to_json() for image in IMAGES]
    for i, (a, b) in enumerate(pairs):
        assert a.to_json() == {**expected[i], "filename": f"<array {i}>"}
        assert b.to_json() == {**expected[-1 - i], "filename": f"<array {i}>"}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("method", ["stream", "predict", "scores"])
def test_abandoned_generators_leave_no_thread(bundle: Bundle, batch_size: int, method: str) -> None:
    pipeline = open_bundle(bundle, batch_size=batch_size, workers=2)
    pipeline(IMAGES[0])  # the session is open
    before = threading.active_count()
    for _ in range(50):
        generator = getattr(pipeline, method)(IMAGES[i % 40] for i in range(10_000))
        next(generator)
        del generator
    assert threading.active_count() <= before


def test_what_is_not_several_images(tmp_path: Path) -> None:
    classifier = Classifier(tiny_bundle(tmp_path / "b"))
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), IMAGES[7])
    with path.open("rb") as file:
        named = ImageInput("a", path.read_bytes())
        for images in (str(path), path, path.read_bytes(), file, named, None):
            with pytest.raises(DataError, match="is not several images; give a list of them"):
                classifier.batch(images)  # type: ignore[arg-type]
    assert len(classifier.batch(np.stack(IMAGES[:1] * 3))) == 3
    with path.open() as text, pytest.raises(DataError, match="open it for reading bytes"):
        classifier(text)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="closed file"):
        classifier(file)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_twenty_thousand_predictions_in_flat_memory(bundle: Bundle, engine: str) -> None:
    pipeline = open_bundle(bundle, engine=engine, workers=2)
    expected = rows(pipeline)
    before, sizes = threading.active_count(), []
    for number in range(500):
        found = [r.named("<array>").to_json() for r in pipeline.stream(IMAGES)]
        assert found == expected
        if number in (99, 499):
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    assert threading.active_count() <= before
    assert sizes[1] - sizes[0] < 8 << 20

"""Mining a pool: the surest of each class, nothing of the evaluation set, resumed where it was stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_manifest, tiny_onnx
from support.commands import process, tinysight
from tinysight.bundle import Bundle
from tinysight.bundle.folder import MODEL
from tinysight.distill.mine import MINED, SCORES, Mining, mine
from tinysight.errors import ConfigError, DataError
from tinysight.pipelines.pipeline import open_bundle
from tinysight.tasks.results import ClassResult


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("teacher") / "bundle")


def tiny_embedder(folder: Path) -> Bundle:
    """The vector of an image is what `tiny_onnx` says of its mean colour."""
    manifest = tiny_manifest(postprocess={"name": "embedding"}, labels=(), threshold=None)
    return Bundle.write(folder, manifest, {MODEL: tiny_onnx()})


def picture(seed: int) -> np.ndarray:
    """Shapes nobody else has, (96, 96, 3), of a mean that the seed decides."""
    rng = np.random.default_rng(seed)
    image = np.full((96, 96, 3), rng.integers(20, 200), np.uint8)
    for _ in range(8):
        centre, colour = rng.integers(0, 96, 2), rng.integers(0, 256, 3)
        cv2.circle(image, centre.tolist(), int(rng.integers(6, 30)), colour.tolist(), -1)
    return image


def pool_of(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.png"), picture(i))
    return folder


def mined_paths(out: Path) -> list[tuple[str, int]]:
    lines = (out / MINED).read_text("utf-8").splitlines()
    return [(Path(path).name, int(label)) for path, label in (x.rsplit(" ", 1) for x in lines)]


def test_the_surest_of_each_class(teacher: Bundle, tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 30)
    (pool / "broken.png").write_bytes(b"no image")
    mined = mine(Mining(pool, teacher, tmp_path / "out", per_class=4))

    classifier = open_bundle(teacher, topk=1)
    results = [r for r in classifier.stream(pool) if isinstance(r, ClassResult)]
    expected = []
    for label in range(2):
        of = [r for r in results if int(r.class_ids[0]) == label]
        best = sorted(of, key=lambda r: -float(r.scores[0]))[:4]
        expected += [(Path(str(r.filename)).name, label) for r in best]
    assert len(expected) == 8
    assert mined_paths(tmp_path / "out") == expected
    assert mined.unreadable == 1
    assert mined.counts == {"dark": 4, "bright": 4}
    assert not mined.leaked
    assert not mined.repeated


def test_nothing_that_the_evaluation_set_holds(teacher: Bundle, tmp_path: Path) -> None:
    """The same bytes, a smaller JPEG of it and its mirror image go; of two copies in the pool one stays."""
    pool = pool_of(tmp_path / "pool", 12)
    held = tmp_path / "held"
    held.mkdir()
    shutil.copy(pool / "0.png", held / "same.png")
    small = cv2.resize(picture(1), (64, 64), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(held / "small.jpg"), small)
    cv2.imwrite(str(held / "mirror.png"), picture(2)[:, ::-1])
    shutil.copy(pool / "3.png", pool / "again.png")
    mined = mine(Mining(pool, teacher, tmp_path / "out", [held], per_class=100))

    names = {name for name, _ in mined_paths(tmp_path / "out")}
    assert names == {f"{i}.png" for i in range(3, 12)}
    assert {Path(p).name for p in mined.leaked} == {"0.png", "1.png", "2.png"}
    assert {Path(p).name for p in mined.repeated} == {"again.png"}
    assert any(
        how.startswith("exact: ") and how.endswith("same.png") for how in mined.leaked.values()
    )

    bytes_only = mine(Mining(pool, teacher, tmp_path / "out", [held], per_class=100, near=False))
    assert {Path(p).name for p in bytes_only.leaked} == {"0.png"}


def test_what_is_dropped_is_replaced(teacher: Bundle, tmp_path: Path) -> None:
    """However many of the surest are leaks: the class gets as many as it may have."""
    pool, held = pool_of(tmp_path / "pool", 40), tmp_path / "held"
    every = mine(Mining(pool, teacher, tmp_path / "all", per_class=100))
    by_class = [[n for n, label in mined_paths(tmp_path / "all") if label == c] for c in range(2)]
    held.mkdir()
    for name in (*by_class[0][:5], *by_class[1][:5]):
        shutil.copy(pool / name, held)
    mine(Mining(pool, teacher, tmp_path / "some", [held], per_class=3))
    assert mined_paths(tmp_path / "some") == [
        (name, c) for c in range(2) for name in by_class[c][5:8]
    ]
    assert min(every.counts.values()) >= 8


def test_vectors_find_what_bytes_do_not(teacher: Bundle, tmp_path: Path) -> None:
    embedder = tiny_embedder(tmp_path / "embedder")
    pool, held = pool_of(tmp_path / "pool", 6), tmp_path / "held"
    held.mkdir()
    cv2.imwrite(str(held / "copy.bmp"), picture(2))
    plan = Mining(pool, teacher, tmp_path / "out", [held], near=False, embedder=embedder)
    assert {Path(p).name for p in mine(plan._replace(similarity=0.9999999)).leaked} == {"2.png"}
    assert not mine(plan._replace(embedder=None)).leaked


def test_an_interrupted_run_resumes(teacher: Bundle, tmp_path: Path) -> None:
    """Cut anywhere, the file of scores ends as one that was written at once, and no image is scored twice."""
    pool = pool_of(tmp_path / "pool", 10)
    (pool / "4b.png").write_bytes(b"no image")
    plan = Mining(pool, teacher, tmp_path / "out", per_class=3)
    whole = mine(plan)
    scores = plan.out / SCORES
    written, wanted = scores.read_bytes(), (plan.out / MINED).read_bytes()
    for cut in range(0, len(written), 41):
        scores.write_bytes(written[:cut])
        assert mine(plan) == whole
        assert scores.read_bytes() == written
        assert (plan.out / MINED).read_bytes() == wanted
    lines = written.splitlines(keepends=True)
    marked = [line.replace(b'"score": 0.', b'"score": 1.') for line in lines]
    scores.write_bytes(b"".join(marked[:6]))
    mine(plan)
    assert scores.read_bytes() == b"".join([*marked[:6], *lines[6:]])


def test_another_pool_is_refused(teacher: Bundle, tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", 4)
    plan = Mining(pool, teacher, tmp_path / "out")
    mine(plan)
    with pytest.raises(DataError, match="another pool or teacher"):
        mine(plan._replace(pool=pool_of(tmp_path / "other", 2)))
    (pool / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png is not where it was"):
        mine(plan)


def test_a_teacher_knows_classes(tmp_path: Path) -> None:
    embedder = tiny_embedder(tmp_path / "embedder")
    with pytest.raises(ConfigError, match="names no classes"):
        mine(Mining(pool_of(tmp_path / "pool", 1), embedder, tmp_path / "out"))


def test_the_command(teacher: Bundle, tmp_path: Path) -> None:
    """It mines, exits with 1 for an unreadable image, and a recipe takes the list as unlabelled images."""
    pool = pool_of(tmp_path / "pool", 8)
    (pool / "broken.png").write_bytes(b"no image")
    (pool / "0.png").rename(pool / "two\nlines.png")
    out = tmp_path / "out"
    words = ["data", "mine", str(pool), "--teacher", str(teacher.folder), "--out", str(out)]
    ran = tinysight(*words, "--per-class", "2")
    assert ran.code == 1
    assert "cannot be read: 2" in ran.out  # no line of the list could hold the other one's name
    assert len(mined_paths(out)) <= 4
    first = json.loads((out / SCORES).read_text("utf-8").splitlines()[0])
    assert first["pool"] == str(pool)
    assert tinysight(*words, "--min-score", "2").code == 2
    assert process(*words).code == 1

"""A recorded certificate is kept, repeated, and breaks when the bundle does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import LABELS, TRANSFORMS, tiny_bundle, tiny_manifest, tiny_onnx
from tinysight.bundle import CARD, MODEL, Bundle
from tinysight.bundle.manifest import Manifest, ReducedDecode
from tinysight.certificate.compare import edge_case_files, engine_outputs, readable
from tinysight.certificate.record import (
    CERTIFICATE,
    REFERENCE,
    Certificate,
    read_certificate,
    to_files,
)
from tinysight.certificate.verify import OWN, renewed, verify
from tinysight.cli import main
from tinysight.errors import BundleError
from tinysight.pipelines.comparable import decide
from tinysight.pipelines.pipeline import Classifier
from tinysight.pipelines.sources import ImageInput


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle whose own results are the expected ones."""
    folder = tmp_path_factory.mktemp("certified")
    plain = Classifier(tiny_bundle(folder / "plain"), batch_size=8)
    outputs = engine_outputs(
        plain, plain.manifest, [ImageInput(f.name, f.data) for f in edge_case_files()]
    )
    files = to_files(plain.manifest, Certificate("a hand 1.0", (), {}), outputs)
    return Bundle.write(folder / "b", plain.manifest, {MODEL: tiny_onnx(), **files})


def changed(bundle: Bundle, folder: Path, manifest: Manifest, **files: bytes) -> Bundle:
    """A bundle with something else in it, properly sealed."""
    kept = {name: (bundle.folder / name).read_bytes() for name in bundle.manifest.files}
    return Bundle.write(folder, manifest, {**kept, **files})


def test_the_same_answers(certified: Bundle) -> None:
    report = verify(certified)
    assert report.problems == ()
    assert report.origin == "a hand 1.0"
    assert report.engines[0].engine == "onnxruntime"
    for one in report.engines:
        assert one.total.images == len(readable()) >= 300
        assert one.total.label_flips == 0
        assert one.total.max_score_difference < 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "resize", "size": 8, "interpolation": "nearest"},
        {"name": "center_crop", "size": 8},
    ],
)
def test_an_edited_transform_shows(
    certified: Bundle, tmp_path: Path, wrong: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest is sealed again, so that nothing but the answers can tell."""
    steps = (*([TRANSFORMS[0]] if wrong["name"] == "center_crop" else []), wrong, TRANSFORMS[1])
    if wrong["name"] == "center_crop":
        steps = ({**TRANSFORMS[0], "size": [12, 9]}, wrong, TRANSFORMS[1])
    edited = changed(certified, tmp_path / "b", certified.manifest._replace(transforms=steps))
    assert main(["verify", str(edited.folder)]) == 1
    shown = capsys.readouterr().out
    assert "labels change, scores differ by up to" in shown
    assert "onnxruntime, odd sizes: " in shown


def test_an_edited_network_shows(certified: Bundle, tmp_path: Path) -> None:
    model = tiny_onnx().replace(np.float32(-6).tobytes(), np.float32(-5.9).tobytes())
    edited = changed(certified, tmp_path / "b", certified.manifest, **{MODEL: model})
    assert any(problem.where == "onnxruntime, jpeg" for problem in verify(edited).problems)


def test_own_images_are_compared_between_engines(
    certified: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((9, 9, 3), 80 * i, np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no")
    words = ["verify", str(certified.folder), "--images", str(tmp_path), "--json"]
    assert main(words) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["pass"] is True
    assert tree["reference"] == "a hand 1.0"
    for one in tree["engines"].values():
        assert one["kinds"][OWN]["pictures"] == 3
        assert one["kinds"]["huge"]["label_flips"] == 0


def test_leave_to_decode_reduced_is_measured_on_own_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave = ReducedDecode(1.0, 1000, 0, 0.01)
    bundle = tiny_bundle(tmp_path / "b", decode=leave)
    (tmp_path / "own").mkdir()
    for i, (side, grain) in enumerate(((64, 0), (64, 90), (7, 0))):
        image = np.full((side, side, 3), 50, np.uint8)
        image[::2] += grain
        cv2.imwrite(str(tmp_path / "own" / f"{i}.jpg"), image)
    assert main(["verify", str(bundle.folder), "--images", str(tmp_path / "own")]) == 0
    shown = capsys.readouterr().out
    assert "when it was allowed: 0 of 1000 labels changed, scores by up to 0.01" in shown
    assert "your images: 0 of 2 labels change" in shown, "the small one is always whole"


def test_a_bundle_without_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    assert main(["verify", str(bundle.folder), "--files", str(tmp_path / "files")]) == 0
    assert "none in this bundle: compared with onnxruntime here" in capsys.readouterr().out
    assert len(list((tmp_path / "files").iterdir())) == len(edge_case_files())


def test_the_table_is_made_again(certified: Bundle, tmp_path: Path) -> None:
    """The record above lists no engine; the renewed one those that are here."""
    card = b"# brightness\n\n## The same answers on every engine\n\nold\n\n## More\n\nwords\n"
    bundle = changed(certified, tmp_path / "b", certified.manifest, **{CARD: card})
    files, problems = renewed(bundle)
    assert problems == ()
    assert files[REFERENCE] == (certified.folder / REFERENCE).read_bytes()
    recorded = read_certificate(Bundle.write(tmp_path / "c", bundle.manifest, files))
    assert recorded is not None
    assert recorded[0].engines[0].total.images == len(readable())
    text = files[CARD].decode()
    assert text.startswith("# brightness\n\n## The same answers on every engine\n\nFiles of")
    assert text.endswith("|\n\n## More\n\nwords\n")
    assert "old" not in text


@pytest.mark.slow
def test_a_variant_gets_a_column(tmp_path: Path) -> None:
    """The shipped bundle in the format of OpenVINO."""
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    from tinysight.export.variants import add_variants, files_of

    shutil.copytree(Bundle.load("clarity_assessment").folder, tmp_path / "b")
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((300, 300, 3), 80 * i, np.uint8))
    bundle = add_variants(Bundle.load(tmp_path / "b"), ["openvino"], files_of(tmp_path / "*.png"))
    recorded = read_certificate(bundle)
    assert recorded is not None
    (one,) = [one for one in recorded[0].engines if one.engine == "target/openvino"]
    assert (one.total.images, one.total.label_flips, one.precision) == (335, 0, "fp32")
    assert one.total.max_score_difference < 1e-3
    assert "target/openvino" in (bundle.folder / CARD).read_text("utf-8")


def test_the_shipped_bundle() -> None:
    bundle = Bundle.load("clarity_assessment")
    recorded = read_certificate(bundle)
    assert recorded is not None
    assert recorded[0].origin.startswith("torch 2")
    report = verify(bundle)
    assert report.problems == ()
    assert all(one.total.max_score_difference < 1e-4 for one in report.engines)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (CERTIFICATE, b"{", "not a certificate"),
        (CERTIFICATE, b"[]", "not a certificate"),
        (CERTIFICATE, b'{"edition": 99}', "edition 99 of the files"),
        (CERTIFICATE, None, "not a certificate"),
        (REFERENCE, b"", "holds 0 bytes"),
    ],
)
def test_damaged_records(
    certified: Bundle, tmp_path: Path, file: str, text: bytes | None, message: str
) -> None:
    if text is None:
        tree = json.loads((certified.folder / CERTIFICATE).read_text())
        text = json.dumps({**tree, "classes": "2"}).encode()
    damaged = changed(certified, tmp_path / "b", certified.manifest, **{file: text})
    with pytest.raises(BundleError, match=message):
        verify(damaged)


def test_the_record_of_another_number_of_classes(certified: Bundle, tmp_path: Path) -> None:
    manifest = certified.manifest._replace(labels=(*LABELS, "third"))
    edited = changed(certified, tmp_path / "b", manifest, **{MODEL: tiny_onnx(3)})
    with pytest.raises(BundleError, match="about 2 classes, but bundle.yaml lists 3"):
        verify(edited)


@pytest.mark.parametrize(("postprocess", "bytes_each"), [("topk", 16 * 6), ("multilabel", 4 * 300)])
def test_many_classes(tmp_path: Path, postprocess: str, bytes_each: int) -> None:
    """Where only the best counts, the best are kept."""
    rng = np.random.default_rng(0)
    table = rng.random((len(readable()), 300), np.float32)
    manifest = tiny_manifest(
        postprocess={"name": postprocess}, threshold=None, labels=tuple(map(str, range(300)))
    )
    outputs = dict(zip(readable(), decide(manifest, table), strict=True))
    files = to_files(manifest, Certificate("x", (), {}), outputs)
    assert len(files[REFERENCE]) == len(readable()) * bytes_each
    model = {MODEL: tiny_onnx(300)}
    recorded = read_certificate(Bundle.write(tmp_path / "b", manifest, {**model, **files}))
    assert recorded is not None
    found = np.stack([recorded[1][name]["scores"] for name in readable()])
    kept = ~np.isnan(found)
    assert np.array_equal(found[kept], table[kept])
    assert (found.argmax(axis=1) == table.argmax(axis=1)).all() or postprocess == "topk"
    assert (np.nan_to_num(found, nan=-1).argmax(axis=1) == table.argmax(axis=1)).all()

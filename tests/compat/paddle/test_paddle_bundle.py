"""Exported folders as bundles: same answers, said how they are used, refused where they are no classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.commands import python
from support.exports import CASE, export, tar_of
from support.golden import Case, own_path, read_npz, synth_input
from support.paddle import each_program, operator, write_legacy, write_program
from tinysight.bundle import Bundle
from tinysight.compat.paddle.bundle import Imported, import_paddle
from tinysight.compat.paddle.catalog import find
from tinysight.compat.paddle.command import configured_bundle
from tinysight.compat.paddle.dialect.deploy import (
    Deploy,
    default_transforms,
    read_deploy_config,
)
from tinysight.errors import BundleError, ConfigError, WeightsError
from tinysight.pipelines.detect import Detector
from tinysight.pipelines.pipeline import Classifier
from tinysight.registry import engines
from tinysight.transforms import Compose

pytestmark = pytest.mark.golden
SAMPLE = (
    "DetectorLike",
    "GeneralRecognitionV2_PPLCNetV2_base",
    "OldStyleOps",
    "PPLCNet_x0_25_multilabel",
    "PPLCNet_x1_0_textline",
    "MicroNet_M0",
)
BINARY = own_path("pdparams")


def scores(bundle: Bundle, images: np.ndarray) -> np.ndarray:
    return engines.build({"name": "onnxruntime"}, model=bundle.model, threads=1).run(images)


@pytest.mark.parametrize("form", ["export_pir", "export_legacy"])
def test_the_recorded_export(form: str, tmp_path: Path) -> None:
    done = import_paddle(BINARY / form, tmp_path / "b", labels=["no", "yes"])
    recorded = read_npz("pdparams", form, "PPLCNet_x0_25_cls2", "outputs.npz")
    found = scores(done.bundle, synth_input(2))
    for name in ("dygraph", "predictor"):
        np.testing.assert_allclose(found, recorded[name], rtol=0, atol=1e-5)


@each_program(quick=lambda case: case["id"] in SAMPLE)
def test_programs(program: tuple[Case, str], tmp_path: Path) -> None:
    """Every program among the fixtures becomes a bundle with the recorded answers."""
    case, file = program
    write_program(case, file, tmp_path / "export")
    bundle = import_paddle(tmp_path / "export", tmp_path / "b").bundle
    n, _, h, w = case["input"]
    recorded = case.arrays
    output, about = recorded["output"], bundle.manifest
    assert about.input.shape == (None, 3, h, w)
    session = engines.build({"name": "onnxruntime"}, model=bundle.model, threads=1)
    feeds = {
        about.input.name: synth_input(n, h, w),
        **{name: recorded[name] for name in about.feeds},
    }
    found = session.run_all(feeds)
    assert [o.name for o in session.outputs] == [about.output, *about.more_outputs]
    if about.output == "scores":
        np.testing.assert_allclose(found[0], output, rtol=0, atol=2e-5)
        assert about.labels == tuple(map(str, range(output.shape[1])))
        return
    assert about.labels == ()
    np.testing.assert_allclose(found[0], output, rtol=0, atol=1e-4 * np.abs(output).max())
    for index, other in enumerate(found[1:], 1):
        assert np.array_equal(other, recorded[f"output_{index}"])


def test_a_network_of_independent_classes_names_every_one(tmp_path: Path) -> None:
    export(tmp_path / "e", "PPLCNet_x0_25_multilabel")
    done = import_paddle(tmp_path / "e", tmp_path / "b")
    assert done.bundle.manifest.postprocess["name"] == "multilabel"
    assert any("probability of 0.5 or more" in note for note in done.notes)
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    classifier = Classifier(done.bundle)
    ((answer,),), ((_, found),) = classifier.predict([image]), classifier.scores([image])
    assert answer["class_ids"] == np.flatnonzero(found[0] >= 0.5).tolist()


def test_a_recognition_network_answers_with_unit_vectors(tmp_path: Path) -> None:
    export(tmp_path / "rec_infer", "GeneralRecognitionV2_PPLCNetV2_base")
    done = import_paddle(tmp_path / "rec_infer", tmp_path / "b")
    assert done.bundle.manifest.postprocess == {"name": "embedding", "normalize": True}
    assert [t["name"] for t in done.bundle.manifest.transforms] == ["resize", "normalize"]
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    classifier = Classifier(tmp_path / "b")
    ((answer,),) = classifier.predict([image])
    ((_, raw),) = classifier.scores([image])
    vector = np.array(answer["embedding"])  # type: ignore[typeddict-item]
    assert vector.shape == (512,)
    np.testing.assert_allclose(vector, raw[0] / np.linalg.norm(raw[0]), rtol=0, atol=1e-6)
    with pytest.raises(WeightsError, match="no probabilities"):
        import_paddle(tmp_path / "rec_infer", tmp_path / "c", labels=["a", "b"])


def test_a_detector_answers_with_boxes_in_the_image(tmp_path: Path) -> None:
    """From pixels to boxes through `Detector`, against the same steps written out here."""
    export(tmp_path / "det_infer", "DetectorLike")
    names = [f"thing {i}" for i in range(20)]
    done = import_paddle(tmp_path / "det_infer", tmp_path / "b", labels=names)
    about = done.bundle.manifest
    assert (dict(about.feeds), about.more_outputs) == (
        {"scale_factor": "scale_factor"},
        ("counts",),
    )
    image = np.random.default_rng(0).integers(0, 256, (128, 96, 3), np.uint8)
    small = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    batch = [Compose.from_specs(about.transforms)(i).transpose(2, 0, 1) for i in (image, small)]
    factors = np.float32([[64 / 128, 64 / 96], [64 / 50, 64 / 70]])
    session = engines.build({"name": "onnxruntime"}, model=done.bundle.model, threads=1)
    rows, counts = session.run_all({"images": np.stack(batch), "scale_factor": factors})
    assert counts.min() > 0
    low = Detector(done.bundle, batch_size=2, threshold=0.0)
    (answers,) = low.predict([image, small])
    assert [len(a["scores"]) for a in answers] == counts.tolist()
    boxes = [box for a in answers for box in a["boxes_xyxy"]]  # type: ignore[typeddict-item]
    np.testing.assert_allclose(boxes, rows[:, 2:], rtol=1e-6)
    assert answers[0]["label_names"][0] == f"thing {int(rows[0, 0])}"
    with pytest.raises(ConfigError, match="are its boxes"):
        Detector(done.bundle, topk=3)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    root = tmp_path_factory.mktemp("import")
    return import_paddle(export(root / "my_infer"), root / "bundle")


def test_it_classifies_images(done: Imported) -> None:
    """From pixels to scores through `Classifier`, against the same steps written out here."""
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    classifier = Classifier(done.bundle.folder)
    ((_, found),) = classifier.scores([image])
    small = cv2.resize(image, (341, 256))[16:240, 58:282]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    batch = ((small.astype(np.float32) * np.float32(0.00392157) - mean) / std).transpose(2, 0, 1)
    expected = scores(done.bundle, batch[None])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    ((answer,),) = classifier.predict([image])
    assert answer["class_ids"] == np.argsort(-expected[0])[:5].tolist()


def test_what_had_to_be_assumed_is_said(done: Imported) -> None:
    assert done.bundle.manifest.task == "my"
    text = "\n".join(done.notes)
    assert "resize 256 (short side), center_crop 224" in text
    assert "the result is the 5 highest-scoring classes" in text
    assert "no --labels: the 10 classes are called by their ids" in text


def test_a_deploy_configuration_leaves_nothing_to_assume(tmp_path: Path) -> None:
    source = export(tmp_path / "e")
    use = Deploy(
        default_transforms(224, 224, exact=True), {"name": "topk", "k": 1}, tuple("abcdefghij")
    )
    done = import_paddle(source, tmp_path / "b", deploy=use)
    about = done.bundle.manifest
    assert done.notes == ()
    assert [t["name"] for t in about.transforms] == ["resize", "normalize"]
    assert about.labels == tuple("abcdefghij")
    other = import_paddle(source, tmp_path / "b2", deploy=use, labels=tuple("0123456789"))
    assert other.bundle.manifest.labels == tuple("0123456789")


def test_a_configuration_inside_the_export_is_used(tmp_path: Path) -> None:
    source = export(tmp_path / "e")
    (source / "inference.yml").write_text(
        "PreProcess: {transform_ops: [{ResizeImage: {size: 224}}, {NormalizeImage: {}}, {ToCHWImage: null}]}\n"
        "PostProcess: {Topk: {topk: 3, label_list: [a, b, c, d, e, f, g, h, i, j]}}\n"
    )
    done = import_paddle(source, tmp_path / "b")
    assert done.notes == ()
    assert done.bundle.manifest.postprocess["k"] == 3
    assert done.bundle.manifest.labels == tuple("abcdefghij")


def test_a_catalogue_row_brings_labels_threshold_and_licence(tmp_path: Path) -> None:
    done = import_paddle(
        BINARY / "export_legacy", tmp_path / "b", row=find("safety_helmet", "inference")
    )
    about = done.bundle.manifest
    assert done.notes == ()
    assert about.task == "safety_helmet"
    assert about.labels == ("wearing_helmet", "unwearing_helmet")
    assert about.postprocess["name"] == "threshold"
    assert about.threshold
    assert about.threshold.value == 0.5
    assert about.licence.startswith("Apache-2.0")
    assert about.recipe["url"].endswith("safety_helmet_infer.tar")
    assert Compose.from_specs(about.transforms).output_shape() == (224, 224, 3)


def test_a_tar_is_as_good_as_its_folder(tmp_path: Path) -> None:
    folder = export(tmp_path / "mine_infer")
    (tmp_path / "mine_infer.tar").write_bytes(tar_of(folder, "mine_infer"))
    packed = import_paddle(tmp_path / "mine_infer.tar", tmp_path / "a").bundle
    plain = import_paddle(folder, tmp_path / "b").bundle
    assert packed.model == plain.model
    assert packed.manifest.task == plain.manifest.task == "mine"


def test_the_same_export_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    source = export(tmp_path / "e")
    for name in ("a", "b"):
        import_paddle(source, tmp_path / name)
    for file in ("model.onnx", "bundle.yaml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_mistakes_leave_nothing(tmp_path: Path) -> None:
    source = export(tmp_path / "e")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"labels": ["a", "b"]}, "2 labels for 10 classes"),
        (
            {"deploy": Deploy(default_transforms(80, 160), {"name": "topk"}, None)},
            "images of 160 x 80 x 3, the network takes 224 x 224 x 3",
        ),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            import_paddle(source, tmp_path / "b", **options)
    (tmp_path / "e" / "inference.pdiparams").write_bytes(b"\0" * 40)
    with pytest.raises(WeightsError):
        import_paddle(source, tmp_path / "b")
    with pytest.raises(WeightsError, match="no such file or folder"):
        import_paddle(tmp_path / "gone", tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e"]


def test_a_bundle_is_replaced_only_when_told(tmp_path: Path) -> None:
    source = export(tmp_path / "e")
    import_paddle(source, tmp_path / "b")
    with pytest.raises(BundleError, match="a bundle already exists here"):
        import_paddle(source, tmp_path / "b")
    import_paddle(source, tmp_path / "b", overwrite=True)


def test_it_needs_neither_onnx_nor_torch(tmp_path: Path) -> None:
    export(tmp_path / "e")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "from tinysight.cli import main\nsys.exit(main(['models', 'import', 'e', '--out', 'b']))"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.code == 0, done.err
    assert Bundle.load(tmp_path / "b").manifest.task == "e"


def test_case_is_among_the_fixtures() -> None:
    assert own_path("programs", CASE).is_dir()


@pytest.fixture
def four(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A network of images with a fourth channel, channels last inside, and its weights: classes of the mean pixel."""
    weight = np.random.default_rng(0).normal(0, 1, (3, 4, 1, 1)).astype(np.float32)
    last = {"data_format": "NHWC"}
    pool = {"pooling_type": "avg", "global_pooling": True, "ksize": [1, 1], **last}
    slots = {"Input": ["t"], "Filter": ["w"]}
    window = {"strides": [1, 1], "paddings": [0, 0], "dilations": [1, 1], "groups": 1}
    steps = [
        operator("transpose2", {"X": ["x"]}, {"Out": ["t"], "XShape": ["s"]}, {"axis": [0, 2, 3, 1]}),
        operator("conv2d", slots, {"Output": ["c"]}, {**window, **last}),
        operator("pool2d", {"X": ["c"]}, {"Out": ["p"]}, pool),
        operator("flatten_contiguous_range", {"X": ["p"]}, {"Out": ["f"]}, {"start_axis": 1, "stop_axis": 3}),
        operator("softmax", {"X": ["f"]}, {"Out": ["y"]}, {"axis": -1}),
    ]  # fmt: skip
    folder = write_legacy(
        tmp_path / "four",
        steps,
        inputs={"x": [-1, 4, 32, 32]},
        outputs=["y"],
        weights={"w": weight},
        shapes={"y": [-1, 3]},
    )
    return folder, weight[:, :, 0, 0]


def test_images_with_a_fourth_channel_of_zeros(
    four: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    folder, weight = four
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixel = ((image / 255 - mean) / std).mean((0, 1))
    logits = weight @ np.append(pixel, 0)
    expected = np.exp(logits) / np.exp(logits).sum()
    deployed = tmp_path / "deploy.yaml"
    text = """
Global: {inference_model_dir: four, batch_size: 1}
PreProcess:
  transform_ops:
    - ResizeImage: {size: [32, 32]}
    - NormalizeImage: {scale: 1/255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: '', channel_num: 4}
    - ToCHWImage:
PostProcess: {main_indicator: Topk, Topk: {topk: 3}}
"""
    deployed.write_text(text, "utf-8")
    done = import_paddle(folder, tmp_path / "b", deploy=read_deploy_config(deployed))
    assert done.bundle.manifest.input.shape == (None, 4, 32, 32)
    found = Classifier(done.bundle)(image)
    order = np.argsort(-expected)
    assert list(found.class_ids) == list(order)
    np.testing.assert_allclose(found.scores, expected[order], rtol=0, atol=1.1e-5)
    usual = import_paddle(folder, tmp_path / "usual")
    assert usual.bundle.manifest.transforms[-1] == {"name": "append_channels", "channels": 4}
    assert any("append_channels 4" in note for note in usual.notes)
    topped = configured_bundle({"inference_model_dir": str(folder), "topk": 1}).bundle
    assert topped.manifest.transforms == usual.bundle.manifest.transforms
    deployed.write_text(text.replace("channel_num: 4", "channel_num: 3"), "utf-8")
    with pytest.raises(ConfigError, match="32 x 32 x 3, the network takes 32 x 32 x 4"):
        import_paddle(folder, tmp_path / "c", deploy=read_deploy_config(deployed))

"""A bundle's network in other engines' formats: written, run, compared, refused."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from support.bundles import SIDE, tiny_bundle, tiny_onnx
from support.tiny import make_images, tiny_recipe
from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import EngineVariant
from tinysight.cli import main
from tinysight.concurrency import usable_cores
from tinysight.engines import OnnxNetwork, get_engine, open_engine, open_variant
from tinysight.engines.base import convert
from tinysight.engines.ncnn import with_offsets
from tinysight.engines.onnxruntime import OnnxRuntime
from tinysight.errors import BundleError, ConfigError, ExportError, UnknownName
from tinysight.export.onnx import to_onnx
from tinysight.export.variants import (
    add_variants,
    breach,
    compare_variant,
    files_of,
    find_images,
    spread,
)
from tinysight.graph.onnx_file import Node, OnnxModel, Port
from tinysight.models import create_model
from tinysight.pipelines.pipeline import Classifier
from tinysight.tasks.embedding import EmbeddingTask
from tinysight.training import fit

WHEELS = {"ncnn": "pnnx", "mnn": "MNN", "executorch": "executorch", "litert": "litert_torch"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, dark to bright, and a list with the tiny bundle's labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(12):
        image = np.clip(rng.normal(20 * i, 15, (40, 48, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), image)
        lines.append(f"{i}.png {int(image.mean() > 127.5)}")
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def network() -> bytes:
    """A small PP-LCNet with HardSwish, depthwise convolutions and squeeze and excitation."""
    torch.manual_seed(0)
    model = create_model("pplcnet_x0_25", num_classes=2)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 32, 32))
        model.get_submodule(model.classifier_name).weight.mul_(30)  # scores that are not all alike
    return to_onnx(model.eval(), (3, 32, 32), opset=18, metadata={})


@pytest.fixture
def lcnet(tmp_path: Path, network: bytes) -> Bundle:
    """A bundle of it for images of 32 x 32."""
    tiny = tiny_bundle(tmp_path / "tiny").manifest
    manifest = tiny._replace(
        input=tiny.input._replace(shape=(None, 3, 32, 32)),
        transforms=({"name": "resize", "size": 32}, {"name": "normalize"}),
    )
    return Bundle.write(tmp_path / "lcnet", manifest, {MODEL: network})


def test_a_form_is_written_checked_and_run(tmp_path: Path, photos: Path) -> None:
    bundle = tiny_bundle(tmp_path / "model")
    (bundle.folder / "latency.json").write_text("{}", encoding="utf-8")  # not sealed, and kept
    done = add_variants(bundle, ["TorchScript", "pt2"], find_images(photos / "list.txt", 2))
    assert (done.folder / "latency.json").read_text("utf-8") == "{}"
    assert set(done.manifest.variants) == {"torchscript", "pt2"}
    form = done.manifest.variants["pt2"]
    assert form.files == ("model.pt2",)
    assert form.made_with == {"torch": torch.__version__}
    assert (form.images, form.label_flips, form.lost_points) == (12, 0, 0.0)
    assert form.max_score_difference < 1e-6
    assert Bundle.load(done.folder).manifest == done.manifest
    expected = [a for b in Classifier(done).predict(str(photos)) for a in b]
    for name in done.manifest.variants:
        found = [a for b in Classifier(done, engine=name).predict(str(photos)) for a in b]
        assert [a["label_names"] for a in found] == [a["label_names"] for a in expected]


@pytest.mark.slow
def test_openvino_in_every_precision(lcnet: Bundle, photos: Path) -> None:
    pytest.importorskip("openvino")
    found = find_images(photos, 2)
    for precision in ("fp32", "fp16", "bf16", "int8"):
        lcnet = add_variants(
            lcnet, ["openvino"], found, precision=precision, calibrate=found, max_loss=100
        )
    forms = lcnet.manifest.variants
    assert set(forms) == {"openvino", "openvino-fp16", "openvino-bf16", "openvino-int8"}
    size = {name: lcnet.manifest.files[form.files[1]].size for name, form in forms.items()}
    assert size["openvino-int8"] < size["openvino-fp16"] < size["openvino"]
    assert forms["openvino"].max_score_difference < 1e-5
    assert 1e-5 < forms["openvino-int8"].max_score_difference < 0.2
    assert forms["openvino-int8"].lost_points is None
    exact, form = (
        np.concatenate([s for _, s in Classifier(lcnet, engine=e, workers=3).scores(str(photos))])
        for e in ("openvino", "target/openvino")
    )
    np.testing.assert_allclose(form, exact, atol=1e-6)
    assert Classifier(lcnet, engine="target/openvino").workers == usable_cores() + 1
    bench = [
        "bench",
        str(lcnet.folder),
        "--engine",
        "openvino-int8",
        "--images",
        str(photos),
    ]
    assert main([*bench, "--no-sweep", "--seconds", "0"]) == 0


@pytest.mark.parametrize("name", sorted(WHEELS))
def test_engines_of_small_devices(lcnet: Bundle, photos: Path, name: str) -> None:
    pytest.importorskip(WHEELS[name])
    done = add_variants(lcnet, [name], find_images(photos, 2))
    form = done.manifest.variants[name]
    assert form.images == 12
    assert form.label_flips == 0
    assert form.max_score_difference < 1e-4


def test_a_form_that_answers_otherwise_is_refused_and_leaves_nothing(
    tmp_path: Path, photos: Path
) -> None:
    bundle = tiny_bundle(tmp_path / "model")
    before = {p.name: p.read_bytes() for p in bundle.folder.iterdir()}

    changed = OnnxNetwork(
        tiny_onnx().replace(np.float32(6).tobytes(), np.float32(5).tobytes()), (3, SIDE, SIDE)
    )
    wrong = get_engine("pt2").write(changed, "fp32", "model")
    right = add_variants(bundle, ["pt2"], find_images(photos, 2))
    files = {name: right.read(name) for name in right.manifest.files} | wrong
    broken = Bundle.write(tmp_path / "broken", right.manifest, files)
    images = np.full((1, 3, SIDE, SIDE), 0.5, np.float32)
    expected, scores = (open_variant(b, "pt2").run(images) for b in (right, broken))
    result = compare_variant(right.manifest.variants["pt2"], expected, scores)
    assert result.max_score_difference > 0.1
    assert re.search(
        r"scores differ by up to .* accepted: 0.001", str(breach("pt2", result, None, 0.5))
    )
    shutil.rmtree(bundle.folder)
    bundle = tiny_bundle(tmp_path / "model")
    with pytest.raises(ExportError, match="scores differ"):
        add_variants(bundle, ["torchscript"], find_images(photos, 2), limit=-1.0)
    assert {p.name: p.read_bytes() for p in bundle.folder.iterdir()} == before


def compared(precision: str, *scores: Any) -> EngineVariant:
    return compare_variant(EngineVariant(("x",), precision, 0, 0.0, 0.0, 0, None, {}), *scores)


def test_int8_is_judged_by_its_labels() -> None:
    before = np.array([[0.6, 0.4], [0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    after = np.array([[0.4, 0.6], [0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    unlabelled = compared("int8", before[:4], after[:4])
    assert (unlabelled.label_flips, unlabelled.lost_points) == (2, None)
    assert unlabelled.max_score_difference == pytest.approx(0.2)
    assert unlabelled.mean_score_difference == pytest.approx(0.1)
    assert "50.00 % of the labels change on 4 images" in str(breach("x", unlabelled, None, 0.5))
    labels = [0, 0, 0, 1, 0]  # one flip costs a label, the second mends one, the third costs one
    labelled = compared("int8", before[:4], after[:4], np.array(labels[:4]))
    assert labelled.lost_points == 0
    assert breach("x", labelled, None, 0.5) is None
    lost = compared("int8", before, after, np.array(labels))
    assert "20.00 points of accuracy are lost on 5 images" in str(breach("x", lost, None, 0.5))
    # Vectors: two of four find another first, one of them wrongly; the last identity has one image.
    exact = np.array([[1, 0], [0.96, 0.28], [0, 1], [0.28, 0.96], [-1, 0]], np.float32)
    other = exact.copy()
    other[1] = [0.28, 0.96]
    ids, variant = (
        np.array([1, 1, 2, 2, 3]),
        EngineVariant(("x",), "int8", 0, 0.0, 0.0, 0, None, {}),
    )
    found = compare_variant(variant, exact, other, ids, EmbeddingTask())
    assert found.lost_points == pytest.approx(100 * 3 / 4)
    assert found.label_flips == 3
    assert compare_variant(variant, exact, exact, ids, EmbeddingTask()).lost_points == 0.0
    assert compare_variant(variant, exact, other, None, EmbeddingTask()).lost_points is None
    assert breach("x", lost, None, 20) is None
    assert "scores differ by up to 0.2" in str(breach("x", lost, 0.1, 20))


def test_scores_that_are_no_numbers_are_refused() -> None:
    for precision in ("fp32", "int8"):
        result = compared(precision, np.array([[0.5, 0.5]]), np.array([[np.nan, 0.5]]))
        assert breach("x", result, None, 100.0)


def test_what_cannot_be_asked_for(tmp_path: Path, photos: Path) -> None:
    bundle, found = tiny_bundle(tmp_path / "model"), find_images(photos, 2)
    with pytest.raises(UnknownName, match="did you mean 'torchscript'"):
        add_variants(bundle, ["torchskript"], found)
    with pytest.raises(ConfigError, match="pt2 is not written in int8 here; it has fp32"):
        add_variants(bundle, ["pt2"], found, precision="int8")
    with pytest.raises(ConfigError, match="int8 needs typical images"):
        add_variants(bundle, ["onnx"], found, precision="int8")
    with pytest.raises(ConfigError, match="there is no int4"):
        add_variants(bundle, ["pt2"], found, precision="int4")
    with pytest.raises(ExportError, match="none of the images can be read"):
        add_variants(bundle, ["pt2"], files_of([tmp_path / "absent.png"]))
    assert add_variants(bundle, ["onnx"], found) is bundle
    for name in ("ncnn", "target/ncnn", "openvino-int8", "target/openvino"):
        with pytest.raises(BundleError, match="has no variant .*it has: none"):
            open_engine(bundle, name)
    for name in ("openvinoo", "target/openvinoo", "openvinoo-int8"):
        with pytest.raises(
            UnknownName, match="unknown engine 'openvinoo'; did you mean 'openvino'"
        ):
            open_engine(bundle, name)


def test_a_converter_that_fails_says_why() -> None:
    def run(code: str, seconds: float = 60) -> None:
        convert("ncnn", [sys.executable, "-c", code], b"", {"a": "b"}, seconds)

    with pytest.raises(ExportError, match="its converter ends with 3: no such layer"):
        run("print('no such layer'); exit(3)")
    with pytest.raises(ExportError, match="its converter ends with 0: done"):
        run("print('done')")
    with pytest.raises(ExportError, match="has not ended"):
        run("while True: pass", 0.5)


def test_the_command(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tiny_bundle(tmp_path / "model").folder)
    assert (
        main(["export", "--bundle", folder, "--to", "pt2", "--images", f"{photos}/list.txt"]) == 0
    )
    said = capsys.readouterr().out
    assert "pt2 " in said
    assert "12 images" in said
    assert "0 labels differ, 0.00 points lost" in said
    assert main(["export", "--bundle", folder, "--to", "pt2"]) == 2
    assert "--images" in capsys.readouterr().err
    assert main(["export", "--bundle", folder]) == 2


@pytest.mark.slow
def test_a_run_with_its_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny_recipe(make_images(tmp_path / "data"), "train.epochs=1")
    fit(recipe, tmp_path / "run", progress=False)
    assert main(["export", "--run", str(tmp_path / "run"), "--to", "torchscript"]) == 0
    assert "torchscript" in capsys.readouterr().out
    form = Bundle.load(tmp_path / "run" / "bundle").manifest.variants["torchscript"]
    assert form.images == 8
    assert form.lost_points == 0


@pytest.mark.slow
def test_a_copy_of_a_bundle_that_came_with_the_package(tmp_path: Path, photos: Path) -> None:
    shipped, found = Bundle.load("clarity_assessment"), spread(find_images(photos, 2), 2)
    with pytest.raises(ConfigError, match="stays as it is; name a folder for a copy"):
        add_variants(shipped, ["pt2"], found)
    copy = add_variants(shipped, ["pt2"], found, out=tmp_path / "copy")
    assert copy.folder == tmp_path / "copy"
    assert copy.manifest._replace(variants={}, files={}) == shipped.manifest._replace(files={})


def test_every_linear_layer_gets_an_offset_for_ncnn() -> None:
    graph = OnnxModel(
        nodes=(
            Node("Flatten", ("images",), ("flat",), {"axis": 1}),
            Node("Gemm", ("flat", "weight"), ("scores",), {}),
        ),
        constants={"weight": np.ones((12, 5), np.float32)},
        inputs=(Port("images", np.dtype(np.float32), ("N", 3, 2, 2)),),
        outputs=(Port("scores", np.dtype(np.float32), ("N", 5)),),
        opset=18,
    )
    made = with_offsets(graph)
    assert made.constants[made.nodes[1].inputs[2]].tolist() == [0] * 5
    images = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    assert OnnxRuntime(made.to_bytes()).run(images).tolist() == [[66.0] * 5]
    assert with_offsets(made).nodes == made.nodes

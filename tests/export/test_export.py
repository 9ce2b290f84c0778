"""From a run to a bundle: the graph, the certificate, and nothing left after a failure."""

from __future__ import annotations

import copy
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from support.commands import python
from support.tiny import LABELS, make_images, recipe_tree, tiny_recipe
from tinysight.bundle import CARD, MANIFEST, MODEL, Bundle
from tinysight.certificate.compare import installed_engines
from tinysight.certificate.record import read_certificate
from tinysight.certificate.verify import verify
from tinysight.cli import main
from tinysight.config import recipe_yaml
from tinysight.config.load import check_tree
from tinysight.errors import BundleError, CheckpointError, ConfigError, ExportError
from tinysight.export.bundle import (
    compare_images,
    export_bundle,
    shipped_transforms,
    torch_side,
)
from tinysight.export.onnx import to_onnx
from tinysight.files import sha256
from tinysight.models import create_model
from tinysight.pipelines.pipeline import Classifier
from tinysight.registry import engines
from tinysight.tasks.base import task_of_target
from tinysight.training import fit, load_predictor
from tinysight.training.checkpoint import load_checkpoint, save_checkpoint
from tinysight.training.predictor import predictor
from tinysight.transforms import Compose


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two short epochs."""
    root = tmp_path_factory.mktemp("run")
    recipe = tiny_recipe(
        make_images(root / "data"),
        "export.postprocess={name: threshold, threshold: 0.5, positive: blue}",
        "description=Red or blue?",
    )
    fit(recipe, root / "run", progress=False)
    return root / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        return export_bundle(run, run.parent / "bundle", licence="CC0-1.0")


def test_the_certificate(run: Path, bundle: Bundle) -> None:
    parity = bundle.manifest.parity
    assert parity is not None
    assert parity.images == 8
    assert 0 <= parity.max_score_difference < 1e-5
    assert parity.label_flips == 0
    assert set(parity.engines) == {"torch", "onnxruntime"}
    recorded = read_certificate(bundle)
    assert recorded is not None
    certificate, reference = recorded
    assert certificate.origin == f"torch {torch.__version__}"
    assert certificate.engines[0].engine == "onnxruntime"
    for one in certificate.engines:
        assert one.total.images == len(reference) >= 300
        assert one.total.label_flips == 0
        assert one.total.max_score_difference < 1e-4
    assert "| all | 335 | 0 flips" in (bundle.folder / CARD).read_text("utf-8")
    assert verify(bundle).problems == ()


WRONG = """
import sys
from tinysight.cli import main
from tinysight.registry import transforms
from tinysight.transforms.photometric import Normalize

class Forgetful(Normalize):  # of dark images; the fast way to the network does not ask it
    def __call__(self, image, rng=None):
        return super().__call__(image if image.mean() > 60 else image * 0)

transforms.register('forgetful')(Forgetful)
sys.exit(main(sys.argv[1:]))
"""


def test_a_broken_transform_makes_the_export_fail(run: Path, tmp_path: Path) -> None:
    """The evaluation images are bright and do not notice; the certificate's files do."""
    checkpoint = load_checkpoint(run / "checkpoints" / "best.safetensors")
    tree = copy.deepcopy(checkpoint.recipe)
    tree["transforms"]["eval"][-1]["name"] = "forgetful"
    save_checkpoint(tmp_path / "c.safetensors", replace(checkpoint, recipe=tree))
    done = python(
        "-c", WRONG, "export", "--run", tmp_path / "c.safetensors", "--out", tmp_path / "out"
    )
    assert done.code == 2, done.err
    assert f"certificate of {tmp_path / 'out'}: " in done.err
    assert "onnxruntime, tiny: " in done.err
    assert "accepted are 0 and 0.001" in done.err
    assert not (tmp_path / "out").exists()


def test_the_manifest_says_where_it_comes_from(run: Path, bundle: Bundle) -> None:
    manifest = bundle.manifest
    predictor, recipe = load_predictor(run)
    assert manifest.task == "tiny"
    assert manifest.labels == LABELS
    assert manifest.input.shape == (None, 3, 32, 32)
    assert list(manifest.transforms) == [t.spec for t in recipe.transforms.eval]
    assert manifest.postprocess == recipe.export.postprocess.spec
    assert manifest.threshold is not None
    assert (manifest.threshold.value, manifest.threshold.interval) == (0.5, None)
    assert "recipe" in manifest.threshold.chosen
    assert set(manifest.metrics) == {"top1"}
    assert manifest.recipe["sha256"] == sha256(recipe_yaml(recipe).encode())
    assert manifest.recipe["epoch"] in (1, 2)
    best = run / "checkpoints" / "best.safetensors"
    assert manifest.recipe["checkpoint_sha256"] == sha256(best.read_bytes())
    assert {"tinysight", "torch", "onnx", "onnxruntime", "numpy", "cv2"} < set(manifest.made_with)
    assert manifest.created == "1970-01-01T00:00:00Z"
    card = (bundle.folder / CARD).read_text("utf-8")
    for words in (
        "Red or blue?",
        "0 red, 1 blue",
        "CC0-1.0",
        "top1",
        "8 images",
        "pplcnet_x0_25",
    ):
        assert words in card


def test_the_bundle_answers_as_the_network(run: Path, bundle: Bundle) -> None:
    """By another path than the certificate's: arrays straight into both."""
    predict, _ = load_predictor(run)
    session = engines.build({"name": "onnxruntime"}, model=bundle.model, threads=1)
    for count in (1, 2, 5):
        x = np.random.default_rng(count).normal(size=(count, 3, 32, 32)).astype(np.float32)
        assert session.run(x) == pytest.approx(predict(x), abs=1e-5)
        assert session.run(x).sum(axis=1) == pytest.approx(np.ones(count), abs=1e-6)


def test_the_graph_is_clean(bundle: Bundle) -> None:
    model = onnx.load_from_string(bundle.model)
    onnx.checker.check_model(model, full_check=True)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["BatchNormalization"] == 0, "folded into the convolutions"
    assert kinds["HardSwish"] > 20, "one operator, not five"
    assert kinds["HardSigmoid"] == 2
    assert not {"Clip", "Div", "Identity", "Shape", "Constant"} & set(kinds)
    assert model.graph.node[-1].op_type == "Softmax"
    assert [i.name for i in model.graph.input] == ["images"]
    assert [o.name for o in model.graph.output] == ["scores"]
    assert not any(t.data_location for t in model.graph.initializer), "no second file"
    assert {p.key: p.value for p in model.metadata_props} == {
        "task": "tiny",
        "labels": '["red", "blue"]',
    }
    assert b"/src/tinysight" not in bundle.model, "nothing of the machine that made it"
    assert b"site-packages" not in bundle.model


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes(
    run: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    again = export_bundle(run, tmp_path / "again", licence="CC0-1.0")
    for file in (MODEL, MANIFEST, CARD):
        assert (again.folder / file).read_bytes() == (bundle.folder / file).read_bytes()


def test_a_breach_leaves_what_was_there(run: Path, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "out")
    with pytest.raises(ExportError, match="accepted are -1"):
        export_bundle(run, tmp_path / "out", tolerance=-1, overwrite=True)
    assert Bundle.load(tmp_path / "out").model == bundle.model
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_nothing_is_overwritten_unasked(run: Path, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="--force"):
        export_bundle(run, bundle.folder)


@pytest.mark.slow
def test_without_images_there_is_no_proof(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "checkpoint.safetensors"
    shutil.copy(run / "checkpoints" / "best.safetensors", moved)
    data = run.parent / "data"
    try:
        data.rename(run.parent / "elsewhere")
        with pytest.raises(ExportError, match="name images with --images"):
            export_bundle(moved, tmp_path / "out")
        bundle = export_bundle(moved, tmp_path / "out", images=run.parent / "elsewhere")
    finally:
        (run.parent / "elsewhere").rename(data)
    assert bundle.manifest.parity is not None
    assert bundle.manifest.parity.images == 29
    assert bundle.manifest.metrics == {}, "nobody measured this file"


def test_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run or checkpoint"):
        export_bundle(tmp_path / "nowhere", tmp_path / "out")


def recipe_with(tmp_path: Path, *steps: dict[str, object]) -> object:
    tree = recipe_tree(tmp_path)
    tree["transforms"]["eval"] = [*steps, *tree["transforms"]["eval"]]
    recipe, problems = check_tree(tree)
    assert not problems
    return recipe


def test_a_step_that_makes_labels_does_not_ship(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, {"name": "random_blur"})
    assert [s["name"] for s in shipped_transforms(recipe)] == ["resize", "normalize"]


def test_a_random_step_does_not_ship(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"transforms.eval.0: random_flip is random"):
        shipped_transforms(recipe_with(tmp_path, {"name": "random_flip"}))


def test_the_verb(
    run: Path, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = run.parent / "data"
    own = tmp_path / "own"
    own.mkdir()
    (own / "broken.png").write_bytes(b"no image")
    shutil.copy(data / "train_0.png", own)
    out = tmp_path / "bundle"
    shutil.copytree(bundle.folder, out)
    words = ["export", "--run", str(run), "--out", str(out), "--images", str(own)]
    assert main(words) == 2
    assert "pass --force to replace it" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    shown = capsys.readouterr()
    assert "parity     9 images" in shown.out
    assert "certified  onnxruntime: 335 files, scores within " in shown.out
    assert "top1" in shown.out
    assert shown.err == ""
    (answer,) = next(Classifier(out).predict(data / "val_1.png"))
    assert answer["label_names"][0] in LABELS


class Scaled(nn.Module):
    """A network that does not answer as its export does: it changes between two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


def test_the_check_notices_another_network(run: Path, bundle: Bundle) -> None:
    images = list(map(str, sorted((run.parent / "data").glob("val_*.png"))))
    torch.manual_seed(0)
    other = predictor(Scaled().eval(), task_of_target("class"))
    transforms = Compose.from_specs(bundle.manifest.transforms)
    shipped = installed_engines(bundle)[0]["onnxruntime"]
    found = compare_images(torch_side(other, transforms, bundle.manifest), shipped, images)
    assert found.max_score_difference > 0.01


def test_a_post_processor_of_other_networks_is_refused(run: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run / "checkpoints" / "best.safetensors")
    export = {**checkpoint.recipe["export"], "postprocess": {"name": "boxes", "threshold": 0.5}}
    changed = replace(checkpoint, recipe={**checkpoint.recipe, "export": export})
    save_checkpoint(tmp_path / "other.safetensors", changed)
    with pytest.raises(ConfigError, match=r"export.postprocess: boxes: .*topk"):
        export_bundle(tmp_path / "other.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_any_number_of_images_and_another_shape() -> None:
    torch.manual_seed(0)
    model = create_model("pplcnet_x0_25", num_classes=3, use_last_conv=False).eval()
    session = engines.build(
        {"name": "onnxruntime"},
        model=to_onnx(model, (3, 64, 96), opset=18, metadata={}),
        threads=1,
    )
    for count in (1, 3):
        x = torch.randn(count, 3, 64, 96)
        with torch.no_grad():
            expected = torch.softmax(model(x), 1).numpy()
        assert session.run(x.numpy()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["class", "multilabel"])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_several_labels_end_in_sigmoid_and_a_temperature_comes_before(
    target: str, temperature: float
) -> None:
    torch.manual_seed(0)
    model = create_model("pplcnet_x0_25", num_classes=3, use_last_conv=False).eval()
    task = task_of_target(target)
    exported = to_onnx(
        model,
        (3, 64, 64),
        opset=18,
        metadata={},
        activation=task.activation,
        temperature=temperature,
    )
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(x) / temperature
    expected = torch.softmax(logits, 1) if target == "class" else torch.sigmoid(logits)
    session = engines.build({"name": "onnxruntime"}, model=exported, threads=1)
    assert session.run(x.numpy()) == pytest.approx(expected.numpy(), abs=1e-5)
    assert predictor(model, task, temperature)(x.numpy()) == pytest.approx(
        expected.numpy(), abs=1e-6
    )
    nodes = Counter(n.op_type for n in onnx.load_from_string(exported).graph.node)
    assert nodes["Sigmoid" if target == "multilabel" else "Softmax"] >= 1
    assert nodes["Div"] == 0  # the temperature is folded into the classifier's weights


@pytest.mark.slow
def test_branches_of_the_training_form_are_folded() -> None:
    torch.manual_seed(0)
    model = create_model("pplcnetv2_small", num_classes=2).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exported = to_onnx(model, (3, 64, 64), opset=18, metadata={})
    proto = onnx.load_from_string(exported)
    assert Counter(n.op_type for n in proto.graph.node)["Add"] <= 2  # none of the branches' sums
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = torch.softmax(model(x), 1).numpy()
    session = engines.build({"name": "onnxruntime"}, model=exported, threads=1)
    assert session.run(x.numpy()) == pytest.approx(expected, abs=1e-5)
    assert model.state_dict().keys() == before.keys()  # the network itself can train on
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_scores_may_be_exported_as_they_are_before_the_softmax(
    run: Path, bundle: Bundle, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(run / "checkpoints" / "best.safetensors")

    def changed(**export: object) -> Path:
        path = tmp_path / "changed.safetensors"
        tree = {**checkpoint.recipe, "export": {**checkpoint.recipe["export"], **export}}
        save_checkpoint(path, replace(checkpoint, recipe=tree))
        return path

    topk = {"name": "topk", "k": 2}
    raw = export_bundle(changed(probabilities=False, postprocess=topk), tmp_path / "raw")
    image = np.random.default_rng(0).standard_normal((2, *bundle.manifest.input.shape[1:]))
    found = [
        engines.build({"name": "onnxruntime"}, model=b.read(MODEL), threads=1).run(
            image.astype(np.float32)
        )
        for b in (raw, bundle)
    ]
    powers = np.exp(found[0])
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), found[1], atol=1e-5)
    assert abs(found[0].sum(1) - 1).min() > 1e-3
    with pytest.raises(ConfigError, match="threshold: the results of this task are not its input"):
        export_bundle(changed(probabilities=False), tmp_path / "no")

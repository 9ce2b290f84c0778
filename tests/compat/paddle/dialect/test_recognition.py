"""Recognition in PaddleClas' language: networks, samplers, data sets and evaluation, and a run of each kind."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.commands import execute
from support.environments import PADDLECLAS, environment
from support.paddleclas import CONFIGS, published
from tinysight.cli import main
from tinysight.compat.paddle.dialect import read_config
from tinysight.compat.paddle.dialect.tree import read_tree
from tinysight.config import load_recipe, minimal_yaml
from tinysight.data.lists import read_split
from tinysight.errors import ConfigError, DataError
from tinysight.files import to_yaml
from tinysight.registry import engines

TEXT = """
Global:
  epochs: 2
  output_dir: ./output/
  image_shape: [3, 32, 32]
  save_inference_dir: ./inference
  eval_mode: retrieval
  retrieval_feature_from: features
  re_ranking: False
Arch:
  name: RecModel
  infer_output_key: features
  infer_add_softmax: False
  Backbone: {name: PPLCNet_x0_25, pretrained: False}
  BackboneStopLayer: {name: flatten}
  Neck: {name: FC, embedding_size: 1280, class_num: 16}
  Head: {name: ArcMargin, embedding_size: 16, class_num: 4, margin: 0.2, scale: 30}
Loss:
  Train:
    - CELoss: {weight: 1.0}
    - TripletLossV2: {weight: 0.5, margin: 0.3, normalize_feature: False, feature_from: backbone}
    - CenterLoss: {weight: 0.0005, num_classes: 4, feat_dim: 1280, feature_from: backbone}
Optimizer:
  - Adam: {scope: RecModel, lr: {name: ConstLR, learning_rate: 0.001}, regularizer: {name: L2, coeff: 0.0005}}
  - SGD: {scope: CenterLoss, lr: {name: ConstLR, learning_rate: 100.0}}
DataLoader:
  Train:
    dataset: &images
      name: VeriWild
      image_root: ./images/
      cls_label_path: ./images/train_list.txt
      transform_ops:
        - DecodeImage: {to_rgb: True, channel_first: False}
        - ResizeImage: {size: 32}
        - NormalizeImage: {scale: 0.00392157, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], order: ''}
    sampler: {name: PKSampler, batch_size: 4, sample_per_id: 2, sample_method: id_avg_prob, drop_last: True}
    loader: {num_workers: 0, use_shared_memory: True}
  Eval:
    Query:
      dataset: {<<: *images, cls_label_path: ./images/query.txt}
      sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: False}
    Gallery:
      dataset: {<<: *images, cls_label_path: ./images/gallery.txt}
      sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: False}
Metric:
  Eval:
    - Recallk: {topk: [1, 5]}
    - mAP: {}
"""


def make_images(root: Path) -> Path:
    """Four identities of four images each, seen by two cameras; every list has all of its own."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    lines: dict[str, list[str]] = {"train_list": [], "query": [], "gallery": []}
    for i in range(16):
        identity, camera = i % 4, i // 4 % 2
        colour = np.array([(40, 40, 200), (200, 40, 40), (40, 200, 40), (200, 200, 40)][identity])
        image = (colour + rng.integers(-40, 40, (40, 40, 3))).astype(np.uint8)
        cv2.imwrite(str(root / f"{i}.jpg"), image)
        line = f"{i}.jpg {identity} {camera}\n"
        lines["train_list"].append(line)
        lines["gallery" if i % 8 < 4 else "query"].append(line)
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("".join(rows), "utf-8")
    return root


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images")
    (tmp_path / "demo.yaml").write_text(TEXT, "utf-8")
    return tmp_path


def test_a_configuration_becomes_a_recipe(folder: Path) -> None:
    found = read_config(Path("demo.yaml"))
    recipe = found.recipe
    data, train = recipe.data, recipe.train
    assert (data.target, data.labels, data.sampler.name) == ("identity", 4, "pk")
    assert data.sampler.spec["choose"] == "uniform"
    split = data.first_eval
    assert (split.query, split.gallery) == (("query.txt",), ("gallery.txt",))
    assert [(t.name, t.spec["of"], t.spec["weight"]) for t in recipe.losses] == [
        ("cross_entropy", "logits", 1.0), ("triplet", "pooled", 0.5), ("center", "pooled", 0.0005),
    ]  # fmt: skip
    assert train.loss_optimizer is not None
    assert (train.optimizer.name, train.lr) == ("adam", 0.001)
    assert (train.loss_optimizer.optimizer.name, train.loss_optimizer.lr) == ("sgd", 100.0)
    metric = recipe.metrics[0].spec
    assert metric["measures"] == ["recall", "mAP"]
    assert (metric["k"], metric["masked"], metric["average_blocks"]) == ([1, 5], "zero", 64)
    native = folder / "native.yaml"
    native.write_text(minimal_yaml(recipe), "utf-8")
    assert load_recipe(native) == recipe


def changed(folder: Path, *overrides: str) -> Any:
    return read_config(folder / "demo.yaml", overrides).recipe


EVAL, TRAIN = "DataLoader.Eval", "DataLoader.Train"


def test_the_options_of_networks_and_samplers(folder: Path) -> None:
    recipe = changed(
        folder, "Arch.BackboneStopLayer.name=adaptive_avg_pool2d_0",
        "Optimizer={'name': 'Momentum', 'lr': {'learning_rate': 0.1}}",
        "Arch.Neck={'name': 'VehicleNeck', 'in_channels': 256, 'out_channels': 8}",
        "Arch.Head={'name': 'CircleMargin', 'margin': 0.35, 'scale': 64, 'embedding_size': 8}",
        "Global.class_num=4", "Loss.Train=[{'SupConLoss': {'weight': 3.0, 'views': 2}}]",
        f"{TRAIN}.sampler={{'name': 'DistributedRandomIdentitySampler', 'batch_size': 4, 'num_instances': 2, "
        "'max_iters': 3}",
        "Global.feature_binarize=sign", "Global.feature_normalize=False", "Global.sim_block_size=7",
    )  # fmt: skip
    assert recipe.model.backbone.spec["use_last_conv"] is False
    assert recipe.model.neck.spec == {"name": "conv", "features": 8}
    assert recipe.data.labels == 4
    sampler = recipe.data.sampler.spec
    assert (sampler["choose"], sampler["fill"], sampler["epoch_batches"]) == ("cover", True, 3)
    (term,) = recipe.losses  # a lone one is not weighted
    assert (term.name, term.spec["weight"]) == ("supcon", 1.0)
    metric = recipe.metrics[0].spec
    assert (metric["binarize"], metric["average_blocks"]) == ("sign", 7)
    bias = changed(
        folder,
        "Arch.Neck={'name': 'BNNeck', 'num_features': 1280}",
        "Arch.Head.embedding_size=1280",
    )
    assert bias.model.neck.spec["train_bias"] is True  # as its class alone has it
    plain = (
        "Global.retrieval_feature_from=backbone",
        "Arch.Neck=None",
        "Arch.Head.embedding_size=1280",
    )
    assert changed(folder, *plain).model.neck is None  # the two are one
    one = changed(folder, f"{EVAL}.Query.dataset.cls_label_path=./images/gallery.txt")
    assert one.data.first_eval.list == "gallery.txt"  # the same images twice are one search


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Arch.BackboneStopLayer.name=bn1", "the output of bn1 is not available"),
        ("Arch.BackboneStopLayer=None", "Arch.Neck: comes behind a backbone with its classifier"),
        ("Arch.Neck.name=Tanh", "Arch.Neck.name: Tanh: only behind a backbone with its classifier"),
        ("Arch.Head.name=ArcMargins", "unknown head 'ArcMargins'; did you mean 'ArcMargin'?"),
        ("Arch.Head.margn=1", "Arch.Head.margn: unknown key; did you mean 'margin'?"),
        ("Arch.Backbone.stem_act=gelu", "Arch.Backbone.stem_act: only relu"),
        ("Global.retrieval_feature_from=backbone", "the output behind the neck"),
        ("Global.feature_normalize=False", "embeddings have length 1 here"),
        (f"{TRAIN}.sampler.id_list=[0, 3]", "2 bounds for 0 ratios"),
        (f"{EVAL}={{'Query': {{}}}}", "DataLoader.Eval.Gallery: is needed"),
        ("Metric.Eval=[{'TopkAcc': {}}]", "is not for eval_mode: retrieval"),
        ("Optimizer.1.SGD.scope=Backbone", "one optimiser for the network, and one for the losses"),
        (f"{TRAIN}.dataset.bbox_crop=True", "`tinysight data prepare` crops once"),
        (f"{TRAIN}.sampler.name=NaiveIdentityBatchSampler", "metabin"),
    ],
)
def test_what_is_refused(folder: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(folder, override)
    assert message in str(caught.value)


BINARY = {  # a backbone with its classifier, whose outputs are the embedding
    "variant": ("PPLCNet_x2_5_Tanh", None, True),
    "neck": ("ResNet18", {"name": "Tanh"}, True),
    "plain": ("PPLCNet_x0_25", None, False),
}


def whole_backbone(which: str) -> list[str]:
    name, neck, _ = BINARY[which]
    arch = {
        "name": "RecModel", "infer_output_key": "features", "infer_add_softmax": False,
        "Backbone": {"name": name, "class_num": 16}, "Head": {"name": "FC", "embedding_size": 16, "class_num": 4},
    }  # fmt: skip
    return [
        f"Arch={arch | ({'Neck': neck} if neck else {})}",
        "Loss.Train=[{'CELoss': {'weight': 1.0}}]",
    ]


@pytest.mark.parametrize("which", BINARY)
def test_a_backbone_with_its_classifier(folder: Path, which: str) -> None:
    recipe = changed(
        folder,
        *whole_backbone(which),
        "Optimizer={'name': 'Momentum', 'lr': {'learning_rate': 0.1}}",
    )
    tanh = {"tanh": BINARY[which][2]}
    assert recipe.model.neck.spec == {"name": "fc", "features": 16, "bias": True, **tanh}
    of = "Loss.Train=[{'TripletLossV2': {'margin': 0.3, 'feature_from': 'backbone'}}]"
    with pytest.raises(ConfigError, match="stops before its classifier"):
        changed(folder, *whole_backbone(which), of)


def test_folders_of_re_identification(folder: Path) -> None:
    """Market-1501's: identity and camera are in the names; -1 is junk, 0 a distractor."""
    root = folder / "market1501" / "Market-1501-v15.09.15"
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000001_01.jpg", "0007_c3s1_1.jpg"],
        "query": ["0100_c1s1_1.jpg"],
        "bounding_box_test": ["0100_c2s1_1.jpg", "0000_c1s1_1.jpg", "-1_c1s1_1.jpg", "Thumbs.db"],
    }  # fmt: skip
    for name, files in names.items():
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).write_bytes(b"")
    data = {"name": "Market1501", "image_root": "./", "backend": "pil"}
    ops = [
        {"ResizeImage": {"size": 32}},
        {"ToTensor": None},
        {"Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}},
    ]
    sets = {
        where: {**data, "cls_label_path": name, "transform_ops": ops}
        for where, name in zip((TRAIN, f"{EVAL}.Query", f"{EVAL}.Gallery"), names, strict=True)
    }  # fmt: skip
    recipe = changed(folder, *(f"{where}.dataset={value}" for where, value in sets.items()))
    train = read_split(recipe.data, recipe.data.train)
    assert (train.labels.tolist(), train.roles()["cameras"].tolist()) == ([0, 0, 1], [1, 2, 3])
    found = read_split(recipe.data, recipe.data.first_eval)
    assert found.labels.tolist() == [100, 0, 100]
    assert found.roles()["cameras"].tolist() == [1, 1, 2]
    (root / "query" / "person.jpg").write_bytes(b"")
    with pytest.raises(
        DataError, match="1 images are not named by identity and camera: person.jpg"
    ):
        read_split(recipe.data, recipe.data.first_eval)


@pytest.mark.slow
def test_it_trains_is_evaluated_and_exported_by_its_commands(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = ["-o", "Global.pretrained_model=output/RecModel/best_model"]
    assert main(["train", "-c", "demo.yaml", "-o", "Global.epochs=1"]) == 0
    assert main(["eval", "-c", "demo.yaml", *weights]) == 0
    assert main(["export", "-c", "demo.yaml", *weights]) == 0
    assert main(["predict", "images/0.jpg", "--model", "inference", "--json"]) == 0
    shown = capfd.readouterr().out
    assert "recall1" in shown
    assert (folder / "inference" / "model.onnx").is_file()
    line = json.loads((folder / "output" / "RecModel" / "metrics.jsonl").read_text())
    assert list(line["metrics"]) == ["recall1", "recall5", "mAP"]
    assert list(line["terms"]) == ["cross_entropy", "triplet", "center"]
    logging.getLogger("tinysight").handlers.clear()


THEIRS = """
import sys
import numpy as np
import paddle
import yaml
from paddleclas.ppcls.arch import RecModel

arch = yaml.safe_load(open("demo.yaml"))["Arch"]
del arch["name"]
paddle.seed(0)
model = RecModel(**arch)
for name, value in model.state_dict().items():
    if name.endswith("_mean"):
        value.set_value(paddle.randn(value.shape) * 0.1)
model.eval()
paddle.save(model.state_dict(), "theirs.pdparams")
np.save("features.npy", model(paddle.to_tensor(np.load("x.npy")))["features"].numpy())
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", BINARY)
def test_weights_of_a_backbone_with_its_classifier(folder: Path, which: str) -> None:
    """Those that PaddleClas has drawn, through `export`: the vectors are its own, of length 1."""
    python = environment("paddleclas", *PADDLECLAS)
    words = [*whole_backbone(which), "Optimizer={'name': 'Momentum', 'lr': {'learning_rate': 0.1}}"]
    tree = read_tree(folder / "demo.yaml", words)
    (folder / "demo.yaml").write_text(to_yaml(tree), "utf-8")
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    np.save(folder / "x.npy", x)
    (folder / "theirs.py").write_text(THEIRS, "utf-8")
    done = execute(
        [python, "-W", "ignore", "theirs.py"], cwd=folder, HOME=str(folder), PYTHONPATH=None
    )
    assert done.code == 0, done.err[-3000:]
    weights = "Global.pretrained_model=theirs"
    assert main(["export", "-c", "demo.yaml", "-o", weights]) == 0
    session = engines.build(
        {"name": "onnxruntime"}, model=(folder / "inference" / "model.onnx").read_bytes(), threads=1
    )
    expected = np.load(folder / "features.npy")
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(session.run(x), expected, rtol=0, atol=1e-5)


PUBLISHED = [
    path
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if "RecModel" in str(read_tree(path).get("Arch"))
]


@published
@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_a_published_one_does_too(path: Path, folder: Path) -> None:
    """By the configuration as it is, but for paths, numbers and sizes."""
    tree, size = read_tree(path), "64" if "reid" not in str(path) else "[32, 64]"
    members = enumerate(tree["Arch"].get("models", ()))
    places = [f"Arch.models.{i}.{name}" for i, member in members for name in member] or ["Arch"]
    options = [
        "Global.epochs=1", "Global.eval_interval=1",
        f"{TRAIN}.sampler.batch_size=4", f"{TRAIN}.loader.num_workers=0",
        *(f"{place}.Backbone.pretrained=False" for place in places),
        *(f"{place}.Head.class_num=4" for place in places),
    ]  # fmt: skip
    sampler = tree["DataLoader"]["Train"]["sampler"]
    if "sample_per_id" in sampler:
        options += [
            f"{TRAIN}.sampler.sample_per_id=2",
            f"{TRAIN}.sampler.id_list=[]",
            f"{TRAIN}.sampler.ratio=[]",
        ]
    if "num_instances" in sampler:
        options.append(f"{TRAIN}.sampler.num_instances=2")
    lists = {TRAIN: "train_list", f"{EVAL}.Query": "query", f"{EVAL}.Gallery": "gallery"}
    for where, name in lists.items():
        options += [
            f"{where}.dataset.image_root=images",
            f"{where}.dataset.cls_label_path=images/{name}.txt",
        ]
        options.append(f"{where}.dataset.name=VeriWild")
        part = tree
        for key in where.split("."):
            part = part[key]
        for i, op in enumerate(part["dataset"]["transform_ops"]):
            for operator, values in op.items():
                if "size" in (values or {}):
                    options.append(f"{where}.dataset.transform_ops.{i}.{operator}.size={size}")
    words = [word for option in options for word in ("-o", option)]
    weights = ["-o", f"Global.pretrained_model=output/{tree['Arch']['name']}/best_model"]
    assert main(["train", "-c", str(path), *words]) == 0
    assert main(["eval", "-c", str(path), *words, *weights]) == 0
    assert main(["export", "-c", str(path), *words, *weights]) == 0
    assert (folder / "inference" / "model.onnx").is_file()
    logging.getLogger("tinysight").handlers.clear()


@published
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_a_published_one_becomes_a_recipe(path: Path) -> None:
    recipe = read_config(path).recipe
    assert recipe.model.head is not None
    assert recipe.metrics[0].spec["measures"][0] == "recall"

"""From PaddleClas' language to ours: what each key becomes, what is said, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from support.paddleclas import write_deployed, write_training
from tinysight.compat.paddle.dialect import read_config, translate
from tinysight.config import load_recipe, minimal_yaml
from tinysight.errors import ConfigError

OPS = "DataLoader.Train.dataset.transform_ops"


def recipe(folder: Path, *overrides: str) -> dict[str, Any]:
    return load_recipe(write_training(folder), overrides).model_dump(mode="json")


def notes(folder: Path, *overrides: str) -> str:
    return "\n".join(translate(write_training(folder), overrides).notes)


def problems(folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(write_training(folder), overrides)
    return str(caught.value)


def test_the_whole_of_a_small_configuration(tmp_path: Path) -> None:
    """Worked by hand from PaddleClas' documents."""
    path = write_training(tmp_path)
    found = read_config(path)
    made = found.recipe
    assert minimal_yaml(made).splitlines()[2:] == EXPECTED.strip().splitlines()
    assert found.run == ("PPLCNet_x0_25", "./output/", "gpu", None, None, "./inference")
    assert found.label_source == ("./images/0.png", None, 2, None)
    assert found.notes == ()
    out = tmp_path / "native.yaml"
    out.write_text(minimal_yaml(made), "utf-8")
    assert load_recipe(out) == made


EXPECTED = """
data:
  root: ./images/
  labels:
  - dark
  - bright
  train:
    list: train_list.txt
  eval:
    list: val_list.txt
  batch_size: 4
  eval_batch_size: 4
  workers: 0
transforms:
  train:
  - name: random_resized_crop
    size: 32
  - name: random_flip
  - name: normalize
  eval:
  - name: resize
    short: 36
  - name: center_crop
    size: 32
  - name: normalize
model:
  backbone:
    name: pplcnet_x0_25
  batch_norm_variance: biased
loss:
  name: cross_entropy
  label_smoothing: 0.1
train:
  epochs: 3
  optimizer:
    name: sgd
    weight_decay: 3.0e-05
  schedule:
    name: cosine
    end_lr: 1.0e-05
    warmup_epochs: 1.0
  lr: 0.05
  eval_from: 2
metrics:
- name: tpr_at_fpr
  max_fpr: 0.5
  grid: 10000
- name: topk
  k:
  - 1
  - 2
export:
  postprocess:
    name: threshold
"""


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("Global.update_freq=4", "train.accumulate", 4),
        ("Global.seed=7", "train.seed", 7),
        ("Global.seed=False", "train.seed", 0),
        ("Global.eval_interval=3", "train.eval_every", 3),
        ("Global.eval_during_train=False", "train.eval_every", 3),
        ("AMP.scale_loss=128.0", "train.precision", "fp16"),  # the section alone switches it on
        ("AMP.use_amp=False", "train.precision", "fp32"),
        ("EMA.decay=0.99", "train.ema", {"decay": 0.99, "warmup": False}),
        ("Arch.pretrained=True", "model.pretrained", True),
        ("Arch.pretrained=True", "model.skip", ["classifier"]),
        ("Arch.pretrained=a/b", "model.pretrained", "a/b.pdparams"),
        ("Arch.use_sync_bn=True", "train.sync_bn", True),
        ("DataLoader.Train.sampler.drop_last=True", "data.drop_last", True),
        ("Arch.infer_add_softmax=False", "export.probabilities", False),
        ("Arch.infer_add_softmax=True", "export.probabilities", True),
        ("Arch.use_fused_attn=False", "export.probabilities", True),
        ("Arch.data_format=NHWC", "train.channels_last", True),
        ("Arch.data_format=NCHW", "train.channels_last", False),
        ("Arch.use_last_conv=False", "model.backbone.use_last_conv", False),
        ("Arch.class_expand=64", "model.backbone.last_channels", 64),
        ("Arch.dropout_prob=0.1", "model.backbone.dropout", 0.1),
        ("Arch.stride_list=[2,[2,1],[2,1],[2,1],[2,1]]", "model.backbone.strides.1", [2, 1]),
        ("Arch.lr_mult_list=[0.0,0.2,0.4,0.6,0.8,1.0]", "model.backbone.lr_mults.2", 0.4),
        ("Loss.Train.0.CELoss.epsilon=None", "loss.label_smoothing", 0.0),
        ("Loss.Train.0.CELoss.epsilon=1.5", "loss.label_smoothing", 0.0),  # out of range: ignored
        ("Optimizer.use_nesterov=True", "train.optimizer.nesterov", True),
        ("Optimizer.clip_norm=10", "train.clip", "tensor"),
        ("Optimizer.clip_grad=5.0", "train.clip", "global"),
        ("Optimizer.clip_grad=5.0", "train.clip_norm", 5.0),
        ("Optimizer.lr.by_epoch=True", "train.schedule.by_epoch", True),
        ("Optimizer.lr.warmup_start_lr=1e-3", "train.schedule.warmup_start_lr", 0.001),
        ("DataLoader.Train.dataset.delimiter=;", "data.delimiter", ";"),
        ("DataLoader.Train.dataset.relabel=True", "data.relabel", True),
        ("DataLoader.Eval.dataset.image_root=./other", "data.eval.root", "./other"),
        ("DataLoader.Eval.dataset.image_root=./other", "data.eval.list", "../images/val_list.txt"),
        ("Metric.Eval.0.TprAtFpr.max_fpr=None", "metrics.0.max_fpr", 0.001),
        ("Infer.PostProcess.threshold=0.9167", "export.postprocess.threshold", 0.9167),
        (f"{OPS}.1.RandCropImage.use_log_aspect=True", "transforms.train.0.log_ratio", True),
        (f"{OPS}.1.RandCropImage.backend=pil", "transforms.train.0.backend", "pillow"),
        (f"{OPS}.1.RandCropImage.interpolation=2", "transforms.train.0.interpolation", "bicubic"),
        (f"{OPS}.2.RandFlipImage.flip_code=0", "transforms.train.1.direction", "vertical"),
        (f"{OPS}.3.NormalizeImage.scale=0.5", "transforms.train.2.scale", 0.5),
        (f"{OPS}.3.NormalizeImage.scale='2*(1/(255. + 255))'", "transforms.train.2.scale", 1 / 255),
    ],
)  # fmt: skip
def test_one_key(override: str, place: str, value: Any, tmp_path: Path) -> None:
    found: Any = recipe(tmp_path, override)
    for part in place.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    if isinstance(value, dict):
        found = {key: found[key] for key in value}
    assert found == value


def test_labels_that_are_set_online_are_for_training_alone(tmp_path: Path) -> None:
    path = write_training(
        tmp_path,
        ("name: ImageNetDataset", "name: CustomLabelDataset"),
        ("cls_label_path", "label_key: blur_image\n      sample_list_path"),
        ("- RandFlipImage", "- BlurImage:\n        - RandFlipImage"),
    )
    found = read_config(path)
    made = found.recipe
    assert (made.data.target, made.data.train.target, made.data.eval.target) == (
        "class",
        "transform",
        None,
    )
    assert made.transforms.train[1].spec == {
        "name": "kernel_blur", "p": 0.5, "stretch": True, "normalize_kernel": False,
    }  # fmt: skip
    assert "betrays the label" in "".join(found.notes)


def test_several_labels(tmp_path: Path) -> None:
    made = load_recipe(
        write_training(
            tmp_path,
            ("name: ImageNetDataset", "name: MultiLabelDataset"),
            (
                "CELoss: {weight: 1.0, epsilon: 0.1}",
                "MultiLabelLoss: {weight: 1.0, size_sum: True, weight_ratio: True}",
            ),
            ("TprAtFpr: {max_fpr: 0.5}", "ATTRMetric:"),
            (
                "{name: ThreshOutput, threshold: 0.5, label_0: dark, label_1: bright}",
                "{name: MultiLabelThreshOutput}",
            ),
        )
    )
    assert made.data.target == "multilabel"
    assert (made.loss.spec["sum_labels"], made.loss.spec["balance"]) == (True, True)
    assert made.metrics[0].name == "mean_accuracy"
    assert made.export.postprocess.name == "multilabel"


def test_sigmoid_answers_stay_probabilities(tmp_path: Path) -> None:
    several = "Global.use_multilabel=True", "Loss.Train=[{'MultiLabelLoss': {}}]"
    made = load_recipe(
        write_training(tmp_path),
        [*several, "Arch.infer_add_softmax=False", "Metric.Eval=[{'ATTRMetric': {}}]",
         "Infer.PostProcess={'name': 'MultiLabelThreshOutput'}"],
    )  # fmt: skip
    assert made.data.target == "multilabel"
    assert made.export.probabilities


def test_diverse_branches_and_their_own_weights(tmp_path: Path) -> None:
    wanted = ("Arch.name=ResNet18", "Arch.layer_type=DiverseBranchBlock", "Arch.pretrained=True")
    path = write_training(tmp_path)
    made = load_recipe(path, wanted)
    assert made.model.backbone.spec["diverse_branches"] is True
    assert str(made.model.pretrained).endswith("/legendary_models/ResNet18_dbb_pretrained.pdparams")
    plain = load_recipe(path, [wanted[0], "Arch.layer_type=ConvBNLayer", wanted[2]])
    assert (plain.model.backbone.spec["diverse_branches"], plain.model.pretrained) == (False, True)


def test_batches_of_several_sizes(tmp_path: Path) -> None:
    """As in the published PP-LCNetV2 configurations."""
    sampler = "{name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: True}"
    scales = "{name: MultiScaleSampler, scales: [32, [64, 32]], first_bs: 6, divided_factor: 32, is_training: %s}"
    for training, sizes in (("True", [32, [64, 32]]), ("False", [32])):
        path = write_training(
            tmp_path,
            ("name: ImageNetDataset", "name: MultiScaleDataset"),
            (f"sampler: {sampler}", f"sampler: {scales % training}"),
        )
        made = load_recipe(path).model_dump(mode="json")["data"]
        assert made["sampler"] == {"name": "multi_scale", "sizes": sizes, "divisor": 32}
        assert made["batch_size"] == 6
    assert "DataLoader.Train.sampler.scales: is needed" in problems_of(
        path, "DataLoader.Train.sampler.scales=None"
    )


def test_repeated_augmentation(tmp_path: Path) -> None:
    path = write_training(tmp_path)
    found = load_recipe(path, ["DataLoader.Train.sampler.name=RASampler"]).data
    assert found.sampler.spec == {"name": "repeated", "times": 3}
    overrides = [f"DataLoader.Train.sampler.{k}" for k in ("name=RASampler", "num_repeats=2")]
    found = load_recipe(path, [*overrides, "DataLoader.Train.sampler.drop_last=True"]).data
    assert (found.sampler.spec["times"], found.drop_last) == (2, True)
    said = problems_of(path, *overrides, "DataLoader.Train.sampler.shuffle=False")
    assert "sampler.shuffle: False is not available" in said


def test_four_channels_of_which_one_is_zero(tmp_path: Path) -> None:
    four = [f"{OPS}.3.NormalizeImage.channel_num=4", "Arch.input_image_channel=4"]
    four += ["Global.image_shape=[4,32,32]", "Arch.data_format=NHWC"]
    path = write_training(tmp_path)
    assert load_recipe(path, four).transforms == load_recipe(path).transforms
    assert "fourth channel is all zeros" in "".join(translate(path, four).notes)
    assert "should be 3 or 4" in problems_of(path, "Arch.input_image_channel=5")


def test_a_mixed_batch_and_its_smoothing(tmp_path: Path) -> None:
    loss = ("CELoss: {weight: 1.0, epsilon: 0.1}", "SoftTargetCrossEntropy: {weight: 1.0}")
    mix = "[{MixupCutmixHybrid: {mixup_alpha: 0.8, cutmix_alpha: 1.0, prob: 0.75, mode: %s, num_classes: 2}}]"
    for mode, p, each in (("batch", 0.75, 1.0), ("elem", 1.0, 0.75)):
        path = write_training(
            tmp_path,
            loss,
            ("    sampler:", f"      batch_transform_ops: {mix % mode}\n    sampler:"),
        )
        made = load_recipe(path)
        found = made.transforms.batch[0].spec
        assert (found["name"], found["p"], found["each"]) == ("mixup_cutmix", p, each)
        assert made.loss is not None
        assert made.loss.spec["label_smoothing"] == 0.1


def test_names_of_classes_from_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    post = (
        "{name: ThreshOutput, threshold: 0.5, label_0: dark, label_1: bright}",
        "{name: Topk, topk: 1, class_id_map_file: names.txt}",
    )
    (tmp_path / "names.txt").write_text("0 dim\n1 brilliant\n", "utf-8")
    path = write_training(tmp_path, post)
    assert load_recipe(path).data.labels == str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("0 a\n1 b\n2 c\n", "utf-8")
    with caplog.at_level(logging.WARNING):
        assert load_recipe(path).data.labels == ("0", "1")
    assert "names 3 classes, Arch.class_num is 2" in caplog.text
    (tmp_path / "names.txt").unlink()
    assert "no such file (names.txt)" in "".join(translate(path).notes)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("Optimizer.clip_grad=5.0", "Optimizer.clip_grad: PaddleClas passes it over; gradients are clipped"),
        ("Arch.model_ema.decay=0.9", "Arch.model_ema: no code reads it"),
        ("Global.image_channel=4", "Global.image_channel: no code reads it"),
        ("Global.eval_during_train=False", "the last epoch is evaluated all the same"),
        ("Arch.drop_path_rate=0.1", "PPLCNet_x0_25 has no such option, so it has no effect"),
        ("Infer.transforms.1.ResizeImage.interpolation=bicubic", "Infer.transforms: differ from those of"),
        ("Optimizer.weight_decay=0.1", "regularizer is there too, and counts"),
        ("Optimizer.one_dim_param_no_weight_decay=True", "has no effect with Momentum"),
        ("Global.class_num=2", "stands for that of Arch, or of its Head"),
    ],
)  # fmt: skip
def test_what_is_said(override: str, said: str, tmp_path: Path) -> None:
    found = notes(tmp_path, override)
    assert said in found
    assert len(found.splitlines()) == 1


def test_multipliers_of_another_network(tmp_path: Path) -> None:
    six = "Arch.lr_mult_list=[0.0,0.2,0.4,0.6,0.8,1.0]"
    said = notes(tmp_path, six, "Arch.name=ResNet101_vd")
    assert (
        said
        == "Arch.lr_mult_list: 6 values are not for the stages of ResNet101_vd, so every stage has 1"
    )
    assert "5 values are not for the stages" in problems(tmp_path, "Arch.lr_mult_list=[1,1,1,1,1]")


def test_mixed_labels_are_not_softened_again(tmp_path: Path) -> None:
    path = write_training(
        tmp_path,
        ("    sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: True}",
         "      batch_transform_ops:\n        - OpSampler:\n            MixupOperator: {alpha: 0.8, prob: 0.5}\n"
         "            CutmixOperator: {alpha: 1.0}\n    sampler: {batch_size: 4, shuffle: True}"),
        ("epsilon: 0.1", "epsilon: 0"),
    )  # fmt: skip
    found = translate(path)
    assert found.tree["transforms"]["batch"] == [
        {"name": "mixup", "alpha": 0.8, "p": 0.5},
        {"name": "cutmix", "alpha": 1.0, "p": 0.5},
    ]
    assert "mixed labels are used as they are" in "".join(found.notes)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Gloabl.epochs=1", "Gloabl: unknown section; did you mean 'Global'?"),
        ("Global.epcohs=1", "Global.epcohs: unknown key; did you mean 'epochs'?"),
        ("Optimizer.lr.learing_rate=1", "Optimizer.lr.learing_rate: unknown key; did you mean 'learning_rate'?"),
        (f"{OPS}.1.RandCropImage.sizes=1", f"{OPS}.1.RandCropImage.sizes: unknown key; did you mean 'size'?"),
        (f"{OPS}.1.RandCropImge.size=1", "expected one `Name: ...`"),
        ("Arch.name=PPLCNet_x0_26", "unknown backbone 'PPLCNet_x0_26'; did you mean 'pplcnet_x0_25'?"),
        ("Optimizer.name=Momentun", "unknown optimiser 'Momentun'; did you mean 'Momentum'?"),
        ("Optimizer.lr.name=Cosin", "unknown schedule 'Cosin'; did you mean 'Cosine'?"),
        ("DataLoader.Train.dataset.name=ImageNetDatasets", "unknown data set 'ImageNetDatasets'; did you mean"),
        ("DataLoader.Train.sampler.name=PKSampler", "sampler.sample_per_id: is needed"),
        ("Infer.PostProcess.name=Tpok", "unknown post-processor 'Tpok'; did you mean 'Topk'?"),
        ("Global.epochs=abc", "Global.epochs: should be a number, got 'abc'"),
        ("Global.epochs=0", "Global.epochs: should be greater than or equal to 1, got 0"),
        ("Optimizer.lr.learning_rate=-1", "Optimizer.lr.learning_rate: should be greater than 0, got -1.0"),
        ("DataLoader.Train.sampler.batch_size=0", "DataLoader.Train.sampler.batch_size: should be greater"),
        (f"{OPS}.1.RandCropImage.scale=[2,3]", f"{OPS} (random_resized_crop).scale.0: should be less than"),
        ("Global.device=npu", "Global.device: should be one of cpu, gpu, got 'npu'"),
        ("Global.eval_mode=retrieval", "Global.eval_mode: retrieval is for Arch.name: RecModel"),
        ("Global.train_mode=progressive", "only the plain training loop"),
        ("Arch.models.Teacher=1", "Arch.models: several networks are of a DistillationModel"),
        ("Slim.quant.name=pact", "Slim: quantisation and pruning"),
        ("Arch.name=PVT_V2_B2", "PVT_V2_B2 is no network of ours, but its exported program can be trained; export it"),
        ("Arch.name=PVT_V2_B2", "then name program/FOLDER"),
        ("Arch.name=PPLCNt_x1_0", "did you mean 'pplcnet_x1_0'?"),
        ("Loss.Train=[]", "Loss.Train: names no loss"),
        ("DataLoader.Train.dataset.image_root=None", "DataLoader.Train.dataset.image_root: is needed"),
    ],
)  # fmt: skip
def test_what_is_refused(override: str, message: str, tmp_path: Path) -> None:
    assert message in problems(tmp_path, override)


def test_everything_that_is_wrong_is_in_one_message(tmp_path: Path) -> None:
    said = problems(
        tmp_path, "Global.epcohs=1", "Arch.nam=x", "Optimizer.name=Adamw2", "Foo=1", "EMA.decays=1"
    )
    assert "demo.yaml: 5 problems" in said
    assert [line.split(":")[0].strip() for line in said.splitlines()[1:]] == [
        "Foo", "Global.epcohs", "EMA.decays", "Arch.nam", "Optimizer.name",
    ]  # fmt: skip


def test_a_sum_of_losses_and_of_several_optimisers_those_with_other_scopes(tmp_path: Path) -> None:
    path = write_training(
        tmp_path, ("Optimizer:\n  name: Momentum\n  momentum: 0.9", "Old:\n  x: 1")
    )
    said = problems_of(path, "Optimizer=[{'SGD': {'scope': 'a'}}, {'SGD': {'scope': 'b'}}]")
    assert "one optimiser for the network, and one for the losses, are available" in said
    recipe = load_recipe(
        write_training(tmp_path), ["Loss.Train=[{'CELoss': {'weight': 2}}, {'CELoss': {}}]"]
    )
    assert [(term.spec["name"], term.spec["weight"]) for term in recipe.losses] == [
        ("cross_entropy", 2.0), ("cross_entropy", 1.0),
    ]  # fmt: skip


def problems_of(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_other_kinds_of_configuration_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="a deploy configuration, which trains nothing; `tinysight predict -c`"
    ):
        load_recipe(write_deployed(tmp_path))
    for text, message in (
        ("base_config_file: a.yaml", "hyper-parameter search; `tinysight search -c` takes it"),
        ("TRAIN: {}\nVALID: {}", "before 2021"),
        ("_BASE_: ['../x.yml']\nPicoDet: {neck: CSPPAN}", "of PaddleDetection.*docs/detection.md"),
        ("TrainDataset: !COCODataSet {image_dir: a}\n", "of PaddleDetection.*detection/picodet_s"),
    ):
        path = tmp_path / "other.yaml"
        path.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=message):
            load_recipe(path)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("Slim.quant.name=pact", "Slim: quantisation and pruning in training are not available"),
        ("Slim.prune.name=fpgm", "Slim: quantisation and pruning in training are not available"),
        ("MLDecoder.query_num=80", "the ML-Decoder head is not available"),
        ("Arch.use_ml_decoder=True", "the ML-Decoder head is not available"),
        ("SSL.T=1", "semi-supervised training (FixMatch, CCSSL) is not available"),
        ("Global.train_mode=fixmatch_ccssl", "semi-supervised training (FixMatch, CCSSL) is not available"),
        ("DataLoader.UnLabelTrain.dataset.name=Cifar10", "semi-supervised training (FixMatch, CCSSL) is not available"),
    ],
)  # fmt: skip
def test_other_ways_to_train_are_refused_in_one_line(
    override: str, reason: str, tmp_path: Path
) -> None:
    said = problems(tmp_path, override, "Optimizer.lr.name=CosineFixmatch")
    assert said.startswith(f"{tmp_path / 'demo.yaml'}: {reason}")
    assert "\n" not in said


def test_empty_sections_ask_for_nothing(tmp_path: Path) -> None:
    assert load_recipe(write_training(tmp_path), ["Slim.quant=None", "Global.train_mode=None"])


def test_several_networks_keep_what_one_has(tmp_path: Path) -> None:
    """Layout, normalisation, scores before the softmax and the smoothing of mixed labels."""
    arch = """name: DistillationModel
  infer_add_softmax: False
  freeze_params_list: [True, False]
  models:
    - Teacher: {name: PPLCNet_x0_35, class_num: 2, data_format: NHWC}
    - Student: {name: PPLCNet_x0_25, class_num: 2}
"""
    alone = "name: PPLCNet_x0_25\n  class_num: &classes 2\n  use_sync_bn: False\n"
    loss = "DistillationGTCELoss: {weight: 1.0, model_names: [Student]}\n  Eval:"
    mix = "batch_transform_ops: [{MixupCutmixHybrid: {num_classes: 2, label_smoothing: 0.2}}]"
    path = write_training(
        tmp_path, (alone, arch), ("CELoss: {weight: 1.0, epsilon: 0.1}\n  Eval:", loss),
        ("sampler: {name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: True}",
         f"  {mix}\n    sampler: {{name: DistributedBatchSampler, batch_size: 4, drop_last: False, shuffle: True}}"),
    )  # fmt: skip
    made = translate(path).tree
    assert made["train"]["channels_last"] is True
    assert "sync_bn" not in made["train"]
    assert made["model"]["batch_norm_variance"] == "biased"
    assert made["export"]["probabilities"] is False
    (term,) = made["losses"]
    assert term["label_smoothing"] == 0.2
    load_recipe(path)

"""Every registered network: parameter counts, shapes, gradients; and what single families add."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from support.weights import load_reference, to_reference
from tinysight.models import count_parameters, create_model, list_models, swin
from tinysight.models.diverse_branch import DiverseBranchBlock
from tinysight.models.efficientnet_lite import SameConv2d
from tinysight.models.layers import DropPath, Size, SqueezeExcite
from tinysight.models.mobilenetv3 import GATE
from tinysight.models.pphgnetv2 import Stem
from tinysight.models.resnet import Projection
from tinysight.registry import backbones
from tinysight.training.optim import param_groups

# Numbers in PaddleClas' parameters(), running statistics included, 1000 classes: exact where
# its documentation of facts has them, else in millions to two digits. EfficientNet-Lite: the
# released state dicts, without statistics.
COUNTS: dict[str, int | float] = {
    "efficientnet_lite0": 4652008,
    "efficientnet_lite1": 5416680,
    "efficientnet_lite2": 6092072,
    "mobilenetv1": 4253864,
    "mobilenetv1_x0_25": 0.48,
    "mobilenetv1_x0_5": 1.34,
    "mobilenetv1_x0_75": 2.60,
    "mobilenetv3_large_x0_35": 2.11,
    "mobilenetv3_large_x0_5": 2.69,
    "mobilenetv3_large_x0_75": 3.93,
    "mobilenetv3_large_x1_0": 5504638,
    "mobilenetv3_large_x1_25": 7.47,
    "mobilenetv3_small_x0_35": 1670226,
    "mobilenetv3_small_x0_5": 1.91,
    "mobilenetv3_small_x0_75": 2.38,
    "mobilenetv3_small_x1_0": 2.95,
    "mobilenetv3_small_x1_25": 3.64,
    "pphgnet_base": 71624584,
    "pphgnet_small": 24381864,
    "pphgnet_tiny": 14750904,
    "pphgnetv2_b0": 6008822,
    "pphgnetv2_b1": 6357246,
    "pphgnetv2_b2": 11248052,
    "pphgnetv2_b3": 16326816,
    "pphgnetv2_b4": 19842376,
    "pphgnetv2_b5": 39662984,
    "pphgnetv2_b6": 75423192,
    "pplcnet_x0_25": 1523936,
    "pplcnet_x0_35": 1646930,
    "pplcnet_x0_5": 1885048,
    "pplcnet_x0_75": 2365232,
    "pplcnet_x1_0": 2963464,
    "pplcnet_x1_5": 4516248,
    "pplcnet_x2_0": 6543400,
    "pplcnet_x2_5": 9044920,
    "pplcnetv2_base": 6841192,
    "pplcnetv2_base_shitu": 6.85,
    "pplcnetv2_large": 10779400,
    "pplcnetv2_small": 4217160,
    "res2net101_vd_26w_4s": 45.35,
    "res2net200_vd_26w_4s": 76436340,
    "res2net50_14w_8s": 25.12,
    "res2net50_26w_4s": 25.76,
    "res2net50_vd_26w_4s": 25.78,
    "resnet101": 44.65,
    "resnet101_vd": 44673864,
    "resnet152": 60.34,
    "resnet152_vd": 60.36,
    "resnet18": 11.70,
    "resnet18_vd": 11.72,
    "resnet200_vd": 74.93,
    "resnet34": 21.82,
    "resnet34_vd": 21.84,
    "resnet50": 25610152,
    "resnet50_last_stage_stride1": 25.61,
    "resnet50_vd": 25629512,
    "swintransformer_base_patch4_window12_384": 87.90,
    "swintransformer_base_patch4_window7_224": 87.77,
    "swintransformer_large_patch4_window12_384": 196.74,
    "swintransformer_large_patch4_window7_224": 196.53,
    "swintransformer_small_patch4_window7_224": 49.61,
    "swintransformer_tiny_patch4_window7_224": 28288354,
}
SMALLEST = (
    "efficientnet_lite0",
    "mobilenetv1_x0_25",
    "mobilenetv3_small_x0_35",
    "pphgnet_tiny",
    "pphgnetv2_b0",
    "pplcnet_x0_25",
    "pplcnetv2_small",
    "res2net50_vd_26w_4s",
    "resnet18_vd",
    "resnet50",
    "swintransformer_tiny_patch4_window7_224",
)


def test_every_network_is_counted() -> None:
    assert sorted(COUNTS) == list_models()


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_counts_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name).eval()
        images = torch.empty(2, 3, 64, 96)
    expected = COUNTS[name]
    statistics = not name.startswith("efficientnet_lite")
    count = count_parameters(model, batch_norm_statistics=statistics)
    if isinstance(expected, float):
        assert count / 1e6 == pytest.approx(expected, abs=0.00501)
    else:
        assert count == expected
    features = model.forward_features(images)
    assert features.shape[0] == 2
    vector = model.pre_logits(features)
    assert vector.shape == (2, model.features)
    assert model.get_submodule(model.classifier_name)(vector).shape == (2, 1000)
    stages = model.forward_stages(images)
    assert tuple(stages) == model.stage_names
    sizes = [tuple(y.shape[2:]) for y in stages.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1][0] <= 4
    assert backbones.summary(name).endswith(".")


@pytest.mark.parametrize("name", SMALLEST)
def test_gradients_and_odd_sizes(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, num_classes=3)
    model(torch.randn(2, 3, 75, 50)).square().sum().backward()
    trained = {n for g in param_groups(model, 0.1) for n in g["names"]}
    assert [n for n, p in model.named_parameters() if n in trained and p.grad is None] == []
    assert bool(torch.isfinite(model.eval()(torch.randn(1, 3, 33, 97))).all())


@pytest.mark.parametrize("name", SMALLEST[::3])
def test_weights_survive_the_reference_names(name: str) -> None:
    model, other = (create_model(name, num_classes=3) for _ in range(2))
    assert load_reference(other, to_reference(model), name) == ([], [])
    for key, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


def test_reparameterize() -> None:
    torch.manual_seed(0)
    model = create_model("pplcnetv2_small", num_classes=3)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, 3, 64, 64))  # running statistics away from 0 and 1
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = model.eval()(images)
        model.reparameterize()
        after = model(images)
    assert not [n for n in model.state_dict() if "dw_conv_list" in n]
    assert float((after - before).abs().max()) < 1e-4 * float(before.std())
    model.reparameterize()  # again: nothing left to fold
    assert torch.equal(model(images), after)


def _moved(block: torch.nn.Module, channels: int) -> torch.nn.Module:
    """In evaluation, with weights and running statistics away from where they start."""
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for _ in range(2):
            block(1 + torch.randn(4, channels, 32, 32))
    return block.eval()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, (2, 1)), (1, 1), (5, 2)])
def test_diverse_branches_fold_into_one_convolution(kernel: int, stride: Size) -> None:
    torch.manual_seed(0)
    block = _moved(DiverseBranchBlock(4, 6, kernel, stride), 4)
    x = torch.randn(2, 4, 9, 12)
    with torch.no_grad():
        before = block(x)
        block.reparameterize()
        after = block(x)
        block.reparameterize()  # again: nothing left to fold
    assert sorted(block.state_dict()) == ["dbb_reparam.bias", "dbb_reparam.weight"]
    assert torch.equal(block(x), after)
    assert float((after - before).abs().max()) < 1e-5 * float(before.std())


def test_a_network_of_diverse_branches_folds_into_the_plain_one() -> None:
    torch.manual_seed(0)
    model = _moved(create_model("resnet18", num_classes=3, diverse_branches=True), 3)
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        before = model(x)
        model.reparameterize()
        assert float((model(x) - before).abs().max()) < 1e-4 * float(before.std())
    plain = create_model("resnet18", num_classes=3).state_dict()
    found = {k.replace("dbb_reparam", "conv"): v.shape for k, v in model.state_dict().items()}
    assert {
        k: v.shape for k, v in plain.items() if k.endswith("conv.weight")
    }.items() <= found.items()


def test_the_parts_of_a_diverse_branch_block() -> None:
    """By hand: the borders, the running statistics, PaddleClas' names, the identity it starts from."""
    block = DiverseBranchBlock(1, 1, 3, act=None)
    assert [n.removesuffix(".weight") for n, _ in block.named_parameters() if "weight" in n] == [
        "dbb_origin.conv",
        "dbb_origin.bn",
        "dbb_avg.conv",
        "dbb_avg.bn.bn",
        "dbb_avg.avgbn",
        "dbb_1x1.conv",
        "dbb_1x1.bn",
        "dbb_1x1_kxk.idconv1",
        "dbb_1x1_kxk.bn1.bn",
        "dbb_1x1_kxk.conv2",
        "dbb_1x1_kxk.bn2",
    ]
    norm = block.dbb_1x1_kxk.bn1
    norm.bn.eps = 1e-12
    y = norm(torch.tensor([[[[1.0, 3.0]]]]))  # mean 2; variance 2 of what torch keeps
    assert norm.bn.running_mean.tolist() == pytest.approx([1.8])  # a tenth of 0, nine of 2
    assert norm.bn.running_var.tolist() == pytest.approx([0.1 + 0.9 * 2])
    edge = -1.8 / 1.9**0.5
    assert y[0, 0].tolist() == [pytest.approx([edge, *inside, edge]) for inside in (
        (edge, edge), (-1.0, 1.0), (edge, edge)
    )]  # fmt: skip
    x = torch.randn(1, 1, 2, 2)
    assert torch.equal(block.dbb_1x1_kxk.idconv1(x), x)


def test_strides_and_lr_mults_of_resnet() -> None:
    model = create_model("resnet18_vd", strides=[2, 2, 2, 2, 1], lr_mults=[0, 0.1, 0.2, 0.3, 0.4])
    assert model.eval().forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 512, 4, 4)
    found = [model.lr_multiplier(f"blocks.{i}.conv0.conv.weight") for i in range(8)]
    assert found == [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4]
    assert model.lr_multiplier("stem.0.bn.bias") == 0.0
    assert model.lr_multiplier("fc.weight") == 1.0


def test_affine_blocks_learn_slowly() -> None:
    model = create_model("pphgnetv2_b0", lr_mults=[0.5, 1, 1, 1, 1])
    assert model.lr_multiplier("stem.stem1.lab.scale") == pytest.approx(0.005)
    assert model.lr_multiplier("stages.0.blocks.0.layers.1.lab.bias") == pytest.approx(0.01)
    assert model.lr_multiplier("lab.scale") == pytest.approx(0.01)
    assert model.lr_multiplier("stem.stem1.conv.weight") == 0.5


@pytest.mark.parametrize(
    ("name", "parameter", "decayed"),
    [
        ("pplcnet_x0_25", "conv1.bn.weight", False),
        ("resnet18", "stem.0.bn.weight", True),
        ("res2net50_26w_4s", "conv1._batch_norm.bias", True),
        ("pphgnetv2_b0", "stem.stem1.lab.scale", True),
        ("swintransformer_tiny_patch4_window7_224", "norm.weight", False),
        (
            "swintransformer_tiny_patch4_window7_224",
            "layers.0.blocks.0.attn.relative_position_bias_table",
            False,
        ),
    ],
)
def test_decay_rules(name: str, parameter: str, decayed: bool) -> None:
    with torch.device("meta"):
        groups = param_groups(create_model(name), 0.5)
    (found,) = (g["weight_decay"] for g in groups if parameter in g["names"])
    assert found == (0.5 if decayed else 0.0)


def test_shift_mask_by_hand() -> None:
    # A row of 4 positions in windows of 2, rolled left by 1: the last position came from the left.
    mask = swin.shift_mask(2, 4, 2, 1, torch.zeros(1))
    assert mask.shape == (2, 4, 4)
    # Left window: positions (0,0) (0,1) / (1,0) (1,1); its second row came from above.
    expected = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]) * -100.0
    assert torch.equal(mask[0], expected)
    assert torch.equal(mask[1], (1 - torch.eye(4)) * -100.0)  # right window: four corners


def test_drop_path() -> None:
    layer = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    assert torch.equal(layer.eval()(x), x)
    torch.manual_seed(0)
    y = layer.train()(x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(y, y[:, :1, :1].expand_as(y))  # a sample is dropped as a whole
    assert float(y.mean()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    ("part", "shape", "operators"),
    [
        (SqueezeExcite(8, gate=GATE), (2, 8, 5, 5), {"HardSigmoid"}),
        (Stem(16, 8, affine=True), (2, 3, 24, 32), {"MaxPool", "Concat"}),
        (Projection(8, 16, 2, average=True), (2, 8, 11, 7), {"AveragePool"}),
        (SameConv2d(8, 8, 5, 2, 8), (2, 8, 10, 7), {"Conv"}),
        (swin.SwinBlock(8, 2, 3, 1, 0.1), (2, 4, 7, 8), {"Softmax"}),
        (swin.PatchMerging(8), (2, 5, 4, 8), {"LayerNormalization"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else "",
)
def test_onnx_agrees(
    part: torch.nn.Module, shape: tuple[int, ...], operators: set[str], tmp_path: Path
) -> None:
    """The parts in which a family differs from PP-LCNet, which is exported as a whole elsewhere."""
    torch.manual_seed(0)
    part.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            part, (torch.randn(shape),), dynamo=True, opset_version=18, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("n")},),
        )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "part.onnx")
    graph = onnx.load(tmp_path / "part.onnx").graph
    assert operators <= {n.op_type for n in graph.node}
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx")
    batch = torch.randn(3, *shape[1:])
    (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, part(batch).numpy(), atol=1e-5)

"""Necks, heads and their composition."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from support.golden import Case, each_case, not_built
from support.weights import load_reference, to_reference
from tinysight.data.loader import Batch
from tinysight.errors import ConfigError, UnknownName
from tinysight.models import set_batch_norm_variance
from tinysight.models.heads import AdaMargin, ArcMargin, BNNeck, CircleMargin, CosMargin, LinearHead
from tinysight.models.recognizer import build_recognizer
from tinysight.registry import heads, losses
from tinysight.training.objective import Supervised
from tinysight.training.objective.supervised import LossTerm
from tinysight.training.optim import param_groups


@each_case("losses", lambda case: case["id"].startswith("head_"))
def test_head(case: Case) -> None:
    """Scores and both gradients of PaddleClas."""
    words = {
        "bias_attr": "bias", "m": "margin", "h": "concentration", "s": "scale", "t_alpha": "memory",
    }  # fmt: skip
    options = {words.get(k, k): v for k, v in case["kwargs"].items() if k != "mode"}
    size, classes = options.pop("embedding_size"), options.pop("class_num")
    try:
        spec = {"name": case["name"], **options}
        head = heads.build(spec, in_features=size, num_classes=classes)
    except UnknownName:
        not_built(f"head {case['name']}")
    data = case.arrays
    weights = {k.removeprefix("param|"): v for k, v in data.items() if k.startswith("param|")}
    load_reference(head, {**to_reference(head), **weights}, case["id"])  # with its own buffers
    head.train(case["kwargs"]["mode"] == "train")
    x = torch.from_numpy(data["pred|."]).requires_grad_()
    y = head(x, torch.from_numpy(data["batch|."]).flatten())
    # Collinear with its direction, rounding decides: PaddleClas itself gives 70.166 and 70.173
    # for two such rows of one case.
    aligned = np.zeros(y.shape, bool)
    if isinstance(head, ArcMargin):
        aligned = np.abs(head.eval()(x).detach().numpy()) > 1 - 1e-6
    wide = np.where(aligned, 5e-3, 1e-5 * np.maximum(1.0, np.abs(data["out|."])))
    assert (np.abs(y.detach().numpy() - data["out|."]) <= wide).all()
    if case["id"].endswith("_extreme"):
        return
    y.sum().backward()
    (weight,) = (n.removeprefix("gradparam|") for n in data if n.startswith("gradparam|"))
    found = head.get_parameter(weight).grad
    found = found.T if isinstance(head, LinearHead) else found  # (E, K) in PaddleClas
    pairs = (
        (x.grad, "grad|.", aligned.any(1)[:, None]),
        (found, f"gradparam|{weight}", aligned.any(0)),
    )
    for gradient, name, noisy in pairs:
        limit = max(1.0, float(np.abs(data[name]).max())) * np.where(noisy, 1e-4, 1e-6)
        assert (np.abs(gradient.numpy() - data[name]) <= limit).all(), name


def test_arc_margin_by_hand() -> None:
    head = ArcMargin(2, 3, margin=math.radians(30), scale=10.0)
    head.weight.data = torch.tensor([[1.0, 0.0, -5.0], [0.0, 3.0, 0.0]])  # east, north, west
    angle = math.radians(30)
    x = torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]])
    plain = [math.cos(angle), math.sin(angle), -math.cos(angle)]
    assert head(x).tolist()[0] == pytest.approx(plain, abs=1e-6)
    assert head.eval()(x, torch.tensor([0])).tolist()[0] == pytest.approx(plain, abs=1e-6)
    head.train()
    for label, own in ((0, 60), (1, 90)):  # degrees away from their directions, 30 added
        expected = list(plain)
        expected[label] = math.cos(math.radians(own))
        found = head(x, torch.tensor([label]))[0] / 10.0
        assert found.tolist() == pytest.approx(expected, abs=1e-5)
    behind = torch.tensor([[-1.0, 0.0]])  # 180 degrees from east: 30 more would come nearer
    found = head(behind, torch.tensor([0])).detach()[0, 0] / 10.0
    assert float(found) == pytest.approx(-1.0 - angle * math.sin(angle), abs=1e-5)


def test_arc_margin_in_half_precision() -> None:
    head = ArcMargin(64, 5)
    x = head.weight.detach().T.clone().requires_grad_()  # cosine 1 but for rounding
    with torch.autocast("cpu", torch.bfloat16):
        y = head(x, torch.arange(5))
    y.sum().backward()
    assert y.dtype == torch.float32
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all() & torch.isfinite(y).all())


def test_cos_and_circle_margin_by_hand() -> None:
    x, label = torch.tensor([[0.6, 0.8]]), torch.tensor([1])
    for head, expected in (
        (CosMargin(2, 2, margin=0.25, scale=10.0), [6.0, 5.5]),
        # other: (.6 + .25) * (.6 - .25); own: (1 + .25 - .8) * (.8 - (1 - .25))
        (CircleMargin(2, 2, margin=0.25, scale=10.0), [2.975, 0.225]),
    ):
        head.weight.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
        assert head(x, label)[0].tolist() == pytest.approx(expected, rel=1e-5)
        assert head(x)[0].tolist() == pytest.approx([0.6, 0.8])
        assert head.eval()(x, label)[0].tolist() == pytest.approx([0.6, 0.8])


def test_ada_margin_by_hand() -> None:
    # Lengths 1 and 3: mean 2, deviation sqrt(2); q is -1 and 1 after the cut.
    head = AdaMargin(2, 2, margin=0.25, concentration=9.0, scale=1.0, memory=0.5)
    head.kernel.data = torch.eye(2)
    head.batch_mean.fill_(2.0)
    head.batch_std.fill_(math.sqrt(2))
    x, labels = torch.tensor([[0.6, 0.8], [1.8, 2.4]]), torch.tensor([1, 1])
    short, long = head(x, labels)[:, 1].tolist()
    assert short == pytest.approx(math.cos(math.acos(0.8) + 0.25), abs=1e-5)
    assert long == pytest.approx(math.cos(math.acos(0.8) - 0.25) - 0.5, abs=1e-5)
    before = head.batch_mean.clone()
    head(x[:1], labels[:1])  # a single length moves nothing
    assert head.batch_mean.item() == before.item() == pytest.approx(2.0)
    assert head.eval()(x, labels)[0].tolist() == pytest.approx([0.6, 0.8])


def test_bn_neck() -> None:
    neck = BNNeck(3)
    assert [n for n, p in neck.named_parameters() if p.requires_grad] == ["feat_bn.weight"]
    assert BNNeck(3, train_bias=True).feat_bn.bias.requires_grad
    x = torch.randn(5, 3) * 4 + 1
    y = neck(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    set_batch_norm_variance(neck, "biased")
    neck.feat_bn.reset_running_stats()
    neck(x)
    expected = 0.9 + 0.1 * x.var(0, correction=0)
    torch.testing.assert_close(neck.feat_bn.running_var, expected)
    with pytest.raises(ValueError, match=r"\(N, C\)"):
        neck.eval()(x[None])


@pytest.mark.parametrize(
    ("backbone", "neck", "head"),
    [
        (
            {"name": "pplcnet_x2_5"},
            {"name": "fc", "features": 512},
            {"name": "arc_margin", "margin": 0.2, "scale": 30.0},
        ),
        (
            {"name": "pplcnetv2_base_shitu", "last_channels": 512},
            {"name": "bn_neck"},
            {"name": "fc", "bias": False, "init_std": 0.001},
        ),
    ],
)
def test_published_networks(
    backbone: dict[str, Any], neck: dict[str, Any], head: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = build_recognizer(backbone, neck, head, 7)
    images, labels = torch.randn(2, 3, 64, 96), torch.tensor([3, 6])
    found = model(images, labels)
    assert (found.embedding.shape, found.logits.shape) == ((2, 512), (2, 7))
    torch.nn.functional.cross_entropy(found.logits, labels).backward()
    trained = {n for g in param_groups(model, 0.1) for n in g["names"]}
    assert [n for n, p in model.named_parameters() if n in trained and p.grad is None] == []
    bare = build_recognizer(backbone, neck, None, 0).eval()
    missing, unexpected = bare.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert {n.split(".")[0] for n in unexpected} == {"head"}
    assert bare(images).logits is None
    assert torch.equal(bare.vectors(images).embedding, model.eval()(images).embedding)


def test_parts_are_checked_and_keep_their_learning_rates() -> None:
    with pytest.raises(ConfigError, match="neck"):
        build_recognizer({"name": "pplcnet_x0_25"}, {"name": "bn_nek"}, None, 0)
    backbone = {"name": "pplcnet_x0_25", "lr_mults": [0, 0.1, 0.2, 0.3, 0.4, 0.5]}
    model = build_recognizer(backbone, {"name": "fc"}, {"name": "arc_margin"}, 4)
    names = ("backbone.conv1.conv.weight", "backbone.blocks6.0.pw_conv.conv.weight", "head.weight")
    assert [model.lr_multiplier(n) for n in names] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "fc"},
        {"name": "fc", "bias": False},
        {"name": "arc_margin"},
        {"name": "cos_margin"},
        {"name": "circle_margin"},
        {"name": "ada_margin"},
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)
def test_a_share_of_the_identities(spec: dict[str, Any]) -> None:
    """Partial FC: the scores of the chosen ones are those that they have among all; only they have a gradient."""
    torch.manual_seed(0)
    head = heads.build({**spec, "sampled": 0.25}, in_features=8, num_classes=40)
    x, labels = torch.randn(6, 8), torch.tensor([3, 39, 3, 0, 17, 20])
    assert head.eval().choose(labels) is None
    assert head.train().choose(None) is None
    torch.manual_seed(5)
    classes = head.choose(labels)
    assert classes is not None
    assert (len(classes), classes.tolist()) == (10, sorted(set(classes.tolist())))
    assert set(labels.tolist()) <= set(classes.tolist())
    torch.manual_seed(6)
    assert head.choose(labels).tolist() != classes.tolist()
    whole, part = (copy.deepcopy(head) for _ in range(2))
    scores = part(x, torch.searchsorted(classes, labels), classes)
    torch.testing.assert_close(scores, whole(x, labels)[:, classes])
    scores.sum().backward()
    (weight,) = [p.grad for p in part.parameters() if p.ndim == 2]
    moved = weight.abs().sum(1 if weight.shape[0] == 40 else 0) > 0
    assert moved.nonzero().flatten().tolist() == classes.tolist()
    everyone = head.choose(torch.arange(40))
    assert everyone.tolist() == list(range(40))  # all that are in the batch


def test_a_recogniser_trains_with_a_share_of_them() -> None:
    torch.manual_seed(0)
    spec = {"name": "arc_margin", "sampled": 0.1}
    network = build_recognizer({"name": "pplcnet_x0_25"}, {"name": "fc", "features": 8}, spec, 50)
    loss = losses.build({"name": "cross_entropy"})
    objective = Supervised(network, {"loss": LossTerm(loss)})
    batch = Batch(torch.randn(4, 3, 32, 32), torch.tensor([7, 7, 49, 2]), ())
    found = objective.outputs("model", batch)
    assert found.logits is not None
    assert found.logits.shape == (4, 5)
    value = objective(batch)["loss"].value
    value.backward()
    assert torch.isfinite(value)
    assert int((network.head.weight.grad.abs().sum(0) > 0).sum()) == 5

"""Every recorded loss that exists here: value and gradient of the reference framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support.golden import cases, ids, not_built, read_npz
from tinysight.registry import losses

pytestmark = pytest.mark.golden
CASES = [c for c in cases("losses") if not c["id"].startswith("head_")]  # tests/models


def test_fixtures_are_there() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_loss(case: dict[str, Any]) -> None:
    translate = TRANSLATORS.get(case["name"])
    if translate is None:
        not_built(f"loss {case['name']}")
    arrays = _arrays(case["id"])
    (logits,) = (torch.from_numpy(a).requires_grad_() for k, a in arrays.items() if k[0] == "pred")
    label = torch.from_numpy(next(a for k, a in arrays.items() if k[0] == "batch"))
    loss, target = translate(case["kwargs"], logits, label)
    value = loss(logits, target)
    value.sum().backward()
    (recorded,) = case["outputs"].values()
    if isinstance(recorded, dict):
        recorded = next(a for k, a in arrays.items() if k[0] == "out").reshape(value.shape)
    np.testing.assert_allclose(value.detach().numpy(), recorded, rtol=1e-5, atol=1e-7)
    gradient = next(a for k, a in arrays.items() if k[0] == "grad")
    assert logits.grad is not None
    limit = 1e-6 * max(1.0, float(np.abs(gradient).max()))
    np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=0, atol=limit)


def _arrays(case: str) -> dict[tuple[str, str], np.ndarray]:
    """Arrays of one case by kind and path."""
    split = ((key.split("|"), value) for key, value in read_npz("losses", "data.npz").items())
    return {(kind, path): value for (name, kind, path), value in split if name == case}


def _cross_entropy(
    kwargs: dict[str, Any], logits: torch.Tensor, label: torch.Tensor
) -> tuple[nn.Module, torch.Tensor]:
    """The reference treats a label as wide as the logits as logits of its own, unless it
    smooths.
    """
    epsilon = kwargs.get("epsilon") or 0.0
    wide = label.ndim == 2 and label.shape[1] == logits.shape[1]
    spec = {
        "name": "cross_entropy",
        "label_smoothing": epsilon,
        "reduction": kwargs.get("reduction", "mean"),
        "softmax_targets": wide and not epsilon,
    }
    return losses.build(spec), label.float() if wide else label.reshape(-1)


def _soft_target(
    kwargs: dict[str, Any], logits: torch.Tensor, label: torch.Tensor
) -> tuple[nn.Module, torch.Tensor]:
    return losses.build({"name": "cross_entropy"}), label


def _multilabel(
    kwargs: dict[str, Any], logits: torch.Tensor, label: torch.Tensor
) -> tuple[nn.Module, torch.Tensor]:
    """Labels and, in a second row that is the same for all samples, their ratios."""
    epsilon = kwargs.get("epsilon") or 0.0
    spec = {
        "name": "multilabel",
        "label_smoothing": epsilon if 0 < epsilon < 1 else 0.0,
        "smooth_towards": "uniform",
        "sum_labels": kwargs.get("size_sum", False),
        "balance": kwargs.get("weight_ratio", False),
        "ignore_unknown": bool(kwargs.get("weight_ratio")) and not 0 < epsilon < 1,
    }
    ratio = None
    if label.ndim == 3:
        label, ratio = label[:, 0], label[0, 1].numpy()
    checked, problems = losses.check(spec, "loss")
    assert problems == []
    return losses.build(checked, label_ratio=ratio), label


def _asymmetric(
    kwargs: dict[str, Any], logits: torch.Tensor, label: torch.Tensor
) -> tuple[nn.Module, torch.Tensor]:
    words = {"gamma_pos": "gamma_present", "gamma_neg": "gamma_absent"}
    spec = {words.get(k, k): v for k, v in kwargs.items()}
    spec["focal_gradient"] = not spec.pop("disable_focal_loss_grad", True)
    return losses.build({"name": "multilabel_asymmetric", **spec}), label[
        :, 0
    ] if label.ndim == 3 else label


TRANSLATORS = {
    "CELoss": _cross_entropy,
    "MultiLabelAsymmetricLoss": _asymmetric,
    "MultiLabelLoss": _multilabel,
    "SoftTargetCrossEntropy": _soft_target,
}

"""Every recorded loss: values and gradients of PaddleClas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support.golden import Case, each_case, not_built
from support.reference_losses import BUILDERS, Ours

# Recorded in float32 with exponents up to 64: 1.7e-6 away from the same formula in float64.
ROUGH = {"PairwiseCosface": 2.0}


@each_case("losses", lambda case: not case["id"].startswith("head_"))  # those: tests/models
def test_loss(case: Case) -> None:
    arrays = {tuple(key.split("|")): value for key, value in case.arrays.items()}
    if case["name"] == "ContrastiveLoss":
        _check_broadcast_labels(case, arrays)
        return
    parts = [next(iter(e)) for e in case["kwargs"].get("config_list", [])]
    for name in (case["name"], *parts):
        if name not in BUILDERS:
            not_built(f"loss {name}")
    steps = case.get("steps") or [case]
    suffixes = [f"#{i}" for i in range(len(steps))] if "steps" in case else [""]
    ours = None
    for step, suffix in zip(steps, suffixes, strict=True):
        preds, batch = (_tensors(arrays, kind, suffix) for kind in ("pred", "batch"))
        preds = {k: v.requires_grad_() for k, v in preds.items()}
        if ours is None:
            ours = Ours(case["name"], case["kwargs"], batch)
            _set_parameters(ours, arrays)
        values = ours(preds, batch)
        _check_values(values, step["outputs"], arrays)
        values.get("loss", sum(v.sum() for v in values.values())).backward()
        limit = ROUGH.get(case["name"], 1.0)
        for path, pred in preds.items():
            if ("grad", path + suffix) in arrays:
                assert pred.grad is not None
                _check_gradient(pred.grad, arrays["grad", path + suffix], limit)
    for path, value in arrays.items():
        if path[0] == "gradparam":
            _check_gradient(_parameter(ours, path[1]).grad, value, 1.0)


def _tensors(
    arrays: dict[tuple[str, ...], np.ndarray], kind: str, suffix: str
) -> dict[str, Tensor]:
    return {
        path.removesuffix(suffix): torch.from_numpy(value.copy())
        for (k, path), value in arrays.items()
        if k == kind and path.endswith(suffix)
    }


def _check_values(
    found: dict[str, Tensor], recorded: dict[str, Any], arrays: dict[tuple[str, ...], np.ndarray]
) -> None:
    if any(isinstance(v, dict) for v in recorded.values()):
        (value,), array = found.values(), next(a for k, a in arrays.items() if k[0] == "out")
        np.testing.assert_allclose(value.detach().numpy(), array.reshape(value.shape), rtol=1e-5)
        return
    if "loss" in recorded:
        assert float(found["loss"].detach()) == pytest.approx(recorded["loss"], rel=1e-5)
    ours = sorted(float(v.detach()) for k, v in found.items() if k != "loss")
    theirs = sorted(v for k, v in recorded.items() if k != "loss")
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)


def _check_gradient(found: Tensor | None, recorded: np.ndarray, slack: float) -> None:
    assert found is not None
    limit = 1e-6 * max(1.0, float(np.abs(recorded).max())) * slack
    np.testing.assert_allclose(found.numpy(), recorded, rtol=0, atol=limit)


def _parameter(ours: Ours | None, path: str) -> nn.Parameter:
    """`centers`, or `loss_func.2.centers` in a combination."""
    assert ours is not None
    *at, name = path.split(".")
    modules = ours.modules
    if at:
        modules = list(modules[int(at[1])])  # type: ignore[call-overload]
    return next(p for m in modules for n, p in m.named_parameters() if n == name)


def _set_parameters(ours: Ours, arrays: dict[tuple[str, ...], np.ndarray]) -> None:
    for (kind, path), value in arrays.items():
        if kind == "param":
            parameter = _parameter(ours, path)
            assert parameter.shape == value.shape
            parameter.data = torch.from_numpy(value.copy())


def _check_broadcast_labels(
    case: dict[str, Any], arrays: dict[tuple[str, ...], np.ndarray]
) -> None:
    """PaddleClas' plain contrastive loss compares labels (N, 1) where it means (N,).

    A row of cosines then counts as a whole: as positives once for every sample of its label, as
    negatives for every other sample. That is what was recorded, as shown here, and no loss that
    anyone would want; with a memory it flattens the labels, and `contrastive_xbm` is compared.
    """
    options = {"margin": 0.5, "epsilon": 1e-5, "normalize_feature": True, **case["kwargs"]}
    ignored = ("embedding_size", "feature_from", "name")  # there is one prediction
    assert set(case["kwargs"]) <= {"margin", "epsilon", "normalize_feature", *ignored}
    x = torch.from_numpy(arrays["pred", "features"]).requires_grad_()
    labels = torch.from_numpy(arrays["batch", "."]).flatten()
    unit = F.normalize(x) if options["normalize_feature"] else x
    cosine, alike = unit @ unit.T, (labels[:, None] == labels).sum(1)[:, None]
    positives = (1 - cosine) * (cosine < 1 - options["epsilon"]) * alike
    negatives = cosine * (cosine > options["margin"]) * (len(labels) - alike)
    value = (positives + negatives).sum() / len(labels)
    value.backward()
    assert float(value.detach()) == pytest.approx(case["outputs"]["ContrastiveLoss"], rel=1e-5)
    _check_gradient(x.grad, arrays["grad", "features"], 1.0)

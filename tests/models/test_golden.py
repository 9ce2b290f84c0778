"""Every recorded network: entries, counts, logits and feature vectors of PaddleClas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from support.golden import Case, each_case, not_built, synth, synth_columns
from support.networks import fill, recorded_input, recorded_options, recorded_recognizer
from support.weights import load_reference
from tinysight.errors import UnknownName
from tinysight.models import Backbone, count_parameters, create_model
from tinysight.models.outputs import activate
from tinysight.models.weights import reference_entries

LOOSE = {"MobileNetV3_large_x1_0": 1e-3}  # ill-conditioned: float32 and float64 differ by 1.4e-4


@each_case("models")
def test_network(case: Case) -> None:
    record, arrays = case, case.arrays
    if "arch" in record:
        check = _check_containers if "models" in record["arch"] else _check_recognition
        check(record, arrays)
        return
    model = _build(record["model"], record["constructor_args"])
    _check_entries(record, model, "")
    assert count_parameters(model) == record["num_parameters_without_bn_statistics"]
    assert count_parameters(model, batch_norm_statistics=True) == record["num_parameters"]
    fill(model)
    model.eval()
    limit = LOOSE.get(case["id"], 1e-4)
    with torch.inference_mode():
        images = recorded_input(record["input"])
        feature = model.pre_logits(model.forward_features(images))
        logits = model.get_submodule(model.classifier_name)(feature)
        assert torch.equal(logits, model(images))
        if _gap(logits, arrays["logits"]) >= limit:  # rounding of this processor's kernels
            model, images = model.double(), images.double()
            feature = model.pre_logits(model.forward_features(images))
            logits = model.get_submodule(model.classifier_name)(feature)
        _close(logits, arrays["logits"], limit)
        if "feature" in arrays:
            rounding = record.get("fp32_vs_fp64_max_abs_diff_over_std") or 0.0
            _close(feature, arrays["feature"], max(limit, 5 * rounding))
        if "logits_reparameterized" in arrays:
            model.reparameterize()
            _close(model(images), arrays["logits_reparameterized"], limit)


def _check_containers(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Teacher and student of a distillation container, each on its own."""
    for part in record["arch"]["models"]:
        for role, arguments in part.items():
            classes = {"class_num": record["arch"]["class_num"]}
            model = _build(arguments["name"], classes | arguments)
            _check_entries(record, model, f"{role}.")
            fill(model, f"{role}.")
            model.eval()
            with torch.inference_mode():
                images = recorded_input(record["input"])
                found = {"logits": model(images), **model.forward_stages(images)}
            for key, value in record["outputs"].items():
                if not key.startswith(f"{role}/"):
                    continue
                y = found[key.split("/")[1]]
                assert list(y.shape) == value["shape"]
                assert float(y.mean()) == pytest.approx(value["mean"], abs=1e-4 * value["std"])
                assert float(y.std(correction=0)) == pytest.approx(value["std"], rel=1e-4)
                first = y.flatten()[: len(value["first8"])].numpy()
                np.testing.assert_allclose(first, value["first8"], atol=1e-4 * value["std"])


STEP = 1024  # the recording keeps one in so many identities


def _check_recognition(record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Backbone, neck and head. All identities are counted, the recorded ones computed: each is a
    column of the head's weight, and the others would take 400 MB.
    """
    classes = record["arch"]["Head"]["class_num"]
    with torch.device("meta"):
        whole = recorded_recognizer(record["arch"], classes)
    _check_entries(record, whole, "")
    assert count_parameters(whole) == record["num_parameters_without_bn_statistics"]
    assert count_parameters(whole, batch_norm_statistics=True) == record["num_parameters"]
    model = recorded_recognizer(record["arch"], -(-classes // STEP))
    assert model.head is not None
    heads = [e for e in reference_entries(whole) if e.name.startswith("head.")]
    for part in ("backbone", "neck"):
        fill(model.get_submodule(part), f"{part}.")
    values = {
        e.name: synth_columns(e.name, (e.shape[0], e.shape[1]), STEP)
        if len(e.shape) == 2
        else synth(e.name, e.shape)[::STEP]  # type: ignore[index]
        for e in heads
    }
    load_reference(model.head, {k.removeprefix("head."): v for k, v in values.items()}, "rule")
    model.eval()
    with torch.inference_mode():
        images = recorded_input(record["input"])
        found = model(images)
        _close(found.pooled, arrays["backbone"], 1e-4)
        _close(found.embedding, arrays["features"], 1e-4)
        _close(found.logits, arrays["logits_sample"], 1e-4)
        _close(activate(found.embedding, "normalize"), arrays["features_l2"], 1e-4)
        assert torch.equal(model.vectors(images).embedding, found.embedding)
        if "features_reparameterized" in arrays:
            model.reparameterize()
            _close(model(images).embedding, arrays["features_reparameterized"], 1e-4)


def _build(name: str, arguments: dict[str, Any]) -> Backbone:
    options = recorded_options(arguments)
    try:
        return create_model(name, **options)
    except UnknownName:
        not_built(f"network {name}")


def _check_entries(record: dict[str, Any], model: nn.Module, prefix: str) -> None:
    """PaddleClas' state dict, name by name: what a weight file of it would hold."""
    recorded = {n: tuple(s) for n, s, _ in record["entries"] if n.startswith(prefix)}
    assert {prefix + e.name: e.shape for e in reference_entries(model)} == recorded


def _close(y: torch.Tensor, expected: np.ndarray, limit: float) -> None:
    assert tuple(y.shape) == expected.shape
    assert _gap(y, expected) < limit


def _gap(y: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference, as a share of the deviation."""
    return float(np.abs(y.numpy() - expected).max() / expected.std())

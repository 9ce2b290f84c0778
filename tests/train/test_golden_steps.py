"""Three recorded training steps: the forward, backward, optimiser and statistics of the reference.

Step 0 is the strict test. Later steps amplify rounding, so they are held to five times the
difference that the recording measured between float32 and float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.golden import GOLDEN, not_built, read_json, read_npz, rng_for, synth_input
from support.networks import fill, find_network
from support.reference import translate_schedule
from tinysight.models import Backbone, create_model, set_batch_norm_variance
from tinysight.models.layers import DownscaleDropout
from tinysight.models.weights import reference_name, to_reference
from tinysight.registry import losses, optimizers, schedules
from tinysight.train.optim import clip_each_norm, param_groups, set_lr

pytestmark = pytest.mark.golden
NAMES = sorted(p.stem for p in (GOLDEN / "train").glob("*.json") if p.stem != "index")
FLOOR = 2e-6  # of the change of the weights: what rounding alone does in three steps


def test_fixtures_are_there() -> None:
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_steps(name: str) -> None:
    record, arrays = read_json("train", f"{name}.json"), read_npz("train", f"{name}.npz")
    model = _network(record)
    weights = fill(model)
    loss_of = _loss(record)
    groups, optimizer = _optimizer(record, model)
    rate = _rate(record)
    clip = record["optimizer"].get("clip_norm")
    limit = 5 * max(record["float32_vs_float64"]["delta_rel_error_all"], FLOOR)
    for step, expected in enumerate(record["steps"]):
        set_lr(optimizer, rate(step))
        assert rate(step) == pytest.approx(expected["lr"], rel=1e-12, abs=0)
        images, labels = _batch(record, step)
        assert labels.tolist() == expected["labels"]
        optimizer.zero_grad()
        logits = model.train()(images)
        loss = loss_of(logits, labels)
        loss.backward()
        strict = step == 0
        slack = 5 * record["float32_vs_float64"]["loss_abs_diff"][step]
        error = max(1e-5 * expected["loss"], 0.0 if strict else slack)
        assert float(loss.detach()) == pytest.approx(expected["loss"], rel=0, abs=error)
        if strict:
            reference = arrays["logits#0"]
            assert np.abs(logits.detach().numpy() - reference).max() < 1e-4 * reference.std()
            _check_gradients(expected, model)
            _check_first_statistics(expected, model)
        if clip:
            clip_each_norm([p for g in groups for p in g["params"]], clip)
        optimizer.step()
    _check_weights(record, weights, to_reference(model), limit)
    _check_statistics(arrays, weights, to_reference(model), limit)
    with torch.inference_mode():
        h, w = record["input_hw"]
        logits = model.eval()(torch.from_numpy(synth_input(2, h, w)))
    reference = arrays["eval_logits_after"]
    assert np.abs(logits.numpy() - reference).max() < max(10 * limit, 1e-4) * reference.std()


def _network(record: dict[str, Any]) -> Backbone:
    name = find_network(record["model"])
    mults = _stage_multipliers(record, name)
    options = {"lr_mults": mults} if mults else {}
    model = create_model(name, record["class_num"], **options)
    for module in model.modules():
        if isinstance(module, DownscaleDropout):
            module.p = 0.0
    set_batch_norm_variance(model, "biased")
    return model


def _stage_multipliers(record: dict[str, Any], name: str) -> list[float] | None:
    """The `lr_mult_list` behind the recorded multipliers, or None where every one is 1."""
    model = create_model(name, record["class_num"])
    recorded = record["param_optimize_attr"]
    mults = []
    for prefix in model.stage_prefixes:
        first = next(
            reference_name(n)
            for n, p in model.named_parameters()
            if n.startswith(f"{prefix}.") and p.ndim == 4
        )
        mults.append(recorded[first]["lr_mult"] if first in recorded else 1.0)
    return mults if set(mults) - {1.0} else None


def _loss(record: dict[str, Any]) -> Any:
    ((kind, options),) = (entry.copy().popitem() for entry in record["loss"])
    if kind != "CELoss":
        not_built(f"loss {kind}")
    return losses.build({"name": "cross_entropy", "label_smoothing": options.get("epsilon") or 0.0})


def _optimizer(record: dict[str, Any], model: Backbone) -> tuple[list[dict[str, Any]], Any]:
    """Groups and optimiser; the groups are checked against the recorded attributes."""
    config = record["optimizer"]
    if config["name"] == "Momentum":
        spec: dict[str, Any] = {"name": "sgd", "momentum": config["momentum"]}
        spec["nesterov"] = config.get("use_nesterov", False)
        decay = config.get("regularizer", {}).get("coeff", 0.0)
    elif config["name"] == "AdamW":
        spec = {"name": "adamw", "betas": [config["beta1"], config["beta2"]]}
        spec["eps"] = config["epsilon"]
        spec["decay_one_dimensional"] = not config["one_dim_param_no_weight_decay"]
        decay = config["weight_decay"]
    else:
        not_built(f"optimizer {config['name']}")
    groups = param_groups(model, decay)
    recorded = record["param_optimize_attr"]
    for group in groups:
        for name in map(reference_name, group["names"]):
            attr = recorded.get(name, {"lr_mult": 1.0, "regularizer": None})
            assert group["lr_mult"] == pytest.approx(attr["lr_mult"], rel=1e-9), name
            own = attr["regularizer"]
            assert group["weight_decay"] == (own["coeff"] if own else decay), name
    checked, problems = optimizers.check({**spec, "weight_decay": decay}, "optimizer")
    assert problems == []
    return groups, optimizers.build(checked, params=groups)


def _rate(record: dict[str, Any]) -> Any:
    translated = translate_schedule({"by_epoch": False, **record["optimizer"]["lr"]})
    if translated is None:
        not_built(f"schedule {record['optimizer']['lr']['name']}")
    spec, peak = translated
    epochs, size = record["epochs"], record["step_each_epoch"]
    return schedules.build(spec, lr=peak, epochs=epochs, steps_per_epoch=size)


def _batch(record: dict[str, Any], step: int) -> tuple[torch.Tensor, torch.Tensor]:
    n, (h, w) = record["batch_size"], record["input_hw"]
    images = synth_input(n, h, w, name=f"train/input#{step}")
    labels = rng_for(f"train/label#{step}").randint(0, record["class_num"], (n, 1))
    return torch.from_numpy(images), torch.from_numpy(labels[:, 0]).long()


def _check_gradients(expected: dict[str, Any], model: Backbone) -> None:
    """Norms before decay; a bias in front of a normalisation has a true gradient of zero."""
    found = {
        reference_name(n): 0.0 if p.grad is None else float(p.grad.double().norm())
        for n, p in model.named_parameters()
    }
    recorded = expected["grad_norm"]
    scale = max(recorded.values())
    for name, norm in recorded.items():
        assert found[name] == pytest.approx(norm, rel=2e-3, abs=1e-5 * scale), name
    without = {n for n in expected["params_without_grad"] if not n.endswith(("_mean", "_variance"))}
    assert {n for n, norm in found.items() if not norm} >= without
    both = np.array([[found[n], recorded[n]] for n in recorded])
    assert np.linalg.norm(both[:, 0] - both[:, 1]) < 1e-4 * np.linalg.norm(both[:, 1])


def _check_first_statistics(expected: dict[str, Any], model: Backbone) -> None:
    now = to_reference(model)
    for name, values in expected["bn_first"].items():
        np.testing.assert_allclose(
            now[name][: len(values)], values, rtol=1e-5, atol=1e-5, err_msg=name
        )


def _check_weights(
    record: dict[str, Any],
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    limit: float,
) -> None:
    """The change of the parameters, by its norm and by the first eight values of each."""
    names = [n for n in before if not n.endswith(("_mean", "_variance"))]
    recorded = record["fingerprint_after"]
    error = total = 0.0
    for name in names:
        first = np.array(recorded[name]["first8"])
        error += float(np.sum((after[name].flatten()[: len(first)] - first) ** 2))
        total += float(np.sum((before[name].flatten()[: len(first)] - first) ** 2))
    rounding = sum(len(recorded[n]["first8"]) for n in names) * 6e-8**2
    assert error < limit**2 * total + rounding
    change = np.array([np.linalg.norm(after[n].astype(np.float64) - before[n]) for n in names])
    expected = np.array([recorded[n]["delta_norm"] for n in names])
    assert np.linalg.norm(change - expected) < limit * np.linalg.norm(expected) + 1e-6


def _check_statistics(
    arrays: dict[str, np.ndarray],
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    limit: float,
) -> None:
    for key, values in arrays.items():
        if key.startswith("bn|"):
            name = key[3:]
            scale = np.abs(values - before[name]).max()
            np.testing.assert_allclose(
                after[name], values, rtol=0, atol=max(limit, 2e-5) * scale + 2e-6, err_msg=name
            )

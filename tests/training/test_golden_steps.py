"""Three recorded training steps: the forward, backward, optimiser and statistics of PaddleClas.

Step 0 is the strict test. Later steps amplify rounding, so they are held to five times the
difference that the recording measured between float32 and float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.golden import Case, each_case, not_built, rng_for, synth_input
from support.networks import fill, find_network
from support.reference import translate_schedule
from support.weights import to_reference
from tinysight.models import Backbone, create_model, set_batch_norm_variance
from tinysight.models.layers import DownscaleDropout
from tinysight.models.weights import reference_name
from tinysight.registry import losses, optimizers, schedules
from tinysight.training.optim import clip_each_norm, param_groups, set_lr

FLOOR = 2e-6  # of the change of the weights: what rounding alone does in three steps
ROUNDING = 6e-8  # of one float32 value near 1


@each_case("train")
def test_steps_in_float64(case: Case) -> None:
    expected = case["float32_vs_float64"].get("loss64")
    if expected is None:
        pytest.skip("PaddleClas has no float64 run of this")
    run = _Run(case, torch.float64)
    found = [float(run.step(i)[1]) for i in range(len(expected))]
    assert found == pytest.approx(expected, rel=2e-7)


@each_case("train")
def test_steps(case: Case) -> None:
    record, arrays = case, case.arrays
    run = _Run(record, torch.float32)
    conditioning = record["float32_vs_float64"]
    limit = _limit(record)
    slack = 5 * max(conditioning.get("loss_abs_diff") or [0.0])
    for i, expected in enumerate(record["steps"]):
        assert run.rate(i) == pytest.approx(expected["lr"], rel=1e-12, abs=0)
        logits, loss = run.step(i)
        error = max(1e-5 * expected["loss"], slack if i else 0.0)
        assert float(loss) == pytest.approx(expected["loss"], rel=0, abs=error)
        if i == 0:
            reference = arrays["logits#0"]
            assert np.abs(logits.numpy() - reference).max() < 1e-4 * reference.std()
            try:
                _check_gradients(expected, run.gradients, limit)
            except AssertionError:  # unless it is the rounding of this processor's kernels
                exact = _Run(record, torch.float64)
                exact.step(0)
                _check_gradients(expected, exact.gradients, limit)
            _check_first_statistics(expected, run.model)
    after = to_reference(run.model)
    _check_change(record, arrays, run.before, after)
    with torch.inference_mode():
        logits = run.model.eval()(torch.from_numpy(synth_input(2, *record["input_hw"])))
    reference = arrays["eval_logits_after"]
    assert np.abs(logits.numpy() - reference).max() < max(10 * limit, 1e-4) * reference.std()


def _limit(record: dict[str, Any]) -> float:
    """What the relative error of the change of the weights may be."""
    measured = record["float32_vs_float64"].get("delta_rel_error_all")
    return 5 * max(measured or 0.0, FLOOR)


class _Run:
    """The recorded run: network, loss, optimiser and schedule, built from our registries."""

    def __init__(self, record: dict[str, Any], dtype: torch.dtype) -> None:
        self.record = record
        self.dtype = dtype
        self.model = _network(record)
        self.before = fill(self.model)
        self.model.to(dtype)
        self.loss = _loss(record)
        self.groups, self.optimizer = _optimizer(record, self.model)
        self.rate = _rate(record)
        self.gradients: dict[str, float] = {}

    def step(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and loss of step `i`; norms of its gradients are kept."""
        images, labels = _batch(self.record, i)
        assert labels.tolist() == self.record["steps"][i]["labels"]
        set_lr(self.optimizer, self.rate(i))
        self.optimizer.zero_grad()
        logits = self.model.train()(images.to(self.dtype))
        loss = self.loss(logits, labels)
        loss.backward()
        self.gradients = {
            reference_name(n): 0.0 if p.grad is None else float(p.grad.double().norm())
            for n, p in self.model.named_parameters()
        }
        if clip := self.record["optimizer"].get("clip_norm"):
            clip_each_norm([p for g in self.groups for p in g["params"]], clip)
        self.optimizer.step()
        return logits.detach(), loss.detach()


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
            if n.startswith(prefix) and p.ndim == 4
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
    elif config["name"] == "Adam":
        spec = {"name": "adam", "betas": [config["beta1"], config["beta2"]]}
        spec["eps"] = config["epsilon"]
        decay = config.get("regularizer", {}).get("coeff", config.get("weight_decay") or 0.0)
    elif config["name"] == "RMSProp":
        words = {"rho": "rho", "epsilon": "eps", "momentum": "momentum", "centered": "centered"}
        spec = {"name": "rmsprop", **{words[k]: v for k, v in config.items() if k in words}}
        decay = config.get("regularizer", {}).get("coeff", config.get("weight_decay") or 0.0)
    else:
        not_built(f"optimizer {config['name']}")
    spec["undecayed"] = (config.get("no_weight_decay_name") or "").split()
    if config["name"] == "Momentum" and spec["undecayed"]:  # without names it has no effect there
        spec["decay_one_dimensional"] = not config.get("one_dim_param_no_weight_decay", False)
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


def _check_gradients(expected: dict[str, Any], found: dict[str, float], limit: float) -> None:
    """Norms before decay; a bias in front of a normalisation has a true gradient of zero.

    Gradients of early layers are as ill-conditioned as the change of the weights after three steps.
    """
    recorded = expected["grad_norm"]
    scale = max(recorded.values())
    for name, norm in recorded.items():
        assert found[name] == pytest.approx(norm, rel=max(1e-3, limit), abs=1e-5 * scale), name
    without = {n for n in expected["params_without_grad"] if not n.endswith(("_mean", "_variance"))}
    assert {n for n, norm in found.items() if not norm} >= without
    both = np.array([[found[n], recorded[n]] for n in recorded])
    assert np.linalg.norm(both[:, 0] - both[:, 1]) < max(1e-4, limit / 5) * np.linalg.norm(
        both[:, 1]
    )


def _check_first_statistics(expected: dict[str, Any], model: Backbone) -> None:
    now = to_reference(model)
    for name, values in expected["bn_first"].items():
        np.testing.assert_allclose(
            now[name][: len(values)], values, rtol=1e-5, atol=1e-5, err_msg=name
        )


def _check_change(
    record: dict[str, Any],
    arrays: dict[str, np.ndarray],
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
) -> None:
    """What three steps changed, to five times the recorded error of the change as a whole.

    Running statistics are recorded in full. Of a parameter the norm of its change is, and its first
    eight values; they stand for it with the weight that it has in the whole change.
    """
    statistics = {k[3:]: v for k, v in arrays.items() if k.startswith("bn|")}
    assert statistics
    error = sum(float(np.sum((after[n] - v) ** 2.0)) for n, v in statistics.items())
    total = sum(float(np.sum((before[n] - v) ** 2.0)) for n, v in statistics.items())
    norms = 0.0
    for name in before.keys() - statistics.keys():
        recorded = record["fingerprint_after"][name]
        first = np.array(recorded["first8"])
        wrong = np.abs(after[name].flatten()[: len(first)] - first) - ROUNDING
        moved = float(np.sum((before[name].flatten()[: len(first)] - first) ** 2.0))
        weight = recorded["delta_norm"] ** 2
        error += weight * float(np.sum(wrong.clip(0) ** 2)) / moved if moved else 0.0
        total += weight
        norm = np.linalg.norm(after[name].astype(np.float64) - before[name])
        norms += (norm - recorded["delta_norm"]) ** 2
    limit = _limit(record) ** 2 * total
    assert error < limit
    assert norms < limit

"""Three recorded training steps of detectors, their mean of the weights, and learning rates.

Step 0 is strict; later steps are held to ten times what noise of 1e-6 on the input changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from support.detectors import fill_detector, recorded_detector
from support.golden import Case, each_case, synth_input
from support.weights import to_reference
from tinysight.config.schema import Ema
from tinysight.data.loader import Batch
from tinysight.models import set_batch_norm_variance
from tinysight.models.weights import reference_name
from tinysight.registry import losses, optimizers, schedules
from tinysight.training.networks import Average
from tinysight.training.objective import total
from tinysight.training.objective.detect import Detect
from tinysight.training.optim import param_groups, set_lr
from tinysight.transforms.boxes import padded

CHAOS = "noise_1e-6_on_the_input_changes_delta_by_relative"
NOISE = "noise_1e-6_on_the_input_changes_losses_by"


@each_case("picodet_train", lambda case: "steps" in case)
def test_steps(case: Case) -> None:
    model = recorded_detector(case["arch"])
    before = fill_detector(model, case)
    set_batch_norm_variance(model, "biased")
    goal, about = Detect(model, _loss(case["arch"])), case["optimizer"]
    goal.epoch = case["epoch_id"]
    groups = param_groups(model, about["l2"])
    _check_groups(case, groups, about["l2"])
    spec = {"name": "sgd", "momentum": about["momentum"], "nesterov": about["nesterov"]}
    optimizer = optimizers.build(spec, params=groups)
    average = Average(model, Ema(decay=case["ema"]["decay"], warmup=True, from_zero=True))
    for i, expected in enumerate(case["steps"]):
        set_lr(optimizer, about["lr"])
        optimizer.zero_grad()
        terms = goal.train()(_batch(case, i, expected))
        loss = total(terms)
        loss.backward()
        found = [float(v.detach()) for v in (*(t.value for t in terms.values()), loss)]
        wanted = [expected["losses"][k] for k in ("loss_vfl", "loss_bbox", "loss_dfl", "loss")]
        slack = 10 * max(case[NOISE][i].values()) if i else 0.0
        assert found == pytest.approx(wanted, rel=1e-5, abs=slack)
        if i == 0:
            _check_gradients(case, model, expected["grad_norm"])
        optimizer.step()
        average.update(i)
        if i == 0:
            now = to_reference(model)
            for name, values in expected["bn_first"].items():
                np.testing.assert_allclose(now[name][: len(values)], values, rtol=1e-5, atol=1e-5)
    _check_after(case, model, average, before)


def _check_gradients(case: Case, model: Any, recorded: dict[str, float]) -> None:
    norms = {reference_name(n): p.grad for n, p in model.named_parameters()}
    scale = max(recorded.values())
    limit = max(5e-4, case[CHAOS] / 10)
    for name, norm in recorded.items():
        own = norms[case["aliases"].get(name, name)]
        assert own is not None, name
        assert float(own.double().norm()) == pytest.approx(norm, rel=limit, abs=1e-6 * scale), name


def _loss(arch: dict[str, Any]) -> Any:
    head = arch[arch["PicoDet"]["head"]]
    weights = {
        "class_weight": head["loss_class"]["loss_weight"],
        "giou_weight": head["loss_bbox"]["loss_weight"],
        "dfl_weight": head["loss_dfl"]["loss_weight"],
    }
    rule = head["assigner"]
    if rule["name"] == "SimOTAAssigner":
        options = {"candidates": rule["candidate_topk"], "iou_weight": rule["iou_weight"]}
        return losses.build({"name": "simota", **weights, **options})
    options = {"candidates": rule["topk"], "alpha": rule["alpha"], "beta": rule["beta"]}
    options |= {"nearest": head["static_assigner"]["topk"], "side": head["grid_cell_scale"]}
    options |= {"static_epochs": head["static_assigner_epoch"], "bounded": False}
    return losses.build({"name": "task_aligned", **weights, **options})


def _batch(case: Case, step: int, expected: dict[str, Any]) -> Batch:
    images = synth_input(case["batch"], *case["input"], name=f"picodet_train/input#{step}")
    rows = [
        np.column_stack([np.reshape(own["cls"], -1), np.reshape(own["bbox"], (-1, 4))])
        for own in expected["targets"]
    ]
    return Batch(torch.from_numpy(images), torch.from_numpy(padded(rows)), ())


def _check_groups(case: Case, groups: list[dict[str, Any]], decay: float) -> None:
    """Which parameters are decayed."""
    recorded = case["param_optimize_attr"]
    for group in groups:
        assert group["lr_mult"] == 1
        for name in map(reference_name, group["names"]):
            own = recorded.get(name, {}).get("regularizer")
            assert group["weight_decay"] == (own[1] if own else decay), name


def _check_after(case: Case, model: Any, average: Average, before: dict[str, np.ndarray]) -> None:
    noise = 10 * case[CHAOS]
    after = to_reference(model)
    wrong = moved = 0.0
    for name, recorded in case["fingerprint_after"].items():
        if name not in after:
            continue
        first = np.array(recorded["first8"])
        own = after[name].reshape(-1)[: len(first)]
        change = first - before[name].reshape(-1)[: len(first)]
        wrong += float(np.square(own - first).sum())
        moved += float(np.square(change).sum())
    assert wrong <= (noise**2) * moved + 1e-12
    mean = to_reference(average.model)
    for name, values in case["ema"]["first4"].items():
        if name in mean:
            np.testing.assert_allclose(
                mean[name].reshape(-1)[: len(values)], values, rtol=1e-3, atol=noise
            )
    images = torch.from_numpy(synth_input(2, *case["input"], name="picodet/input"))
    with torch.inference_mode():
        scores = model.eval()(images).stages["scores"].transpose(1, 2)[..., ::7].numpy()
    expected = case.arrays["eval_scores_after"]
    assert np.abs(scores - expected).max() <= max(noise, 2e-5)


@each_case("picodet_train", lambda case: "base_lr" in case)
def test_rates(case: Case) -> None:
    base, warm = case["base_lr"], max(case["warmup_steps"], 1)  # none counts as one
    first, count = base * case["start_factor"], case["iterations"]
    if (
        warm > count
    ):  # here a warm-up ends with the run at the latest: at the rate that theirs has there
        base, warm = first + (base - first) * count / warm, count
    spec = {"name": "cosine", "warmup_steps": warm, "warmup_start_lr": first}
    sizes = {"epochs": case["max_epochs"], "steps_per_epoch": case["step_per_epoch"]}
    rate = schedules.build(spec, lr=base, **sizes)
    pairs = [(i, lr) for i, lr in zip(case["at"], case["lr"], strict=True) if i < count]
    np.testing.assert_allclose([rate(i) for i, _ in pairs], [lr for _, lr in pairs], rtol=1e-12)

"""Three recorded training steps of PaddleClas' recognition networks, from the text of its configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from support.golden import Case, cases, each, rng_for, synth_input
from support.recognition import RecordedRun
from support.weights import to_reference
from tinysight.models import RecognitionNetwork
from tinysight.models.weights import reference_name
from tinysight.registry import embedding_losses

FOUND = [case for case in cases("rec_train") if "config_yaml" in case]
UNEVEN = [
    pytest.param(case, id=",".join(map(str, case["counts"])))
    for case in cases("rec_train")
    if "counts" in case
]


@each("case", [pytest.param(case, id=case["id"]) for case in FOUND], "rec_train")
def test_steps(case: Case, tmp_path: Path) -> None:
    run, arrays = RecordedRun(case, tmp_path), case.arrays
    assert isinstance(run.network, RecognitionNetwork)
    exact, noise = case["float32_vs_float64"], case["rounding_noise"]
    apart = run.recipe.train.loss_optimizer
    for i, recorded in enumerate(case["steps"]):
        assert [run.recipe.train.lr, *([apart.lr] if apart else [])] == recorded["lr"]
        terms, loss = run.step(i)
        slack = 0.0 if i == 0 else 5 * (exact["loss_rel_diff"][i] + noise["loss_rel"][i])
        check_losses(run, terms, float(loss), recorded["losses"], 1e-5 + slack)
        if i == 0:
            check_first_outputs(run, case, arrays)
            check_gradients(run, recorded, case, arrays)
        run.change()
    check_after(run, case, arrays)
    check_outputs(run, case, arrays)


def check_losses(
    run: RecordedRun, terms: Any, loss: float, recorded: dict[str, float], limit: float
) -> None:
    theirs = sorted(value for name, value in recorded.items() if name != "loss")
    values = {name: float(t.weight * t.value.detach()) for name, t in terms.items()}
    if (shown := run.cross_entropy_as_shown()) is not None:
        (name,) = (n for n in ("cross_entropy", "loss") if n in values)
        loss += shown - values[name]
        values[name] = shown
    ours = sorted(values.values())
    assert len(ours) == len(theirs)
    for a, b in zip([*ours, loss], [*theirs, recorded["loss"]], strict=True):
        assert abs(a - b) <= limit * max(1.0, abs(b))


def check_first_outputs(run: RecordedRun, case: Case, arrays: dict[str, np.ndarray]) -> None:
    found = run.outputs
    assert found is not None
    pairs = {"backbone": found.pooled, "features": found.embedding, "logits": found.logits}
    for name, ours in pairs.items():
        if ours is None or f"out#0|{name}" not in arrays:
            continue
        value = arrays[f"out#0|{name}"]
        wrong = np.abs(ours.detach().numpy().ravel()[: value.size] - value.ravel()).max()
        exact = (case["float32_vs_float64"].get("out_rel_diff") or [0.0])[0]
        assert wrong <= max(1e-4, 5 * exact) * value.std() + 1e-6, name


def check_gradients(run: RecordedRun, recorded: dict[str, Any], case: Case, arrays: Any) -> None:
    found = {reference_name(n): p.grad for n, p in run.network.named_parameters()}
    for place, loss in enumerate(run.objective.losses.values()):
        found |= {f"loss.loss_func.{place}.{n}": p.grad for n, p in loss.named_parameters()}
    for part, norm in recorded["grad_norm"].items():
        own = [g for n, g in found.items() if n.startswith(f"{part}.") and g is not None]
        total = sum(float(g.double().square().sum()) for g in own) ** 0.5
        if part == "neck":  # where PaddleClas counts the bias, which its rate of 1e-20 holds
            held = recorded["grad_norm_per_parameter"].get("neck.feat_bn.bias", 0.0)
            learns = found.get("neck.feat_bn.bias") is not None
            norm = norm if learns else max(norm**2 - held**2, 0.0) ** 0.5
        relative = max(1e-3, 5 * recorded_noise(case, "grad0_rel_error", "grad0_rel", part))
        assert total == pytest.approx(norm, rel=relative)
    for key, value in arrays.items():
        if key.startswith("grad#0|"):
            gradient = found.get(key[7:])
            if gradient is None:
                assert key[7:] == "neck.feat_bn.bias"
                continue
            ours = in_their_layout(key[7:], gradient).ravel()[: value.size]
            part, scale = key[7:].partition(".")[0], np.linalg.norm(value)
            noise = recorded_noise(case, "", "grad0_per_tensor_worst", part)
            if scale > 1e-6 * recorded["grad_norm"][part]:  # else its true gradient is 0
                wrong = np.linalg.norm(ours - value.ravel())
                assert wrong <= max(1e-2, 5 * noise) * scale, key


def recorded_noise(case: Case, exact: str, repeated: str, part: str) -> float:
    """The larger of two noises: float32 against float64, and repeats with inputs that differ by rounding."""
    found = (case["float32_vs_float64"].get(exact), case["rounding_noise"].get(repeated))
    values = [v.get(part) if isinstance(v, dict) else v for v in found]
    return max(value or 0.0 for value in values)


def in_their_layout(name: str, value: torch.Tensor) -> np.ndarray:
    array = value.detach().numpy()
    linear = name.endswith("fc.weight") or ".fc1." in name or ".fc2." in name
    return array.T.copy() if linear and array.ndim == 2 else array


def check_after(run: RecordedRun, case: Case, arrays: dict[str, np.ndarray]) -> None:
    """Weights, statistics and centres, to five times the recorded noise."""
    after = to_reference(run.network)
    for place, loss in enumerate(run.objective.losses.values()):
        after |= {
            f"loss.loss_func.{place}.{n}": p.detach().numpy() for n, p in loss.named_parameters()
        }
    adam = run.recipe.train.optimizer.name == "adam"
    for key, value in arrays.items():
        if not key.startswith("after|"):
            continue
        name = key[6:]
        if name not in after:  # the bank of a memory, whose rows are compared
            check_bank(run, name, value)
            continue
        ours, before = (
            x[name].ravel()[: value.size]
            for x in (after, run.before | {name: run.before.get(name, after[name])})
        )
        noise = recorded_noise(case, "sampled_max_abs_diff", "sampled_max_abs", name)
        limit = 5 * noise + 1e-5 * max(float(np.abs(value).max()), 1e-3)
        if adam and not name.endswith(("_mean", "_variance")):
            limit = max(limit, 2.2 * len(case["steps"]) * run.recipe.train.lr)
        assert np.abs(ours - value.ravel()).max() <= limit, name
        if name.endswith(("_mean", "_variance")):
            assert np.abs(ours - before).max() > 0


def check_bank(run: RecordedRun, name: str, value: np.ndarray) -> None:
    (memory,) = [
        loss.memory for loss in run.objective.losses.values() if getattr(loss, "memory", None)
    ]
    kept = memory.embeddings if "feat" in name else memory.labels
    ours = kept.numpy().ravel()[: value.size]
    np.testing.assert_allclose(ours, value.ravel(), atol=1e-4)


def check_outputs(run: RecordedRun, case: Case, arrays: dict[str, np.ndarray]) -> None:
    network = run.network.eval()
    images = torch.from_numpy(synth_input(4, *case["input_hw"], name=case["eval_input_name"]))
    with torch.inference_mode():
        found = network(images)
    pairs = {"backbone": found.pooled, "neck": found.embedding, "features": found.embedding}
    for name, ours in pairs.items():
        if f"eval|{name}" in arrays and ours is not None:
            value = arrays[f"eval|{name}"]
            wrong = np.abs(ours.numpy().ravel()[: value.size] - value.ravel()).max()
            noise = recorded_noise(case, "eval_rel_diff", "eval_rel", name)
            assert wrong <= (1e-4 + 5 * noise) * max(np.abs(value).max(), 1e-6), name


@each("case", UNEVEN, "rec_train/uneven_facts")
def test_uneven_identities_are_masked_not_mixed(case: Case) -> None:
    counts, labels = case["counts"], torch.tensor(case["labels"])
    rng = rng_for(f"rec_train/uneven/{','.join(map(str, counts))}")
    centres = rng.normal(0, 1, (len(counts), 16))
    x = np.repeat(centres, counts, axis=0) + rng.normal(0, 0.7, (sum(counts), 16))
    features = torch.from_numpy(x.astype(np.float32))
    assert features[0, :4].tolist() == pytest.approx(case["feature_first4"])
    for row in case["losses"]:
        options, name = row["kwargs"], row["loss"]
        if name not in NAMES:
            continue
        expected = row.get("masked_float64", row.get("reference"))
        if expected is None or (
            name == "SupConLoss" and set(counts) & {1} | set(counts) - {counts[0]}
        ):
            continue  # one identity alone, or rows that are labelled wrongly
        spec = {NAMES_OF[k]: v for k, v in options.items() if k in NAMES_OF}
        if options.get("add_absolute"):
            spec |= {"absolute_weight": options["absolute_loss_weight"], "count_satisfied": True}
        if name == "TripletLoss":
            spec["normalize"] = False
        loss = embedding_losses.build({"name": NAMES[name], **spec})
        assert float(loss(features, labels)) == pytest.approx(expected, rel=1e-5), name
    assert F.normalize(features).shape == features.shape


NAMES = {
    "TripletLossV2": "triplet", "TripletLoss": "triplet", "SupConLoss": "supcon",
    "TripletAngularMarginLoss": "triplet_angular_margin", "PairwiseCosface": "pairwise_cosface",
}  # fmt: skip
NAMES_OF = {
    "margin": "margin", "normalize_feature": "normalize", "gamma": "gamma",
    "ap_value": "positive_bound", "an_value": "negative_bound",
}  # fmt: skip

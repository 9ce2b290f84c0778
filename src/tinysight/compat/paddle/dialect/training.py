"""`Loss`, `Optimizer` and `Metric`: how the network learns, and what is measured."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.recognition import MEASURES, STOP, retrieval_metric
from tinysight.compat.paddle.dialect.rules import Reader, Spec, put


def loss_section(reader: Reader, tree: dict[str, Any], native: Spec, mixed: float | None) -> None:
    """Write `Loss.Train`; what `Loss.Eval` asks for is not needed, since metrics are computed instead.

    `mixed`: the labels of a batch are mixed, so they are distributions, and smoothed by this much; None: they are not.
    """
    found = reader.section(tree.get("Loss"), "Loss", "Loss")
    listed = reader.items(found.get("Train"), "Loss.Train")
    if not listed:
        reader.wrong("Loss.Train", "names no loss")
    specs = [spec for item in listed if (spec := _loss(reader, *item, mixed))]
    whole = native.get("model", {}).get("neck", {}).get("name") == "fc" and STOP not in tree["Arch"]
    if whole and any(spec.get("of") == "pooled" for spec in specs):
        what = "feature_from: backbone is of a backbone that stops before its classifier"
        reader.wrong("Loss.Train", what, f"features, or Arch.{STOP}")
    if len(listed) == 1:  # which PaddleClas does not weigh
        for spec in specs:
            spec.pop("weight", None)
    if len(listed) > 1 or any("of" in spec for spec in specs):
        native.pop("loss", None)
        native["losses"] = specs
    elif specs:
        native["loss"] = specs[0]


def _loss(
    reader: Reader, where: str, name: str, arguments: Any, mixed: float | None
) -> Spec | None:
    made = reader.component("loss", "losses", name, arguments, where)
    if made is None:
        return None
    spec, found = made
    if "weight" in found:
        spec["weight"] = found["weight"]
    if found.get("add_absolute"):
        spec["absolute_weight"] = found["absolute_loss_weight"]
    smoothing = found.get("epsilon") if "identical" not in spec else None
    if name == "MultiLabelAsymmetricLoss":
        spec["focal_gradient"] = not found["disable_focal_loss_grad"]
    if smoothing is not None and 0 < smoothing < 1:
        spec["label_smoothing"] = smoothing
        if name == "MultiLabelLoss":
            spec["smooth_towards"] = "uniform"
    elif mixed and name in ("CELoss", "SoftTargetCrossEntropy"):
        spec["label_smoothing"] = mixed
    elif mixed is not None and name == "CELoss":
        reader.note(where, "mixed labels are used as they are; PaddleClas would take their softmax")
    return spec


def optimizer_section(reader: Reader, values: Any, native: Spec) -> None:
    """Write `Optimizer`, with its schedule and its clipping; of several the one whose scope is a loss goes apart."""
    if not isinstance(values, list):
        _optimizer(reader, values, "Optimizer", native.setdefault("train", {}))
        return
    scopes = []
    for where, name, arguments in reader.items(values, "Optimizer"):
        scope, rest = arguments.get("scope"), {k: v for k, v in arguments.items() if k != "scope"}
        one: Spec = {}
        _optimizer(reader, {**rest, "name": name}, where, one)
        scopes.append(scope)
        if isinstance(scope, str) and scope.endswith("Loss"):
            if {"clip_norm"} & one.keys():
                reader.wrong(where, "gradients of losses are clipped with the others")
            put(native, "train.loss_optimizer", one)
        else:
            native.setdefault("train", {}).update(one)
    losses = sum(isinstance(scope, str) and scope.endswith("Loss") for scope in scopes)
    if len(scopes) > 2 or losses > 1 or len(scopes) - losses != 1:
        what = "one optimiser for the network, and one for the losses, are available"
        reader.wrong("Optimizer", what, f"the scopes are {', '.join(map(str, scopes))}")


def _optimizer(reader: Reader, values: Any, where: str, out: Spec) -> None:
    name = _name(values, "Momentum")
    made = reader.component("optimiser", "optimizers", name, values, where)
    if made is None:
        return
    spec, found = made
    spec["weight_decay"] = _decay(reader, name, found, where)
    _exempt(reader, name, found, spec)
    out["optimizer"] = spec
    _clip(reader, found, out)
    _schedule(reader, found.get("lr"), f"{where}.lr", out)


def _name(values: Any, default: str) -> str:
    return str((values or {}).get("name", default)) if isinstance(values, dict | None) else ""


def _decay(reader: Reader, name: str, found: dict[str, Any], where: str) -> float:
    decay: float = found.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
    if "regularizer" in found:
        kind = reader.section(found["regularizer"], f"{where}.regularizer", "regularizer")
        if kind.get("name") not in ("L2", "L2Decay"):
            reader.wrong(f"{where}.regularizer.name", "only L2 is available")
        if "weight_decay" in found:
            reader.note(f"{where}.weight_decay", "regularizer is there too, and counts")
        decay = kind.get("coeff", 0.0)
    return decay


def _exempt(reader: Reader, name: str, found: dict[str, Any], spec: Spec) -> None:
    vectors = found["one_dim_param_no_weight_decay"] or found.get("filter_bias_and_bn", False)
    if names := found["no_weight_decay_name"].split():
        spec["undecayed"] = names
    if name.startswith("AdamW") or names:
        spec["decay_one_dimensional"] = not vectors
    elif vectors:
        what = f"has no effect with {name} unless no_weight_decay_name is set, too"
        reader.note("Optimizer.one_dim_param_no_weight_decay", what)


def _clip(reader: Reader, found: dict[str, Any], out: Spec) -> None:
    if "clip_norm" in found:
        out |= {"clip_norm": found["clip_norm"], "clip": "tensor"}
    elif "clip_grad" in found:
        what = "PaddleClas passes it over; gradients are clipped here to this norm, all together"
        reader.note("Optimizer.clip_grad", what)
        out["clip_norm"] = found["clip_grad"]


def _schedule(reader: Reader, values: Any, where: str, out: Spec) -> None:
    name = _name(values, "Constant")
    made = reader.component("schedule", "schedules", name, values, where)
    if made is None:
        return
    spec, found = made
    rate = found.get("learning_rate", found.get("max_learning_rate"))
    if name == "Piecewise" and found.get("values"):
        rates = found["values"]
        spec["factors"] = [value / rates[0] for value in rates[1:]]
        rate = rates[0] if rate is None else rate
    if rate is None:
        reader.wrong(f"{where}.learning_rate", "is needed")
    else:
        out["lr"] = rate
    out["schedule"] = spec


def metric_section(
    reader: Reader, tree: dict[str, Any], searched: dict[str, Any] | None, native: Spec
) -> None:
    """Write `Metric.Eval`; the first value of the first one picks the best epoch, as there.

    `searched`: the values of `Global`, where evaluation is by retrieval.
    """
    found = reader.section(tree.get("Metric"), "Metric", "Metric")
    if searched is not None:
        native["metrics"] = retrieval_metric(reader, found.get("Eval"), searched)
        return
    specs: list[Spec] = []
    for where, name, arguments in reader.items(found.get("Eval"), "Metric.Eval"):
        made = reader.component("metric", "metrics", name, arguments, where)
        if made and made[0]["name"] in MEASURES:
            reader.wrong(where, "is for Global.eval_mode: retrieval")
            continue
        specs += made[:1] if made else ()
        if made and name == "ATTRMetric":
            reader.note(where, "compares probabilities; PaddleClas, what is before the sigmoid")
    native["metrics"] = specs or [{"name": "topk", "k": [1]}]

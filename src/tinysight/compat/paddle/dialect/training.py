"""`Loss`, `Optimizer` and `Metric`: how the network learns, and what is measured."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.operators import Spec
from tinysight.compat.paddle.dialect.rules import (
    DISTILLATION,
    RECOGNITION,
    Dead,
    Key,
    Only,
    Quiet,
    Reader,
    Rule,
    Table,
    put,
)
from tinysight.compat.paddle.dialect.schedules import schedule
from tinysight.compat.paddle.dialect.values import (
    anything,
    flag,
    integer,
    number,
    one_of,
    several,
    text,
)
from tinysight.errors import nearest

_WEIGHT = Quiet("a lone loss is not weighted")
_GRID = 10_000  # thresholds that PaddleClas tries

LOSSES: dict[str, tuple[str, Table]] = {
    "CELoss": (
        "cross_entropy",
        {
            "weight": _WEIGHT,
            "epsilon": Key(number),
            "reduction": Key(one_of(mean="mean", sum="sum"), "reduction"),
        },
    ),
    "SoftTargetCrossEntropy": ("cross_entropy", {"weight": _WEIGHT}),
    "MultiLabelLoss": (
        "multilabel",
        {
            "weight": _WEIGHT,
            "epsilon": Key(number),
            "size_sum": Key(flag, "sum_labels"),
            "weight_ratio": Key(flag, "balance"),
        },
    ),
    "MultiLabelAsymmetricLoss": (
        "multilabel_asymmetric",
        {
            "weight": _WEIGHT,
            "gamma_pos": Key(number, "gamma_present", 1.0),
            "gamma_neg": Key(number, "gamma_absent", 4.0),
            "clip": Key(number, "clip", 0.05),
            "eps": Key(number, "eps", 1e-8),
            "disable_focal_loss_grad": Key(flag, "", True),
            "reduction": Key(one_of(mean="mean", sum="sum"), "reduction", "sum"),
        },
    ),
}
_OTHER_LOSSES = {
    **dict.fromkeys(
        ("TripletLoss", "TripletLossV2", "TripletAngularMarginLoss", "TripletAngularMarginLoss_XBM",
         "TriHardLoss", "MSMLoss", "EmlLoss", "NpairsLoss", "ContrastiveLoss", "ContrastiveLoss_XBM", "CenterLoss",
         "SupConLoss", "PairwiseCosface", "DCHLoss", "LCDSHLoss", "DSHSDLoss", "CELossForMetaBIN",
         "TripletLossForMetaBIN", "InterDomainShuffleLoss", "IntraDomainScatterLoss"), RECOGNITION,
    ),
    **dict.fromkeys(
        ("DMLLoss", "KLDivLoss", "DKDLoss", "WSLLoss", "SKDLoss", "DISTLoss", "RKDLoss", "AFDLoss", "MGDLoss",
         "PEFDLoss", "DistanceLoss"), DISTILLATION,
    ),
    "GoogLeNetLoss": "networks with several heads are not available",
    "MixCELoss": "it raises an error in PaddleClas, too",
}  # fmt: skip


def loss_section(reader: Reader, tree: dict[str, Any], native: dict[str, Any], mixed: bool) -> None:
    """Write `Loss.Train`; what `Loss.Eval` asks for is not needed, since metrics are computed instead.

    `mixed`: the labels of a batch are mixed, so they are distributions.
    """
    table: Table = {"Train": Key(anything), "Eval": Quiet("evaluation computes the metrics")}
    found = reader.section(tree.get("Loss"), "Loss", table)
    listed = reader.items(found.get("Train"), "Loss.Train")
    if not listed:
        reader.wrong("Loss.Train", "names no loss")
    specs = [spec for item in listed if (spec := _loss(reader, *item, mixed))]
    if len(specs) > 1:
        reader.wrong("Loss.Train", f"a sum of {len(specs)} losses is not available", "keep one")
    elif specs and len(listed) == 1:
        native["loss"] = specs[0]


def _loss(reader: Reader, where: str, name: str, arguments: Any, mixed: bool) -> Spec | None:
    if name not in LOSSES:
        reason = DISTILLATION if name.startswith("Distillation") else _OTHER_LOSSES.get(name)
        if reason:
            reader.wrong(where, reason)
        else:
            reader.wrong(where, "unknown loss", nearest(name, [*LOSSES, *_OTHER_LOSSES]))
        return None
    native, table = LOSSES[name]
    spec: Spec = {"name": native}
    found = reader.section(arguments, where, table, spec)
    smoothing = found.get("epsilon")
    if name == "MultiLabelAsymmetricLoss":
        spec["focal_gradient"] = not found["disable_focal_loss_grad"]
    if smoothing is not None and 0 < smoothing < 1:
        spec["label_smoothing"] = smoothing
        if name == "MultiLabelLoss":
            spec["smooth_towards"] = "uniform"
    elif mixed and name == "CELoss":
        reader.note(where, "mixed labels are used as they are; PaddleClas would take their softmax")
    return spec


_SHARED: dict[str, Rule] = {
    "name": Key(text),
    "lr": Key(anything),
    "regularizer": Key(anything),
    "weight_decay": Key(number),
    "no_weight_decay_name": Key(text, "", ""),
    "one_dim_param_no_weight_decay": Key(flag, "", False),
    "clip_norm": Key(number),
    "clip_grad": Key(number),
    "multi_precision": Quiet("weights are float32"),
    "use_multi_tensor": Quiet("the same numbers in fewer calls"),
}
_MOMENTUM: dict[str, Rule] = {
    "momentum": Key(number, "momentum", 0.9),
    "use_nesterov": Key(flag, "nesterov", False),
}
_ADAM: dict[str, Rule] = {
    "beta1": Key(number, "betas.0", 0.9),
    "beta2": Key(number, "betas.1", 0.999),
    "epsilon": Key(number, "eps", 1e-8),
    "lazy_mode": Quiet("for sparse gradients, of which there are none"),
    "amsgrad": Only((False,), "AMSGrad is not available"),
}
OPTIMIZERS: dict[str, tuple[str, Table]] = {
    "SGD": ("sgd", {**_SHARED, "momentum": Dead("SGD has none; Momentum has")}),
    "Momentum": ("sgd", {**_SHARED, **_MOMENTUM}),
    "Adam": ("adam", {**_SHARED, **_ADAM}),
    "AdamW": ("adamw", {**_SHARED, **_ADAM}),
    "RMSProp": (
        "rmsprop",
        {
            **_SHARED,
            "momentum": Key(number, "momentum", 0.0),
            "rho": Key(number, "rho", 0.95),
            "epsilon": Key(number, "eps", 1e-6),
        },
    ),
}
REGULARIZER: Table = {"name": Key(text, "", "L2"), "coeff": Key(number)}


def optimizer_section(reader: Reader, values: Any, native: dict[str, Any]) -> None:
    """Write `Optimizer`, with its schedule and its clipping."""
    where = "Optimizer"
    if isinstance(values, list):
        reader.wrong(where, "several optimisers, each with a scope, are not available", "name one")
        return
    name = str((values or {}).get("name", "Momentum")) if isinstance(values, dict | None) else ""
    if name not in OPTIMIZERS:
        if name == "AdamWDL":
            reader.wrong(f"{where}.name", "AdamWDL, a rate for every layer, is not available")
        else:
            reader.wrong(f"{where}.name", f"unknown optimiser {name!r}", nearest(name, OPTIMIZERS))
        return
    ours, table = OPTIMIZERS[name]
    spec: Spec = {"name": ours}
    if name == "SGD":
        spec["momentum"] = 0.0
    found = reader.section(values, where, table, spec)
    spec["weight_decay"] = _decay(reader, name, found)
    _exempt(reader, name, found, spec)
    put(native, "train.optimizer", spec)
    _clip(reader, found, native)
    schedule(reader, found.get("lr"), native)


def _decay(reader: Reader, name: str, found: dict[str, Any]) -> float:
    decay: float = found.get("weight_decay", 0.01 if name == "AdamW" else 0.0)
    if "regularizer" in found:
        kind = reader.section(found["regularizer"], "Optimizer.regularizer", REGULARIZER)
        if kind.get("name") not in ("L2", "L2Decay"):
            reader.wrong("Optimizer.regularizer.name", "only L2 is available")
        if "weight_decay" in found:
            reader.note("Optimizer.weight_decay", "regularizer is there too, and counts")
        decay = kind.get("coeff", 0.0)
    return decay


def _exempt(reader: Reader, name: str, found: dict[str, Any], spec: Spec) -> None:
    names = found["no_weight_decay_name"].split()
    vectors = found["one_dim_param_no_weight_decay"]
    if names:
        spec["undecayed"] = names
    if name == "AdamW" or names:
        spec["decay_one_dimensional"] = not vectors
    elif vectors:
        reader.note(
            "Optimizer.one_dim_param_no_weight_decay",
            f"has no effect with {name} unless no_weight_decay_name is set, too",
        )


def _clip(reader: Reader, found: dict[str, Any], native: dict[str, Any]) -> None:
    if "clip_norm" in found:
        put(native, "train.clip_norm", found["clip_norm"])
        put(native, "train.clip", "tensor")
    elif "clip_grad" in found:
        reader.note(
            "Optimizer.clip_grad",
            "PaddleClas passes it over; gradients are clipped here to this norm, all together",
        )
        put(native, "train.clip_norm", found["clip_grad"])


METRICS: dict[str, tuple[str, Table]] = {
    "TopkAcc": ("topk", {"topk": Key(several(integer), "k", [1, 5])}),
    "TprAtFpr": ("tpr_at_fpr", {"max_fpr": Key(number, "max_fpr", 1 / 1000)}),
    "ATTRMetric": ("mean_accuracy", {"threshold": Key(number, "threshold")}),
    "MultiLabelMAP": (
        "multilabel_map",
        {"map_type": Key(one_of(integral="all", **{"11point": "eleven"}), "points")},
    ),
    "MultilabelMeanAccuracy": (
        "best_mean_accuracy",
        {
            "start": Key(number, "start"),
            "end": Key(number, "end"),
            "num_iterations": Key(integer, "steps"),
        },
    ),
    "HammingDistance": ("hamming", {"bi_threshold": Key(number, "threshold")}),
    "AccuracyScore": (
        "multilabel_accuracy",
        {
            "base": Key(one_of(sample="sample", label="label"), "base"),
            "bi_threshold": Key(number, "threshold"),
        },
    ),
}
_OTHER_METRICS = {
    **dict.fromkeys(("Recallk", "mAP", "mINP", "Precisionk"), RECOGNITION),
    "DistillationTopkAcc": DISTILLATION,
    "GoogLeNetTopkAcc": "networks with several heads are not available",
}


def metric_section(reader: Reader, tree: dict[str, Any], native: dict[str, Any]) -> None:
    """Write `Metric.Eval`; the first value of the first one picks the best epoch, as there."""
    table: Table = {"Eval": Key(anything), "Train": Quiet("training logs the loss alone")}
    found = reader.section(tree.get("Metric"), "Metric", table)
    specs = []
    for where, name, arguments in reader.items(found.get("Eval"), "Metric.Eval"):
        if name not in METRICS:
            if name in _OTHER_METRICS:
                reader.wrong(where, _OTHER_METRICS[name])
            else:
                known = [*METRICS, *_OTHER_METRICS]
                reader.wrong(where, "unknown metric", nearest(name, known))
            continue
        ours, keys = METRICS[name]
        spec: Spec = {"name": ours}
        reader.section(arguments, where, keys, spec)
        if name == "ATTRMetric":
            reader.note(
                where, "compares probabilities; PaddleClas takes the outputs before the sigmoid"
            )
        if ours == "tpr_at_fpr":
            spec["grid"] = _GRID
        specs.append(spec)
    native["metrics"] = specs or [{"name": "topk", "k": [1]}]

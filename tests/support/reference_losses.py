"""Loss sections of PaddleClas as ours: what each recorded case asks of which of our modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from support.golden import not_built
from support.options import Options
from tinysight.registry import Registry, distillation_losses, embedding_losses, losses

REGISTRIES: tuple[Registry[Any], ...] = (losses, embedding_losses, distillation_losses)
Preds = dict[str, Tensor]
Values = dict[str, Tensor]


class Ours:
    """One loss of PaddleClas; `modules` are those of ours behind it.

    Called with predictions and labels by path, it gives every value that PaddleClas reports.
    """

    def __init__(self, name: str, kwargs: dict[str, Any], batch: Preds) -> None:
        self.modules: list[nn.Module] = []
        self.options = Options(kwargs, name)
        self.options.without_effect("name")  # of the loss, for the log
        self._call = BUILDERS[name](self, self.options, batch)

    def __call__(self, preds: Preds, batch: Preds) -> Values:
        """The values; fails on an option that was not asked for."""
        values = self._call(preds, batch)
        self.options.check()
        return values

    def build(self, name: str, batch: Preds | None = None, **options: Any) -> nn.Module:
        """A module of ours from a checked spec; the label ratios are in the second row of a batch."""
        label = None if batch is None else batch["."]
        ratio = label[0, 1].numpy() if label is not None and label.ndim == 3 else None
        registry = next(r for r in REGISTRIES if name in r.names())
        runtime = {k: options.pop(k) for k in registry.runtime if k in options}
        checked, problems = registry.check({"name": name, **options}, "loss")
        assert problems == []
        module: nn.Module = registry.build(checked, **runtime, label_ratio=ratio)
        self.modules.append(module)
        return module


Option = Callable[[Options], dict[str, Any]]
Builder = Callable[[Ours, Options, Preds], Callable[[Preds, Preds], Values]]


def _words(kwargs: Options, **words: str) -> dict[str, Any]:
    """The arguments of `kwargs` that are in `words`, under our names."""
    return kwargs.renamed(words)


def _renamed(**words: str) -> Option:
    return lambda kwargs: _words(kwargs, **words)


def _without(build: Builder, *keys: str, only: dict[str, Any] | None = None) -> Builder:
    """`build`, where some options tell PaddleClas what our loss sees by itself; or have one value that we have."""

    def builder(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        kwargs.without_effect(*keys)
        for key, value in (only or {}).items():
            if kwargs.get(key, value) != value:
                not_built(f"{key}: {kwargs[key]}")
        return build(ours, kwargs, batch)

    return builder


def _smoothing(kwargs: Options) -> float:
    epsilon = kwargs.get("epsilon") or 0.0
    return epsilon if 0 < epsilon < 1 else 0.0


def _only(preds: Preds, path: str) -> Tensor:
    """What a loss takes from the predictions: `path`, or all of them."""
    return preds["."] if "." in preds else preds[path]


def _labels(batch: Preds) -> Tensor:
    label = batch["label"] if "label" in batch else batch["."]
    return label[:, 0] if label.ndim == 3 else label


def _cross_entropy(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    """A label as wide as the logits is taken for logits of its own, unless it is smoothed."""
    epsilon = _smoothing(kwargs)
    options = {"label_smoothing": epsilon, "reduction": kwargs.get("reduction", "mean")}
    hard = ours.build("cross_entropy", **options)
    wide = ours.build("cross_entropy", **options, softmax_targets=not epsilon)

    def call(preds: Preds, batch: Preds) -> Values:
        logits, label = _only(preds, "logits"), _labels(batch)
        if label.ndim == 2 and label.shape[1] == logits.shape[1]:
            return {"": wide(logits, label.float())}
        return {"": hard(logits, label.reshape(-1))}

    return call


def _multilabel(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    epsilon = _smoothing(kwargs)
    balance = kwargs.get("weight_ratio", False)
    loss = ours.build(
        "multilabel",
        batch,
        label_smoothing=epsilon,
        smooth_towards="uniform",
        sum_labels=kwargs.get("size_sum", False),
        balance=balance,
        ignore_unknown=bool(balance) and not epsilon,
    )
    return lambda preds, batch: {"": loss(_only(preds, "logits"), _labels(batch))}


def _asymmetric(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    options = _words(
        kwargs, gamma_pos="gamma_present", gamma_neg="gamma_absent", clip="clip", eps="eps",
        reduction="reduction",
    )  # fmt: skip
    through = not kwargs.get("disable_focal_loss_grad", True)
    loss = ours.build("multilabel_asymmetric", **options, focal_gradient=through)
    return lambda preds, batch: {"": loss(_only(preds, "logits"), _labels(batch))}


def _soft_target(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    loss = ours.build("cross_entropy")
    return lambda preds, batch: {"": loss(_only(preds, "logits"), _labels(batch))}


def _embedding(name: str, **words: str) -> Builder:
    """A loss of embeddings and labels, whose arguments have the names `words` here."""
    return _measured(name, _renamed(**words))


def _measured(name: str, option: Option) -> Builder:
    def build(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        loss = ours.build(name, **option(kwargs))
        path = kwargs.get("feature_from", "features")
        return lambda preds, batch: {"": loss(_only(preds, path), _labels(batch).flatten())}

    return build


_TAM = {
    "margin": "margin",
    "normalize_feature": "normalize",
    "ap_value": "positive_bound",
    "an_value": "negative_bound",
    "start_iter": "start",
    "xbm_size": "size",
    "xbm_weight": "memory_weight",
    "feat_dim": "features",
    "reduction": "reduction",
}


def _angular(kwargs: Options) -> dict[str, Any]:
    weight = kwargs.get("absolute_loss_weight", 1.0)
    weight = weight if kwargs.get("add_absolute") else 0.0
    return {**_words(kwargs, **_TAM), "absolute_weight": weight, "count_satisfied": True}


def _triplet(kwargs: Options) -> dict[str, Any]:
    return {
        "margin": kwargs.get("margin", 1.0),
        "normalize": kwargs.get("normalize_feature", False),
    }


def _dshsd(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    loss = ours.build(
        "dshsd", **_words(kwargs, alpha="distance_weight", multi_label="several_labels")
    )
    return lambda preds, batch: {
        "": loss(preds["features"], _labels(batch).flatten(), preds["logits"])
    }


def _domain(name: str) -> Builder:
    def build(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        loss = ours.build(name, **_words(kwargs, normalize_feature="normalize"))
        path = kwargs.get("feature_from", "features")

        def call(preds: Preds, batch: Preds) -> Values:
            labels = (batch["label"],) if name == "domain_shuffle" else ()
            return {"": loss(_only(preds, path), *labels, batch["domain"])}

        return call

    return build


def _domain_cross_entropy(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    def call(preds: Preds, batch: Preds) -> Values:
        logits = _only(preds, "logits")
        classes = logits.shape[1]
        loss = ours.build(
            "cross_entropy", label_smoothing=_smoothing(kwargs) * classes / (classes - 1)
        )
        return {"": loss(logits, batch["label"].flatten())}

    return call


def _bare(name: str, option: Option) -> Builder:
    """A loss of two tensors, the second of which is recorded as the label."""

    def build(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        loss = ours.build(name, **option(kwargs))
        return lambda preds, batch: {"": loss(_only(preds, "logits"), batch["."])}

    return build


def _dml(kwargs: Options) -> dict[str, Any]:
    options = _words(
        kwargs,
        act="activation",
        sum_across_class_dim="sum_classes",
        weight_ratio="balance",
        eps="eps",
    )
    if "activation" in options:
        options["activation"] = options["activation"] or "none"
    return options


def _distance(kwargs: Options) -> dict[str, Any]:
    options = _words(kwargs, mode="mode", reduction="reduction", delta="delta")
    return {"mode": "l2", **options, "activation": kwargs.get("act") or "none"}


def _pairs(name: str, option: Option, labels: bool = False) -> Builder:
    """A loss of each pair of networks."""

    def build(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        loss, key = ours.build(name, batch, **option(kwargs)), kwargs.get("key")

        def call(preds: Preds, batch: Preds) -> Values:
            values = {}
            for i, pair in enumerate(kwargs["model_name_pairs"]):
                student, teacher = (preds[f"{n}/{key}" if key else n] for n in pair)
                truth = _labels(batch)
                truth = truth.flatten() if truth.dtype == torch.int64 else truth
                values[f"{i}"] = loss(student, teacher, *([truth] if labels else []))
            return values

        return call

    return build


def _taught_cross_entropy(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    """With smoothing PaddleClas takes the teacher's logits themselves for a distribution."""
    loss, key = ours.build("soft_cross_entropy"), kwargs.get("key")
    if epsilon := _smoothing(kwargs):
        loss = ours.build("cross_entropy", label_smoothing=epsilon)

    def call(preds: Preds, batch: Preds) -> Values:
        pairs = kwargs["model_name_pairs"]
        found = [[preds[f"{n}/{key}" if key else n] for n in pair] for pair in pairs]
        return {f"{i}": loss(s, t) for i, (s, t) in enumerate(found)}

    return call


def _each_network(inner: Builder) -> Builder:
    """A loss of logits and labels, for each network by itself."""

    def build(ours: Ours, kwargs: Options, batch: Preds) -> Any:
        loss, key = inner(ours, kwargs, batch), kwargs.get("key")

        def call(preds: Preds, batch: Preds) -> Values:
            names = kwargs["model_names"]
            return {n: loss({".": preds[f"{n}/{key}" if key else n]}, batch)[""] for n in names}

        return call

    return build


def _relations(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    pool = _words(kwargs, target_size="pool")
    angle = ours.build("rkd_angle", **pool)
    distance = ours.build("rkd_distance", mean_of_all=True, **pool)

    def call(preds: Preds, batch: Preds) -> Values:
        values = {}
        for student, teacher in kwargs["model_name_pairs"]:
            keys = zip(kwargs["student_keepkeys"], kwargs["teacher_keepkeys"], strict=True)
            for i, (s, t) in enumerate(keys):
                x, y = preds[f"{student}/{s}"], preds[f"{teacher}/{t}"]
                values |= {f"angle_{i}": angle(x, y), f"dist_{i}": distance(x, y)}
        return values

    return call


def _combined(ours: Ours, kwargs: Options, batch: Preds) -> Any:
    """The weight of a single entry is ignored; of two of one name the second counts."""
    parts = []
    for entry in kwargs["config_list"]:
        ((name, options),) = entry.items()
        own = {key: value for key, value in options.items() if key != "weight"}
        inner = Ours(name, own, batch)
        ours.modules.append(nn.ModuleList(inner.modules))
        parts.append((name, options["weight"], inner))

    def call(preds: Preds, batch: Preds) -> Values:
        values: Values = {}
        for name, weight, inner in parts:
            scale = weight if len(parts) > 1 else 1.0
            values |= {f"{name}{k}": v * scale for k, v in inner(preds, batch).items()}
        return {**values, "loss": sum(values.values(), torch.zeros(()))}

    return call


_TAUGHT = {"temperature": "temperature", "use_target_as_gt": "teacher_target"}
_DKD = _renamed(**_TAUGHT, alpha="target_weight", beta="rest_weight")
_SKD = _renamed(**_TAUGHT, multiplier="multiplier", alpha="alpha")
_WSL = _renamed(**_TAUGHT)
_TEMPERATURE = _renamed(temperature="temperature")
_XBM = {"embedding_size": "features", "epsilon": "identical"}
_LAYOUT = ("batch_size", "samples_each_class")  # of a batch, which our losses read off the labels
_MINED = {"margin": "margin", "normalize_feature": "normalize"}
BUILDERS: dict[str, Builder] = {
    "CELoss": _cross_entropy,
    "CELossForMetaBIN": _domain_cross_entropy,
    "CenterLoss": _embedding("center", num_classes="num_classes", feat_dim="features"),
    "CombinedLoss": _combined,
    "ContrastiveLoss_XBM": _embedding("contrastive_xbm", **{**_TAM, **_XBM}),
    "DCHLoss": _without(_embedding("dch", gamma="gamma", _lambda="code_weight"), "n_class"),
    "DMLLoss": _bare("dml", _dml),
    "DSHSDLoss": _dshsd,
    "DistanceLoss": _bare("distance", _distance),
    "DistillationCELoss": _taught_cross_entropy,
    "DistillationDISTLoss": _pairs("dist", _renamed(beta="inter_weight", gamma="intra_weight")),
    "DistillationDKDLoss": _pairs("dkd", _DKD, labels=True),
    "DistillationDMLLoss": _pairs("dml", _dml, labels=True),
    "DistillationDistanceLoss": _pairs("distance", _distance),
    "DistillationGTCELoss": _each_network(_cross_entropy),
    "DistillationKLDivLoss": _pairs("kl_div", _TEMPERATURE),
    "DistillationMultiLabelLoss": _each_network(_multilabel),
    "DistillationRKDLoss": _relations,
    "DistillationSKDLoss": _pairs("skd", _SKD, labels=True),
    "DistillationWSLLoss": _pairs("wsl", _WSL, labels=True),
    "EmlLoss": _without(_embedding("eml"), *_LAYOUT),
    "InterDomainShuffleLoss": _domain("domain_shuffle"),
    "IntraDomainScatterLoss": _domain("domain_scatter"),
    "KLDivLoss": _bare("kl_div", _TEMPERATURE),
    "LCDSHLoss": _without(_embedding("lcdsh", _lambda="sign_weight"), "n_class"),
    "MSMLoss": _without(_embedding("msm", **_MINED), *_LAYOUT),
    "MultiLabelAsymmetricLoss": _asymmetric,
    "MultiLabelLoss": _multilabel,
    "NpairsLoss": _embedding("npairs", reg_lambda="l2_weight"),
    "PairwiseCosface": _embedding("pairwise_cosface", margin="margin", gamma="gamma"),
    "SoftTargetCrossEntropy": _soft_target,
    "SupConLoss": _without(
        _embedding(
            "supcon", temperature="temperature", base_temperature="base_temperature",
            normalize_feature="normalize",
        ),
        "views", only={"contrast_mode": "all"},
    ),
    "TriHardLoss": _without(_embedding("trihard", **_MINED), *_LAYOUT),
    "TripletAngularMarginLoss": _measured("triplet_angular_margin", _angular),
    "TripletAngularMarginLoss_XBM": _measured("triplet_angular_margin_xbm", _angular),
    "TripletLoss": _measured("triplet", _triplet),
    "TripletLossForMetaBIN": _measured("triplet", _triplet),
    "TripletLossV2": _embedding("triplet", margin="margin", normalize_feature="normalize"),
}  # fmt: skip

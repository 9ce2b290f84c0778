"""`Arch`: the network, its options and the weights to begin with."""

from __future__ import annotations

from typing import Any

from tinysight.compat.paddle.dialect.rules import (
    DISTILLATION,
    RECOGNITION,
    Dead,
    Key,
    Only,
    Quiet,
    Reader,
    Refused,
    Table,
    put,
)
from tinysight.compat.paddle.dialect.values import anything, flag, integer, number, several, text
from tinysight.errors import UnknownName

_IMAGENET = 1000  # classes of the published weights
_PART_OF_MODEL = Dead("the network's own definition decides")
# Options of a network: PaddleClas' spelling, ours, and the kind of value.
OPTIONS: dict[str, tuple[str, Any]] = {
    "lr_mult_list": ("lr_mults", several(number)),
    "stride_list": ("strides", several(anything)),
    "use_last_conv": ("use_last_conv", flag),
    "class_expand": ("last_channels", integer),
    "dropout_prob": ("dropout", number),
    "dropout": ("dropout", number),
    "drop_rate": ("dropout", number),
    "drop_path_rate": ("drop_path", number),
}
ARCH: Table = {
    "name": Key(text),
    "class_num": Key(integer, "", _IMAGENET),
    "pretrained": Key(anything, "", False),
    "use_ssld": Key(flag, "", False),
    "use_sync_bn": Key(flag, "", False),
    **{key: Key(kind) for key, (_, kind) in OPTIONS.items()},
    "data_format": Only(("NCHW",), "set train.channels_last in the native recipe for the other layout"),
    "input_image_channel": Only((3,), "images have three channels"),
    "infer_add_softmax": Only((True,), "a bundle gives probabilities"),
    "image_channel": _PART_OF_MODEL,
    "model_ema": Dead("no code reads it; the section EMA asks for a running mean"),
    "model_key": _PART_OF_MODEL,
    "override_params": _PART_OF_MODEL,
    "attn_drop_rate": Only((0, 0.0), "not an option of our networks"),
    "layer_scale_init_value": Refused("not an option of our networks"),
    "depth": Refused("not an option of our networks"),
    "widen_factor": Refused("not an option of our networks"),
    "layer_type": Refused("not an option of our networks"),
    "use_ml_decoder": Refused("the ML-Decoder head is not available"),
    "return_patterns": Refused(f"intermediate outputs: {DISTILLATION}"),
    "return_stages": Refused(f"intermediate outputs: {DISTILLATION}"),
    "freeze_befor": Refused("name the parts in model.freeze of the native recipe"),
    "stop_after": Refused(RECOGNITION),
    "models": Refused(f"several networks: {DISTILLATION}"),
    "pretrained_list": Refused(DISTILLATION),
    "freeze_params_list": Refused(f"a frozen teacher: {DISTILLATION}"),
    "infer_model_name": Quiet("there is one network"),
    "infer_output_key": Only(("logits",), RECOGNITION),
    "is_rec": Refused(RECOGNITION),
    "head_feature_from": Refused(RECOGNITION),
    "Backbone": Refused(f"a backbone with neck and head: {RECOGNITION}"),
    "BackboneStopLayer": Refused(RECOGNITION),
    "Neck": Refused(RECOGNITION),
    "Head": Refused(RECOGNITION),
}  # fmt: skip
CONTAINERS = {
    "DistillationModel": DISTILLATION,
    "AttentionModel": DISTILLATION,
    "RecModel": RECOGNITION,
}


def model_section(reader: Reader, values: Any, native: dict[str, Any]) -> tuple[str, int]:
    """Write `Arch`; returns the network's name and its number of classes."""
    found = reader.section(values, "Arch", ARCH)
    name, classes = found.get("name", ""), found.get("class_num", _IMAGENET)
    if found.get("use_sync_bn"):  # whose large batches make the kind of variance meaningless
        put(native, "train.sync_bn", True)
    else:
        put(native, "model.batch_norm_variance", "biased")  # as its framework has it
    weights = _weights(reader, found)
    if weights:
        put(native, "model.pretrained", weights)
        if classes != _IMAGENET:
            put(native, "model.skip", ["classifier"])
    if not name:
        reader.wrong("Arch.name", "is needed")
    elif name in CONTAINERS:
        reader.wrong("Arch.name", f"{name} {CONTAINERS[name]}")
    else:
        put(native, "model.backbone", _backbone(reader, name, found))
    return name, classes


def _weights(reader: Reader, found: dict[str, Any]) -> bool | str | None:
    wanted = found.get("pretrained")
    if isinstance(wanted, str) and wanted.lower() not in ("true", "false"):
        return wanted if "://" in wanted or wanted.endswith(".pdparams") else f"{wanted}.pdparams"
    try:
        if not flag(wanted):
            return None
    except ValueError as error:
        reader.wrong("Arch.pretrained", f"should be {error}, a path or an address, got {wanted!r}")
        return None
    return "ssld" if found.get("use_ssld") else True


def _backbone(reader: Reader, name: str, found: dict[str, Any]) -> dict[str, Any]:
    """The network with those options that it has; PaddleClas passes the others over, too."""
    from tinysight.registry import backbones

    try:
        spec: dict[str, Any] = {"name": backbones.resolve(name, "Arch.name")}
    except UnknownName as error:
        reader.problems += error.problems
        return {"name": name}
    known = backbones.schema(name).model_fields
    for key, (ours, _) in OPTIONS.items():
        if key not in found:
            continue
        if ours not in known:
            reader.note(f"Arch.{key}", f"{name} has no such option, so it has no effect")
        elif key == "lr_mult_list" and _unfit(spec["name"], found[key]):
            # PaddleClas' ResNet goes on without them; the others stop.
            what = f"{len(found[key])} values are not for the stages of {name}"
            if spec["name"].startswith("resnet"):
                reader.note(f"Arch.{key}", f"{what}, so every stage has 1")
            else:
                reader.wrong(f"Arch.{key}", what)
        else:
            spec[ours] = found[key]
    return spec


def _unfit(network: str, values: list[float]) -> bool:
    from tinysight.registry import backbones

    return bool(backbones.check({"name": network, "lr_mults": values}, "")[1])

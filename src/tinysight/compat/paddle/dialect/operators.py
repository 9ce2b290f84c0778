"""PaddleClas' image operators as our transforms: one row each.

Rows give PaddleClas' defaults, where ours may differ. Shared with the reader of deploy configurations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.rules import Dead, Key, Only, Quiet, Reader, Refused, Table
from tinysight.compat.paddle.dialect.values import (
    backend,
    flag,
    integer,
    interpolation,
    number,
    one_of,
    several,
    size,
    text,
)
from tinysight.errors import nearest

Spec = dict[str, Any]
Finish = Callable[[Reader, str, dict[str, Any], Spec], "Spec | None"]

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Operator(NamedTuple):
    """A row: our name, the rules of the keys, what is left to do by hand (None: there is no transform), and what
    comes before.
    """

    name: str
    keys: Table
    finish: Finish = lambda reader, where, found, spec: spec
    before: tuple[Spec, ...] = ()


def _nothing(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> None:
    return None


def _decode(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> None:
    if found.get("backend") == "pillow":
        reader.note(f"{where}.backend", "images are decoded by OpenCV, turned as their EXIF says")


def _resize(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    if "short" in spec:  # it wins over size, as there
        spec.pop("size", None)
    elif "size" not in spec:
        reader.wrong(where, "neither resize_short nor size is given")
    return spec


def _flip(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    directions = {1: "horizontal", 0: "vertical", -1: "both"}
    if found["flip_code"] not in directions:
        reader.wrong(f"{where}.flip_code", f"should be 1, 0 or -1, got {found['flip_code']}")
    return {**spec, "direction": directions.get(found["flip_code"], "horizontal")}


def _blur(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    reader.note(
        where, "blurs as PaddleClas does, which betrays the label by contrast; see random_blur"
    )
    return {**spec, "stretch": True, "normalize_kernel": False}


def _pad_to(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    at = {0: "start", 1: "center", 2: "end", -1: found.get("offsets")}.get(found["pad_mode"])
    if at is None:
        reader.wrong(f"{where}.pad_mode", "should be 0, 1, 2, or -1 with offsets")
    if "size" not in spec:
        spec["multiple"] = found["size_divisor"]
    return {**spec, "at": at}


def _timm(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    return {**spec, "fill": [min(255, round(255 * level)) for level in found["mean"]]}


def _at_ratio(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> Spec:
    side, border = found.get("size", 1), found.get("pad", 0)
    return {**spec, "share": side / (side + border)}


def _angle(value: Any) -> float | list[float]:
    if isinstance(value, list | tuple):
        ends: list[float] = several(number, 2)(value)
        return ends
    return number(value)


def _per_side(value: Any) -> int | list[int]:
    if isinstance(value, list | tuple) and len(value) == 4:
        sides: list[int] = several(integer, 4)(value)
        return sides
    return size(value)


_INTERPOLATION = Key(interpolation, "interpolation", "bilinear")
_BACKEND = Key(backend, "backend", "cv2")
_PROBABILITY = Key(number, "p")
_MEMORY = Quiet("how pixels are handed over, not what they are")

OPERATORS: dict[str, Operator] = {
    "DecodeImage": Operator(
        "",
        {
            "to_rgb": Only((True,), "images are RGB here"),
            "channel_first": Only((False,), "images are height, width, channels here"),
            "to_np": _MEMORY,
            "backend": Key(backend),
        },
        _decode,
    ),
    "ToCHWImage": Operator("", {}, _nothing),
    "ResizeImage": Operator(
        "resize",
        {
            "resize_short": Key(integer, "short"),
            "size": Key(size, "size"),
            "interpolation": _INTERPOLATION,
            "backend": _BACKEND,
            "return_numpy": _MEMORY,
        },
        _resize,
    ),
    "CropImage": Operator("center_crop", {"size": Key(size, "size")}),
    "NormalizeImage": Operator(
        "normalize",
        {
            "scale": Key(number, "scale", 1 / 255),
            "mean": Key(several(number), "mean", MEAN),
            "std": Key(several(number), "std", STD),
            "order": Only(("", "hwc"), "images are height, width, channels here"),
            "channel_num": Only((3,), "images have three channels"),
            "output_fp16": Only((False,), "pixels are float32"),
        },
    ),
    "RandCropImage": Operator(
        "random_resized_crop",
        {
            "size": Key(size, "size"),
            "scale": Key(several(number, 2), "scale", [0.08, 1.0]),
            "ratio": Key(several(number, 2), "ratio", [3 / 4, 4 / 3]),
            "use_log_aspect": Key(flag, "log_ratio", False),
            "interpolation": _INTERPOLATION,
            "backend": _BACKEND,
            "progress_size": Refused("growing images (train_mode: progressive) are not available"),
        },
    ),
    "RandCropImageV2": Operator("random_crop", {"size": Key(size, "size")}),
    "RandomCropImage": Operator("random_crop", {"size": Key(size, "size")}),
    "RandFlipImage": Operator("random_flip", {"flip_code": Key(integer, "", 1)}, _flip),
    "BlurImage": Operator(
        "kernel_blur",
        {
            "ratio": Key(number, "p", 0.5),
            "max_ksize": Only((12,), ""),
            "max_angle": Only((45,), ""),
        },
        _blur,
    ),
    "TimmAutoAugment": Operator(
        "rand_augment",
        {
            "config_str": Key(text, "spec", "rand-m9-mstd0.5-inc1"),
            "prob": Key(number, "p", 1.0),
            "interpolation": Key(interpolation, "interpolation", "bicubic"),
            "mean": Key(several(number), "", MEAN),
            "img_size": Quiet("shifts are shares of the image's side"),
        },
        _timm,
    ),
    "AutoAugment": Operator("classic_auto_augment", {}),
    "RandAugment": Operator(
        "classic_rand_augment",
        {
            "num_layers": Key(integer, "operations", 2),
            "magnitude": Key(number, "magnitude", 5.0),
            "fillcolor": Key(several(integer), "fill"),
        },
    ),
    "RandomErasing": Operator(
        "random_erasing",
        {
            "EPSILON": Key(number, "p", 0.5),
            "sl": Key(number, "area.0", 0.02),
            "sh": Key(number, "area.1", 0.4),
            "r1": Key(number, "aspect", 0.3),
            "mean": Key(several(number), "value"),
            "attempt": Key(integer, "attempts", 100),
            "use_log_aspect": Key(flag, "log_aspect", False),
            "mode": Key(one_of(const="const", rand="rand", pixel="pixel"), "mode", "const"),
        },
    ),
    "ColorJitter": Operator(
        "color_jitter",
        {
            "prob": Key(number, "p", 2.0),
            "brightness": Key(number, "brightness", 0.0),
            "contrast": Key(number, "contrast", 0.0),
            "saturation": Key(number, "saturation", 0.0),
            "hue": Key(number, "hue", 0.0),
        },
        lambda reader, where, found, spec: {**spec, "p": min(spec["p"], 1.0)},
    ),
    "RandomRotation": Operator(
        "random_rotation",
        {
            "prob": Key(number, "p", 0.5),
            "degrees": Key(_angle, "degrees", 90.0),
            "interpolation": Key(interpolation, "interpolation", "bilinear"),
        },
    ),
    "Pad": Operator(
        "pad",
        {
            "padding": Key(_per_side, "border"),
            "fill": Key(several(number), "fill", [0.0]),
            "padding_mode": Key(text, "mode", "constant"),
            "backend": _MEMORY,
        },
    ),
    "Padv2": Operator(
        "pad",
        {
            "size": Key(size, "size"),
            "size_divisor": Key(integer, "", 32),
            "pad_mode": Key(integer, "", 0),
            "offsets": Key(several(integer, 2)),
            "fill_value": Key(several(number), "fill", [127.5]),
        },
        _pad_to,
        before=({"name": "cast"},),
    ),
    "CropImageAtRatio": Operator(
        "center_square",
        {
            "size": Key(integer, "size"),
            "pad": Key(integer),
            "interpolation": _INTERPOLATION,
            "backend": Only(("cv2",), "is done by OpenCV"),
        },
        _at_ratio,
    ),
    "HideAndSeek": Operator("hide_and_seek", {}),
    "PCALighting": Operator("pca_lighting", {}),
    "RandomGrayscale": Operator("random_grayscale", {"p": Key(number, "p", 0.1)}),
    "RandomInterpolationAugment": Operator("random_resampling", {"prob": Key(number, "p", 1.0)}),
    "RandomRot90": Operator("random_turn", {"label_key": _MEMORY}),
}
_LATER = (
    "AugMix", "Cutout", "GridMask", "RandAugmentV2", "RandAugmentV3", "RandAugmentV4", "CropWithPadding",
    "RandomApply", "ToTensor", "Normalize", "Resize", "CenterCrop", "RandomHorizontalFlip",
    "RandomResizedCrop", "Pad_paddle_vision",
)  # fmt: skip


def transforms(reader: Reader, ops: Any, where: str) -> list[Spec]:
    """Our transforms for a list of operators."""
    return [spec for item in reader.items(ops, where) for spec in transform(reader, *item)]


def transform(reader: Reader, where: str, name: str, arguments: Any) -> list[Spec]:
    """Our transforms for one operator; none where it is wrong, or nothing that a transform does."""
    if name not in OPERATORS:
        if name in _LATER:
            reader.wrong(where, "this operator is not available")
        else:
            reader.wrong(where, "unknown operator", nearest(name, [*OPERATORS, *_LATER]))
        return []
    row = OPERATORS[name]
    spec: Spec = {"name": row.name}
    values = reader.section(arguments, where, row.keys, spec)
    if "size" in row.keys and row.name not in ("resize", "pad") and "size" not in spec:
        reader.wrong(f"{where}.size", "is needed")
    finished = row.finish(reader, where, values, spec)
    if finished is None:
        return []
    return [*row.before, finished]


_MIX: dict[str, tuple[str, float]] = {
    "MixupOperator": ("mixup", 1.0),
    "CutmixOperator": ("cutmix", 0.2),
    "FmixOperator": ("fmix", 1.0),
}


def batch_transforms(reader: Reader, ops: Any, where: str) -> list[Spec]:
    """Our batch transforms for `batch_transform_ops`; of an `OpSampler` at most one is drawn for a batch."""
    found = []
    listed = reader.items(ops, where)
    if len(listed) > 1:
        reader.wrong(
            where, "several operators, one after the other, are not available", "use OpSampler"
        )
    for place, name, arguments in listed:
        if name == "OpSampler":
            group = [
                _mix(reader, f"{place}.{k}", k, v, 1 / len(arguments)) for k, v in arguments.items()
            ]
            found += [spec for spec in group if spec]
            if sum(spec["p"] for spec in found) > 1 + 1e-9:
                reader.wrong(place, "the probabilities add up to more than 1")
        elif spec := _mix(reader, place, name, arguments, 1.0):
            found.append(spec)
    return found


def _mix(reader: Reader, place: str, name: str, arguments: Any, p: float) -> Spec | None:
    if name not in _MIX:
        reader.wrong(
            place, "this operator is not available", f"there are {', '.join(_MIX)}, OpSampler"
        )
        return None
    native, alpha = _MIX[name]
    spec: Spec = {"name": native}
    table: Table = {
        "alpha": Key(number, "alpha", alpha),
        "prob": Key(number, "p", p),
        "class_num": Dead("the number of classes is Arch.class_num"),
    }
    if native == "fmix":
        table = {
            **table,
            "decay_power": Key(number, "decay"),
            "size": Quiet("the images have one"),
            "max_soft": Only((0.0,), "patches have hard borders"),
            "reformulate": Only((False,), "labels are mixed"),
        }
    reader.section(arguments, place, table, spec)
    return spec

"""PaddleClas' image operators as our transforms; also those of deploy configurations.

The table gives PaddleClas' defaults, where ours may differ; here is what a table cannot say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinysight.compat.paddle.dialect.rules import Reader, Spec, tables

_SCALE = 0.00392156862745098  # 1/255 as `ToTensor` has it
Finish = Callable[[Reader, str, dict[str, Any], Spec], "list[Spec]"]


def _resize(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    if "short" in spec:  # it wins over size, as there
        spec.pop("size", None)
    elif "size" not in spec:
        reader.wrong(where, "neither resize_short nor size is given")
    return [spec]


def _flip(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    directions = {1: "horizontal", 0: "vertical", -1: "both"}
    if found["flip_code"] not in directions:
        reader.wrong(f"{where}.flip_code", f"should be 1, 0 or -1, got {found['flip_code']}")
    return [{**spec, "direction": directions.get(found["flip_code"], "horizontal")}]


def _blur(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    what = "blurs as PaddleClas does: it betrays the label by contrast; see random_blur"
    reader.note(where, what)
    return [spec]


def _pad_to(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    at = {0: "start", 1: "center", 2: "end", -1: found.get("offsets")}.get(found["pad_mode"])
    if at is None:
        reader.wrong(f"{where}.pad_mode", "should be 0, 1, 2, or -1 with offsets")
    if "size" not in spec:
        spec["multiple"] = found["size_divisor"]
    return [{"name": "cast"}, {**spec, "at": at}]


def _timm(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    return [{**spec, "fill": [min(255, round(255 * level)) for level in found["mean"]]}]


def _channels(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    count = found["channel_num"]
    if count not in (3, 4):
        reader.wrong(f"{where}.channel_num", f"should be 3 or 4, got {count}")
    return [spec, {"name": "append_channels", "channels": 4}] if count == 4 else [spec]


def _cutout(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    fill = found["fill_value"]
    levels = fill if isinstance(fill, list) else [fill]
    if fill == "none":
        return [{**spec, "fill": None}]
    if not all(isinstance(level, int | float) for level in levels):
        reader.wrong(f"{where}.fill_value", f"should be none or numbers, got {fill!r}")
    return [{**spec, "fill": [float(level) for level in levels]}]


def _grid(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    what = "is applied with its probability; PaddleClas never applies it, since nothing counts its epochs"
    reader.note(where, what)
    return [{**spec, "squares": found["mode"] == 1}]


def _vision_size(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    """A size as paddle.vision has it: one number for the short side of a resize, else [height, width]."""
    size = found.get("size")
    if size is None:
        reader.wrong(f"{where}.size", "is needed")
    if isinstance(size, list):
        return [{**spec, "size": size[::-1]}]
    return [{**spec, "short" if spec["name"] == "resize" else "size": size}]


def _at_ratio(reader: Reader, where: str, found: dict[str, Any], spec: Spec) -> list[Spec]:
    side, border = found.get("size", 1), found.get("pad", 0)
    return [{**spec, "share": side / (side + border)}]


_TO_TENSOR = {"name": "normalize", "mean": [0.0] * 3, "std": [1.0] * 3, "scale": _SCALE}
_FINISH: dict[str, Finish] = {
    "AugMix": lambda reader, where, found, spec: [{**spec, "depth": max(found["mixture_depth"], 0)}],
    "BlurImage": _blur, "CenterCrop": _vision_size, "CropImageAtRatio": _at_ratio, "Cutout": _cutout,
    "GridMask": _grid, "NormalizeImage": _channels, "Padv2": _pad_to, "RandFlipImage": _flip,
    "RandomResizedCrop": _vision_size, "Resize": _vision_size,
    "ColorJitter": lambda reader, where, found, spec: [{**spec, "p": min(spec["p"], 1.0)}],
    "ResizeImage": _resize, "TimmAutoAugment": _timm,
}  # fmt: skip
_SIZE_OPTIONAL = ("ResizeImage", "Padv2", "Resize", "CenterCrop", "RandomResizedCrop")


def transforms(reader: Reader, ops: Any, where: str) -> list[Spec]:
    """Our transforms for a list of operators."""
    found = list[Spec]()
    for item in reader.items(ops, where):
        for spec in transform(reader, *item):
            if found and spec.get("scale") == 1.0 and found[-1] == _TO_TENSOR:
                spec = {**spec, "scale": _SCALE}  # ToTensor and Normalize as one
                found.pop()
            found.append(spec)
    return found


def transform(reader: Reader, where: str, name: str, arguments: Any) -> list[Spec]:
    """Our transforms for one operator; none where it is wrong, or nothing that a transform does."""
    made = reader.component("operator", "operators", name, arguments, where)
    if made is None:
        return []
    spec, found = made
    if name == "RandomApply":
        return _applied(reader, where, found)
    if spec["name"] is None:
        if found.get("backend") == "pillow":
            note_decoder(reader, f"{where}.backend")
        return []
    sized = "size" in tables()["operators"][name][1] and name not in _SIZE_OPTIONAL
    if sized and "size" not in spec:
        reader.wrong(f"{where}.size", "is needed")
    return _FINISH[name](reader, where, found, spec) if name in _FINISH else [spec]


def _applied(reader: Reader, where: str, found: dict[str, Any]) -> list[Spec]:
    """One operator of `RandomApply` with the product of both chances."""
    inner = transforms(reader, found.get("transforms"), f"{where}.transforms")
    if len(inner) != 1 or "p" not in inner[0]:
        what = "takes one operator with a chance of its own: several under one chance are not available"
        reader.wrong(f"{where}.transforms", what)
    return [{**spec, "p": found["p"] * spec.get("p", 1.0)} for spec in inner]


def note_decoder(reader: Reader, where: str) -> None:
    """Say that Pillow is asked for and does not decode."""
    reader.note(where, "images are decoded by OpenCV, turned as their EXIF says")


def batch_transforms(reader: Reader, ops: Any, where: str) -> list[Spec]:
    """Our batch transforms for `batch_transform_ops`; of an `OpSampler` at most one is drawn for a batch."""
    found, listed = list[Spec](), reader.items(ops, where)
    if len(listed) > 1:
        what = "several operators, one after the other, are not available"
        reader.wrong(where, what, "use OpSampler")
    for place, name, arguments in listed:
        if name != "OpSampler":
            found += _mix(reader, place, name, arguments, 1.0)
            continue
        for inner, values in arguments.items():
            found += _mix(reader, f"{place}.{inner}", inner, values, 1 / len(arguments))
        if sum(spec["p"] for spec in found) > 1 + 1e-9:
            reader.wrong(place, "the probabilities add up to more than 1")
    return found


def _mix(reader: Reader, place: str, name: str, arguments: Any, p: float) -> list[Spec]:
    made = reader.component("operator", "batch_operators", name, arguments, place)
    if made is None:
        return []
    spec, found = made
    if name == "MixupCutmixHybrid":
        whole = spec["per"] == "batch"
        spec |= {"p": found["prob"] if whole else 1.0, "each": 1.0 if whole else found["prob"]}
        spec["smoothing"] = found["label_smoothing"]  # for the loss, see `data_section`
    return [{**spec, "p": spec.get("p", p)}]

"""`infer_cfg.yml`, which PaddleDetection writes beside an exported detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tinysight.compat.paddle.dialect.deploy import Deploy
from tinysight.errors import ConfigError
from tinysight.files import read_yaml

DETECTOR_CONFIG = "infer_cfg.yml"
_INTERPOLATIONS = {0: "nearest", 1: "bilinear", 2: "bicubic", 3: "area", 4: "lanczos"}
_RULES = {
    "score_threshold": "min_score", "nms_top_k": "candidates", "nms_threshold": "max_iou",
    "keep_top_k": "keep", "normalized": "normalized", "background_label": "background",
}  # fmt: skip


class DetectorConfig(NamedTuple):
    """What the file says.

    Attributes:
        deploy: transforms, post-processor and labels.
        size: height and width of the network's input, pixels.
        rule: keywords of `graph.suppression.multiclass_nms`, where it names some.
    """

    deploy: Deploy
    size: tuple[int, int]
    rule: dict[str, Any]


def read_detector_config(path: Path) -> DetectorConfig:
    """Read the file.

    Raises:
        ConfigError: not readable, or with steps that are not known here.
    """
    tree = read_yaml(path)
    steps = tree.get("Preprocess") if isinstance(tree, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ConfigError(str(path), "expected a list of steps under Preprocess")
    fused = bool(tree.get("fuse_normalize") or tree.get("fuse_norm"))  # the network normalises
    transforms, size = transforms_of(steps, f"{path}: Preprocess", fused)
    nms = tree.get("NMS") or {}
    rule = {ours: nms[theirs] for theirs, ours in _RULES.items() if theirs in nms}
    threshold = float(tree.get("draw_threshold", 0.5))
    labels = tuple(map(str, tree.get("label_list") or ()))
    deploy = Deploy(tuple(transforms), {"name": "boxes", "threshold": threshold}, labels or None)
    return DetectorConfig(deploy, size, rule)


def transforms_of(
    steps: Sequence[Mapping[str, Any]], place: str, fused: bool = False
) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The transforms that the steps mean, and height and width that they make.

    Args:
        steps: each with its `type` and keys.
        place: of them, for messages.
        fused: the network normalises.

    Raises:
        ConfigError: a step that is not known here.
    """
    transforms, size = list[dict[str, Any]](), (0, 0)
    for i, step in enumerate(steps):
        where, kind = f"{place}.{i}", step.get("type")
        if kind == "Resize":
            size = _size(step, where)
            how = _INTERPOLATIONS.get(step.get("interp", 1))
            if how is None or step.get("keep_ratio"):
                raise ConfigError(where, "a resize that keeps proportions, or of another kind")
            transforms.append({"name": "resize", "size": [size[1], size[0]], "interpolation": how})
        elif kind == "NormalizeImage" and not fused:
            if step.get("norm_type") == "none":
                values: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3}
            else:
                values = {k: list(map(float, step[k])) for k in ("mean", "std") if k in step}
            scale = 1 / 255 if step.get("is_scale", True) else 1.0
            transforms.append({"name": "normalize", **values, "scale": scale})
        elif kind not in ("Permute", "NormalizeImage"):
            raise ConfigError(where, f"{kind} is not known here")
    if not any(step["name"] == "normalize" for step in transforms):
        transforms.append({"name": "normalize", "mean": [0.0] * 3, "std": [1.0] * 3, "scale": 1.0})
    return transforms, size


def _size(step: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Height and width that a resize makes."""
    match step.get("target_size"):
        case [int(height), int(width)]:
            return height, width
        case int(side):
            return side, side
    raise ConfigError(where, "target_size should be [height, width]")

"""Detectors as they are recorded: built from PaddleDetection's configuration, filled by the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from support.golden import Case, synth
from tinysight.models.detector import PicoDet, build_detector
from tinysight.models.weights import from_reference, reference_entries

_NECKS = {"CSPPAN": "csp_pan", "LCPAN": "lc_pan"}
_HEADS = {"PicoHead": "picodet", "PicoHeadV2": "picodet_v2"}


def recorded_detector(arch: dict[str, Any], **options: Any) -> PicoDet:
    """The detector of a recorded `arch`, without clipping, which PaddleDetection's develop does not do."""
    parts = arch["PicoDet"]
    head, neck = arch[parts["head"]], arch[parts["neck"]]
    width = str(float(arch["LCNet"]["scale"])).replace(".", "_")
    nms = head["nms"]
    spec = {
        "name": _HEADS[parts["head"]], "neck": _NECKS[parts["neck"]],
        "channels": neck["out_channels"], "convs": head["conv_feat"]["num_convs"],
        "min_score": nms["score_threshold"], "candidates": nms["nms_top_k"],
        "max_iou": nms["nms_threshold"], "keep": nms["keep_top_k"],
        "clip": False, "decay_neck_norm": True, **options,
    }  # fmt: skip
    return build_detector({"name": f"pplcnet_x{width}"}, spec, arch["num_classes"])


def fill_detector(model: PicoDet, case: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Fill `model` by the rule with the recorded adjustments; gives the values by recorded name."""
    adjust, values = case["adjust"], {}
    for entry in reference_entries(model):
        value = synth(entry.name, entry.shape)
        assert value is not None
        factor, offset = adjust.get(entry.name, (1.0, 0.0))
        values[entry.name] = (value * factor + offset).astype(np.float32)
    model.load_state_dict(from_reference(model, values), strict=False)
    return values


def expected_entries(case: Case) -> dict[str, tuple[int, ...]]:
    """Shapes of the recorded entries that a network needs."""
    unused = ("p3_feat", "p4_feat", "p5_feat", "p6_feat", "distribution_project")
    entries = {name: tuple(shape) for name, shape, *_ in case["entries"]}
    rest = {k: v for k, v in entries.items() if k not in case["aliases"]}
    return {k: v for k, v in rest.items() if k.split(".")[1] not in unused}


def close(found: torch.Tensor | np.ndarray, expected: np.ndarray, limit: float) -> None:
    """Differences below `limit` times the deviation of what is expected."""
    array = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    assert np.abs(array - expected).max() < limit * expected.std()

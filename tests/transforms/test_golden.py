"""Every recorded preprocessing case, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import Case, each_case, not_built
from support.options import Options
from support.preprocess import (
    DRAWS,
    READ,
    Draws,
    digest,
    photo,
    specs,
    split,
)
from tinysight.errors import TinysightError
from tinysight.registry import transforms
from tinysight.transforms import Compose, to_batch
from tinysight.transforms.augment.blur import kernel_motion_kernel


@each_case("preprocess")
def test_recorded(case: Case) -> None:
    result, label = apply(case)
    expected = case["output"]
    same = digest(result) == expected["sha256"]
    if not same and reads_as_pillow(case):
        not_built("decode as Pillow does")  # CMYK to the last level, 16 bits cut at 255
    assert (str(result.dtype), list(result.shape)) == (expected["dtype"], expected["shape"])
    assert same, f"{different(case, result)} of the recorded values differ"
    if "extra_outputs" in case:
        assert label == case["extra_outputs"]["blur_image"]


def refused(case: Case) -> bool:
    """Whether the reference means to refuse; an attribute that it has forgotten to set is no refusal."""
    return "object has no attribute" not in case["error"] or "NoneType" in case["error"]


@each_case("preprocess", refused, key="failed")
def test_refused_by_the_reference(case: Case) -> None:
    with pytest.raises(TinysightError) as caught:
        apply(case)
    assert caught.value.problems[0].what


def apply(case: Case) -> tuple[np.ndarray, int | None]:
    """The case's image through our counterpart of its operators, and the label if one is set."""
    names = [split(op)[0] for op in case["ops"]]
    first, arguments = split(case["ops"][0])
    if first in ("motion_blur", "gaussian_blur"):
        return run_blur(case, first), None
    if first == "HideAndSeek":
        return run_hide_and_seek(case), None
    if first == "ToCHWImage":
        return to_batch([photo(case)])[0], None
    if first in ("DecodeImage", READ) and len(names) == 1:
        options = Options(arguments, first)
        options.without_effect("to_np", "backend")  # how pixels are handed over; `reads_as_pillow`
        image = photo(case, upright=not reads_as_pillow(case))
        image = image if options.get("to_rgb", True) else image[:, :, ::-1]
        image = image.transpose(2, 0, 1) if options.get("channel_first", False) else image
        options.check()
        return image, None
    compose = Compose.from_specs(specs(case["ops"]))
    image = photo(case)
    chw = case["input"].endswith("(CHW)")
    image = image.transpose(1, 2, 0) if chw else image
    if compose.sets_label:
        image, label = compose.with_label(image, -1, draws(case, names))
        return image, label
    image = compose(image, draws(case, names))
    return (to_batch([image])[0] if chw or "ToCHWImage" in names else image), None


def run_blur(case: Case, op: str) -> np.ndarray:
    blur = transforms.build({"name": "kernel_blur", "stretch": True, "normalize_kernel": False})
    rng = Draws(0, case["np_seed"], "integers")
    if op == "gaussian_blur":
        return blur.gaussian(photo(case), rng)
    kernel = kernel_motion_kernel(case["degree"], case["angle"], normalize=False)
    np.testing.assert_allclose(kernel, case.file_arrays[case["kernel"]], atol=1e-7)
    return blur.motion(photo(case), rng)


def run_hide_and_seek(case: Case) -> np.ndarray:
    """PaddleClas takes (H, W, C) for (C, H, W): it covers a corner as wide as there are channels."""
    image = photo(case).copy()
    depth, height, width = image.shape
    side = min(height, width)
    seen = np.zeros((height, width, depth), image.dtype)
    seen[:side, :side] = image[:, :side, :side].transpose(2, 1, 0)
    hidden = Compose.from_specs(specs(case["ops"]))(seen, draws(case, ["HideAndSeek"]))
    image[:, :side, :side] = hidden[:side, :side].transpose(2, 1, 0)
    return image


def draws(case: Case, names: list[str]) -> Any:
    if "py_seed" not in case:
        return None
    kind = next((DRAWS[name] for name in names if name in DRAWS), Draws)
    return kind(case["py_seed"], case["np_seed"])


def reads_as_pillow(case: Case) -> bool:
    name, arguments = split(case["ops"][0])
    return name == "DecodeImage" and arguments.get("backend") == "pil"


def different(case: Case, result: np.ndarray) -> float:
    """Share of the stored values that differ, for the message."""
    stored = case["output"]["stored"]
    if stored["kind"] == "strided":
        for axis in stored["axes"]:
            result = result.take(range(0, result.shape[axis], stored["stride"]), axis)
    return float((result != case.file_arrays[case["id"]]).mean())

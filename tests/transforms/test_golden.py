"""Every recorded preprocessing case, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.golden import cases, ids, not_built, read_json, read_npz
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

pytestmark = pytest.mark.golden
CASES = cases("preprocess")
FAILED = read_json("preprocess", "cases.json")["failed"] if CASES else []


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return read_npz("preprocess", "data.npz")


def test_there_are_cases() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_recorded(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    result, label = run(case, arrays)
    expected = case["output"]
    same = digest(result) == expected["sha256"]
    if not same and reads_as_pillow(case):
        not_built("decode as Pillow does")  # CMYK to the last level, 16 bits cut at 255
    assert (str(result.dtype), list(result.shape)) == (expected["dtype"], expected["shape"])
    assert same, f"{different(case, result, arrays)} of the recorded values differ"
    if "extra_outputs" in case:
        assert label == case["extra_outputs"]["blur_image"]


@pytest.mark.parametrize("case", FAILED, ids=ids)
def test_refused_by_the_reference(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    specs(case["ops"])  # reports what is not built, before anything is called an error
    with pytest.raises(TinysightError) as caught:
        run(case, arrays)
    assert caught.value.problems[0].what


def run(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, int | None]:
    """The case's image through our counterpart of its operators, and the label if one is set."""
    names = [split(op)[0] for op in case["ops"]]
    first, arguments = split(case["ops"][0])
    if first in ("motion_blur", "gaussian_blur"):
        return run_blur(case, first, arrays), None
    if first == "HideAndSeek":
        return run_hide_and_seek(case, arrays), None
    if first == "ToCHWImage":
        return to_batch([photo(case["input"])])[0], None
    if first in ("DecodeImage", READ) and len(names) == 1:
        image = photo(case["input"], upright=not reads_as_pillow(case))
        return (image if arguments.get("to_rgb", True) else image[:, :, ::-1]), None
    compose = Compose.from_specs(specs(case["ops"]))
    image = photo(case["input"], arrays)
    chw = case["input"].endswith("(CHW)")
    image = image.transpose(1, 2, 0) if chw else image
    if compose.sets_label:
        image, label = compose.with_label(image, -1, draws(case, names))
        return image, label
    image = compose(image, draws(case, names))
    return (to_batch([image])[0] if chw or "ToCHWImage" in names else image), None


def run_blur(case: dict[str, Any], op: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    blur = transforms.build({"name": "kernel_blur", "stretch": True, "normalize_kernel": False})
    rng = Draws(0, case["np_seed"], "integers")
    if op == "gaussian_blur":
        return blur.gaussian(photo(case["input"]), rng)
    kernel = kernel_motion_kernel(case["degree"], case["angle"], normalize=False)
    np.testing.assert_allclose(kernel, arrays[case["kernel"]], atol=1e-7)
    return blur.motion(photo(case["input"]), rng)


def run_hide_and_seek(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The reference takes (H, W, C) for (C, H, W): it covers a corner as wide as there are channels."""
    image = photo(case["input"], arrays).copy()
    depth, height, width = image.shape
    side = min(height, width)
    seen = np.zeros((height, width, depth), image.dtype)
    seen[:side, :side] = image[:, :side, :side].transpose(2, 1, 0)
    hidden = Compose.from_specs(specs(case["ops"]))(seen, draws(case, ["HideAndSeek"]))
    image[:, :side, :side] = hidden[:side, :side].transpose(2, 1, 0)
    return image


def draws(case: dict[str, Any], names: list[str]) -> Any:
    if "py_seed" not in case:
        return None
    kind = next((DRAWS[name] for name in names if name in DRAWS), Draws)
    return kind(case["py_seed"], case["np_seed"])


def reads_as_pillow(case: dict[str, Any]) -> bool:
    name, arguments = split(case["ops"][0])
    return name == "DecodeImage" and arguments.get("backend") == "pil"


def different(case: dict[str, Any], result: np.ndarray, arrays: dict[str, np.ndarray]) -> float:
    """Share of the stored values that differ, for the message."""
    stored = case["output"]["stored"]
    if stored["kind"] == "strided":
        for axis in stored["axes"]:
            result = result.take(range(0, result.shape[axis], stored["stride"]), axis)
    return float((result != arrays[case["id"]]).mean())

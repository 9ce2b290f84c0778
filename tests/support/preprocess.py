"""The reference's preprocessing operators in terms of ours, for the recorded cases.

`specs` translates an operator and its arguments; one that is not in the table is reported as not
built. The draws of random operators come from Python's and numpy's global streams there; the
classes below offer those streams under the names that our transforms call.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from support.golden import GOLDEN, not_built, read_npz

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
INPUTS = GOLDEN / "preprocess" / "inputs"
SCALES = {"1.0/255.0": 1 / 255, None: 1 / 255}


def split(op: Any) -> tuple[str, dict[str, Any]]:
    """Name and arguments of one recorded operator."""
    if isinstance(op, str):
        return op, {}
    ((name, arguments),) = op.items()
    return name, dict(arguments or {})


def sizes(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def resize(a: dict[str, Any]) -> list[dict[str, Any]]:
    backend = {"cv2": "cv2", "pil": "pillow"}[a.get("backend", "cv2")]
    spec = {"name": "resize", "backend": backend}
    spec["interpolation"] = a.get("interpolation") or "bilinear"
    if "resize_short" in a:  # it wins over size
        return [{**spec, "short": a["resize_short"]}]
    return [{**spec, **({"size": sizes(a["size"])} if "size" in a else {})}]


def normalize(a: dict[str, Any]) -> list[dict[str, Any]]:
    if a.get("channel_num", 3) != 3:
        not_built("normalize to four channels")
    if a.get("output_fp16"):
        not_built("normalize to float16")
    scale = a.get("scale")
    spec = {"name": "normalize", "scale": SCALES.get(scale, scale)}
    return [{**spec, "mean": a.get("mean", IMAGENET["mean"]), "std": a.get("std", IMAGENET["std"])}]


def random_resized_crop(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "random_resized_crop", "size": sizes(a["size"])}
    spec["scale"] = a.get("scale", [0.08, 1.0])
    spec["ratio"] = a.get("ratio", [3 / 4, 4 / 3])
    spec["log_ratio"] = a.get("use_log_aspect", False)
    same = resize({k: a[k] for k in ("interpolation", "backend") if k in a})[0]
    return [{**spec, "interpolation": same["interpolation"], "backend": same["backend"]}]


def flip(a: dict[str, Any]) -> list[dict[str, Any]]:
    direction = {1: "horizontal", 0: "vertical", -1: "both"}[a.get("flip_code", 1)]
    return [{"name": "random_flip", "p": 0.5, "direction": direction}]


def kernel_blur(a: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": "kernel_blur",
            "p": a.get("ratio", 0.5),
            "stretch": True,
            "normalize_kernel": False,
        }
    ]


TABLE: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "ResizeImage": resize,
    "CropImage": lambda a: [{"name": "center_crop", "size": sizes(a["size"])}],
    "NormalizeImage": normalize,
    "RandCropImage": random_resized_crop,
    "RandomCropImage": lambda a: [{"name": "random_crop", "size": sizes(a["size"])}],
    "RandFlipImage": flip,
    "BlurImage": kernel_blur,
}
READ = "cv2.imread(path)[:, :, ::-1]"  # how the deployed predictors decode
NOT_TRANSFORMS = ("DecodeImage", READ, "ToCHWImage")  # with us: `decode` and `to_batch`


def specs(ops: Sequence[Any]) -> list[dict[str, Any]]:
    """Our specs for the operators between decoding and the change of axes."""
    found: list[dict[str, Any]] = []
    for op in ops:
        name, arguments = split(op)
        if name in NOT_TRANSFORMS:
            continue
        if name not in TABLE:
            not_built(name)
        found += TABLE[name](arguments)
    return found


class PythonDraws:
    """Python's `random` with the methods of a numpy Generator that the transforms call."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def integers(self, low: int, high: int) -> int:
        return self._random.randint(low, high - 1)


class Coin(PythonDraws):
    """The reference flips where `randint(0, 1)` is 1; ours where `random()` is below 0.5."""

    def random(self) -> float:
        return 0.25 if self._random.randint(0, 1) == 1 else 0.75


class BlurDraws(PythonDraws):
    """The reference's blur decides with Python's stream and draws kernels from numpy's."""

    def __init__(self, python_seed: int, numpy_seed: int) -> None:
        super().__init__(python_seed)
        self._numpy = np.random.RandomState(numpy_seed)

    def integers(self, low: int, high: int) -> int:
        return int(self._numpy.randint(low, high))


def picture(name: str, arrays: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """The recorded input: a file of `inputs`, or `array:<key>`, and what the note behind says."""
    from tinysight.transforms import decode

    name, _, note = name.partition(" ")
    if name.startswith("array:"):
        key, divide = name.removeprefix("array:"), "/255" in name
        data = read_npz("preprocess", "data.npz") if arrays is None else arrays
        image = data[key.removesuffix("/255")]
        return (image / 255.0).astype(np.float32) if divide else image.astype(note or image.dtype)
    image = decode(INPUTS / name)
    return np.ascontiguousarray(image.transpose(2, 0, 1)) if note == "(CHW)" else image


def digest(array: np.ndarray) -> str:
    """SHA-256 of the C-contiguous bytes, as recorded."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

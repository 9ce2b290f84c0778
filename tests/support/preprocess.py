"""PaddleClas' preprocessing operators in terms of ours, for the recorded cases.

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

from support.golden import Case, not_built

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
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
    scale = a.get("scale")
    spec = {"name": "normalize", "scale": SCALES.get(scale, scale)}
    spec |= {"mean": a.get("mean", IMAGENET["mean"]), "std": a.get("std", IMAGENET["std"])}
    found, more = [spec], a.get("channel_num", 3)
    if more != 3:
        found.append({"name": "append_channels", "channels": more})
    if a.get("output_fp16"):
        found.append({"name": "cast", "dtype": "float16"})
    return found


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


def erasing(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "random_erasing", "p": number(a.get("EPSILON", 0.5))}
    spec["area"] = [number(a.get("sl", 0.02)), number(a.get("sh", 0.4))]
    spec |= {"aspect": number(a.get("r1", 0.3)), "log_aspect": a.get("use_log_aspect", False)}
    spec |= {"attempts": a.get("attempt", 100), "mode": a.get("mode", "const")}
    return [{**spec, "value": a.get("mean", [0.0, 0.0, 0.0])}]


def number(value: float | str) -> float:
    """The recipes write `1.0/3.0` here and there."""
    if not isinstance(value, str):
        return value
    over, _, under = value.partition("/")
    return float(over) / float(under or 1)


def color_jitter(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "color_jitter", "p": min(a.get("prob", 2), 1.0)}
    return [{**spec, **{k: v for k, v in a.items() if k != "prob"}}]


def rotation(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "random_rotation", "p": a.get("prob", 0.5), "degrees": a.get("degrees", 90)}
    return [{**spec, "interpolation": a.get("interpolation", "bilinear")}]


def pad(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "pad", "border": sizes(a["padding"]), "fill": [a.get("fill", 0)]}
    return [{**spec, "mode": a.get("padding_mode", "constant")}]


def pad_to(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": "pad", "fill": list(a.get("fill_value", [127.5] * 3))}
    if a.get("size"):
        spec["size"] = sizes(a["size"])
    elif a.get("size") is not None:
        spec["multiple"] = a.get("size_divisor", 32)
    modes = {0: "start", 1: "center", 2: "end", -1: a.get("offsets")}
    return [{"name": "cast"}, {**spec, "at": modes[a.get("pad_mode", 0)]}]


def timm(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "rand_augment", "p": a.get("prob", 1.0)}
    spec["spec"] = a.get("config_str", "rand-m9-mstd0.5-inc1")
    spec["interpolation"] = a.get("interpolation", "bicubic")
    mean = a.get("mean", IMAGENET["mean"])
    return [{**spec, "fill": [min(255, round(255 * x)) for x in mean]}]


def classic(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"operations": a.get("num_layers", 2), "magnitude": a.get("magnitude", 5)}
    return [{"name": "classic_rand_augment", **spec, "fill": sizes(a.get("fillcolor", [128] * 3))}]


def center_square(a: dict[str, Any]) -> list[dict[str, Any]]:
    spec = {"name": "center_square", "size": a["size"], "share": a["size"] / (a["size"] + a["pad"])}
    return [{**spec, "interpolation": a.get("interpolation", "bilinear")}]


TABLE: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "ResizeImage": resize,
    "CropImage": lambda a: [{"name": "center_crop", "size": sizes(a["size"])}],
    "NormalizeImage": normalize,
    "RandCropImage": random_resized_crop,
    "RandomCropImage": lambda a: [{"name": "random_crop", "size": sizes(a["size"])}],
    "RandFlipImage": flip,
    "BlurImage": kernel_blur,
    "AutoAugment": lambda a: [{"name": "classic_auto_augment"}],
    "ColorJitter": color_jitter,
    "CropImageAtRatio": center_square,
    "CropWithPadding": lambda a: [{"name": "crop_with_padding"}],  # fails in PaddleClas
    "Cutout": lambda a: [{"name": "cutout"}],  # likewise
    "HideAndSeek": lambda a: [{"name": "hide_and_seek"}],
    "PCALighting": lambda a: [{"name": "pca_lighting"}],
    "Pad": pad,
    "Padv2": pad_to,
    "RandAugment": classic,
    "RandCropImageV2": lambda a: [{"name": "random_crop", "size": sizes(a["size"])}],
    "RandomErasing": erasing,
    "RandomInterpolationAugment": lambda a: [{"name": "random_resampling", "p": a["prob"]}],
    "RandomRot90": lambda a: [{"name": "random_turn"}],
    "RandomRotation": rotation,
    "TimmAutoAugment": timm,
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


class Draws:
    """PaddleClas' two global streams with the methods of a numpy Generator.

    Python's `random` answers, unless a method's name is in `from_numpy`.
    """

    def __init__(
        self, python_seed: int, numpy_seed: int, from_numpy: str = "choice normal"
    ) -> None:
        self._python = random.Random(python_seed)
        self._numpy = np.random.RandomState(numpy_seed)
        self._from_numpy = from_numpy.split()

    def random(self) -> float:
        return self._numpy.random_sample() if self._asks("random") else self._python.random()

    def uniform(self, low: float, high: float) -> float:
        asks = self._asks("uniform")
        return self._numpy.uniform(low, high) if asks else self._python.uniform(low, high)

    def integers(self, low: int, high: int) -> int:
        if self._asks("integers"):
            return int(self._numpy.randint(low, high))
        return self._python.randint(low, high - 1)

    def choice(
        self, count: int, size: int | None = None, replace: bool = True, p: Any = None
    ) -> np.ndarray:
        assert self._asks("choice")
        return self._numpy.choice(count, size, replace, p)

    def normal(self, mean: float, deviation: float, size: int | None = None) -> Any:
        if size is None:  # the noise of RandAugment's magnitude
            return self._python.gauss(mean, deviation)
        return self._numpy.normal(mean, deviation, size)

    def standard_normal(self, size: tuple[int, ...], dtype: type) -> np.ndarray:
        return self._numpy.normal(size=size).astype(dtype)

    def permutation(self, count: int) -> list[int]:
        order = list(range(count))
        self._python.shuffle(order)
        return order

    def _asks(self, method: str) -> bool:
        return method in self._from_numpy


class Coin(Draws):
    """PaddleClas flips where `randint(0, 1)` is 1; ours where `random()` is below 0.5."""

    def random(self) -> float:
        return 0.25 if self._python.randint(0, 1) == 1 else 0.75


class OneTooMany(Draws):
    """RandCropImageV2 draws corners from one more place than there is."""

    def integers(self, low: int, high: int) -> int:
        return self._python.randint(low, high)


DRAWS: dict[str, Callable[[int, int], Draws]] = {
    "BlurImage": lambda p, n: Draws(p, n, "integers"),
    "ColorJitter": lambda p, n: Draws(p, n, "random"),
    "RandCropImageV2": OneTooMany,
    "RandFlipImage": Coin,
    "RandomInterpolationAugment": lambda p, n: Draws(p, n, "random uniform choice"),
    "RandomRotation": lambda p, n: Draws(p, n, "random"),
}


def photo(case: Case, upright: bool = True) -> np.ndarray:
    """The recorded input: a file of `inputs`, or `array:<key>`, and what the note behind says."""
    from tinysight.transforms import decode

    name, _, note = case["input"].partition(" ")
    if name.startswith("array:"):
        key, divide = name.removeprefix("array:"), "/255" in name
        image = case.file_arrays[key.removesuffix("/255")]
        return (image / 255.0).astype(np.float32) if divide else image.astype(note or image.dtype)
    image = decode(case.folder / "inputs" / name, upright=upright)
    return np.ascontiguousarray(image.transpose(2, 0, 1)) if note == "(CHW)" else image


def digest(array: np.ndarray) -> str:
    """SHA-256 of the C-contiguous bytes, as recorded."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

"""PaddleClas' preprocessing operators in terms of ours, for the recorded cases.

The dialect translates an operator and its arguments; one that it does not know is reported as not built. The draws of
random operators come from Python's and numpy's global streams there; the classes below offer those streams under the
names that our transforms call.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from support.golden import Case, not_built
from tinysight.compat.paddle.dialect.operators import transform
from tinysight.compat.paddle.dialect.rules import Reader, tables
from tinysight.errors import ConfigError
from tinysight.transforms import decode

READ = "cv2.imread(path)[:, :, ::-1]"  # how the deployed predictors decode


def split(op: Any) -> tuple[str, dict[str, Any]]:
    """Name and arguments of one recorded operator."""
    if isinstance(op, str):
        return op, {}
    ((name, arguments),) = op.items()
    return name, dict(arguments or {})


# What PaddleClas means otherwise than it does; the dialect follows what it means.
AS_RECORDED: dict[str, dict[str, Any]] = {
    "GridMask": {"p": 0.0},  # it grows with epochs that nothing counts
    "RandAugmentV2": {"shift": 100.0},  # pixels, but multiplied by the side once more
}


def specs(ops: Sequence[Any]) -> list[dict[str, Any]]:
    """What the dialect makes of the operators between decoding and the change of axes; raises ConfigError."""
    reader, found = Reader(), list[dict[str, Any]]()
    for op in ops:
        name, arguments = split(op)
        if name == READ or name == "DecodeImage" and len(ops) == 1:
            continue
        if name not in tables()["operators"]:
            not_built(name)
        # The dialect refuses half precision; the transform that makes it is there.
        half = arguments.pop("output_fp16", False)
        if arguments.get("size") == []:  # Padv2 then goes by its divisor; it fails without the key
            del arguments["size"]
        elif name == "Padv2" and "size" not in arguments:
            reader.wrong(name, "no size")
        made = transform(reader, name, name, arguments)
        found += [{**spec, **AS_RECORDED.get(name, {})} for spec in made]
        found += [{"name": "cast", "dtype": "float16"}] if half else []
    if reader.problems:
        raise ConfigError.of("the recorded operators", reader.problems)
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

    def dirichlet(self, alphas: Sequence[float]) -> np.ndarray:
        return self._numpy.dirichlet(alphas)

    def beta(self, a: float, b: float) -> float:
        return float(self._numpy.beta(a, b))


class Colours(Draws):
    """Places come from numpy there, colours from Python."""

    def integers(self, low: int, high: int) -> int:
        colour = high == 256
        return self._python.randint(0, 255) if colour else int(self._numpy.randint(low, high))


class Places(Draws):
    """Places come from numpy there, directions and policies from Python."""

    def integers(self, low: int, high: int) -> int:
        drawn_by_python = high == 2 or high > 10_000
        return (
            super().integers(low, high) if drawn_by_python else int(self._numpy.randint(low, high))
        )


class Coin(Draws):
    """PaddleClas flips where `randint(0, 1)` is 1; ours where `random()` is below 0.5."""

    def random(self) -> float:
        return 0.25 if self._python.randint(0, 1) == 1 else 0.75


class OneTooMany(Draws):
    """RandCropImageV2 draws corners from one more place than there is."""

    def integers(self, low: int, high: int) -> int:
        return self._python.randint(low, high)


DRAWS: dict[str, Callable[[int, int], Draws]] = {
    "AugMix": lambda p, n: Draws(p, n, "uniform choice integers"),
    "Cutout": Colours,
    "GridMask": lambda p, n: Draws(p, n, "random integers"),
    "RandAugmentV2": Places,
    "RandAugmentV3": Places,
    "RandAugmentV4": Places,
    "BlurImage": lambda p, n: Draws(p, n, "integers"),
    "ColorJitter": lambda p, n: Draws(p, n, "random"),
    "RandCropImageV2": OneTooMany,
    "RandFlipImage": Coin,
    "RandomInterpolationAugment": lambda p, n: Draws(p, n, "random uniform choice"),
    "RandomRotation": lambda p, n: Draws(p, n, "random"),
}


def photo(case: Case, upright: bool = True) -> np.ndarray:
    """The recorded input: a file of `inputs`, or `array:<key>`, and what the note behind says."""
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

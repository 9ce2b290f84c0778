"""Time the augmentations against the same ones in Pillow, on one 224 px image and one thread.

    python benchmarks/augment.py [--image FILE] [--rounds N]

The two take turns; the numbers are the smallest processor times, so other work on the machine
matters little. Both give the same pixels, which is checked first. Ours includes nothing that a
training loader would not do; Pillow's includes the conversion from and to an array, which a loader
that uses it does once per image (row "both ways"). A ratio below 1 means that tinysight is
faster. "rand_augment" is the mean over images' worth of draws, the same for both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from tinysight.registry import transforms
from tinysight.transforms import decode
from tinysight.transforms.augment import pillow, policies, tone
from tinysight.transforms.augment.auto_augment import MEAN_COLOUR as FILL

SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "clarity" / "sharp" / "bridge.jpg"
FILTERS = {"nearest": 0, "bilinear": 2, "bicubic": 3}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--image", default=str(SAMPLE))
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    image = cv2.resize(decode(args.image), (224, 224), interpolation=cv2.INTER_AREA)
    rows = [(n, *race(ours, theirs, args.rounds)) for n, ours, theirs in pairs(image)]
    rows.append(("rand_augment m9, mean", *policy(image, args.rounds)))
    print(f"{'':26}{'ours, ms':>10}{'Pillow, ms':>12}{'ratio':>8}")
    for name, ours, theirs in rows:
        print(f"{name:26}{ours * 1e3:10.3f}{theirs * 1e3:12.3f}{ours / theirs:8.2f}")


def pairs(image: np.ndarray) -> list[tuple[str, Callable[[], np.ndarray], Callable[[], object]]]:
    """Name, ours and Pillow's of each operation; raises where the two differ."""
    photo = Image.fromarray(image)
    found: list[tuple[str, Callable[[], np.ndarray], Callable[[], object]]] = []
    for name, code in FILTERS.items():
        found += [
            (
                f"rotate {name}",
                lambda n=name: pillow.rotate(image, 20.77, n, FILL),
                lambda c=code: photo.rotate(20.77, c, fillcolor=FILL),
            ),
            (
                f"shear {name}",
                lambda n=name: pillow.shear_x(image, 0.2137, n, FILL),
                lambda c=code: moved(photo, (1, 0.2137, 0, 0, 1, 0), c),
            ),
            (
                f"shift {name}",
                lambda n=name: pillow.translate_y(image, 31.4159 / 224, n, FILL),
                lambda c=code: moved(photo, (1, 0, 0, 0, 1, 31.4159 / 224 * 224), c),
            ),
        ]
    for name in ("Brightness", "Contrast", "Color", "Sharpness"):
        found.append(
            (
                name.lower(),
                lambda n=name: getattr(tone, n.lower())(image, 1.4),
                lambda n=name: getattr(ImageEnhance, n)(photo).enhance(1.4),
            )
        )
    found += [
        ("autocontrast", lambda: tone.autocontrast(image), lambda: ImageOps.autocontrast(photo)),
        ("equalize", lambda: tone.equalize(image), lambda: ImageOps.equalize(photo)),
        ("invert", lambda: tone.invert(image), lambda: ImageOps.invert(photo)),
        ("posterize", lambda: tone.posterize(image, 4), lambda: ImageOps.posterize(photo, 4)),
        ("solarize", lambda: tone.solarize(image, 99), lambda: ImageOps.solarize(photo, 99)),
        ("hue", lambda: pillow.shift_hue(image, 20), lambda: turned(photo, 20)),
    ]
    for name, ours, theirs in found:
        if not np.array_equal(ours(), np.asarray(theirs())):
            raise SystemExit(f"{name}: the answers differ")
    return [*found, ("both ways", lambda: image, lambda: np.array(Image.fromarray(image)))]


def moved(image: Image.Image, matrix: tuple[float, ...], code: int) -> Image.Image:
    """An affine map by Pillow."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, code, fillcolor=FILL)


def turned(image: Image.Image, steps: int) -> Image.Image:
    """Another hue by Pillow."""
    hue, saturation, value = image.convert("HSV").split()
    other = Image.fromarray(np.asarray(hue) + np.uint8(steps))
    return Image.merge("HSV", (other, saturation, value)).convert("RGB")


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> list[float]:
    """Smallest processor time of each, in seconds, taking turns."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for side, call in enumerate((ours, theirs)):
            start = time.process_time()
            call()
            best[side] = min(best[side], time.process_time() - start)
    return best


def policy(image: np.ndarray, rounds: int) -> list[float]:
    """Mean over 60 seeds of `rand-m9-mstd0.5-inc1`, ours and the same operations in Pillow."""
    augment = transforms.build({"name": "rand_augment"})
    total = np.zeros(2)
    for seed in range(60):
        steps: list[tuple[str, float]] = []
        record(augment, image, seed, steps)
        rng = np.random.default_rng(seed)  # a loader makes one per image, whatever it augments with
        state = rng.bit_generator.state

        def ours_again(rng: np.random.Generator = rng, state: object = state) -> np.ndarray:
            rng.bit_generator.state = state
            return augment(image, rng)

        ours = race(
            ours_again,
            lambda s=steps: in_pillow(image, s),
            max(rounds // 10, 3),
        )
        if not np.array_equal(augment(image, np.random.default_rng(seed)), in_pillow(image, steps)):
            raise SystemExit(f"rand_augment, seed {seed}: the answers differ")
        total += ours
    return list(total / 60)


def record(augment: object, image: np.ndarray, seed: int, steps: list[tuple[str, float]]) -> None:
    """The operations that a seed draws, and their numbers."""
    kept = dict(policies.OPERATIONS)

    def spy(name: str) -> policies.Operation:
        def call(pixels: np.ndarray, value: float, *rest: object) -> np.ndarray:
            steps.append((name, value))
            return kept[name](pixels, value, *rest)  # type: ignore[arg-type]

        return call

    try:
        policies.OPERATIONS.update({name: spy(name) for name in kept})
        augment(image, np.random.default_rng(seed))  # type: ignore[operator]
    finally:
        policies.OPERATIONS.update(kept)


def in_pillow(image: np.ndarray, steps: list[tuple[str, float]]) -> np.ndarray:
    """The same steps by Pillow."""
    photo = Image.fromarray(image)
    width, height = photo.size
    for name, value in steps:
        match name:
            case "rotate":
                photo = photo.rotate(value, FILTERS["bicubic"], fillcolor=FILL)
            case "shear_x" | "shear_y" | "translate_x" | "translate_y":
                matrix = {
                    "shear_x": (1, value, 0, 0, 1, 0),
                    "shear_y": (1, 0, 0, value, 1, 0),
                    "translate_x": (1, 0, value * width, 0, 1, 0),
                    "translate_y": (1, 0, 0, 0, 1, value * height),
                }[name]
                photo = moved(photo, matrix, FILTERS["bicubic"])
            case "color" | "contrast" | "brightness" | "sharpness":
                photo = getattr(ImageEnhance, name.capitalize())(photo).enhance(value)
            case "posterize":
                photo = ImageOps.posterize(photo, int(value)) if value else photo.point(lambda _: 0)
            case "solarize":
                photo = ImageOps.solarize(photo, value)
            case "solarize_add":
                table = [min(255, v + int(value)) if v < 128 else v for v in range(256)]
                photo = photo.point(table * 3)
            case _:
                photo = getattr(ImageOps, name)(photo)
    return np.asarray(photo)


if __name__ == "__main__":
    main()

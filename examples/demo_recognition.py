"""What `make demo-recognition` shows: a shelf of things that no network was trained on, recognised by a gallery.

Things are drawn: a badge has a shape, two colours and a pattern. A small detector and a small embedder are trained on
badges of other kinds. Then come the commands that a user types: a gallery of five kinds is
built, a photograph with several badges is recognised, a new kind is added from three images and recognised at once, and
a kind that the gallery does not have is refused. Everything goes to `runs/demo_recognition`, the drawn results too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

REPO = Path(__file__).resolve().parent.parent
RUN = Path("runs/demo_recognition")
TINYSIGHT = str(Path(sys.executable).with_name("tinysight"))
KINDS, OTHERS = 48, 6  # that the networks are trained on, and that only the gallery knows
NAMES = ("red tea", "lemon soda", "森林水", "plum juice", "cold brew", "new: oat milk")
SIDE = 72  # pixels of a badge


def main() -> None:
    """Run the steps; stops at the first that fails."""
    start = time.perf_counter()
    shutil.rmtree(REPO / RUN, ignore_errors=True)
    rng = np.random.default_rng(0)

    say("1  Badges of 48 kinds to train on, and scenes of them")
    draw_kinds(REPO / RUN / "kinds", rng)
    draw_scenes(REPO / RUN / "scenes", rng)

    say("2  Train a detector of things and an embedder, and make a system of both")
    for name, recipe in (("detector", DETECTOR), ("embedder", EMBEDDER)):
        (REPO / RUN / f"{name}.yaml").write_text(recipe, "utf-8")
        run("train", "-c", RUN / f"{name}.yaml", "--out", RUN / "runs" / name)
        run("export", "--run", RUN / "runs" / name, "--out", RUN / name)
    members = ("--detector", RUN / "detector", "--embedder", RUN / "embedder")
    rules = ("--rule", "threshold=0.5", "max_detections=10")
    rules += ("append_whole_image=false", "score_threshold=0.8")
    run("export", "--system", RUN / "system", *members, *rules)

    say("3  A gallery of five kinds that neither has seen, from three images of each")
    for number, name in enumerate(NAMES):
        folder = "new" if name.startswith("new") else "photos"
        label = name.removeprefix("new: ")
        (REPO / RUN / folder / label).mkdir(parents=True)
        for i in range(3):
            write(RUN / folder / label / f"{i}.png", alone(KINDS + number, rng))
    run("gallery", "build", RUN / "gallery", RUN / "photos", "--model", RUN / "embedder")

    say("4  A shelf: four of these, one that is new, one that the gallery will never have")
    shelf, _ = scene([KINDS + i for i in (0, 1, 2, 3, 5, OTHERS)], rng, (2, 3))
    write(RUN / "shelf.png", shelf)
    look = (
        "recognize",
        RUN / "shelf.png",
        "--system",
        RUN / "system",
        "--gallery",
        RUN / "gallery",
    )
    before = run(*look, "--draw", RUN / "before")

    say("5  The new kind is added from three images, without training, and recognised at once")
    run("gallery", "add", RUN / "gallery", RUN / "new")
    after = run(*look, "--draw", RUN / "after")

    found = [
        {line.split(": ")[1].rsplit(" ", 5)[0] for line in text.splitlines()}
        for text in (before, after)
    ]
    known = {NAMES[i] for i in (0, 1, 2, 3)}
    print(f"\nbefore: {sorted(found[0])}\nafter:  {sorted(found[1])}")
    say(f"Done in {time.perf_counter() - start:.0f} s; look at {RUN / 'after' / 'shelf.png'}")
    if found != [known, known | {"oat milk"}]:
        sys.exit("not what was expected: please report it")


def badge(kind: int, rng: np.random.Generator, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A badge (side, side, 3) uint8 BGR of that kind as one camera sees it, and its mask."""
    of = np.random.default_rng(1000 + kind)
    hue = (kind * 0.618034) % 1.0
    colors = [np.uint8([[[180 * ((hue + shift) % 1.0), 190, 230]]]) for shift in (0.0, 0.35)]
    first, second = ([int(v) for v in cv2.cvtColor(c, cv2.COLOR_HSV2BGR)[0, 0]] for c in colors)
    corners, pattern, turn = int(of.integers(3, 8)), int(of.integers(4)), of.uniform(0, 360)
    image, mask = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    image[:] = first
    step = max(side // int(of.integers(4, 7)), 4)
    for i in range(0, side, 2 * step):
        if pattern == 0:
            image[i : i + step] = second
        elif pattern == 1:
            image[:, i : i + step] = second
        elif pattern == 2:
            cv2.circle(image, (side // 2, side // 2), i // 2, second, step // 2)
        else:
            for j in range(0, side, 2 * step):
                image[i : i + step, j : j + step] = second
    angle = np.deg2rad(turn + 360 * np.arange(corners) / corners + rng.uniform(-8, 8))
    points = side / 2 + 0.47 * side * np.column_stack([np.cos(angle), np.sin(angle)])
    cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    light = image * rng.uniform(0.8, 1.15) + rng.normal(0, 6, image.shape)
    return light.clip(0, 255).astype(np.uint8), mask


def wall(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A grey background with some structure."""
    coarse = rng.integers(90, 150, (4, 5, 1)).astype(np.uint8)
    found = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, None]
    return (found + rng.normal(0, 5, (height, width, 3))).clip(0, 255).astype(np.uint8)


def alone(kind: int, rng: np.random.Generator) -> np.ndarray:
    """An image of one badge, about as a detector would cut it out."""
    side = int(rng.integers(56, 97))
    image, mask = badge(kind, rng, side)
    left, top, right, bottom = extent(mask)
    found = wall(side, side, rng)
    found[mask > 0] = image[mask > 0]
    room = rng.integers(0, 4, 4)
    ends = max(top - room[0], 0), bottom + room[1], max(left - room[2], 0), right + room[3]
    return found[ends[0] : ends[1], ends[2] : ends[3]]


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a mask holds."""
    x, y, wide, tall = cv2.boundingRect(mask)
    return x, y, x + wide, y + tall


def scene(
    kinds: list[int], rng: np.random.Generator, grid: tuple[int, int]
) -> tuple[np.ndarray, list[list[int]]]:
    """An image with a badge in each of `grid` (rows, columns) places, and their boxes x, y, width, height."""
    cell, boxes = 112, list[list[int]]()
    found = wall(grid[0] * cell, grid[1] * cell, rng)
    places = rng.permutation(grid[0] * grid[1])[: len(kinds)]
    for kind, place in zip(kinds, places.tolist(), strict=True):
        side = int(rng.integers(56, 97))
        image, mask = badge(kind, rng, side)
        y, x = (int(rng.integers(0, cell - side)) + cell * at for at in divmod(place, grid[1]))
        part = found[y : y + side, x : x + side]
        part[mask > 0] = image[mask > 0]
        left, top, right, bottom = extent(mask)
        boxes.append([x + left, y + top, right - left, bottom - top])
    return found, boxes


def draw_kinds(folder: Path, rng: np.random.Generator, each: int = 12) -> None:
    """Images of each kind, and the lists."""
    lists: dict[str, list[str]] = {"train": [], "query": [], "gallery": []}
    for kind in range(KINDS):
        for i in range(each):
            name = f"{kind}_{i}.png"
            write(folder / name, alone(kind, rng))
            part = "train" if kind < KINDS - 8 else "query" if i % 2 else "gallery"
            lists[part].append(f"{name} {kind}")
    for part, lines in lists.items():
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", "utf-8")


def draw_scenes(folder: Path, rng: np.random.Generator) -> None:
    """Scenes of one to six badges, with a COCO file."""
    for split, count in (("train", 160), ("val", 16)):
        images, boxes = list[dict[str, object]](), list[dict[str, object]]()
        for i in range(count):
            kinds = rng.integers(0, KINDS, rng.integers(1, 7)).tolist()
            image, own = scene(kinds, rng, (2, 3))
            write(folder / split / f"{i}.png", image)
            height, width = image.shape[:2]
            images.append({"id": i, "file_name": f"{i}.png", "width": width, "height": height})
            boxes += [
                {"id": len(boxes) + j, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": 0,
                 "area": box[2] * box[3]} for j, box in enumerate(own)
            ]  # fmt: skip
        tree = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
        (folder / f"{split}.json").write_text(json.dumps(tree), "utf-8")


DETECTOR = f"""
task: things
data:
  root: {RUN}/scenes
  target: boxes
  train: {{coco: train.json, images: train}}
  eval: {{coco: val.json, images: val}}
  batch_size: 8
  workers: 0
transforms:
  train: [{{name: random_flip}}, {{name: resize, size: [192, 128]}}, {{name: normalize}}]
  eval: [{{name: resize, size: [192, 128]}}, {{name: normalize}}]
model:
  backbone: {{name: pplcnet_x0_25}}
  detector: {{name: picodet, channels: 32, convs: 1}}
loss: {{name: simota}}
train:
  epochs: 14
  lr: 0.08
  optimizer: {{name: sgd}}
  schedule: {{name: cosine, warmup_steps: 20}}
  ema: {{decay: 0.9}}
metrics: [{{name: coco}}]
export: {{postprocess: {{name: boxes, threshold: 0.3}}}}
"""
EMBEDDER = f"""
task: badges
data:
  root: {RUN}/kinds
  target: identity
  train: {{list: train.txt}}
  eval: {{others: {{query: query.txt, gallery: gallery.txt}}}}
  sampler: {{name: pk, per_identity: 4}}
  batch_size: 32
  workers: 0
transforms:
  train: [{{name: resize, size: [64, 64]}}, {{name: normalize}}]
  eval: [{{name: resize, size: [64, 64]}}, {{name: normalize}}]
model:
  backbone: {{name: pplcnet_x0_25}}
  neck: {{name: bn_neck}}
  head: {{name: fc, bias: false, init_std: 0.001}}
losses:
  - {{name: cross_entropy, of: logits, label_smoothing: 0.1}}
  - {{name: triplet_angular_margin, of: embedding, absolute_weight: 0.1}}
train: {{epochs: 8, lr: 0.02, optimizer: {{name: sgd}}, schedule: {{name: cosine, warmup_steps: 10}}}}
metrics: [{{name: retrieval, k: [1]}}]
export: {{postprocess: {{name: embedding}}}}
"""


def write(path: Path, image: np.ndarray) -> None:
    """Write an image, BGR, below the repository."""
    (REPO / path).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(REPO / path), image)


def run(*words: object) -> str:
    """Print a command, run it, and print and give what it printed."""
    line = [str(word) for word in words]
    print(f"$ tinysight {' '.join(line)}", flush=True)
    done = subprocess.run(
        [TINYSIGHT, *line], cwd=REPO, stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def say(text: str) -> None:
    """A heading."""
    print(f"\n== {text}\n", flush=True)


if __name__ == "__main__":
    main()

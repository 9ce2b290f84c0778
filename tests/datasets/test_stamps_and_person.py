"""The scripts of the stamps and of the street scene: honest splits, labels beyond doubt."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "datasets"


def _load(folder: str) -> ModuleType:
    path = FOLDER / folder / "build.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_build", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


stamps, person, emoji = _load("stamps"), _load("person"), _load("emoji")


def test_every_stamp_is_held_out_once_and_variants_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in stamps.KINDS:
        (tmp_path / "in" / kind).mkdir(parents=True)
        for name in [f"a{i}" for i in range(3)] + [f"only {c}" for c in "bcdefghij"]:
            image = rng.integers(0, 256, (12, 9, 4), np.uint8)
            cv2.imwrite(str(tmp_path / "in" / kind / f"{name}.png"), image)
    out = tmp_path / "out"
    assert stamps.build(tmp_path / "in", out, seed=0) == 7 * 12
    eval_samples = [(out / f"fold{i}_val.txt").read_text("utf-8").splitlines() for i in range(5)]
    lines = [line for part in eval_samples for line in part]
    assert len(set(lines)) == len(lines) == 7 * 12
    for i, part in enumerate(eval_samples):
        train = (out / f"fold{i}_train.txt").read_text("utf-8").splitlines()
        assert set(train) == set(lines) - set(part)
        assert {line.rsplit(" ", 1)[1] for line in part} == {str(k) for k in range(7)}
    folds = {i for i, part in enumerate(eval_samples) for line in part if "/animals/a" in line}
    assert len(folds) == 1


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    image = np.full((4, 4, 4), 90, np.uint8)
    image[..., 3] = (0, 0, 255, 255)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    laid = stamps.on_white(tmp_path / "a.png")
    assert (laid[:, :2] == 255).all() and (laid[:, 2:] == 90).all()


def test_windows_hold_a_person_or_nothing() -> None:
    still = np.zeros((576, 768, 3), np.uint8)
    frame = still.copy()
    frame[250:320, 100:125] = 200  # a person's size
    frame[400:404, 200:330] = 200  # a tape
    blobs = person.people(frame, still)
    assert blobs[280, 110] > 0 and blobs[402, 260] == -1
    found = list(person.windows(blobs, 0, 384, 576, np.random.default_rng(0)))
    assert {w.label for w in found} == {0, 1}
    for x, y, label in found:
        inside = frame[y : y + person.SIDE, x : x + person.SIDE] > 0
        assert inside.any() == bool(label)
        if label:
            assert x <= 125 and x + person.SIDE >= 100


def test_no_moment_and_no_place_is_on_both_sides() -> None:
    assert person.FRAMES["train"][1] < person.FRAMES["val"][0] <= person.FRAMES["test"][0]


def test_emoji_of_one_identity_are_on_one_side(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), [f"1f{i:03x}" for i in range(606)]
    folders = {vendor: tmp_path / vendor for vendor in emoji.PACKAGES}
    image = rng.integers(0, 256, (8, 8, 4), np.uint8)
    data = cv2.imencode(".png", image)[1].tobytes()
    for vendor, folder in folders.items():
        folder.mkdir()
        for name in names[: 605 if vendor == "google" else 606]:  # one that google lacks
            (folder / f"{name.upper()}.png").write_bytes(data)
    out = tmp_path / "out"
    assert emoji.build(names, folders, out, seed=0) == {"test": 500, "val": 100, "train": 5}
    sides = {p.stem: p.read_text("utf-8").splitlines() for p in sorted(out.glob("*.txt"))}
    ids = {name: {line.split()[1] for line in lines} for name, lines in sides.items()}
    assert ids["test_google"] == ids["test_twitter"] == ids["test_fluent"]
    assert not ids["train"] & (ids["test_google"] | ids["val_google"])
    assert not ids["test_google"] & ids["val_google"]
    assert (len(ids["train"]), len(sides["train"])) == (5, 15)
    assert cv2.imread(str(out / sides["train"][0].split()[0])).shape == (160, 160, 3)

"""What a newcomer gets wrong: one short message with place, problem and fix, exit code 2, never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tinysight.cli import main

RECIPE = """
base: _base/pulc.yaml
task: mistakes
data:
  root: {root}
  labels: [clear, blurred]
  train: {{list: train.txt}}
  eval: {{list: val.txt}}
  workers: 0
model: {{backbone: {{name: pplcnet_x0_25}}}}
train: {{epochs: 1}}
"""

Spoil = Callable[[Path], list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound recipe with its images; each mistake spoils one thing."""
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 40, 3), 60 * i, np.uint8))
    lists = "0.png 0\n1.png 1\n2.png 0\n3.png 1\n"
    (tmp_path / "train.txt").write_text(lists, encoding="utf-8")
    (tmp_path / "val.txt").write_text(lists, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(root=tmp_path), encoding="utf-8")
    return tmp_path


def train(folder: Path, *more: str) -> list[str]:
    return ["train", "-c", str(folder / "recipe.yaml"), "--out", str(folder / "run"), *more]


def edit(file: str, old: str, new: str) -> Spoil:
    def spoil(folder: Path) -> list[str]:
        path = folder / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return train(folder)

    return spoil


def missing_list(folder: Path) -> list[str]:
    (folder / "train.txt").unlink()
    return train(folder)


def unreadable_images(folder: Path) -> list[str]:
    (folder / "1.png").write_bytes(b"not an image")
    return train(folder)


MISTAKES: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "misspelt key": (
        edit("recipe.yaml", "epochs", "epocs"),
        ("train.epocs", "unknown key", "'epochs'"),
    ),
    "wrong type": (
        edit("recipe.yaml", "epochs: 1", "epochs: one"),
        ("train.epochs", "valid integer", "'one'"),
    ),
    "missing list file": (missing_list, ("train.txt", "data.train.list")),
    "label out of range": (
        edit("train.txt", "3.png 1", "3.png 2"),
        ("train.txt:4", "label 2", "data.labels"),
    ),
    "path with spaces and no label": (
        edit("train.txt", "2.png 0", "my photo.png"),
        ("train.txt:3", "label"),
    ),
    "blank line in a list": (
        edit("train.txt", "1.png 1\n", "\n1.png 1\n"),
        ("train.txt:2", "blank"),
    ),
    "wrong delimiter": (edit("train.txt", "2.png 0", "2.png,0"), ("train.txt:3", "data.delimiter")),
    "empty folder": (
        lambda f: ["predict", str(f / "empty"), "--model", "clarity_assessment"],
        ("empty", "no image"),
    ),
    "unreadable image": (unreadable_images, ("1.png", "data.max_bad_fraction")),
    "wrong number of labels": (
        edit("recipe.yaml", "[clear, blurred]", "[clear]"),
        ("data.labels", "at least 2"),
    ),
    "unknown model name": (
        lambda f: train(f, "-o", "model.backbone.name=PPLCNet_x1_O"),
        ("model.backbone.name", "unknown backbone", "did you mean"),
    ),
    "override of a key that does not exist": (
        lambda f: train(f, "-o", "train.learning_rate=1"),
        ("-o train.learning_rate", "unknown key"),
    ),
    "unquoted path with spaces": (
        lambda f: ["predict", "my", "photo.jpg", "--model", "clarity_assessment"],
        ("my", "no such file", "quote"),
    ),
    "unknown bundle name": (
        lambda f: ["predict", str(f), "--model", "clarity_assesment"],
        ("clarity_assesment", "clarity_assessment"),
    ),
    "misspelt verb's recipe": (lambda f: ["recipe", "check", "pulc/clarity"], ("did you mean",)),
    "misspelt verb": (lambda f: ["predct", str(f)], ("unknown verb 'predct'", "'predict'")),
    "no run to export": (lambda f: ["export", "--run", str(f / "gone")], ("gone",)),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_short_message(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoil, expected = MISTAKES[name]
    code = main(spoil(folder))
    message = capfd.readouterr().err
    # A training of one epoch on the four images that it is evaluated on warns of all that first.
    message = re.sub(
        "^.*(are also trained on|takes the whole run|are too few to say anything).*\n",
        "",
        message,
        flags=re.MULTILINE,
    )
    assert code == 2, message
    assert message.startswith("error: ")
    assert "Traceback" not in message
    assert len(message) < 600
    for part in expected:
        assert part in message, f"{part!r} is not in: {message}"

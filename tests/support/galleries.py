"""Small galleries: a bundle whose embedding of an image can be worked out by hand, and images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from support.bundles import SIDE, tiny_manifest
from tinysight.bundle import MODEL, Bundle
from tinysight.graph.onnx_file import Node, OnnxModel, Port

DIM = 48  # of the vectors: the means of 4 x 4 places, three channels each


def embedding_bundle(folder: Path, *, shift: float = 0.0, **changes: Any) -> Bundle:
    """A bundle that gives the means of 4 x 4 places of an image, less 1/2 and plus `shift`, as its vector."""
    f32 = np.dtype(np.float32)
    nodes = (
        Node("AveragePool", ("images",), ("pooled",), {"kernel_shape": [2, 2], "strides": [2, 2]}, "p"),
        Node("Flatten", ("pooled",), ("flat",), {"axis": 1}, "f"),
        Node("Add", ("flat", "half"), ("scores",), {}, "a"),
    )  # fmt: skip
    constants = {"half": np.array(shift - 0.5, f32)}
    inputs = (Port("images", f32, ("N", 3, SIDE, SIDE)),)
    model = OnnxModel(nodes, constants, inputs, (Port("scores", f32, ("N", DIM)),), 17)
    given = {"postprocess": {"name": "embedding"}, "labels": (), "threshold": None, **changes}
    return Bundle.write(folder, tiny_manifest(**given), {MODEL: model.to_bytes()})


def draw(seed: int, label: int = 0, noise: int = 20) -> np.ndarray:
    """An image (32, 32, 3) that looks like others of its label."""
    base = np.random.default_rng(label).integers(30, 220, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    noisy = base + np.random.default_rng(1000 + seed).integers(-noise, noise + 1, (32, 32, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def make_photos(
    folder: Path, labels: tuple[str, ...] = ("green tea", "cola"), each: int = 3
) -> Path:
    """Images in a folder a label."""
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            image = cv2.cvtColor(draw(10 * number + i, number), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / label / f"{i}.png"), image)
    return folder

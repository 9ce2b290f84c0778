"""The recorded recognition pipeline: its networks laid out, its images, its configurations."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.golden import GOLDEN, OWN, Case, cases
from support.paddle import write_detector
from support.paddleclas import PADDLECLAS
from tinysight.files import to_yaml

FOLDER = (GOLDEN if (GOLDEN / "shitu").is_dir() else OWN) / "shitu"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def recorded() -> Iterator[Case]:
    """Each file of recorded pipelines."""
    yield from cases("shitu")


def entries(section: str) -> list[Any]:
    """Parameters: the entries of a section, by name; each a `Case` of its file."""
    found = []
    for case in recorded():
        part = case.get(section, {})
        named = part.items() if isinstance(part, dict) else ((p["id"], p) for p in part)
        found += [
            pytest.param(Case(e, name, case.path, FOLDER / "data.npz", dict(case)), id=name)
            for name, e in named
        ]
    return found


def image(name: str) -> Path:
    """An image of PaddleClas by its name in the recordings: photographs of others, no part of this project."""
    for folder in (FOLDER / "images", PADDLECLAS / "images"):
        if (folder / name).is_file():
            return folder / name
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    return missing(f"no image {name}; set TINYSIGHT_PADDLECLAS")


def index(name: str) -> Path:
    """A recorded index folder."""
    return FOLDER / "index" / name


class Setup:
    """Networks and images in one folder.

    Attributes:
        folder: where `models/<network>` and `images` are, and the lists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for case in cases("shitu/models"):
            write_detector(case, "inference.json", folder / "models" / case["id"])
        for case in recorded():
            names = [*case["queries"], *(n for n, _ in [*case["gallery"], *case["append"]])]
            for name in names:
                target = folder / "images" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image(name), target)
        for path in FOLDER.glob("*.txt"):
            shutil.copyfile(path, folder / path.name)

    def config(self, *, binary: bool = False, detector: str = "det_clip") -> dict[str, Any]:
        """`inference_general.yaml` for these networks; `binary`: with bits in place of numbers."""
        normal = {"scale": "1.0/255.0", "mean": MEAN, "std": STD, "order": "hwc"}
        resize = {"size": [224, 224], "return_numpy": False, "interpolation": "bilinear"}
        return {
            "Global": {
                "rec_inference_model_dir": str(self.folder / "models" / "rec"),
                "det_inference_model_dir": str(self.folder / "models" / detector)
                if detector != "none"
                else None,
                "batch_size": 1, "rec_nms_thresold": 0.05, "threshold": 0.2, "max_det_results": 5,
                "image_shape": [3, 320, 320], "label_list": ["foreground"], "use_gpu": False,
            },
            "DetPreProcess": {"transform_ops": [
                {"DetResize": {"interp": 2, "keep_ratio": False, "target_size": [320, 320]}},
                {"DetNormalizeImage": {"is_scale": True, "mean": MEAN, "std": STD}},
                {"DetPermute": {}},
            ]},
            "DetPostProcess": {},
            "RecPreProcess": {"transform_ops": [
                {"ResizeImage": {**resize, "backend": "cv2"}},
                {"NormalizeImage": normal}, {"ToCHWImage": None},
            ]},
            "RecPostProcess": {"main_indicator": "Binarize", "Binarize": {"method": "sign"}}
            if binary
            else None,
            "IndexProcess": {
                "index_method": "HNSW32", "image_root": str(self.folder / "images"),
                "index_operation": "new", "delimiter": "\t", "return_k": 5, "score_thres": 0.5,
                "dist_type": "hamming" if binary else "IP", "embedding_size": 64, "batch_size": 32,
            },
        }  # fmt: skip

    def write(self, path: Path, **given: Any) -> Path:
        """The configuration as a file."""
        path.write_text(to_yaml(self.config(**given)), "utf-8")
        return path


def is_binary(case: Case) -> bool:
    """Whether a recording was made with the configuration of bits."""
    return "binary" in str(case.get("config", ""))


def plain(text: str) -> str:
    """A printed line without the names of NumPy's scalars."""
    return re.sub(r"np\.\w+\(([^()]*)\)", r"\1", text)


def overridden(overrides: Sequence[str], **more: object) -> list[str]:
    """Overrides of a recording, and those for where things are."""
    return [*overrides, *(f"{key.replace('__', '.')}={value}" for key, value in more.items())]

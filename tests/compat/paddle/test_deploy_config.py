"""PaddleClas deploy configurations, in our words; the recorded pipelines are held bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.golden import Case, each_case
from support.preprocess import digest, photo, split
from tinysight.compat.paddle.dialect.deploy import (
    SCALE,
    default_transforms,
    read_deploy_config,
    read_labels,
)
from tinysight.errors import ConfigError
from tinysight.files import to_yaml
from tinysight.transforms import Compose, to_batch

HELMET = """
Global:
  infer_imgs: ./images/helmet.png
PreProcess:
  transform_ops:
    - ResizeImage:
        resize_short: 256
    - CropImage:
        size: 224
    - NormalizeImage:
        scale: 0.00392157
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]
        order: ''
        channel_num: 3
    - ToCHWImage:
PostProcess:
  main_indicator: ThreshOutput
  ThreshOutput:
    threshold: 0.5
    label_0: wearing_helmet
    label_1: unwearing_helmet
  SavePreLabel:
    save_dir: ./pre_label/
"""


def config(folder: Path, text: str) -> Path:
    path = folder / "deploy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_threshold(tmp_path: Path) -> None:
    found = read_deploy_config(config(tmp_path, HELMET))
    assert found.transforms == default_transforms(224, 224)
    assert [t["name"] for t in found.transforms] == ["resize", "center_crop", "normalize"]
    assert (found.transforms[0]["short"], found.transforms[1]["size"]) == (256, 224)
    assert found.transforms[2]["scale"] == SCALE == 0.00392157
    assert found.postprocess == {"name": "threshold", "threshold": 0.5, "positive": 1, "default": 0}
    assert found.labels == ("wearing_helmet", "unwearing_helmet")


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        ("0 tench, Tinca tinca\n1 goldfish\n\n", ("tench, Tinca tinca", "goldfish")),
        ("cat\nwild dog\n", ("cat", "wild dog")),
        ("0\n90\n180\n270\n", ("0", "90", "180", "270")),
        ("\ufeff0 猫\n1 犬\n", ("猫", "犬")),
    ],
)
def test_topk_with_a_label_file_beside_it(
    lines: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(lines, encoding="utf-8")
    post = "PostProcess: {main_indicator: Topk, Topk: {topk: 3, class_id_map_file: list.txt}}"
    found = read_deploy_config(config(tmp_path, HELMET.split("PostProcess")[0] + post))
    assert found.postprocess == {"name": "topk", "k": 3, "decimals": 5}
    assert found.labels == labels == read_labels(str(tmp_path / "list.txt"))


def test_the_form_that_new_exports_carry(tmp_path: Path) -> None:
    post = "PostProcess: {Topk: {topk: 2, label_list: [a, b]}}"
    found = read_deploy_config(config(tmp_path, HELMET.split("PostProcess")[0] + post))
    assert (found.postprocess["k"], found.labels) == (2, ("a", "b"))


@each_case("preprocess", lambda case: case["group"] == "pipeline")
def test_recorded_pipelines(case: Case, tmp_path: Path) -> None:
    ops = [op for op in case["ops"] if split(op)[0] != "cv2.imread(path)[:, :, ::-1]"]
    if any(
        split(op)[0] not in KNOWN
        or split(op)[1].get("backend") == "pil"
        and split(op)[0] == "DecodeImage"
        for op in ops
    ):
        pytest.skip("no pipeline of a deployed classifier")
    tree = {"PreProcess": {"transform_ops": ops}, "PostProcess": {"Topk": {"topk": 1}}}
    found = read_deploy_config(config(tmp_path, to_yaml(json.loads(json.dumps(tree)))))
    image = Compose.from_specs(found.transforms)(photo(case))
    planar = any(split(op)[0] == "ToCHWImage" for op in ops)
    assert digest(to_batch([image])[0] if planar else image) == case["output"]["sha256"]


KNOWN = ("DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage")


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    text = (
        HELMET.replace("resize_short: 256", "resize_shrt: 256")
        .replace("order: ''", "order: chw")
        .replace("- CropImage", "- CropImagee")
        .replace("threshold: 0.5", "threshold: 1.5")
    )
    with pytest.raises(ConfigError) as caught:
        read_deploy_config(config(tmp_path, text))
    message = str(caught.value)
    for part in (
        "ResizeImage.resize_shrt: unknown key; did you mean 'resize_short'?",
        "CropImagee: an operator that is not understood; did you mean 'CropImage'?",
        "NormalizeImage.order: 'chw'",
        "threshold",
    ):
        assert part in message, message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ThreshOutput", "Binarize"), "Binarize: this post-processor is not available"),
        (("PreProcess", "RecPreProcess"), "no deploy configuration of a classifier"),
        (("scale: 0.00392157", "scale: __import__('os')"), "scale: should be a number"),
        (
            ("channel_num: 3", "output_fp16: true"),
            "output_fp16: True is not available: pixels are float32",
        ),
    ],
)
def test_what_is_no_classifier(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        read_deploy_config(config(tmp_path, HELMET.replace(*change)))


def test_defaults_of_the_deployed_post_processors(tmp_path: Path) -> None:
    """A missing threshold of ThreshOutput is 0 there, so that class 1 always wins."""
    bare = HELMET.replace("    threshold: 0.5\n", "")
    assert read_deploy_config(config(tmp_path, bare)).postprocess["threshold"] == 0.0
    head = HELMET.split("PostProcess")[0]
    for post, made in (
        ("FaceAttribute: {}", {"name": "face_attribute", "threshold": 0.65, "chinese": False}),
        ("FaceAttribute: {threshold: 0.5, convert_cn: true}", {"threshold": 0.5, "chinese": True}),
        ("Topk: {}", {"name": "topk", "k": 1}),
    ):
        found = read_deploy_config(config(tmp_path, f"{head}PostProcess: {{{post}}}"))
        assert {key: found.postprocess[key] for key in made} == made


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1/255", 1 / 255),
        ("0.5", 0.5),
        ("null", 1 / 255),
        ("1/(2**8 - 1)", 1 / 255),
    ],
)
def test_scales_are_read_and_not_evaluated(scale: str, value: float, tmp_path: Path) -> None:
    found = read_deploy_config(config(tmp_path, HELMET.replace("0.00392157", scale)))
    assert found.transforms[2]["scale"] == value


def test_a_missing_label_file_names_the_way_out(tmp_path: Path) -> None:
    post = "PostProcess: {main_indicator: Topk, Topk: {topk: 1, class_id_map_file: ../gone.txt}}"
    with pytest.raises(ConfigError, match=r"no such file: ../gone.txt; name labels with --labels"):
        read_deploy_config(config(tmp_path, HELMET.split("PostProcess")[0] + post))
    with pytest.raises(ConfigError, match="no such file of labels"):
        read_labels("gone.txt")
    (tmp_path / "l.txt").write_text("0 a\n2 b\n")
    with pytest.raises(ConfigError, match="l.txt:2: class 2 where 1 is due"):
        read_labels(str(tmp_path / "l.txt"))


def test_defaults_fit_the_network() -> None:
    for size, exact in (
        ((224, 224), False),
        ((192, 192), False),
        ((80, 160), False),
        ((224, 224), True),
    ):
        steps = default_transforms(*size, exact=exact)
        assert Compose.from_specs(steps).output_shape() == (*size, 3)
        assert len(steps) == (3 if size[0] == size[1] and not exact else 2)
    grey = np.full((50, 70, 3), 127, np.uint8)
    assert Compose.from_specs(default_transforms(80, 160))(grey).dtype == np.float32

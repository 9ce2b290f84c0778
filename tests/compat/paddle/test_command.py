"""PaddleClas' command and class: their arguments, on the shipped model, an exported folder and public names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from support.commands import tinysight
from support.exports import export, tar_of
from support.file_server import FileServer, Page
from support.golden import own_path
from support.paddleclas import make_images
from tinysight.bundle import Bundle
from tinysight.compat import paddle as paddleclas
from tinysight.compat.paddle.catalog import find, imagenet_names
from tinysight.compat.paddle.command import configured_bundle
from tinysight.errors import BundleError, ConfigError, DataError, FetchError
from tinysight.pipelines.pipeline import Classifier

EXPORT = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
SHIPPED = "clarity_assessment"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    return make_images(tmp_path / "images", train=3, eval_samples=2, side=256)


def rows(model: Any, source: Any) -> list[list[dict[str, Any]]]:
    return [list(batch) for batch in model.predict(input_data=source)]


def test_a_script_changed_in_its_import_line(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of the documents, with the shipped model."""
    model = paddleclas.PaddleClas(model_name=SHIPPED, batch_size=2)
    found = rows(model, str(images))
    assert [len(batch) for batch in found] == [2, 2, 1]
    plain = [r for batch in Classifier(SHIPPED, batch_size=2).predict(images) for r in batch]
    assert sum(found, []) == [result.to_json() for result in plain]
    assert list(found[0][0]) == ["class_ids", "scores", "label_names", "filename"]
    assert [row["filename"] for row in found[0]] == [str(images / f"{i}.png") for i in range(2)]
    capsys.readouterr()
    (only,) = next(iter(model.predict(str(images / "0.png"), print_pred=True)))
    assert capsys.readouterr().out == ", ".join(f"{k}: {v}" for k, v in only.items()) + "\n"
    pixels = cv2.imread(str(images / "0.png"))[:, :, ::-1]
    ((array,),) = rows(model, np.ascontiguousarray(pixels))
    assert array == {k: v for k, v in only.items() if k != "filename"}


def test_an_exported_folder_and_its_arguments(images: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("0 dark\n1 very bright\n")
    image = str(images / "1.png")
    ((both,),) = rows(paddleclas.PaddleClas(inference_model_dir=str(EXPORT)), image)
    assert sorted(both["class_ids"]) == [0, 1]
    assert both["label_names"] == list(map(str, both["class_ids"]))
    options = {"topk": 1, "class_id_map_file": str(tmp_path / "names.txt")}
    ((one,),) = rows(paddleclas.PaddleClas(inference_model_dir=str(EXPORT), **options), image)
    assert one["class_ids"] == both["class_ids"][:1]
    assert one["label_names"] == [("dark", "very bright")[one["class_ids"][0]]]
    assert one["scores"] == both["scores"][:1]
    larger = paddleclas.PaddleClas(inference_model_dir=str(EXPORT), resize_short=300)
    ((other,),) = rows(larger, image)
    assert other["scores"] != both["scores"]


def test_thresholds(images: Path) -> None:
    image = str(images / "1.png")
    for threshold, ids in ((0.0, [1]), (1.0, [0])):
        ((row,),) = rows(paddleclas.PaddleClas(model_name=SHIPPED, threshold=threshold), image)
        assert row["class_ids"] == ids
    found = configured_bundle({"model_name": SHIPPED}, ["PostProcess.ThreshOutput.threshold=0.25"])
    assert found.bundle.manifest.postprocess["threshold"] == 0.25
    assert found.bundle.manifest.threshold is not None
    assert found.bundle.manifest.threshold.value == 0.25
    changed = ["PostProcess.ThreshOutput.threshold=1"]
    script = paddleclas.PaddleClas(model_name=SHIPPED, override=changed, infer_imgs=None)
    ((row,),) = rows(script, [image])
    assert row["class_ids"] == [0]
    with pytest.raises(ConfigError, match="predict_type: 'shitu' is not available"):
        script.predict(image, predict_type="shitu")
    untouched = configured_bundle({"model_name": SHIPPED}).bundle.manifest
    assert untouched == Bundle.load(SHIPPED).manifest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "model_name: is missing"),
        ({"model_name": SHIPPED, "topkk": 3}, "topkk: unknown key; did you mean 'topk'?"),
        ({"model_name": SHIPPED, "topk": "a"}, "topk: should be a number"),
        ({"model_name": SHIPPED, "index_dir": "x"}, "index_dir: is for recognition"),
        ({"model_name": SHIPPED, "predict_type": "shitu"}, "predict_type: 'shitu' is not available"),
        ({"model_name": SHIPPED, "class_id_map_file": "gone.txt"}, "class_id_map_file: no such file"),
        ({"model_name": SHIPPED, "save_dir": "x"}, "save_dir: `tinysight predict --save_dir DIR` copies"),
        ({"model_name": SHIPPED, "crop_size": 192}, "PreProcess: gives images of 192 x 192, the model takes 224 x 224"),
        ({"inference_model_dir": "gone"}, "inference_model_dir: no such folder"),
        ({"model_name": "clarity_assesment"}, "did you mean 'clarity_assessment'"),
    ],
)  # fmt: skip
def test_what_is_refused(arguments: dict[str, Any], said: str, images: Path) -> None:
    with pytest.raises(
        (ConfigError, BundleError, Exception), match=said.replace("?", r"\?")
    ) as caught:
        configured_bundle(arguments)
    assert hasattr(caught.value, "problems")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.delenv("TINYSIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as running:
        monkeypatch.setenv("TINYSIGHT_MIRROR", running.url)
        yield running


def test_images_at_addresses(images: Path, server: FileServer) -> None:
    server.pages["/a/1.png"] = Page((images / "1.png").read_bytes())
    server.pages["/large.png"] = Page(bytes(40 << 20))
    url = f"{server.url}/a/1.png"
    with pytest.raises(DataError, match="allow_urls=True"):
        rows(paddleclas.PaddleClas(model_name=SHIPPED), url)
    model = paddleclas.PaddleClas(model_name=SHIPPED, allow_urls=True)
    ((row,),), ((local,),) = rows(model, url), rows(model, str(images / "1.png"))
    assert row["scores"] == local["scores"]
    assert Path(row["filename"]).name == "1.png"
    with pytest.raises(FetchError, match="bytes"):
        rows(model, f"{server.url}/large.png")


def test_the_command(images: Path, tmp_path: Path, server: FileServer) -> None:
    done = tinysight(
        "predict", "--inference_model_dir", EXPORT, "--infer_imgs", images, "--use_gpu=False",
        "--cpu_num_threads=1", "--enable_mkldnn=True", "--batch_size=2", "--resize_short=256",
        "--crop_size=224", "--topk=1", "--save_dir", tmp_path / "sorted", "--json",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 5
    copied = sorted((tmp_path / "sorted").rglob("*.png"))
    assert sorted(path.name for path in copied) == [f"{i}.png" for i in range(5)]
    assert {path.parent.name for path in copied} <= {"0", "1"}
    server.pages["/1.png"] = Page((images / "1.png").read_bytes())
    url = f"--infer_imgs={server.url}/1.png"
    done = tinysight(
        "predict", f"--model_name={SHIPPED}", url, "-o", "PostProcess.ThreshOutput.threshold=0"
    )
    assert done.code == 2
    assert "--allow_urls" in done.err
    done = tinysight(
        "predict",
        f"--model_name={SHIPPED}",
        url,
        "--allow_urls",
        "-o",
        "PostProcess.ThreshOutput.threshold=0",
    )
    assert (done.code, done.err) == (0, "")
    assert "class_ids: [1]" in done.out
    done = tinysight(
        "predict", f"--model_name={SHIPPED}", url, "--index_dir=x", "--build_gallery=True"
    )
    assert done.code == 2
    assert f"{SHIPPED!r} is no system; the one that there is: PP-ShiTuV2" in done.err


def test_an_export_that_is_no_classifier(images: Path, tmp_path: Path) -> None:
    export(tmp_path / "rec_infer", "GeneralRecognitionV2_PPLCNetV2_base")
    words = ("predict", images / "1.png", "--model", tmp_path / "rec_infer", "--use_gpu=False")
    done = tinysight(*words, "--json")
    assert (done.code, done.err) == (0, "")
    assert len(json.loads(done.out)["embedding"]) == 512
    done = tinysight(*words, "-o", "PostProcess.Topk.topk=1")
    assert done.code == 2
    assert "is no classifier: its results are its embedding" in done.err


NAMES = Path(__file__).with_name("package_names.txt").read_text("ascii").split()
PULC = (
    "car_exists language_classification person_attribute person_exists safety_helmet text_image_orientation "
    "image_orientation textline_orientation traffic_sign vehicle_attribute table_attribute clarity_assessment"
)


def test_every_name_of_the_package_is_in_the_catalogue() -> None:
    networks = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"
    assert len(NAMES) == 232
    for name in NAMES:
        assert find(name, "inference").urls == (f"{networks}/inference/{name}_infer.tar",)
    for name in PULC.split():
        url = f"https://paddleclas.bj.bcebos.com/models/PULC/inference/{name}_infer.tar"
        assert url in find(name, "inference").urls
    system = f"{networks}/rec/models/inference/PP-ShiTuV2/general_PPLCNetV2_base_pretrained_v1.0_infer.tar"
    assert find("PP-ShiTuV2", "inference").urls == (system,)


def test_the_names_of_imagenet() -> None:
    names = imagenet_names()
    assert (len(names), names[0], names[-1]) == (
        1000,
        "tench, Tinca tinca",
        "toilet tissue, toilet paper, bathroom tissue",
    )


@pytest.mark.parametrize("name", ["safety_helmet", "AlexNet", "PPLCNet_x1_0", "PVT_V2_B2"])
def test_a_public_model_of_each_kind_is_fetched_and_predicts(
    name: str, images: Path, server: FileServer
) -> None:
    row = find(name, "inference")
    server.pages[row.urls[0].replace("https:/", "")] = Page(tar_of(EXPORT, row.filename[:-4]))
    ((found,),) = rows(paddleclas.PaddleClas(model_name=name), str(images / "0.png"))
    assert len(found["scores"]) == (1 if name == "safety_helmet" else 2)

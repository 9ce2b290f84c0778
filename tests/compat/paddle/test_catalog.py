"""The catalog: every address of the scenario documents is in it, by the rule; names are found as people write them."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import pytest

from tinysight.compat.paddle.catalog import KINDS, artifacts, find, pretrained, search
from tinysight.errors import ConfigError, UnknownName
from tinysight.fetch.cache import path_for

NETWORKS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"
PULC = "https://paddleclas.bj.bcebos.com"
# As the scenario documents and PaddleClas' own tables write them out.
PUBLISHED = [
    *(f"{NETWORKS}/inference/PPHGNetV2_B{i}_ssld_infer.tar" for i in range(7)),
    *(f"{NETWORKS}/legendary_models/PPHGNetV2_B{i}_ssld_pretrained.pdparams" for i in range(7)),
    *(
        f"{NETWORKS}/legendary_models/PPHGNetV2_B{i}_ssld_stage1_pretrained.pdparams"
        for i in range(7)
    ),
    f"{NETWORKS}/rec/data/drink_dataset_v2.0.tar",
    f"{NETWORKS}/rec/models/inference/PP-ShiTuV2/general_PPLCNetV2_base_pretrained_v1.0_infer.tar",
    f"{NETWORKS}/rec/models/inference/picodet_PPLCNet_x2_5_mainbody_lite_v1.0_infer.tar",
    f"{NETWORKS}/rec/models/pretrain/PPShiTuV2/general_PPLCNetV2_base_pretrained_v1.0.pdparams",
    f"{PULC}/data/PULC/clarity_assessment.tar",
    f"{PULC}/data/PULC/pulc_demo_imgs.zip",
    f"{PULC}/data/PULC/safety_helmet.tar",
    f"{PULC}/data/cls_demo/person.tar",
    f"{PULC}/models/PULC/clarity_assessment_infer.tar",
    f"{PULC}/models/PULC/safety_helmet_infer.tar",
    f"{PULC}/models/PULC/inference/person_exists_infer.tar",
    f"{PULC}/models/PULC/pretrained/person_exists_pretrained.pdparams",
    f"{PULC}/models/cls_demo/person_cls_infer.tar",
    f"{NETWORKS}/legendary_models/PPLCNet_x1_0_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/PPLCNet_x1_0_ssld_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/PPLCNetV2_base_ssld_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/PPHGNet_base_ssld_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/ResNet101_vd_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/MobileNetV3_small_x0_35_ssld_pretrained.pdparams",
    f"{NETWORKS}/legendary_models/SwinTransformer_tiny_patch4_window7_224_pretrained.pdparams",
    f"{NETWORKS}/Res2Net200_vd_26w_4s_ssld_pretrained.pdparams",
    f"{NETWORKS}/inference/ResNet50_vd_ssld_infer.tar",
]


@pytest.mark.parametrize("url", PUBLISHED)
def test_every_published_address_is_in_the_catalog(url: str) -> None:
    assert url in {u for row in artifacts() for u in row.urls}


@pytest.mark.parametrize("row", artifacts(), ids=lambda r: r.name)
def test_a_row_is_complete_and_its_name_finds_it_alone(row) -> None:  # type: ignore[no-untyped-def]
    assert row.kind in KINDS
    assert row.licence
    assert row.page.startswith("https://github.com/PaddlePaddle/PaddleClas/blob/")
    assert ".." not in row.page
    assert all(urlsplit(u).scheme == "https" for u in row.urls)
    assert row.filename.endswith(
        {"weights": ".pdparams", "inference": "_infer.tar"}.get(row.kind, (".tar", ".zip"))
    )
    assert find(row.name) is row
    assert find(row.name.upper().replace("_", "-")) is row
    assert find(row.name, row.kind) is row
    assert len(set(row.labels)) == len(row.labels)
    assert row.threshold is None or len(row.labels) == 2


def test_no_two_rows_share_a_name_or_a_place() -> None:
    rows = artifacts()
    assert max(Counter(r.name.lower().replace("_", "") for r in rows).values()) == 1
    places = [path_for(u, __import__("pathlib").Path("c")) for r in rows for u in r.urls]
    assert len(set(places)) == len(places)


def test_a_kind_tells_apart_what_one_name_may_mean() -> None:
    assert find("PPLCNet_x1_0").kind == "weights"
    assert find("PPLCNet_x1_0", "inference").filename == "PPLCNet_x1_0_infer.tar"
    assert find("safety_helmet").kind == "inference"
    assert find("safety_helmet", "weights").filename == "safety_helmet_pretrained.pdparams"
    assert find("PPHGNetV2_B0_ssld_pretrained.pdparams").name == "PPHGNetV2_B0_ssld"


def test_labels_are_those_of_the_deploy_configurations() -> None:
    assert find("safety_helmet").labels == ("wearing_helmet", "unwearing_helmet")
    assert find("person_exists").labels == ("nobody", "someone")
    assert find("clarity_assessment").labels == ("clear", "blur")
    assert find("PPShiTuV2_detector").labels == ("foreground",)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'safety_helmet'\?"):
        find("safety_helmt")
    with pytest.raises(UnknownName, match="PPHGNetV2_B4_ssld_infer"):
        find("PPHGNetV2_B4", "inference")


@pytest.mark.parametrize(
    ("network", "which", "file"),
    [
        ("pplcnet_x1_0", True, "PPLCNet_x1_0_pretrained.pdparams"),
        ("pplcnet_x1_0", "ssld", "PPLCNet_x1_0_ssld_pretrained.pdparams"),
        ("PPHGNetV2_B4", True, "PPHGNetV2_B4_ssld_stage1_pretrained.pdparams"),
        ("pphgnetv2_b4", "ssld", "PPHGNetV2_B4_ssld_pretrained.pdparams"),
        ("pphgnetv2_b4", "ssld_stage1", "PPHGNetV2_B4_ssld_stage1_pretrained.pdparams"),
        ("mobilenetv1", "ssld", "MobileNetV1_ssld_pretrained.pdparams"),
        ("PPLCNetV2_base_ShiTu", "ssld", "PPLCNetV2_base_ssld_pretrained.pdparams"),
        ("resnet50_last_stage_stride1", True, "ResNet50_pretrained.pdparams"),
    ],
)
def test_pretrained_means_what_it_means_in_the_reference(
    network: str, which: bool | str, file: str
) -> None:
    assert pretrained(network, which).filename == file


def test_weights_that_nobody_published_are_an_error_that_lists_the_others() -> None:
    with pytest.raises(
        ConfigError,
        match=r"r\.yaml: no plain weights of PPHGNet_base are published; there are: ssld",
    ):
        pretrained("PPHGNet_base", True, "r.yaml")
    with pytest.raises(ConfigError, match="there are: true"):
        pretrained("ResNet18", "ssld")
    with pytest.raises(UnknownName, match="ResNet18"):
        pretrained("ResNet19")


def test_search_takes_patterns_parts_and_kinds() -> None:
    assert [r.name for r in search("PPHGNetV2_B?_ssld")] == [
        f"PPHGNetV2_B{i}_ssld" for i in range(7)
    ]
    assert {r.name for r in search("models/pulc", "inference")} == {
        r.name for r in artifacts() if "/models/PULC/" in r.urls[0] and r.kind == "inference"
    }
    assert len(search("models/pulc", "inference")) == 13
    assert search("*") == list(artifacts())
    assert search("nothing like it") == []

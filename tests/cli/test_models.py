"""`tinysight models import`, and what `list` and `show` say of networks."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch

from support.exports import export
from support.paddle import operator, write_legacy
from tinysight.bundle import Bundle
from tinysight.cli import main
from tinysight.models import create_model

DEPLOY = """
PreProcess:
  transform_ops: [{ResizeImage: {size: [224, 224]}}, {NormalizeImage: {scale: 1.0/255.0}}, {ToCHWImage: null}]
PostProcess: {main_indicator: Topk, Topk: {topk: 2}}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TINYSIGHT_OFFLINE", "1")
    return tmp_path


@pytest.mark.golden
def test_an_export_becomes_a_bundle(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(place / "mine_infer")
    (place / "deploy.yaml").write_text(DEPLOY)
    (place / "labels.txt").write_text("".join(f"{i} label {i}\n" for i in range(10)))
    words = ["models", "import", "mine_infer", "--out", "bundle"]
    assert main([*words, "--labels", "labels.txt", "--deploy-config=deploy.yaml"]) == 0
    assert capsys.readouterr().out == "bundle: mine, 10 classes, 224 x 224 pixels\n"
    about = Bundle.load("bundle").manifest
    assert about.labels[9] == "label 9"
    assert about.postprocess["k"] == 2
    assert main(words) == 2
    assert "pass --force to replace it" in capsys.readouterr().err
    assert main([*words, "--force", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 3


@pytest.mark.golden
def test_a_detector_and_an_export_of_no_kind(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(place / "detector", "DetectorLike")
    assert main(["models", "import", "detector", "--out", "d"]) == 0
    assert capsys.readouterr().out.startswith("d: detector, boxes, 64 x 64 pixels\n")
    relu = operator("relu", {"X": ["x"]}, {"Out": ["y"]})
    write_legacy(place / "odd", [relu], inputs={"x": [-1, 7]}, outputs=["y"])
    assert main(["models", "import", "odd", "--out", "o"]) == 2
    assert "--out NAME.onnx" in capsys.readouterr().err
    assert main(["models", "import", "detector", "--out", "d.onnx"]) == 0
    assert [i.name for i in onnx.load("d.onnx").graph.input] == ["image", "scale_factor"]


def test_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(create_model("pplcnet_x0_25", num_classes=3).state_dict(), "w.pth")
    words = ["models", "import", "w.pth", "--network", "PPLCNet_x0_25", "--out", "w.safetensors"]
    assert main(words) == 0
    assert "pplcnet_x0_25, 146 entries, " in (said := capsys.readouterr().out)
    assert said.endswith(" numbers, 3 classes\n")
    assert main([*words, "--skip", "classifier", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_classes"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "takes --out"),
        (["gone", "--out", "b"], "gone: no such file or folder, and no public model of that name"),
        (["safty_helmet", "--out", "b"], "did you mean 'safety_helmet'"),
        (["safety_helmet", "--out", "b"], "TINYSIGHT_OFFLINE forbids the network"),
        (["./gone", "--out", "b"], "gone: no such file or folder"),
        (["gone", "--out", "w.safetensors"], "--network: which network"),
        (["gone", "--out", "b", "--skip", "classifier"], "--skip: is for weights"),
        (
            ["a", "--out", "b", "--network", "pplcnet_x1_0", "--labels", "a,b"],
            "--labels: is for an export",
        ),
        (["./a", "--out", "b", "--network", "pplcnet_x1"], "did you mean 'pplcnet_x1"),
        (
            ["./a", "--out", "b", "--network", "pplcnet_x1_0", "--option", "stride=1"],
            "did you mean 'strides'",
        ),
        (["./a", "--out", "b", "--labels", "gone.txt"], "gone.txt: no such file of labels"),
    ],
)
def test_mistakes(
    words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "import", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (place / "b").exists()


def test_networks_are_listed_with_their_cost(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--networks", "pplcnet_x1_0"]) == 0
    assert (
        capsys.readouterr().out
        == "pplcnet_x1_0     2.95 M parameters      155.7 M MACs at 224 px\n"
    )
    assert main(["models", "list", "pplcnet_x0*", "--networks", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["pplcnet_x0_25"] == {"parameters": 1521184, "macs": 16773440, "size": 224}


@pytest.mark.parametrize(
    ("name", "macs"),
    [("PPLCNet_x1_0_ssld", 155700480), ("efficientnet_lite0", 385187552), ("safety_helmet", None)],
)
def test_show_gives_the_cost_of_a_network(
    name: str, macs: int | None, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out).get("macs") == macs
    assert main(["models", "show", name]) == 0
    assert ("MACs at 224 px" in capsys.readouterr().out) == (macs is not None)

"""Every row of the tables in docs/paddleclas.md is run in the folders of the scenario documents.

A row says what becomes of a command: it runs, it fetches (from a server of this test), or it is refused with a reason.
The published configurations and their images are not part of this project: see `support.paddleclas`.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.commands import python
from support.exports import tar_of
from support.file_server import FileServer, Page
from support.golden import own_path
from support.paddleclas import (
    CONFIGS,
    DEPLOY,
    PADDLECLAS,
    make_images,
    published,
    smaller,
)
from tinysight.cli import main
from tinysight.compat.paddle.catalog import find

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paddleclas.md"
EXPORT = own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2")
NETWORKS = {  # what those of PP-ShiTuV2 are at their real size
    "PPShiTuV2_detector": PADDLECLAS / "models" / "mainbody_640",
    "PPShiTuV2_recogniser": PADDLECLAS / "models" / "general_rec_512",
}
LAUNCHER = ("torchrun", "-m")
HEAVY = ("Person", "Clarity", "PP-HGNetV2", "PP-ShiTuV2")  # train several networks


class Row(NamedTuple):
    document: str
    command: str
    outcome: str


def scenarios() -> dict[str, list[Row]]:
    """The rows under each heading of the second part of the page."""
    text = PAGE.read_text("utf-8").split("## The scenario documents", 1)[1]
    found = {}
    for section in text.split("\n### ")[1:]:
        heading, _, body = section.partition("\n")
        cells = [
            line.strip("|").split(" | ")
            for line in body.splitlines()
            if "`tinysight" in line or "`torchrun" in line
        ]
        found[heading] = [
            Row(c[0].strip(), re.findall("`([^`]+)`", c[1])[0], c[2].strip(" |"))
            for c in cells
            if len(c) == 3
        ]
    return found


SCENARIOS = scenarios()


def test_the_page_has_every_scenario() -> None:
    counts = {name: len(rows) for name, rows in SCENARIOS.items()}
    assert counts == {
        "Safety helmet": 15,
        "Person": 15,
        "Clarity": 13,
        "PP-HGNetV2": 9,
        "PP-ShiTuV2": 9,
    }


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of a PaddleClas checkout in which its documents were followed, with generated data sets."""
    root = tmp_path / "PaddleClas"
    for name in (
        "blur",
        "ILSVRC2012",
    ):  # what no document fetches, or packs as its configuration has it
        make_images(root / "dataset" / name)
    plain = (root / "dataset" / "blur" / "plain_list.txt").read_text().replace("", "")
    (root / "dataset" / "ImageNet_OCR_det.txt").write_text(
        "".join(f"blur/{line}\n" for line in plain.splitlines())
    )
    (root / "dataset" / "Aliproduct").mkdir()
    for i in range(8):
        shutil.copy(
            root / "dataset" / "blur" / "0.png", root / "dataset" / "Aliproduct" / f"{i}.png"
        )
    rows = [f"{i}.png {i % 4} {i}" for i in range(8)]
    (root / "dataset" / "Aliproduct" / "val_list.txt").write_text("\n".join(rows) + "\n", "utf-8")
    rows = [f"Aliproduct/{i}.png {i % 4 + 50030}" for i in range(8)]
    (root / "dataset" / "train_reg_all_data_v2.txt").write_text("\n".join(rows) + "\n", "utf-8")
    images = PADDLECLAS / "images"
    (root / "ppcls").mkdir()
    (root / "ppcls" / "configs").symlink_to(CONFIGS)
    (root / "ppcls" / "utils").symlink_to(PADDLECLAS)  # the list of ImageNet's names
    links = {
        "pulc_demo_imgs/safety_helmet": "safety_helmet",
        "pulc_demo_imgs/clarity_assessment": "clarity",
        "test_img": "clarity",
        "deploy/images/PULC/safety_helmet": "safety_helmet",
        "deploy/images/PULC/clarity_assessment": "clarity",
        "deploy/images/cls_demo/person": "person",
        "deploy/images/PULC/person_exists": "person",
        "deploy/images/ImageNet": "imagenet",
    }
    for link, target in links.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(images / target)
    demo = root / "docs" / "images" / "inference_deployment" / "whl_demo.jpg"
    demo.parent.mkdir(parents=True)
    shutil.copy(next((images / "imagenet").iterdir()), demo)
    for name in ("safety_helmet", "clarity_assessment"):
        place = root / "deploy" / "configs" / "PULC" / name / f"inference_{name}.yaml"
        place.parent.mkdir(parents=True)
        shutil.copy(DEPLOY / place.name, place)
    for name in ("inference_cls.yaml", "inference_general.yaml"):
        shutil.copy(DEPLOY / name, root / "deploy" / "configs" / name)
    drinks = root / "deploy" / "drink_dataset_v2.0"
    shutil.copytree(images / "drinks", drinks / "gallery")
    shutil.copytree(images / "drinks", drinks / "test_images")
    lines = "".join(f"{path.name}\t{path.stem}\n" for path in (images / "drinks").iterdir())
    (drinks / "gallery" / "drink_label.txt").write_text(lines, "utf-8")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    monkeypatch.delenv("TINYSIGHT_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TINYSIGHT_CACHE", str(tmp_path / "cache"))
    with FileServer() as running:
        monkeypatch.setenv("TINYSIGHT_MIRROR", running.url)
        yield running


def _serve(server: FileServer, name: str) -> None:
    """Publish something under the address of the file that is fetched by `name`."""
    row = find(name)
    body = (
        tar_of(NETWORKS.get(name, EXPORT), row.filename.removesuffix(".tar"))
        if row.kind == "inference"
        else _data_tar(row.filename.removesuffix(".tar"))
    )
    server.pages[row.urls[0].replace("https:/", "")] = Page(body)


def _data_tar(name: str) -> bytes:
    """A published data set: its folder with lists and generated images."""
    with tempfile.TemporaryDirectory() as work, io.BytesIO() as file:
        folder = make_images(Path(work) / name)
        (folder / "val").mkdir()
        shutil.copy(folder / "0.png", folder / "val" / "objects365_01780637.jpg")
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(folder, name)
        return file.getvalue()


def _prepared(words: list[str], root: Path) -> list[str]:
    """The words of a command, with smaller images and fewer epochs for a training configuration."""
    if (
        words[0] not in ("predict", "search")
        and "-c" in words
        and words[words.index("-c") + 1].endswith(".yaml")
        and "DataLoader" in (path := root / words[words.index("-c") + 1]).read_text()
    ):
        changes = [
            *smaller(path, 32, batch=8),
            "AMP.use_amp=False",
        ]  # half precision crawls on a CPU
        words = [*words, *(word for text in changes for word in ("-o", text))]
    return words


@published
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in SCENARIOS],
)
def test_the_commands_of_a_scenario(
    scenario: str,
    checkout: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for row in SCENARIOS[scenario]:
        words = shlex.split(row.command)
        words = words[words.index("tinysight") + 1 :]
        if row.outcome == "fetched":
            name = next(
                (w.partition("=")[2] for w in words if w.startswith("--model_name=")),
                words[words.index("fetch") + 1] if "fetch" in words else "",
            )
            _serve(server, name)
        in_deploy = any(word.startswith("configs/") for word in words)
        monkeypatch.chdir(checkout / "deploy" if in_deploy else checkout)
        if not row.outcome.startswith("refused"):
            words = _prepared(words, checkout)
        capfd.readouterr()
        code = main(words)
        shown = capfd.readouterr()
        place = f"{row.document}: {' '.join(words)}\n{shown.out}{shown.err}"
        if row.outcome.startswith("refused: "):
            assert code == 2, place
            assert row.outcome.removeprefix("refused: ") in shown.err, place
            continue
        assert code == 0, place
        says = next((text for part, text in SAYS_OF.items() if part in row.command), SAYS[words[0]])
        assert says in shown.out, place


@published
@pytest.mark.parametrize("name", ["safety_helmet", "clarity_assessment", "person_cls"])
def test_a_deploy_configuration_finds_what_was_fetched(
    name: str,
    checkout: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`models fetch`, then the document's command in `deploy/`, nothing else prepared; or a fetch into a folder."""
    place = f"configs/PULC/{name}/inference_{name}.yaml"
    if name == "person_cls":  # a file that no release has: the package brings it
        place = "configs/cls_demo/person/inference_person_cls.yaml"
    monkeypatch.chdir(checkout / "deploy")
    assert main(["predict", "-c", place]) == 2
    said = capfd.readouterr().err
    assert f"no such folder; `tinysight models fetch {name}` gets it" in said
    _serve(server, name)
    assert main(["models", "fetch", name]) == 0
    capfd.readouterr()
    assert main(["predict", "-c", place]) == 0
    first = capfd.readouterr()
    assert "is the one that was fetched" in caplog.text
    assert "enable_benchmark" not in caplog.text
    caplog.clear()
    assert main(["models", "fetch", name, "--out", "models"]) == 0
    assert (Path("models") / f"{name}_infer" / "inference.json").is_file()
    capfd.readouterr()
    assert main(["predict", "-c", place]) == 0
    again = capfd.readouterr()
    assert again.out == first.out
    assert "is the one that was fetched" not in caplog.text
    assert main(["models", "fetch", name, "--out", "models"]) == 2
    assert "is there already" in capfd.readouterr().err


SAYS_OF = {
    "eval -c ./ppcls/configs/General": "recall1",
    "--build_gallery": "4 images added",
    "-c configs/inference_general.yaml": "'rec_docs': '100', 'rec_scores': ",
}
SAYS = {
    "train": "best epoch 1",
    "eval": "top1",
    "infer": "'file_name': ",
    "export": "parity ",
    "predict": "label_name",
    "models": "",
    "search": "Optimizer.lr.learning_rate=",
}


@published
@pytest.mark.slow
def test_torchrun_takes_the_command_of_the_document(checkout: Path) -> None:
    """As many processes as this test wants, on CPUs, with the launcher's own words."""
    row = next(row for row in SCENARIOS["Clarity"] if row.command.startswith("torchrun"))
    words = shlex.split(row.command)
    here = _prepared(words[words.index("tinysight") + 1 :], checkout)
    command = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29577")
    done = python(*command, "-m", "tinysight", *here, cwd=checkout, CUDA_VISIBLE_DEVICES="")
    assert done.code == 0, done.out + done.err
    assert done.out.count("best epoch 1") == 1
    assert (checkout / "output" / "PPLCNet_x1_0" / "checkpoints" / "best.safetensors").is_file()

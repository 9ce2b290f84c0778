"""The plain install, in an environment of its own: no torch, small, and it predicts.

`make test` makes the environment and names it in TINYSIGHT_BASE_PYTHON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from support.commands import Completed, execute
from support.exports import export, tar_of
from support.file_server import FileServer, Page
from support.golden import own_path, read_npz, synth_input

REPO = Path(__file__).resolve().parents[1]
PHOTO = REPO / "samples" / "clarity"


@pytest.fixture(scope="module")
def base_python() -> str:
    found = os.environ.get("TINYSIGHT_BASE_PYTHON", "")
    if not found and not os.environ.get("CI"):
        pytest.skip("set TINYSIGHT_BASE_PYTHON, or run `make test`")
    assert found, "in CI the plain environment must be there"
    return str((REPO / found).absolute())


def run(*words: object, **variables: str) -> Completed:
    """Run a program of the plain environment, which has a package of its own."""
    return execute(words, **{"PYTHONPATH": None, **variables})


def test_it_holds_no_torch_and_stays_small(base_python: str) -> None:
    code = "import importlib.util as u; print(*map(u.find_spec, ('torch', 'onnx')))"
    assert run(base_python, "-c", code).out.split() == ["None"] * 2
    root = Path(base_python).parent.parent
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    assert size < 355e6, f"{size / 1e6:.0f} MB"


def test_it_predicts_as_the_documents_say(base_python: str, tmp_path: Path) -> None:
    done = run(
        Path(base_python).with_name("tinysight"), "predict", "--model_name=clarity_assessment", f"--infer_imgs={PHOTO}",
    )  # fmt: skip
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    images = sorted(p.name for p in PHOTO.rglob("*.jpg"))
    assert sorted(Path(line.rpartition("filename: ")[2]).name for line in lines) == images
    for line in lines:
        assert line.startswith("class_ids: [")
        wanted = (
            "blured" if "blurred" in Path(line.rpartition("filename: ")[2]).parts else "clarity"
        )
        assert f"label_names: ['{wanted}']" in line, line


def test_its_python_interface_gives_the_documented_keys(base_python: str) -> None:
    code = (
        "import json, sys; from tinysight import Classifier\n"
        f"batches = list(Classifier('clarity_assessment', batch_size=3).predict({str(PHOTO)!r}))\n"
        "print(json.dumps([len(b) for b in batches])); print(json.dumps(batches[0][0].to_json()))\n"
        "assert 'torch' not in sys.modules"
    )
    done = run(base_python, "-c", code)
    assert done.code == 0, done.err
    sizes, first = map(json.loads, done.out.splitlines())
    count = len(list(PHOTO.rglob("*.jpg")))
    assert sum(sizes) == count
    assert sizes[:-1] == [3] * (len(sizes) - 1)
    assert list(first) == ["class_ids", "scores", "label_names", "filename"]


@pytest.mark.parametrize("file", ["inference.json", "inference.pdmodel"])
def test_it_translates_and_predicts_an_exported_program(
    base_python: str, file: str, tmp_path: Path
) -> None:
    folder = export(tmp_path / "program", "PPLCNet_x0_5", file)
    tinysight = Path(base_python).with_name("tinysight")
    done = run(tinysight, "models", "import", folder, "--out", tmp_path / "bundle")
    assert done.code == 0, done.err
    done = run(tinysight, "predict", "--model", tmp_path / "bundle", "--json", PHOTO)
    assert done.code == 0, done.err
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert len(answers) == len(list(PHOTO.rglob("*.jpg")))
    assert all(len(a["class_ids"]) == 5 for a in answers)
    np.save(tmp_path / "in.npy", synth_input(2))
    code = (
        "import sys, numpy as np; from tinysight.bundle import Bundle\n"
        "from tinysight.engines.onnxruntime import OnnxRuntime\n"
        "folder = sys.argv[1]; session = OnnxRuntime(Bundle.load(folder + '/bundle').model)\n"
        "np.save(folder + '/out.npy', session.run(np.load(folder + '/in.npy')))"
    )
    done = run(base_python, "-c", code, tmp_path)
    assert done.code == 0, done.err
    recorded = read_npz("programs", "PPLCNet_x0_5", "outputs.npz")["output"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), recorded, rtol=0, atol=2e-5)


def test_it_fetches_a_public_model_by_name_and_predicts(base_python: str, tmp_path: Path) -> None:
    packed = tar_of(
        own_path("pdparams", "export_legacy", "PPLCNet_x0_25_cls2"), "safety_helmet_infer"
    )
    with FileServer() as server:
        path = "/paddleclas.bj.bcebos.com/models/PULC/safety_helmet_infer.tar"
        server.pages[path] = Page(packed)
        done = run(
            Path(base_python).with_name("tinysight"), "predict", "--model_name=safety_helmet", f"--infer_imgs={PHOTO}",
            TINYSIGHT_CACHE=str(tmp_path), TINYSIGHT_MIRROR=server.url, TINYSIGHT_OFFLINE="", no_proxy="127.0.0.1",
        )  # fmt: skip
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(list(PHOTO.rglob("*.jpg")))
    assert "wearing_helmet" in done.out


def test_verbs_that_train_say_what_to_install(base_python: str, tmp_path: Path) -> None:
    done = run(
        base_python,
        "-m",
        "tinysight",
        "train",
        "-c",
        "pulc/clarity_assessment",
        "--out",
        tmp_path / "r",
    )
    assert done.code == 2
    assert "pip install 'tinysight[train]'" in done.err
    assert "Traceback" not in done.err

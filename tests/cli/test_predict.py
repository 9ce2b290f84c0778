"""`tinysight predict` as its users meet it: output and exit codes."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from support.commands import Completed, execute, process, python, tinysight


def run(*words: object, cwd: Path) -> Completed:
    return tinysight("predict", *words, cwd=cwd)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, three images under unwieldy names, and a folder with a broken one."""
    root = tmp_path_factory.mktemp("predict")
    tiny_bundle(root / "model")
    for name, level in (("dark.png", 20), ("brïght 图.png", 230), ("=sum(a).png", 200)):
        (root / "pics").mkdir(exist_ok=True)
        data = cv2.imencode(".png", np.full((9, 9, 3), level, np.uint8))[1]
        (root / "pics" / name).write_bytes(data.tobytes())
    (root / "mixed").mkdir()
    for path in (root / "pics").iterdir():
        (root / "mixed" / path.name).write_bytes(path.read_bytes())
    (root / "mixed" / "a_broken.jpg").write_text("no image")
    return root


def test_the_line_of_the_documents(place: Path) -> None:
    words = ("predict", "pics/dark.png", "--model", "model")
    done = process(*words, cwd=place, PYTHONWARNINGS="error")
    assert (done.code, done.err) == (0, "")
    assert tinysight(*words, cwd=place) == done
    assert done.out == (
        f"class_ids: [0], scores: [{json.loads(done.out.split('[')[2].split(']')[0])}], "
        "label_names: ['dark'], filename: pics/dark.png\n"
    )


def test_the_spelling_of_the_reference(place: Path) -> None:
    ours = run("pics/dark.png", "--model", "model", "--batch-size", 2, cwd=place)
    theirs = run("--model_name=model", "--infer_imgs=pics/dark.png", "--batch_size=2", cwd=place)
    assert theirs.code == 0
    assert theirs.out == ours.out


def test_a_folder_with_an_unreadable_image(place: Path) -> None:
    done = run("mixed", "--model=model", "--batch-size=2", cwd=place)
    assert done.code == 1
    shown = [line.rpartition("filename: ")[2] for line in done.out.splitlines()]
    assert sorted(shown) == sorted(
        f"mixed/{n}" for n in ("=sum(a).png", "brïght 图.png", "dark.png")
    )
    broken, summary = done.err.splitlines()
    assert broken.startswith("mixed/a_broken.jpg: not a JPEG")
    assert summary == "1 of 4 images could not be read"


def test_json_lines(place: Path) -> None:
    done = run("mixed", "--model=model", "--json", cwd=place)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert {r["filename"]: r.get("label_names") for r in rows} == {
        "mixed/=sum(a).png": ["bright"],
        "mixed/a_broken.jpg": None,
        "mixed/brïght 图.png": ["bright"],
        "mixed/dark.png": ["dark"],
    }
    (failed,) = [r for r in rows if "error" in r]
    assert list(failed) == ["filename", "error"]
    assert list(rows[0]) == ["class_ids", "scores", "label_names", "filename"]


def test_csv_in_a_file(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    done = run("mixed", "--model=model", "--csv", "--output", out, cwd=place)
    assert (done.code, done.out) == (1, "")
    with out.open(newline="", encoding="utf-8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    assert rows["mixed/dark.png"]["label_names"] == "dark"
    assert rows["mixed/a_broken.jpg"]["error"]
    assert list(tmp_path.iterdir()) == [out]
    bare = run("=sum(a).png", "--model=../model", "--csv", cwd=place / "pics")
    assert bare.out.splitlines()[1].startswith('"./=sum(a).png",')


@pytest.mark.slow
def test_a_failure_leaves_the_old_output(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.txt"
    out.write_text("old")
    (tmp_path / "bad.txt").write_bytes(b"pics/dark.png 0\n" * 9000 + b"\xff\xff\n")
    done = run(tmp_path / "bad.txt", "--root=.", "--model=model", "--output", out, cwd=place)
    assert done.code == 2
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.txt", "bad.txt"]


def test_several_sources_and_a_list_with_a_root(place: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("dark.png 0\nbrïght 图.png 1\n", encoding="utf-8")
    done = run(
        "pics/dark.png", tmp_path / "list.txt", "pics/=*", "--root=pics", "--model=model", cwd=place
    )
    names = [line.rpartition("filename: ")[2] for line in done.out.splitlines()]
    assert names == ["pics/dark.png", "pics/dark.png", "pics/brïght 图.png", "pics/=sum(a).png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jpg", "--model=model"], "error: nowhere.jpg: no such file or folder"),
        (["empty", "--model=model"], "error: empty: no image in this folder"),
        (["--model=model"], "error: SOURCE: no image given"),
        (["pics"], "error: --model: which bundle?"),
        (["pics", "--model=clarity_asessment"], "error: clarity_asessment: no such bundle"),
        (["pics", "--build_gallery=maybe"], "--build_gallery: expected True or False, got 'maybe'"),
        (["pics", "--model=pics"], "error: pics: this folder has no bundle.yaml"),
        (["pics", "--model=model", "--batch-size=0"], "error: batch_size: should be 1 or more"),
        (["pics", "--model=model", "--threshold=2"], "error: threshold: should be between 0 and 1"),
        (["pics", "--model=model", "--output=no/such/dir"], "cannot be written"),
        (["pics", "--model=model", "--topk=1", "--threshold=1"], "not allowed with"),
        (["pics", "--model=model", "--treshold=1"], "unrecognized arguments"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(place: Path, words: list[str], message: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    done = run(*words, cwd=place)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_reader_that_has_seen_enough(place: Path) -> None:
    many = " ".join(["pics/dark.png"] * 400)
    command = f"{sys.executable} -m tinysight predict {many} --model model | head -1"
    done = execute(["sh", "-c", command], cwd=place)
    assert done.out.startswith("class_ids: [0]")
    assert done.err == ""


def test_a_prediction_imports_nothing_slow_and_at_most_31_of_our_modules(place: Path) -> None:
    code = (
        "import sys\nfrom tinysight.cli import main\n"
        "code = main(['predict', 'pics/dark.png', '--model', 'model'])\n"
        "slow = {'torch', 'pydantic', 'rich', 'yaml', 'logging', 'numpy.random', 'annotated_types',\n"
        "        'importlib.metadata', 'concurrent.futures', 'shutil', 'tempfile', 'difflib', 'onnx',\n"
        "        'tinysight.fetch', 'tinysight.compat.paddle'}\n"
        "found = slow & set(sys.modules)\nassert not found, found\n"
        "ours = sorted(m for m in sys.modules if m.split('.')[0] == 'tinysight')\n"
        "assert len(ours) <= 31, ours\nsys.exit(code)"
    )
    done = python("-c", code, cwd=place)
    assert done.code == 0, done.err


def test_a_detector_prints_a_line_a_box(place: Path, tmp_path: Path) -> None:
    tiny_detector(tmp_path / "detector")
    words = ("pics/dark.png", "pics/=sum(a).png", "--model", tmp_path / "detector")
    done = run(*words, cwd=place)
    assert done.out == (
        "pics/dark.png: nothing found\npics/=sum(a).png: bright 0.78431 2.2 1.1 6.8 5.6\n"
    )
    answers = [json.loads(line) for line in run(*words, "--json", cwd=place).out.splitlines()]
    assert [a["boxes_xyxy"] for a in answers] == [[], [pytest.approx([2.25, 1.125, 6.75, 5.625])]]
    for word, message in (("--csv", "are its boxes; use --json"), ("--topk=1", "are its boxes")):
        done = run(*words, word, cwd=place)
        assert done.code == 2
        assert message in done.err


def test_a_recognition_network_prints_its_vector(place: Path, tmp_path: Path) -> None:
    spec = {"name": "embedding", "normalize": True}
    tiny_bundle(tmp_path / "b", postprocess=spec, labels=("", ""), threshold=None)
    done = run("pics/dark.png", "--model", tmp_path / "b", cwd=place)
    assert re.fullmatch(
        r"embedding: 2 numbers, \d\.\d{6} \d\.\d{6}, filename: pics/dark.png\n", done.out
    )
    done = run("pics/dark.png", "--model", tmp_path / "b", "--json", cwd=place)
    vector = json.loads(done.out)["embedding"]
    assert sum(v * v for v in vector) == pytest.approx(1)


def test_bits_have_no_classes_either(place: Path, tmp_path: Path) -> None:
    labels = ("",) * 8
    tiny_bundle(tmp_path / "b", postprocess={"name": "binarize"}, labels=labels, threshold=None)
    for option in ("--topk=1", "--threshold=0.5"):
        done = run("pics/dark.png", "--model", tmp_path / "b", option, cwd=place)
        assert done.code == 2
        assert "the results of this bundle are its binarize" in done.err

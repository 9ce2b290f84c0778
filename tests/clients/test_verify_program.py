"""`tinysight verify --program`: the C++ command, and small programs that answer right and wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import tinysight
from support.bundles import tiny_bundle, tiny_detector, tiny_manifest, tiny_onnx
from support.cpp import BUILD
from tinysight.bundle import MODEL, Bundle
from tinysight.certificate.compare import REFUSED, Side, edge_case_files
from tinysight.certificate.external import ExternalPredictor
from tinysight.certificate.record import read_certificate
from tinysight.certificate.verify import OWN, compare_all, verify
from tinysight.cli import main
from tinysight.errors import ConfigError, DataError
from tinysight.pipelines.sources import ImageInput

HONEST = """
import argparse, json, sys
from pathlib import Path
sys.path.insert(0, {source!r})
from tinysight.pipelines.pipeline import open_bundle

parser = argparse.ArgumentParser()
for name in ("verb", "list", "--model"):
    parser.add_argument(name)
parser.add_argument("--topk", type=int)
parser.add_argument("--json", action="store_true", required=True)
parser.add_argument("--exact", action="store_true", required=True)
args = parser.parse_args()
paths = Path(args.list).read_text("utf-8").splitlines()

def change(number, row):
    return row

{change}
for number, item in enumerate(open_bundle(args.model, exact=True, topk=args.topk).stream(paths)):
    row = change(number, item.to_json())
    if row is not None:
        print(json.dumps(row), flush=True)
sys.exit(1)
"""


def write_program(folder: Path, change: str = "", name: str = "other") -> Path:
    """A program that answers as the bundle does, but for what `change` makes of a line."""
    source = str(Path(tinysight.__file__).parents[1])
    text = HONEST.format(source=source, change=change)
    return script(folder / name, text)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{text}", "utf-8")
    path.chmod(0o755)
    return path


def built() -> Path:
    """The C++ command; skips where it is not built."""
    program = BUILD / "cpp" / "tinysight-cpp"
    if not program.is_file():
        pytest.skip(f"{program} is not built; `make cpp-tested` builds it")
    return program


def few() -> list[ImageInput | str]:
    """An image of three kinds, and one that nobody may answer."""
    chosen = {file.kind: file for file in edge_case_files()}
    return [ImageInput(chosen[kind].name, chosen[kind].data) for kind in ("bmp", "exif", REFUSED)]


def test_the_cpp_command() -> None:
    """Against what the validated network answered; tests/docs runs the command with every engine."""
    bundle = Bundle.load("clarity_assessment")
    recorded = read_certificate(bundle)
    assert recorded is not None
    side = Side(ExternalPredictor.find(built(), bundle).outputs)
    (column,), problems = compare_all({"tinysight-cpp": side}, recorded[1])
    assert problems == []
    assert column.total[:2] == (335, 0)
    assert column.total.max_score_difference < 1e-5  # it prints five digits
    assert column.read_otherwise == ()


@pytest.mark.parametrize("name", ["topk", "multilabel", "scores", "embedding", "vehicle_attribute"])
def test_the_cpp_command_with_other_answers(name: str, tmp_path: Path) -> None:
    labels = tuple(f"l{i}" for i in range(19)) if name != "embedding" else ()
    manifest = tiny_manifest(labels=labels, postprocess={"name": name}, threshold=None)
    bundle = Bundle.write(tmp_path / "b", manifest, {MODEL: tiny_onnx(19)})
    report = verify(bundle, program=built())
    assert report.problems == ()
    assert report.engines[-1].engine == "tinysight-cpp"
    assert report.engines[-1].total.max_score_difference < 1e-4


@pytest.mark.parametrize("scaled", [True, False])
def test_the_cpp_command_with_boxes(scaled: bool, tmp_path: Path) -> None:
    report = verify(tiny_detector(tmp_path / "b", scaled=scaled), program=built())
    assert report.problems == ()
    assert report.engines[-1].engine == "tinysight-cpp"


def test_the_cpp_command_says_what_it_cannot(tmp_path: Path) -> None:
    spec = {"name": "boxes", "threshold": 0.5, "suppress": {}}
    bundle = tiny_detector(tmp_path / "b", postprocess=spec)
    program = ExternalPredictor.find(built(), bundle)
    with pytest.raises(ConfigError, match=r"tinysight-cpp: ended with exit code 2: error: .*boxes"):
        program.outputs(few())


def test_a_program_that_answers_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the user's images, too, whatever their folder is called."""
    own = tmp_path / "my own *"
    own.mkdir()
    for i in range(2):
        cv2.imwrite(str(own / f"{i} ö.png"), np.full((9, 9, 3), 200 * i, np.uint8))
    words = ["verify", str(tiny_bundle(tmp_path / "b").folder), "--images", str(own)]
    assert main([*words, "--program", str(write_program(tmp_path)), "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    column = tree["engines"]["other"]
    assert (tree["pass"], column["total"]["pictures"], column["version"]) == (True, 337, "")
    assert column["kinds"][OWN]["label_flips"] == 0


@pytest.mark.parametrize("scaled", [True, False])
def test_boxes(tmp_path: Path, scaled: bool) -> None:
    bundle = tiny_detector(tmp_path / "b", scaled=scaled)
    assert verify(bundle, program=write_program(tmp_path)).problems == ()
    moved = """
def change(number, row):
    row["boxes_xyxy"] = [[x + 1 for x in box] for box in row.get("boxes_xyxy", [])]
    return row
"""
    (problem, *_) = verify(bundle, program=write_program(tmp_path, moved)).problems
    assert "corners by up to" in problem.what


def test_a_label_that_flips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only in its own words: all the scores are right."""
    flip = """
def change(number, row):
    if number == 0 and not args.topk:
        row["class_ids"] = [1 - row["class_ids"][0]]
    return row
"""
    words = ["verify", str(tiny_bundle(tmp_path / "b").folder)]
    assert main([*words, "--program", str(write_program(tmp_path, flip))]) == 1
    shown = capsys.readouterr().out
    assert "other, jpeg: 1 of 60 labels change, scores differ by up to" in shown
    assert shown.count("labels change") == 1
    assert shown.endswith("differs\n")


def test_a_score_that_moves(tmp_path: Path) -> None:
    move = """
def change(number, row):
    if number == 5 and args.topk:
        row["scores"][-1] += 0.002
    return row
"""
    report = verify(tiny_bundle(tmp_path / "b"), program=write_program(tmp_path, move))
    (problem,) = report.problems
    assert problem.where == "other, jpeg"
    assert report.engines[-1].total.max_score_difference == pytest.approx(0.002, abs=2e-5)


def test_a_file_that_must_be_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that must not."""
    answer = """
def change(number, row):
    if row["filename"].endswith("refused_empty.jpg"):
        whole = {"class_ids": [0, 1][: args.topk or 1], "scores": [0.5, 0.5][: args.topk or 1]}
        return {**whole, "label_names": ["dark"], "filename": row["filename"]}
    return {"filename": row["filename"], "error": "no"} if number == 3 else row
"""
    words = ["verify", str(tiny_bundle(tmp_path / "b").folder)]
    assert main([*words, "--program", str(write_program(tmp_path, answer))]) == 1
    refused = edge_case_files()[3].name
    shown = capsys.readouterr().out
    assert f"other: 2 files are read by one side and refused by the other: {refused}" in shown
    assert "refused_empty.jpg" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise SystemExit(3)", "ended with exit code 3;"),
        ("import sys; print('low on luck', file=sys.stderr); sys.exit(2)", "code 2: low on luck;"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9;"),
        ("1 / 0", "nothing about 3 of 3 files: .*last words: ZeroDivisionError: division by zero;"),
        ("print('hello')", "line 1 of what it prints is no answer about one of the files: 'hello'"),
        ("print('[' * 100000)", "line 1 of what it prints"),
        ("print('{}')", "line 1 of what it prints"),
        ("print('[]')", "line 1 of what it prints"),
        ("""print('{"filename": "other.jpg", "error": "no"}')""", "line 1 of what it prints"),
        ("import sys; sys.stdout.buffer.write(bytes([255, 10]))", "line 1 of what it prints"),
    ],
)
def test_no_answers(text: str, message: str, tmp_path: Path) -> None:
    path = script(tmp_path / "other", text)
    with pytest.raises(ConfigError, match=f"--program {path}: .*{message}"):
        ExternalPredictor.find(path, tiny_bundle(tmp_path / "b")).outputs(few())


@pytest.mark.parametrize(
    "change",
    [
        "row['class_ids'] = [0, 0]",
        "row['class_ids'] = [0, 1.5]",
        "row['scores'] = ['0.5', '0.5']",
        "row['scores'] = row['scores'][:1]",
        "del row['scores']",
        "row = {'filename': row['filename']}",
        "row = {**row, 'filename': 3}",
        "row = {**row, 'filename': []}",
    ],
)
def test_no_scores(change: str, tmp_path: Path) -> None:
    change = f"def change(number, row):\n    if number == 1: {change}\n    return row"
    program = ExternalPredictor.find(write_program(tmp_path, change), tiny_bundle(tmp_path / "b"))
    with pytest.raises(ConfigError, match="line 2 of what it prints is no answer"):
        program.outputs(few())


def test_files_left_out_or_answered_twice(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    out = "def change(number, row):\n    return None if number == 1 else row"
    with pytest.raises(ConfigError, match="says nothing about 1 of 3 files: exif_"):
        ExternalPredictor.find(write_program(tmp_path, out), bundle).outputs(few())
    twice = "def change(number, row):\n    return {**row, 'filename': paths[0]}"
    with pytest.raises(ConfigError, match="line 2 of what it prints"):
        ExternalPredictor.find(write_program(tmp_path, twice), bundle).outputs(few())
    fickle = """
def change(number, row):
    return {"filename": row["filename"], "error": "no"} if args.topk and number == 0 else row
"""
    with pytest.raises(ConfigError, match="answers about bmp_.* with --topk or without"):
        ExternalPredictor.find(write_program(tmp_path, fickle), bundle).outputs(few())


def test_a_program_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    assert main(["verify", str(bundle.folder), "--program", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --program: no such program: {tmp_path / 'none'}; give the path")
    (tmp_path / "text").write_text("words")
    with pytest.raises(ConfigError, match="cannot be run: Permission denied"):
        ExternalPredictor.find(tmp_path / "text", bundle).outputs(few())
    found = ExternalPredictor.find("sh", bundle)
    assert str(found.path) == shutil.which("sh")


def test_a_name_that_no_list_holds(tmp_path: Path) -> None:
    program = ExternalPredictor.find(write_program(tmp_path), tiny_bundle(tmp_path / "b"))
    with pytest.raises(DataError, match="a list cannot hold this name"):
        program.outputs([str(tmp_path / "a\tb.png")])


def test_a_program_called_as_an_engine(tmp_path: Path) -> None:
    path = write_program(tmp_path, name="onnxruntime")
    engines = verify(tiny_bundle(tmp_path / "b"), program=path).engines
    assert engines[-1].engine == str(path)
    assert engines[0].engine == "onnxruntime"

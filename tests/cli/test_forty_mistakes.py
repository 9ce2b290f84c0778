"""Forty and more mistakes of a first hour: each is answered on one screen with the place, and the fix works as typed.

A mistake is refused (exit code 2), or is a warning (code 0) where it may be meant. What the answer proposes is then
done to the letter: a file is edited as it says, or the command is typed as it says. After that the answer is gone.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

from support.bundles import tiny_bundle
from support.commands import start, tinysight

SCREEN = 24  # lines
NAMES = ("rose", "tulip", "daisy")
RECIPE = """\
base: _base/pulc.yaml
task: flowers
data:
  root: .
  labels: [rose, tulip, daisy]
  train: {list: train.txt}
  eval: {list: val.txt}
  workers: 0
  batch_size: 6
transforms:
  train: [{name: resize, size: [32, 32]}, {name: normalize}]
  eval: [{name: resize, size: [32, 32]}, {name: normalize}]
model: {backbone: {name: pplcnet_x0_25}}
train: {epochs: 1, schedule: {warmup_epochs: 0}}
"""
CHECK = "recipe check recipe.yaml"
FOLDERS = f"{CHECK} -o data.labels=null data.train.list=null"
TRAIN = "train -c recipe.yaml --out new"
ROSE = "val/rose/0.png"

Act = Callable[[Path], None]


class Mistake(NamedTuple):
    """One mistake and the way out of it.

    Attributes:
        typed: the command with the mistake in it or after it.
        says: what the answer holds: the place, what is wrong, and the words of the fix.
        fixed: the command after the fix.
        spoil: makes the mistake in the folder.
        mend: the fix, where it is in the folder.
        code: 2: refused; 0: a warning; 1: done, but.
        after: exit code after the fix.
    """

    typed: str
    says: tuple[str, ...]
    fixed: str
    spoil: Act = lambda folder: None
    mend: Act = lambda folder: None
    code: int = 2
    after: int = 0


def edit(file: str, old: str, new: str) -> Act:
    def act(folder: Path) -> None:
        text = (folder / file).read_text("utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    return act


def swap(file: str, old: str, new: str) -> tuple[Act, Act]:
    """The mistake and its fix: one edit, there and back."""
    return edit(file, old, new), edit(file, new, old)


def both(*acts: Act) -> Act:
    def act(folder: Path) -> None:
        for one in acts:
            one(folder)

    return act


def copy(there: str, here: str) -> Act:
    def act(folder: Path) -> None:
        (folder / here).parent.mkdir(exist_ok=True)
        shutil.copy2(folder / there, folder / here)

    return act


def clone(there: str, here: str) -> Act:
    def act(folder: Path) -> None:
        shutil.copytree(folder / there, folder / here)

    return act


def add(file: str, text: str) -> Act:
    def act(folder: Path) -> None:
        with (folder / file).open("a", encoding="utf-8") as opened:
            opened.write(text)

    return act


def write(file: str, content: str | bytes) -> Act:
    data = content.encode() if isinstance(content, str) else content

    def act(folder: Path) -> None:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(data)

    return act


def remove(*files: str) -> Act:
    def act(folder: Path) -> None:
        for file in files:
            path = folder / file
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return act


def run(words: str, code: int = 0) -> Act:
    def act(folder: Path) -> None:
        done = tinysight(*shlex.split(words), cwd=folder)
        assert done.code == code, done.err

    return act


def cut(file: str) -> Act:
    def act(folder: Path) -> None:
        path = folder / file
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return act


def numbers(file: str, form: str) -> Act:
    """Rewrite the labels of a list."""

    def act(folder: Path) -> None:
        lines = [line.rsplit(" ", 1) for line in (folder / file).read_text("utf-8").splitlines()]
        several = {"0": "1,0,0", "1": "0,1,0", "2": "0,0,1"}
        rows = [form.format(path, i, NAMES[int(i)], several[i]) for path, i in lines]
        (folder / file).write_text("\n".join(rows) + "\n", encoding="utf-8")

    return act


def tiff(folder: Path) -> None:
    for path in (folder / "scans").glob("*/*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".tif"))
        path.unlink()


ML = both(numbers("train.txt", "{0}\t{3}"), numbers("val.txt", "{0}\t{3}"))
ML_RECIPE = "\nloss: {name: multilabel}\nmetrics: [{name: mean_accuracy}]\nexport: {postprocess: {name: multilabel}}\n"

MISTAKES: dict[str, Mistake] = {
    # The command line.
    "an option that is a key": Mistake(
        "train -c recipe.yaml --epoch 5", ("--epoch", "did you mean -o train.epochs=5?"),
        f"{CHECK} -o train.epochs=5",
    ),
    "an option misspelt": Mistake(
        f"predict {ROSE} --modle bundle", ("--modle", "'--model'"), f"predict {ROSE} --model bundle"
    ),
    "a verb misspelt": Mistake("trian -c recipe.yaml", ("'trian'", "'train'"), "train --help"),
    "a device asked for": Mistake(
        f"{TRAIN} --device cuda", ("--device", "takes the GPU that PyTorch finds"), CHECK
    ),
    "a device in the recipe": Mistake(
        CHECK, ("train.device", "takes the GPU that PyTorch finds"), CHECK,
        *swap("recipe.yaml", "epochs: 1,", "epochs: 1, device: gpu,"),
    ),
    "no recipe": Mistake("train", ("--data FOLDER, or -c FILE",), "train --help"),
    "a recipe's name misspelt": Mistake(
        "recipe show pulc/clarity", ("did you mean 'pulc/clarity_assessment'",),
        "recipe show pulc/clarity_assessment",
    ),
    "an override without a value": Mistake(
        f"{CHECK} -o train.epochs", ("-o train.epochs", "for example -o train.epochs=5"),
        f"{CHECK} -o train.epochs=5",
    ),
    "an index that is not there": Mistake(
        f"{CHECK} -o transforms.eval.7.size=32", ("'7' is no index of a list of 2",),
        f"{CHECK} -o transforms.eval.0.size=[32,32]",
    ),
    # The recipe.
    "a key misspelt": Mistake(
        CHECK, ("train.epoch", "did you mean 'epochs'?"), CHECK,
        *swap("recipe.yaml", "epochs: 1", "epoch: 1"),
    ),
    "four wrong values at once": Mistake(
        f"{CHECK} -o train.epochs=many train.lr=-1 data.batch_size=0 transforms.train.0.size=[0,0]",
        ("train.epochs", "'many'", "train.lr", "data.batch_size", "transforms.train.0.size.0", "5 problems"),
        f"{CHECK} -o train.epochs=2 train.lr=0.01 data.batch_size=6 transforms.train.0.size=[32,32]",
    ),
    "a tab": Mistake(
        CHECK, ("recipe.yaml:4:1", "a tab", "indent with blanks"), CHECK,
        *swap("recipe.yaml", "  root", "\troot"),
    ),
    "a key twice": Mistake(
        CHECK, ("recipe.yaml:15", "'task' appears twice"), CHECK,
        add("recipe.yaml", "task: again\n"), edit("recipe.yaml", "task: again\n", ""),
    ),
    "a base that is not there": Mistake(
        CHECK, ("no such file '_base/plc.yaml'",), CHECK,
        *swap("recipe.yaml", "_base/pulc.yaml", "_base/plc.yaml"),
    ),
    "a network misspelt": Mistake(
        CHECK, ("model.backbone", "did you mean 'pplcnet_x0_25'"), CHECK,
        *swap("recipe.yaml", "pplcnet_x0_25", "pplcnet_x0_26"),
    ),
    "no normalisation": Mistake(
        CHECK, ("transforms.train", "end the list with {name: normalize}"), CHECK,
        *swap("recipe.yaml", "32]}, {name: normalize}]", "32]}]"),
    ),
    "images of two sizes": Mistake(
        CHECK, ("transforms.train gives images of 32 x 32, transforms.eval of 64 x 64",), CHECK,
        *swap("recipe.yaml", "eval: [{name: resize, size: [32, 32]", "eval: [{name: resize, size: [64, 64]"), 0,
    ),
    "a batch of one": Mistake(
        CHECK, ("data.batch_size", "batch of one image", "raise it"), CHECK,
        *swap("recipe.yaml", "batch_size: 6", "batch_size: 1"),
    ),
    "a rate that is no number": Mistake(
        f"{TRAIN} -o train.lr=1e5", ("train.lr", "nan", "lower train.lr"), f"{TRAIN} -o train.lr=0.01"
    ),
    "the rate of another optimiser": Mistake(
        f"{CHECK} -o 'train.optimizer={{name: adamw}}' train.lr=0.02",
        ("train.lr 0.02 is above what adamw learns with", "0.0002"),
        f"{CHECK} -o 'train.optimizer={{name: adamw}}' train.lr=0.0002", code=0,
    ),
    "a warm-up longer than the run": Mistake(
        CHECK, ("the warm-up", "takes the whole run", "lower the warm-up"), CHECK,
        *swap("recipe.yaml", "warmup_epochs: 0", "warmup_epochs: 9"), 0,
    ),
    "an operating point of three classes": Mistake(
        f"{CHECK} -o export.operating_point.target_fpr=0.01", ("export.operating_point",), CHECK
    ),
    "one label's metric for several": Mistake(
        f"{CHECK} -o data.target=multilabel", ("metrics (topk)", "loss and postprocess multilabel", "mean_accuracy"),
        f"{CHECK} -o data.target=multilabel", ML, add("recipe.yaml", ML_RECIPE),
    ),
    # Labels and lists.
    "a wrong root": Mistake(
        CHECK, ("nowhere", "no such folder", "set data.root"), CHECK,
        *swap("recipe.yaml", "root: .", "root: nowhere"),
    ),
    "a list misspelt": Mistake(
        CHECK, ("trian.txt", "no such list file", "relative to data.root"), CHECK,
        *swap("recipe.yaml", "list: train.txt", "list: trian.txt"),
    ),
    "fewer labels than ids": Mistake(
        CHECK, ("train.txt:13", "label 2", "correct it, or data.labels, which has 2 names"), CHECK,
        *swap("recipe.yaml", ", daisy]", "]"),
    ),
    "more labels than ids": Mistake(
        CHECK, ("1 of 4 labels have no training image: lily",), CHECK,
        *swap("recipe.yaml", "daisy]", "daisy, lily]"), 0,
    ),
    "one name twice": Mistake(
        CHECK, ("data.labels", "classes 0, 2 are all named 'rose'", "name of its own"), CHECK,
        *swap("recipe.yaml", "daisy]", "rose]"),
    ),
    "one class": Mistake(
        CHECK, ("data.labels", "at least 2 names are needed"), CHECK,
        *swap("recipe.yaml", "[rose, tulip, daisy]", "[rose]"),
    ),
    "two images in all": Mistake(
        f"{CHECK} -o data.train.limit=2 data.eval.limit=2",
        ("2 of 3 labels have no training image", "2 training images are too few", "no evaluation image"),
        CHECK, code=0,
    ),
    "an empty list": Mistake(
        CHECK, ("train.txt", "no images in this list", "a line is `path label`"), CHECK,
        write("train.txt", ""), both(remove("train.txt"), copy("good.txt", "train.txt")),
    ),
    "commas in a list": Mistake(
        CHECK, ("train.txt:1", 'set data.delimiter: ","'), CHECK,
        both(numbers("train.txt", "{0},{1}"), numbers("val.txt", "{0},{1}")),
        edit("recipe.yaml", "root: .", 'root: .\n  delimiter: ","'),
    ),
    "quotes that the shell took": Mistake(
        f"{CHECK} -o data.delimiter=','", ("-o data.delimiter=,", "-o 'data.delimiter=\",\"'"),
        f"{CHECK} -o 'data.delimiter=\",\"'",
        mend=both(numbers("train.txt", "{0},{1}"), numbers("val.txt", "{0},{1}")),
    ),
    "names in a list of ids": Mistake(
        CHECK, ("train.txt:1", "label 'rose' is not a whole number"), CHECK,
        numbers("train.txt", "{0} {2}"), both(remove("train.txt"), copy("good.txt", "train.txt")),
    ),
    "a CSV without labels": Mistake(
        f"{CHECK} -o data.train.list=a.csv", ("a.csv:1", "no column of labels", "label"),
        f"{CHECK} -o data.train.list=a.csv", write("a.csv", f"path,kind\n{ROSE},rose\nval/tulip/0.png,tulip\n"),
        edit("a.csv", "kind", "label"),
    ),
    # Images.
    "unreadable images on both sides": Mistake(
        TRAIN, ("2 of 18 images are unreadable", "train/rose/1.png", "train/daisy/0.png", "1 of 9", "val/tulip/2.png",
                "take them out of the list, or raise data.max_bad_fraction"),
        CHECK,
        both(write("train/rose/1.png", "no image"), cut("train/daisy/0.png"), remove("val/tulip/2.png")),
        both(edit("train.txt", "train/rose/1.png 0\n", ""), edit("train.txt", "train/daisy/0.png 2\n", ""),
             edit("val.txt", "val/tulip/2.png 1\n", "")),
    ),
    "the same images on both sides": Mistake(
        f"{CHECK} -o data.eval.list=train.txt", ("18 of 18 evaluation images are also trained on",), CHECK, code=0
    ),
    "copies on both sides": Mistake(
        CHECK, ("1 of 9 evaluation images are also trained on, as copies", "val/rose/0.png is train/rose/0.png"),
        CHECK, copy("train/rose/0.png", ROSE), copy("spare.png", ROSE), 0,
    ),
    "copies with two labels": Mistake(
        CHECK, ("the same bytes have several labels", "train/rose/0.png (rose), train/daisy/5.png (daisy)"), CHECK,
        copy("train/rose/0.png", "train/daisy/5.png"), copy("spare.png", "train/daisy/5.png"), 0,
    ),
    "an empty folder": Mistake(
        "predict empty --model bundle", ("empty", "no image in this folder"), f"predict {ROSE} --model bundle"
    ),
    "an empty class": Mistake(
        f"{FOLDERS} data.train.folder=train", ("train/lily", "no image in this folder"),
        f"{FOLDERS} data.train.folder=train",
        lambda folder: (folder / "train" / "lily").mkdir(), remove("train/lily"),
    ),
    "scans in TIFF": Mistake(
        f"{FOLDERS} data.train.folder=scans", ("19 of 19", "a TIFF file", "`tinysight data convert SOURCE --out DIR`"),
        f"{FOLDERS} data.train.folder=pngs", tiff,
        run("data convert scans --out pngs"),
    ),
    "one path of two is wrong": Mistake(
        f"predict {ROSE} val/rose/77.png --model bundle", ("val/rose/77.png: no such file", "1 of 2 images"),
        f"predict {ROSE} --model bundle", code=1,
    ),
    "a list that is a folder": Mistake(
        "eval --run run --list vla", ("vla", "no such"), "eval --run run --list val"
    ),
    # Runs and bundles.
    "a run as a bundle": Mistake(
        f"predict {ROSE} --model run", ("run: a run, not a bundle", "`tinysight export --run run`"),
        f"predict {ROSE} --model run", mend=run("export --run run"),
    ),
    "a network as a bundle": Mistake(
        f"predict {ROSE} --model bundle/model.onnx", ("is a file; a bundle is a folder", "give its folder"),
        f"predict {ROSE} --model bundle",
    ),
    "a bundle that is cut": Mistake(
        f"predict {ROSE} --model cut", ("cut/model.onnx", "copy it again from where it came"),
        f"predict {ROSE} --model cut",
        both(clone("bundle", "cut"), cut("cut/model.onnx")),
        both(remove("cut"), clone("bundle", "cut")),
    ),
    "no model": Mistake(
        f"predict {ROSE}", ("--model", "which bundle?", "clarity_assessment"),
        f"predict {ROSE} --model clarity_assessment"
    ),
    "a folder that holds a run": Mistake(
        "train -c recipe.yaml --out run", ("run: already holds a run", "--resume"),
        "train -c recipe.yaml --out run --resume",
    ),
    "another recipe resumed": Mistake(
        "train -c recipe.yaml --out run --resume -o train.lr=0.2",
        ("run: holds a run of another recipe", "train.lr: 0.01 there, 0.2 here", "another folder with --out"),
        "train -c recipe.yaml --out run --resume",
    ),
    "a folder of a failed start": Mistake(
        f"{TRAIN} -o train.lr=1e5", ("lower train.lr",), f"{TRAIN} --resume"
    ),
    "a file as a run": Mistake(
        "train -c recipe.yaml --out val.txt", ("val.txt: is a file", "name a folder with --out"), TRAIN
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound folder with its lists, a recipe, a run and a bundle."""
    root = tmp_path_factory.mktemp("flowers") / "made"
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        lines = []
        for k, name in enumerate(NAMES):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 110, (36, 40, 3), np.uint8)
                image[..., k] += 120
                cv2.imwrite(str(root / split / name / f"{i}.png"), image)
                lines.append(f"{split}/{name}/{i}.png {k}\n")
        (root / f"{split}.txt").write_text("".join(lines), "utf-8")
    cv2.imwrite(str(root / "train/rose/9.png"), rng.integers(0, 250, (36, 40, 3), np.uint8))
    shutil.copytree(root / "train", root / "scans")
    (root / "train/rose/9.png").rename(root / "spare.png")
    shutil.copy(root / "train.txt", root / "good.txt")
    (root / "empty").mkdir()
    (root / "recipe.yaml").write_text(RECIPE, "utf-8")
    done = tinysight("train", "-c", "recipe.yaml", "--out", "run", cwd=root)
    assert done.code == 0, done.err
    tiny_bundle(root / "bundle")
    return root


def answer(words: str, folder: Path, code: int) -> str:
    done = tinysight(*shlex.split(words), cwd=folder)
    assert done.code == code, done.err or done.out
    assert "Traceback" not in done.err
    return done.err


def test_there_are_forty() -> None:
    assert len(MISTAKES) >= 40


SLOW = ("a run as a bundle",)  # its fix is an export


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MISTAKES]
)
def test_a_mistake_is_answered_and_its_fix_works(name: str, made: Path, tmp_path: Path) -> None:
    one, folder = MISTAKES[name], tmp_path / "flowers"
    shutil.copytree(made, folder)
    one.spoil(folder)
    text = answer(one.typed, folder, one.code)
    assert len(text.splitlines()) <= SCREEN, text
    assert len(text) < 1600
    for part in one.says:
        assert part in text, f"{part!r} is not in: {text}"
    one.mend(folder)
    after = answer(one.fixed, folder, one.after)
    assert not [part for part in one.says if part in after and len(part) > 12], after


def test_a_photograph_of_a_telephone_and_its_list(tmp_path: Path) -> None:
    """What several decoders would read differently is copied once; the list names the copies."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    rng = np.random.default_rng(0)
    image = Image.fromarray(cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (60, 48)))
    for name in ("a.heic", "b.avif", "c.gif", "c.png"):
        image.save(tmp_path / name)
    (tmp_path / "cut.tif").write_bytes(b"II*\0" + bytes(20))
    lines = "a.heic 0\nb.avif 1\nc.gif 0\nc.png 1\ncut.tif 1\n"
    (tmp_path / "list.txt").write_text(lines, "utf-8")
    done = tinysight("data", "convert", "list.txt", "--out", "new", cwd=tmp_path)
    assert done.code == 1
    assert "copied 1, converted 3" in done.out
    assert re.search(r"left out: 1\n.*cut\.tif: a TIFF file", done.out)
    there = (tmp_path / "new" / "list.txt").read_text("utf-8").split("\n")
    assert there[:4] == ["a.jpg 0", "b.jpg 1", "c.gif.png 0", "c.png 1"]
    for line in there[:4]:
        pixels = cv2.imread(str(tmp_path / "new" / line.split()[0]))[..., ::-1].astype(int)
        assert np.abs(pixels - np.asarray(image)).mean() < 12
    again = tinysight("data", "convert", "list.txt", "--out", "new", cwd=tmp_path)
    assert again.code == 2 and "choose another folder" in again.err


def test_the_first_frame_sixteen_bits_and_what_is_no_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (Image.fromarray(rng.integers(0, 255, (9, 9), np.uint8)) for _ in range(2))
    (tmp_path / "in" / "sub").mkdir(parents=True)
    first.save(tmp_path / "in" / "sub" / "many.gif", save_all=True, append_images=[second])
    deep = np.arange(81, dtype=np.uint16).reshape(9, 9) * 700
    Image.fromarray(deep).save(tmp_path / "in" / "deep.tif")
    turned = Image.fromarray(rng.integers(0, 255, (4, 9, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "in" / "turned.tif", exif=exif)
    pair = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
        pair, "MPO", save_all=True, append_images=[Image.fromarray(np.full((8, 8, 3), 255, np.uint8))]
    )  # fmt: skip
    (tmp_path / "in" / "pair.mpo").write_bytes(pair.getvalue())
    (tmp_path / "in" / "notes.docx").write_text("words", "utf-8")
    done = tinysight("data", "convert", "in", "--out", "out", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "in/sub/many.gif: the first of 2 images" in done.out
    assert re.search(r"passed over.*: 1\n  notes\.docx", done.out)

    def pixels(name: str) -> np.ndarray:
        from tinysight.transforms.decode import decode

        return decode(tmp_path / "out" / name)

    assert np.array_equal(pixels("sub/many.png")[..., 0], np.asarray(first))
    assert np.array_equal(pixels("deep.png")[..., 0], deep >> 8)
    assert np.array_equal(pixels("turned.png"), np.rot90(np.asarray(turned), -1))
    assert pixels("pair.mpo").max() == 0  # the first of two, as it is


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_says_how_to_go_on(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flowers"
    shutil.copytree(made, folder)
    words = ["train", "-c", "recipe.yaml", "--out", "new", "-o", "train.epochs=2000"]
    process = start("-m", "tinysight", *words, cwd=folder)
    while process.poll() is None and not (folder / "new/checkpoints/best.safetensors").is_file():
        time.sleep(0.05)
    second = tinysight(*words, "--resume", cwd=folder)
    assert second.code == 2 and "another process is training into this folder" in second.err
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1].splitlines()[-2:] == [
        "new: the same command with --resume goes on from its last checkpoint", "interrupted"
    ]  # fmt: skip
    assert process.returncode == 130
    assert not (folder / "new" / ".run.part").exists()

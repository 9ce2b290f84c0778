"""Every verb under every fault of its machine: one message, the right exit code, nothing lost, nothing left behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from support import faults
from support.bundles import tiny_bundle
from support.commands import Completed, tinysight
from support.faults import FAULTS, Fault
from support.golden import own_path

SEED = 20261130
PLAIN = Fault()
pytestmark = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not faults.can_mount(),
    reason="faults of the file system are made by root, in mounts of its own",
)


class Verb(NamedTuple):
    """A command line.

    Attributes:
        words: of the command; OUT is the folder for what it writes.
        made: what it writes there; empty if nothing.
        code: its exit code without a fault.
        copied: what is copied there before.
        heavy: whether it imports PyTorch.
        again: words that are added where the first start was cut off.
    """

    words: str
    made: str = ""
    code: int = 0
    copied: str = ""
    heavy: bool = False
    again: str = ""


VERBS = {
    "predict": Verb("predict pics --model model --json --output OUT/a.jsonl", "a.jsonl"),
    "predict text": Verb("predict pics --model model --output OUT/a.txt", "a.txt"),
    "predict -": Verb("predict pics --model model --csv"),
    "predict broken": Verb("predict pics broken.jpg --model model --csv --output OUT/a.csv", "a.csv", 1),
    "train": Verb(
        "train -c demo.yaml -o Global.epochs=1 -o Global.output_dir=OUT/run",
        "run/PPLCNet_x0_25/report.html", heavy=True, again="--resume",
    ),
    "eval": Verb("eval --run output/PPLCNet_x0_25 --report OUT/r.html", "r.html", heavy=True),
    "infer": Verb("infer -c demo.yaml -o Infer.PostProcess.threshold=0.0", heavy=True),
    "export": Verb("export --run output/PPLCNet_x0_25 --out OUT/b", "b/bundle.yaml", heavy=True),
    "bench": Verb(
        "bench OUT/model --images pics --limit 2 --seconds 0 --no-sweep --card", "model/latency.json", copied="model"
    ),
    "verify": Verb("verify model"),
    "data check": Verb("data check missing.txt --json OUT/f.json", "f.json", 1),
    "data prepare voc": Verb("data prepare voc voc --out OUT/d", "d/manifest.json", again="--resume"),
    "data prepare coco": Verb(
        "data prepare coco coco.json --images pics --out OUT/d", "d/manifest.json", again="--resume"
    ),
    "data prepare boxes": Verb("data prepare boxes boxes.txt --out OUT/d", "d/manifest.json", again="--resume"),
    "data prepare split": Verb("data prepare split list.txt --out OUT/d", "d/manifest.json", again="--resume"),
    "data convert": Verb("data convert pics --out OUT/d", "d/converted.json"),
    "data preview": Verb("data preview -c demo.yaml --rows 2 --out OUT/p.png", "p.png"),
    "models list": Verb("models list *clas*"),
    "models show": Verb("models show image_orientation"),
    "models fetch": Verb("models fetch image_orientation --cache OUT/cache", "", 2),  # there is no network
    "models import": Verb("models import program --out OUT/b", "b/bundle.yaml"),
    "models import weights": Verb(
        "models import w.pt --network pplcnet_x0_25 --out OUT/w.safetensors", "w.safetensors", heavy=True
    ),
    "recipe list": Verb("recipe list"),
    "recipe check": Verb("recipe check native.yaml", heavy=True),
    "recipe show": Verb("recipe show native.yaml"),
    "recipe diff": Verb("recipe diff native.yaml native.yaml -o train.epochs=9"),
    "recipe convert": Verb("recipe convert demo.yaml --out OUT/r.yaml", "r.yaml"),
    "recipe schema": Verb("recipe schema"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    import torch

    from support.paddleclas import make_images, write_training
    from support.tiny import write_recipe
    from tinysight.models import create_model

    root = tmp_path_factory.mktemp("é place")
    make_images(root / "images")
    write_training(root)
    tiny_bundle(root / "model")
    (root / "pics").mkdir()
    boxes, lines, images, annotations = [], [], [], []
    (root / "voc").mkdir()
    for i in range(12):
        name = f"{i}{'é' if i % 3 == 0 else ''}.png"
        cv2.imwrite(str(root / "pics" / f"{i}.png"), np.full((24, 30, 3), 20 * i, np.uint8))
        (root / "pics" / f"{i}.png").rename(root / "pics" / name)
        kind = "ab"[i % 2]
        boxes.append(f"pics/{name} 1 2 20 22 {kind}\n")
        lines.append(f"pics/{name} {i % 2}\n")
        images.append({"id": i, "file_name": name, "width": 30, "height": 24})
        annotations.append({"id": i, "image_id": i, "category_id": i % 2, "bbox": [1, 2, 19, 20]})
        (root / "voc" / f"{i}.xml").write_text(
            f"<annotation><filename>../pics/{name}</filename><size><width>30</width><height>24</height></size><object>"
            f"<name>{kind}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>22</ymax></bndbox></object>"
            "</annotation>", "utf-8",
        )  # fmt: skip
    (root / "boxes.txt").write_text("".join(boxes), "utf-8")
    (root / "list.txt").write_text("".join(lines), "utf-8")
    (root / "missing.txt").write_text("".join([*lines, "none.png 0\n"]), "utf-8")
    categories = [{"id": i, "name": "ab"[i]} for i in range(2)]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    (root / "coco.json").write_text(json.dumps(tree), "utf-8")
    (root / "broken.jpg").write_text("no image")
    write_recipe(root / "images").rename(root / "native.yaml")
    torch.save(create_model("pplcnet_x0_25", 2).state_dict(), root / "w.pt")
    shutil.copytree(own_path("programs") / "PPLCNet_x0_5", root / "program")
    return root


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """With a run in it."""
    assert tinysight("train", "-c", "demo.yaml", "-o", "Global.epochs=1", cwd=place).code == 0
    return place


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    """What each verb takes without a fault, filled in as it is measured."""
    return {}


def combinations() -> list[Any]:
    """All of them, slow but for a seeded share that has every fault."""
    draw = random.Random(SEED)
    light = [name for name in VERBS if name.startswith(("predict", "data check", "data prepare"))]
    chosen = {(draw.choice(light), fault) for fault in FAULTS}
    found = []
    for verb in VERBS:
        for fault in FAULTS:
            marks = () if (verb, fault) in chosen else pytest.mark.slow
            name = f"{verb}-{fault}".replace(" ", "_")
            found.append(pytest.param(verb, fault, marks=marks, id=name))
    return found


def words_of(verb: Verb, out: Path, name: str = "") -> list[str]:
    words = [word.replace("OUT", str(out)) for word in verb.words.split()]
    return [word.replace(f"{out}/", f"{out}/{name}") if name else word for word in words]


def fresh(verb: Verb, place: Path, out: Path) -> None:
    out.mkdir()
    if verb.copied:
        shutil.copytree(place / verb.copied, out / verb.copied)


def litter(out: Path) -> list[str]:
    """Hidden and half-written files."""
    found = [p for p in out.rglob("*") if p.name.startswith(".") or ".part" in p.name]
    return [str(p.relative_to(out)) for p in found if not p.name.endswith(".lock")]


def has_one_message(done: Completed) -> bool:
    """Of ours or of argparse."""
    return done.err.count("error: ") == 1 and "Traceback" not in done.err


@pytest.mark.parametrize(("verb_name", "fault_name"), combinations())
def test_a_verb_under_a_fault(
    verb_name: str,
    fault_name: str,
    place: Path,
    tmp_path: Path,
    seconds: dict[str, float],
    request: pytest.FixtureRequest,
) -> None:
    verb, fault = VERBS[verb_name], FAULTS[fault_name]
    if verb.heavy:
        request.getfixturevalue("trained")
    if fault.signal and verb_name not in seconds:
        fresh(verb, place, tmp_path / "before")
        began = time.monotonic()
        (done,) = faults.run(words_of(verb, tmp_path / "before"), PLAIN, tmp_path / "before", place)
        seconds[verb_name] = time.monotonic() - began
        assert done.code == verb.code, done.err
        assert litter(tmp_path / "before") == []
    out = tmp_path / "out"
    fresh(verb, place, out)
    words = words_of(verb, out, "a" * 300 if fault.long_name else "")
    after = random.Random(f"{SEED} {verb_name} {fault_name}").uniform(*fault.after) * seconds.get(
        verb_name, 0
    )
    done = faults.run(words, fault, out, place, after)
    for one in done:
        assert "Traceback" not in one.err, one.err
        assert "Exception ignored" not in one.err, one.err
    allowed = {verb.code, 2}
    if fault_name == "reader gone":
        allowed.add(0)
    if fault_name == "C locale":
        allowed.add(1)  # without UTF-8 an annotation cannot name every file
    if fault.signal:
        number = int(fault.signal)
        allowed = {verb.code, -number, 128 + number}  # a shell takes the two for one
    codes = [one.code for one in done]
    assert set(codes) <= allowed, (codes, [one.err for one in done])
    for one in done:
        told = one.code != 2 or "2>" in fault.stream or has_one_message(one)
        assert told, one.err
    if fault.mounts:
        return  # what it wrote went with the mounts
    if verb.made and not fault.long_name:
        finished = verb.code in codes
        assert (out / verb.made).exists() or not finished
        if not (out / verb.made).exists() or (verb.again and not finished):
            (one,) = faults.run([*words_of(verb, out), *again(verb, out)], PLAIN, out, place)
            assert one.code == verb.code or "already made" in one.err, one.err
        assert (out / verb.made).exists()
    assert litter(out) == []


def again(verb: Verb, out: Path) -> list[str]:
    """Words to resume with, where the first start left something."""
    return verb.again.split() if any(p for p in out.iterdir() if not p.name.startswith(".")) else []

"""Run folders are listed and shown as they are, and compared with the noise in mind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.commands import tinysight
from support.tiny import make_images, tiny_recipe, write_recipe
from tinysight.errors import DataError
from tinysight.files import to_yaml
from tinysight.runs import compare_runs, find_runs, read_run
from tinysight.runs.tables import curve_text, write_comparison
from tinysight.training import Callback, FitResult, fit


def make_run(folder: Path, right: Any, epochs: int = 3, **changes: Any) -> Path:
    """A finished run by hand, of which each image is right or wrong as it is said."""
    folder.mkdir(parents=True)
    train = {"epochs": epochs, "lr": 0.1, "seed": 0} | changes
    recipe = {"task": "door", "data": {"root": "images"}, "train": train}
    (folder / "recipe.yaml").write_text(to_yaml(recipe), "utf-8")
    value = float(np.mean(right))
    rows = [
        {"epoch": e, "step": e, "loss": 1 / e, "lr": 0.1, "seconds": 2.0, "best": e == 3,
         "metrics": {"top1": value * e / 3}}
        for e in (1, 2, 3)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    starts = [{"time": "2026-01-02T03:04:05+00:00", "step": 0, "state": "finished", "reason": ""}]
    (folder / "environment.json").write_text(json.dumps({"starts": starts}), "utf-8")
    found = {"metrics": {"top1": value}, "intervals": {"top1": [value - 0.1, value + 0.1]}}
    (folder / "evaluation.json").write_text(json.dumps(found), "utf-8")
    lines = [f'"images/a, {i}.png",{float(r):g}\n' for i, r in enumerate(right)]
    (folder / "outcomes.csv").write_text("image,right\n" + "".join(lines), "utf-8")
    return folder


def rights(wrong: int, count: int = 100, first: int = 0) -> list[int]:
    return [0 if first <= i < first + wrong else 1 for i in range(count)]


class Stop(Callback):
    """Stops a run after three steps."""

    def on_step(self, run: Any) -> None:
        if run.state.step == 3:
            run.stop("three are enough")


class Look(Callback):
    """Reads the run while it goes on."""

    state = ""

    def on_epoch(self, run: Any, record: Any) -> None:
        self.state = read_run(run.folder.path).state


def test_how_a_run_ended(tiny_images: Path, tiny_run: FitResult, tmp_path: Path) -> None:
    look = Look()
    fit(tiny_recipe(tiny_images), tmp_path / "stopped", callbacks=[Stop(), look])
    stopped = read_run(tmp_path / "stopped")
    assert (stopped.state, stopped.reason, stopped.epochs) == ("interrupted", "three are enough", 0)
    fit(tiny_recipe(tiny_images), tmp_path / "stopped", resume=True, callbacks=[look])
    assert look.state == "running"
    assert read_run(tmp_path / "stopped").state == "finished"
    with pytest.raises(Exception, match="the loss became"):
        fit(tiny_recipe(tiny_images, "train.lr=1e30"), tmp_path / "failed")
    failed = read_run(tmp_path / "failed")
    assert failed.state == "failed"
    assert "the loss became" in failed.reason
    done = read_run(tiny_run.out)
    assert (done.state, done.epochs, done.planned, done.best) == ("finished", 2, 2, tiny_run.epoch)
    assert done.metrics == tiny_run.metrics
    old = shutil.copytree(tiny_run.out, tmp_path / "old")  # of a version that noted no end
    (old / "environment.json").write_text('{"starts": [{"time": "2026", "step": 0}]}')
    assert read_run(old).state == "finished"
    (old / "metrics.jsonl").write_text((old / "metrics.jsonl").read_text().splitlines(True)[0])
    assert read_run(old).state == "interrupted"


def test_runs_are_listed_and_shown(tmp_path: Path) -> None:
    make_run(tmp_path / "runs" / "a" / "b", rights(10))
    damaged = make_run(tmp_path / "runs" / "c", rights(10))
    (damaged / "environment.json").write_text("{")
    done = tinysight("runs", "list", cwd=tmp_path)
    assert done.code == 1  # a finding
    head, first, second, why = done.out.splitlines()
    assert head.split()[:4] == ["run", "task", "state", "epochs"]
    assert first.split() == ["runs/a/b", "door", "finished", "3/3", "top1", "0.9", "0.8", "to", "1",
                             "2026-01-02", "03:04"]  # fmt: skip
    assert second.split()[:2] == ["runs/c", "damaged"]
    assert "environment.json: damaged, no JSON" in why
    (row, _) = json.loads(tinysight("runs", "list", "--json", cwd=tmp_path).out)
    assert row["seconds"] == 6
    assert row["intervals"]["top1"] == pytest.approx([0.8, 1.0])


def test_a_run_is_shown_with_its_curves_and_recipe(tiny_run: FitResult) -> None:
    done = tinysight("runs", "show", tiny_run.out)
    assert done.code == 0
    assert "backbone:\n    name: pplcnet_x0_25" in done.out
    assert "learning rate" in done.out
    assert any(block in done.out for block in "▁█")
    assert (
        json.loads(tinysight("runs", "show", tiny_run.out, "--json").out)["recipe"]["task"]
        == "tiny"
    )


def test_curves_keep_their_ends() -> None:
    assert curve_text([1.0]) == "▁"
    assert len(curve_text(list(range(1000)))) <= 48
    assert curve_text(list(range(1000)))[-1] == "█"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "gone"], "gone: no such folder; `tinysight train --out` makes one"),
        (["list", "empty"], "empty: no run in it"),
        (["show"], "takes one run, got 0"),
        (["show", "empty"], "no run: it has no recipe.yaml; `tinysight runs list` finds runs"),
        (["compare", "one"], "two runs are needed, 1 can be read"),
        (["list", "one", "--out", "x.html"], "--out: runs list writes no page; it is for compare"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "one", rights(3))
    done = tinysight("runs", *words, cwd=tmp_path)
    assert done.code == 2
    assert message in done.err


def test_networks_are_compared_image_by_image(tmp_path: Path) -> None:
    """b errs on 12 other images than a's 10: noise. c errs on 40: worse than both."""
    for name, wrong, first in (("a", 10, 0), ("b", 12, 20), ("c", 40, 0)):
        make_run(tmp_path / name, rights(wrong, first=first), lr={"a": 0.1}.get(name, 0.2))
    found = compare_runs(find_runs([tmp_path]))
    ab, ac, bc = found.pairs
    assert (ab.first, ab.second, ab.measure, ab.difference.number) == ("a", "b", "right", 100)
    assert ab.noise
    assert ab.difference.value == pytest.approx(-0.02)
    assert ab.difference.interval.low < 0 < ab.difference.interval.high
    assert not ac.noise
    assert ac.text == "a is better"
    assert bc.text == "b is better, by its seed alone: the recipe is the same"
    assert found.changed == {"train.lr": [0.1, 0.2, 0.2]}
    assert [(g.name, g.runs) for g in found.groups] == [("A", ["a"]), ("B", ["b", "c"])]
    assert "one run says nothing about the luck of its seed" in found.notes[-1]
    tree = json.loads(tinysight("runs", "compare", tmp_path, "--json").out)
    assert tree["pairs"][1]["difference"]["p"] == pytest.approx(ac.difference.p)


def test_recipes_are_compared_over_their_seeds(tmp_path: Path) -> None:
    """Means 0.9 and 0.7, seeds a point apart; a third recipe in between, as wide as all of it."""
    wrongs = {0.1: (9, 10, 11), 0.2: (29, 30, 31), 0.3: (5, 20, 38)}
    for lr, counts in wrongs.items():
        for seed, wrong in enumerate(counts):
            make_run(tmp_path / f"{lr}" / f"seed_{seed}", rights(wrong), lr=lr, seed=seed)
    found = compare_runs(find_runs([tmp_path]))
    a, b, _ = found.groups
    assert (a.mean, b.mean) == pytest.approx((0.9, 0.7))
    assert a.interval == pytest.approx(
        (0.9 - 0.0248, 0.9 + 0.0248), abs=1e-4
    )  # 4.303 * 0.01 / sqrt 3
    assert [(p.first, p.second, p.noise) for p in found.recipes] == [
        ("A", "B", False), ("A", "C", True), ("B", "C", True),
    ]  # fmt: skip
    assert found.recipes[0].text == "recipe A is better"
    assert len(found.pairs) == 8  # with the best one of nine
    assert "0.1/seed_0" in found.runs


def test_a_seed_counts_once_and_a_run_may_hold_others(tmp_path: Path) -> None:
    """A copy of a run says nothing more about the luck of the seed."""
    make_run(tmp_path / "a", rights(10))
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "again")
    found = compare_runs(find_runs([tmp_path / "a"]))
    (group,) = found.groups
    assert (group.runs, group.values, group.interval) == (["a", "again"], [0.9], None)
    assert found.notes[0] == "again has recipe and seed of a, so it does not count once more"


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    make_run(tmp_path / "a", rights(10))
    make_run(tmp_path / "b", rights(10, 50), seed=1)
    (make_run(tmp_path / "c", rights(10), epochs=5) / "outcomes.csv").unlink()
    (tmp_path / "c" / "environment.json").unlink()
    found = compare_runs(find_runs([tmp_path]))
    assert found.notes[0].endswith("c is interrupted, 3 of 5 epochs")
    assert found.notes[1].startswith("no result for each image of c: `tinysight eval --run`")
    assert found.notes[2] == "a and b have 50 evaluation images in common"
    (tmp_path / "a" / "outcomes.csv").write_text("image,right\na.png,yes\n")
    with pytest.raises(DataError, match="damaged: no line an image"):
        compare_runs(find_runs([tmp_path]))


def test_three_seeds_of_a_recipe(tmp_path: Path) -> None:
    """As typed: trained, averaged, compared; the page says which differences are noise."""
    recipe = write_recipe(make_images(tmp_path / "images", 12, 8))
    words = ("train", "-c", recipe, "--out", tmp_path / "r", "--seeds", 3, "-o", "train.epochs=1")
    done = tinysight(*words)
    assert done.code == 0, done.err
    assert "seed 2 of 3 seeds" in done.err
    assert "A       top1       3" in done.out
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "compare.html", "seed_0", "seed_1", "seed_2",
    ]  # fmt: skip
    runs = find_runs([tmp_path / "r"])
    assert [run.recipe["train.seed"] for run in runs] == [0, 1, 2]
    assert all(run.outcomes()[1].keys() == {f"val_{i}.png" for i in range(8)} for run in runs)
    page = (tmp_path / "r" / "compare.html").read_text("utf-8")
    assert page.count("noise: these images do not tell the two apart") >= 3
    assert "http" not in page.replace("http-equiv", "")
    assert "--resume resumes it, --force replaces it" in tinysight(*words).err
    assert tinysight(*words, "--resume").code == 0
    assert tinysight(*words[:-3], 1).err.startswith("error: --seeds: a spread takes at least 2")


def test_a_page_of_runs_loads_nothing_and_names_all(tmp_path: Path) -> None:
    for name in ("one", "two & three"):
        make_run(tmp_path / name, rights(10))
    write_comparison(tmp_path / "page.html", compare_runs(find_runs([tmp_path])))
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "two &amp; three" in page
    assert page.count("<svg") == 3
    assert "src=" not in page

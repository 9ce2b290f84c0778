"""`tinysight predict --output`: interrupted, killed, gone on with."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.commands import start, tinysight
from tinysight.bundle import Bundle
from tinysight.cli import predict
from tinysight.pipelines.sources import stamp

COUNT = 3000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and a folder of links to a few images, some of them broken."""
    root = tmp_path_factory.mktemp("resume")
    tiny_bundle(root / "model")
    kept = []
    for level in range(0, 250, 50):
        data = cv2.imencode(".png", np.full((60, 80, 3), level, np.uint8))[1]
        kept.append(root / f"level{level}.png")
        kept[-1].write_bytes(data.tobytes())
    (root / "broken.jpg").write_text("no image")
    (root / "many").mkdir()
    for i in range(COUNT):
        target = root / "broken.jpg" if i % 500 == 7 else kept[i % len(kept)]
        (root / "many" / f"{'=' if i % 9 == 0 else ''}{i}.png").symlink_to(target)
    return root


def whole(place: Path, *words: object) -> tuple[int, str]:
    done = tinysight("predict", *words, cwd=place)
    return done.code, done.err


def part_of(out: Path) -> Path:
    (found,) = out.parent.glob(f"{out.name}.*.part")
    return found


def stopped(place: Path, out: Path, how: signal.Signals, *words: object) -> tuple[int, str]:
    """Start, wait until some lines are there, stop; once more if it was over before, as on a busy machine."""
    for _ in range(10):
        process = start("-m", "tinysight", "predict", *words, cwd=place)
        while process.poll() is None:
            parts = list(out.parent.glob(f"{out.name}.*.part"))
            if parts and parts[0].stat().st_size > 20_000:
                process.send_signal(how)
                break
            time.sleep(0.002)
        _, errors = process.communicate()
        if not out.exists():
            return process.returncode, errors
        out.unlink()
    pytest.fail("it was over ten times before it could be stopped")


def test_copies_of_images_are_made_of_all(place: Path, tmp_path: Path) -> None:
    """Results that were left by a run without copies are not taken for images that were copied."""
    out = tmp_path / "out"
    words = ["level*.png", "--model=model", "--json", "--output", str(out)]
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    key = predict._key(parser.parse_args(words), Bundle.load(place / "model").manifest)
    names = [f"level{level}.png" for level in range(0, 250, 50)]
    assert whole(place, *words)[0] == 0
    lines = out.read_bytes()
    out.unlink()
    part = tmp_path / f"out.{key}.part"
    part.write_bytes(lines)
    Path(f"{part}.seen").write_bytes(b"".join(stamp(str(place / name)) for name in names))
    assert whole(place, *words, "--save_dir", tmp_path / "sorted")[0] == 0
    assert sorted(p.name for p in (tmp_path / "sorted").rglob("*.png")) == sorted(names)
    assert out.read_bytes() == lines
    code, errors = whole(place, *words, "--save_dir", tmp_path / "sorted", "--on", "ray")
    assert code == 2
    assert "--save_dir: images are not copied on a cluster" in errors


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_an_interrupted_run_goes_on(place: Path, tmp_path: Path, form: str) -> None:
    words = ("many", "--model=model", form)
    assert whole(place, *words, "--output", tmp_path / "at-once")[0] == 1
    out = tmp_path / "out"
    code, errors = stopped(place, out, signal.SIGINT, *words, "--output", out)
    assert code == 130
    assert "the same command resumes" in errors
    assert "Traceback" not in errors
    assert not out.exists()
    part = part_of(out).read_text()
    rows = part.splitlines()
    assert part.endswith("\n")
    assert 50 < len(rows) < COUNT
    if form == "--json":
        assert all({"filename"} <= set(json.loads(row)) for row in rows)
    else:
        assert {len(row) for row in csv.reader(rows)} == {5}
    code, errors = whole(place, *words, "--output", out)
    assert code == 1
    assert f"6 of {COUNT} images could not be read" in errors
    assert out.read_bytes() == (tmp_path / "at-once").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at-once", "out"]


def test_a_killed_run_goes_on_after_its_last_whole_line(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = ("many", "--model=model", "--json", "--output", out)
    assert stopped(place, out, signal.SIGKILL, *words)[0] == -signal.SIGKILL
    with part_of(out).open("ab") as file:
        file.write(b'{"class_ids": [1], "sco')
    assert whole(place, *words)[0] == 1
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({row["filename"] for row in rows}) == len(rows) == COUNT


def test_answers_that_are_there_are_not_made_again(place: Path, tmp_path: Path) -> None:
    """What lies in the part is believed, so a marked line comes through."""
    out = tmp_path / "out.jsonl"
    words = ("many", "--model=model", "--json", "--output", out)
    stopped(place, out, signal.SIGINT, *words)
    part = part_of(out)
    lines = part.read_text().splitlines(keepends=True)
    lines[3] = json.dumps({**json.loads(lines[3]), "marked": True}) + "\n"
    part.write_text("".join(lines))
    whole(place, *words)
    assert json.loads(out.read_text().splitlines()[3])["marked"]


def test_files_that_came_meanwhile_are_answered_in_their_place(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "model")
    (tmp_path / "pics").mkdir()
    data = cv2.imencode(".png", np.full((9, 9, 3), 20, np.uint8))[1].tobytes()
    for i in range(10):
        (tmp_path / "pics" / f"{2 * i}.png").write_bytes(data)
    out = tmp_path / "out.jsonl"
    words = ("pics", "--model=model", "--json", "--output", out)
    whole(tmp_path, *words)
    part = tmp_path / "out.jsonl.key.part"
    out.rename(part)
    (tmp_path / "pics" / "5.png").write_bytes(data)
    key = _key_of(tmp_path, words)
    part.rename(tmp_path / f"out.jsonl.{key}.part")
    whole(tmp_path, *words)
    names = [Path(json.loads(line)["filename"]).stem for line in out.read_text().splitlines()]
    assert names == ["0", "2", "4", "5", "6", "8", "10", "12", "14", "16", "18"]


def _key_of(place: Path, words: tuple[object, ...]) -> str:
    import argparse

    from tinysight.bundle import Bundle
    from tinysight.cli import predict

    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    args = parser.parse_args(list(map(str, words)))
    return predict._key(args, Bundle.load(place / "model").manifest)


def test_another_command_does_not_go_on_with_it(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    stopped(place, out, signal.SIGINT, "many", "--model=model", "--json", "--output", out)
    left = part_of(out)
    whole(place, "many/1.png", "--model=model", "--json", "--output", out)
    assert len(out.read_text().splitlines()) == 1
    assert left.exists()


def test_two_processes_do_not_write_the_same_answers(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    words = ("many", "--model=model", "--json", "--output", out)
    first = start("-m", "tinysight", "predict", *words, cwd=place)
    while first.poll() is None and not any(p.stat().st_size for p in tmp_path.glob("*.part")):
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)
    code, errors = whole(place, *words)
    first.send_signal(signal.SIGCONT)
    first.communicate()
    assert code == 2
    assert "another process is writing this file" in errors
    assert len(out.read_text().splitlines()) == COUNT


def test_a_table_of_nothing_but_failures_is_complete(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "model")
    (tmp_path / "a.jpg").write_text("x")
    out = tmp_path / "out.csv"
    assert whole(tmp_path, "a.jpg", "--model=model", "--csv", "--output", out)[0] == 1
    assert [row[0] for row in csv.reader(out.read_text().splitlines())] == ["filename", "a.jpg"]


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_an_image_that_was_replaced_meanwhile_is_answered_again(
    place: Path, tmp_path: Path, form: str
) -> None:
    dark, bright = (place / f"level{level}.png" for level in (0, 200))
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(COUNT):
        os.link(dark, folder / f"{i}.png")  # as large, as old, and the same file
    out = tmp_path / "out"
    words = (folder, f"--model={place / 'model'}", form, "--output", out)
    stopped(place, out, signal.SIGKILL, *words)
    assert part_of(out).with_name(f"{part_of(out).name}.seen").is_file()
    (folder / "3.png").unlink()
    shutil.copy2(bright, folder / "3.png")
    assert whole(place, *words)[0] == 0
    alone = tinysight("predict", folder / "3.png", f"--model={place / 'model'}", form).out
    assert alone.splitlines()[-1] == out.read_text().splitlines()[3 + (form == "--csv")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out"]

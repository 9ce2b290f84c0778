"""Kills a process that changes a gallery, at random moments, and looks at what is left.

    python killed.py FOLDER TRIALS SEED

In each trial a forked child does operations one after the other and says so after each; it is killed at some moment.
Then the gallery must be whole, hold what was acknowledged and, of the operation that was under way, all or nothing of
each of its transactions. A reader that was open all the time must see the same. Every fifth trial builds from images.
Prints a JSON object: trials, kills, operations, and the faults in words.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import onnxruntime  # noqa: F401 - imports are paid before the first fork

import tinysight.engines.onnxruntime
import tinysight.pipelines.pipeline
import tinysight.transforms.photometric  # noqa: F401
from gallery.play import DIM, Model, State, Step, check, draw, made, perform, plain
from tinysight.gallery import gallery as module
from tinysight.gallery import sqlite_store
from tinysight.gallery.gallery import Gallery
from tinysight.gallery.health import verify
from tinysight.gallery.sqlite_store import SqliteStore

STEPS = 12  # of a trial
IMAGES = 12
sqlite_store.TAIL = 5
module.BATCH = 4


class Children:
    """Forks children that do a job, from a process that has never opened a database: those do not survive a fork."""

    def __init__(self) -> None:
        self.latest = {"play": 0.1, "build": 0.1}  # seconds
        jobs, self.jobs = os.pipe()
        self.said, said = os.pipe()
        if os.fork():
            os.close(jobs), os.close(said)
            self.lines = os.fdopen(self.said, "rb", 0)
            return
        os.close(self.jobs), os.close(self.said)
        for line in os.fdopen(jobs, "r"):
            after, job = json.loads(line)
            pid = os.fork()
            if not pid:
                child(job, said)
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)  # a zombie if it has ended: not waited for yet
            _, status = os.waitpid(pid, 0)
            os.write(said, f"over {os.WIFSIGNALED(status):d}\n".encode())
        os._exit(0)

    def kill(self, job: list[object], rng: random.Random) -> tuple[bool, int]:
        """Whether a child was killed in the middle of its job, and what it had acknowledged by then.

        The latest moment follows the machine: later after a kill, earlier after a job that had ended,
        so that about every second job is killed, at any point of it.
        """
        kind = str(job[0])
        after = rng.uniform(0.0, self.latest[kind])
        os.write(self.jobs, json.dumps([after, job]).encode() + b"\n")
        count, words = 0, [b""]
        while words[0] != b"over":
            words = self.lines.readline().split()
            count += words[0] == b"done"
            assert words[0] != b"fault", words
        killed = words[1] == b"1"
        self.latest[kind] *= 1.25 if killed else 0.8
        return killed, count


def child(job: list[object], out: int) -> None:
    """Do a job in this process, which is over then."""
    try:
        kind, folder, *rest = job
        if kind == "build":
            photos, bundle = rest
            gallery = Gallery(folder, model=bundle)  # type: ignore[arg-type]
            gallery.add(photos, progress=lambda done: os.write(out, b"done\n"))  # type: ignore[arg-type]
        else:
            store = SqliteStore(folder)  # type: ignore[arg-type]
            for what, ids, number in rest[0]:  # type: ignore[attr-defined]
                perform(store, Step(what, tuple(ids), number))
                os.write(out, b"done\n")
        os._exit(0)
    except BaseException:
        os.write(out, b"fault " + repr(traceback.format_exc()).encode() + b"\n")
        os._exit(1)


def outcomes(model: Model, step: Step) -> list[State]:
    """What the gallery may hold when `step` was under way."""
    found = [model.items]
    if step.kind == "build":
        for end in range(2, len(step.ids) + 2, 2):
            found.append({**model.items, **{item.id: item for item in made(step)[:end]}})
    else:
        after = Model()
        after.items, after.before = dict(model.items), [*model.before]
        after.apply(step)
        found.append(after.items)
    return found


def play(
    children: Children, folder: Path, model: Model, rng: random.Random, reader: SqliteStore
) -> tuple[bool, int]:
    steps = [draw(rng) for _ in range(STEPS)]
    dead, said = children.kill(["play", str(folder), steps], rng)
    for step in steps[:said]:
        model.apply(step)
    store = SqliteStore(folder)
    there = plain(store.items())
    rest = steps[said:][:1]
    possible = outcomes(model, rest[0]) if rest else [model.items]
    match = [state for state in possible if plain([state[i] for i in sorted(state)]) == there]
    assert match, f"lost or half of {rest} after {said} operations"
    for one in (reader, store):
        check(one, match[0], rng.randrange(100))
    assert [p for p in verify(store) if "no embedding" not in p.what] == []
    model.items = dict(match[0])
    # What can be undone depends on how far it came: begin anew there.
    store.compact()
    model.before.clear()
    store.close()
    return dead, said


def build(children: Children, folder: Path, rng: random.Random) -> bool:
    photos, bundle = str(folder.parent / "photos"), str(folder.parent / "bundle")
    Gallery.create(folder, model=bundle).close()
    reader = SqliteStore(folder)
    job: list[object] = ["build", str(folder), photos, bundle]
    dead, said = children.kill(job, rng)
    acknowledged = 4 * said
    there = reader.count()
    assert there % 4 == 0 and acknowledged <= there <= acknowledged + 4, (acknowledged, there)
    gallery = Gallery(folder, model=bundle)
    done = gallery.add(photos)
    assert (done.unchanged, done.embedded) == (there, IMAGES - there)
    assert verify(gallery.store) == [] and reader.count() == IMAGES
    assert gallery.add(photos).embedded == 0
    gallery.close()
    reader.close()
    return dead


def run(folder: Path, trials: int, seed: int) -> dict[str, object]:
    rng, faults, kills, operations = random.Random(seed), [], 0, 0
    children = Children()
    for trial in range(trials):
        place = folder / f"gallery {trial // 50}"
        if trial % 50 == 0:
            model, reader = Model(), SqliteStore.create(place, dim=DIM)
        try:
            if trial % 5 == 4:
                kills += build(children, folder / f"built {trial}", rng)
            else:
                dead, count = play(children, place, model, rng, reader)
                kills, operations = kills + dead, operations + count
        except Exception:
            faults.append(f"trial {trial}: {traceback.format_exc()}")
            break
    return {"trials": trial + 1, "kills": kills, "operations": operations, "faults": faults}


if __name__ == "__main__":
    found = run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps(found) + "\n")

"""The folder of one run: what lies in it, who may write there, and how a run is resumed.

recipe.yaml          resolved, every default written out
environment.json     versions, hardware, hashes of the lists, every start
metrics.jsonl        a line an epoch
tensorboard/         the same as an event file
checkpoints/         last (to resume from), previous (the one before), best (to use)
"""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from tinysight import __version__
from tinysight.bundle.folder import MANIFEST
from tinysight.config import Recipe, recipe_yaml
from tinysight.config.load import check_tree
from tinysight.disk import named, reserved, write_atomic
from tinysight.errors import CheckpointError, ConfigError, DataError
from tinysight.evaluation.outcomes import (
    ENVIRONMENT,
    EVALUATION,
    HELD,
    METRICS,
    OUTCOMES,
    RECIPE,
    WITHOUT_EFFECT,
)
from tinysight.files import read_yaml
from tinysight.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tinysight.training.events import append_events, check_record, write_events
from tinysight.validation import leaves, read_json, read_records

logger = logging.getLogger(__name__)

_SHOWN = 10
# Seconds for which the loader processes of a run that was killed may still hold its folder.
_PATIENCE = 10
_EPOCHS, _GO_ON = "train.epochs", "--resume resumes it, --force replaces it"
LOGGERS = "loggers.json"


class RunFolder:
    """Names of the files of a run in `path`; creating one touches nothing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / RECIPE
        self.environment = self.path / ENVIRONMENT
        self.metrics = self.path / METRICS
        self.events = self.path / "tensorboard" / "events.out.tfevents.0.tinysight"
        self.last = self.path / "checkpoints" / "last.safetensors"
        self.previous = self.path / "checkpoints" / "previous.safetensors"
        self.best = self.path / "checkpoints" / "best.safetensors"
        self._held = ExitStack()

    def close(self) -> None:
        """Let other processes train into the folder again."""
        self._held.close()

    def open(
        self, recipe: Recipe, resume: bool, notes: Mapping[str, Any] | None = None,
        check: Callable[[Checkpoint], None] = lambda found: None, force: bool = False,
    ) -> Checkpoint | None:  # fmt: skip
        """Make the folder, or with `resume` take up the run in it.

        Args:
            recipe: the resolved recipe.
            resume: whether the folder may hold a run of it, one that has a checkpoint; of a start that left none
                nothing is kept.
            notes: further entries of environment.json.
            check: raises an error if the run may not be taken up; nothing has been written then.
            force: delete the run in it, if there is one; other files stay.

        Returns:
            The checkpoint to resume from, None to begin.

        Raises:
            CheckpointError: the folder holds a run and `resume` is not set, the run in it is of
                another recipe, or a file of it is damaged.
        """
        if not resume:
            self.check_begin(force)
        if force:
            self._delete()
        checkpoint = None
        if self._existing():
            if self.recipe.is_file():
                self._same_run(recipe)
            checkpoint = self._newest()
        elif resume:
            logger.warning("%s: no run to resume, so this one begins", self.path)
        records, before = list[dict[str, Any]](), dict[str, Any]()
        if checkpoint:
            records, before = self._records(), self._environment()
            check(checkpoint)
            if (bundle := self.path / "bundle").exists():
                text = "%s is of the weights so far until `tinysight export --run %s --force`"
                logger.warning(text, bundle, self.path)
        step = checkpoint.state.step if checkpoint else 0
        self._hold()
        for part in self.last.parent.glob(".*.part"):  # of a write that was cut off
            part.unlink()
        write_atomic(self.recipe, recipe_yaml(recipe))
        # Others are written again.
        records = [record for record in records if record["step"] <= step]
        write_atomic(self.metrics, "".join(json.dumps(record) + "\n" for record in records))
        write_events(self.events, records)
        self._note_environment(before, step, notes or {})
        return checkpoint

    def check_begin(self, force: bool = False, resume: str = _GO_ON) -> None:
        """Refuse a folder that a new run may not take.

        Args:
            force: whether it may replace a run.
            resume: how to resume or replace the run, for the message.

        Raises:
            CheckpointError: it holds a run with a checkpoint, or, with `force`, one that is being trained.
        """
        if force:
            from tinysight.runs.records import is_running

            if is_running(self.path):
                hint = "wait for it, or choose another folder"
                raise CheckpointError(str(self.path), "another process trains this run", hint)
        elif found := self._existing():
            what, hint = f"already holds a run ({found})", f"{resume}, --out takes another folder"
            raise CheckpointError(str(self.path), what, hint)

    @contextmanager
    def preparing(self, resume: str, force: bool = False) -> Iterator[None]:
        """Keep other processes out while the block writes what a run begins with; as `check_begin`.

        Raises:
            CheckpointError: another process trains into the folder, or it is a file.
        """
        self.check_begin(force, resume)
        self._hold()
        try:
            yield
        finally:
            self.close()
            with suppress(OSError):  # of a block that has failed nothing is left
                self.path.rmdir()

    def _hold(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(str(self.path), "is a file", "name a folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._held.enter_context(reserved(self.path / HELD, wait=False))
            except DataError:
                if time.monotonic() >= until:
                    what = "another process is training into this folder"
                    hint = "wait for it, or choose another folder with --out"
                    raise CheckpointError(str(self.path), what, hint) from None
                time.sleep(0.2)
            else:
                return

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint to resume from; the one before stays as `previous`."""
        if self.last.is_file():
            self.last.replace(self.previous)  # killed here, the run resumes from `previous`
        save_checkpoint(self.last, checkpoint)

    def append(self, record: dict[str, Any]) -> None:
        """Add one line to the metrics."""
        with named(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        append_events(self.events, record)

    def note_end(self, state: str, reason: str = "") -> None:
        """Note how the start that is under way has ended: "finished", "interrupted" or "failed"."""
        found = self._environment()
        found["starts"][-1] |= {"state": state, "reason": reason}
        write_atomic(self.environment, json.dumps(found, indent=2) + "\n")

    def _delete(self) -> None:
        """Delete what a run leaves, its recipe last: a deletion that was cut off is still seen to be of a run."""
        bundle = self.path / "bundle"  # of the old weights
        own = bundle if (bundle / MANIFEST).is_file() else self.last.parent
        for part in (self.last.parent, self.events.parent, self.path / "wandb", own):
            shutil.rmtree(part, ignore_errors=True)
        for name in (EVALUATION, OUTCOMES, "report.html", LOGGERS, METRICS, ENVIRONMENT, RECIPE):
            (self.path / name).unlink(missing_ok=True)

    def _existing(self) -> str:
        """Name of a checkpoint; empty if there is none, so that nothing is lost when a run begins."""
        own = (self.last, self.previous, self.best)
        return next((p.name for p in own if p.exists()), "")

    def _same_run(self, recipe: Recipe) -> None:
        try:
            stored = read_yaml(self.recipe)
        except OSError as error:
            raise CheckpointError(str(self.recipe), f"cannot be read: {error.strerror}") from None
        if not isinstance(stored, dict):
            hint = "restore it, or choose another folder with --out"
            raise CheckpointError(str(self.recipe), "damaged: no recipe", hint)
        # With the fields that are new since then at their defaults.
        known, _ = check_tree(stored, str(self.recipe))
        there = dict(leaves(known.model_dump(mode="json") if known else stored))
        here = dict(leaves(recipe.model_dump(mode="json")))
        keys = [k for k in dict.fromkeys((*there, *here)) if there.get(k) != here.get(k)]
        keys = [key for key in keys if not WITHOUT_EFFECT.match(key)]
        if (was := there.get(_EPOCHS)) and here[_EPOCHS] > was:
            keys = [key for key in keys if key != _EPOCHS]
        if keys:
            shown = [f"{k}: {there.get(k)!r} there, {here.get(k)!r} here" for k in keys[:_SHOWN]]
            more = [f"and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
            what = "holds a run of another recipe: " + "; ".join([*shown, *more])
            hint = "resume with its recipe, or choose another folder with --out"
            raise CheckpointError(str(self.path), what, hint)

    def _newest(self) -> Checkpoint | None:
        if not self.last.is_file():
            return load_checkpoint(self.previous) if self.previous.is_file() else None
        try:
            return load_checkpoint(self.last)
        except CheckpointError as error:
            hint = "delete it, and --resume begins again"
            if self.previous.is_file():
                hint = f"delete it, and --resume continues from {self.previous.name}"
            raise CheckpointError(str(self.last), error.problems[0].what, hint) from None

    def _records(self) -> list[dict[str, Any]]:
        """The lines of the metrics; one that was cut off at the end is left out."""
        if not self.metrics.exists():
            return []
        records = read_records(self.metrics)
        for number, record in enumerate(records, 1):
            try:
                check_record(record)
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError, struct.error):
                hint = "delete this line, and --resume continues"
                where = f"{self.metrics}:{number}"
                raise CheckpointError(where, "damaged: no line of a run", hint) from None
        return records

    def _environment(self) -> dict[str, Any]:
        """What is noted already."""
        if not self.environment.exists():
            return {}
        hint = "delete it, and --resume continues"
        before = read_json(self.environment, dict, hint)
        if not isinstance(before.get("starts", []), list):
            raise CheckpointError(str(self.environment), "damaged: its starts are no list", hint)
        return before

    def _note_environment(
        self, before: Mapping[str, Any], step: int, notes: Mapping[str, Any]
    ) -> None:
        now = environment()
        if changed := [k for k in now if before and before.get(k) != now[k]]:
            found = ", ".join(f"{k}: {before.get(k)} then, {now[k]} now" for k in changed)
            text = "resumed elsewhere (%s), so the result may differ in the last bits"
            logger.warning(text, found)
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        starts = [*before.get("starts", []), {"time": time, "step": step}]
        tree = {**now, **notes, "starts": starts}
        write_atomic(self.environment, json.dumps(tree, indent=2) + "\n")


def seed_runs(recipe: Recipe, out: Path, count: int) -> dict[Path, Recipe]:
    """Run folders in `out`, each with the recipe under another seed, from the recipe's own on.

    Raises:
        ConfigError: `count` is below 2, or this is one of several processes.
    """
    if count < 2:
        raise ConfigError("--seeds", f"a spread takes at least 2 seeds, got {count}")
    if "WORLD_SIZE" in os.environ:
        hint = "start one run for each seed: -o train.seed=1"
        raise ConfigError("--seeds", "not among the processes of torchrun", hint)
    first, train = recipe.train.seed, recipe.train
    seeds = {n: train.model_copy(update={"seed": n}) for n in range(first, first + count)}
    return {out / f"seed_{n}": recipe.model_copy(update={"train": t}) for n, t in seeds.items()}


def environment() -> dict[str, Any]:
    """Versions and hardware that the last bits of a result depend on."""
    cuda = torch.cuda.is_available()
    return {
        "tinysight": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
    }

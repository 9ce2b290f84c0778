"""Trainings as processes of their own: started, watched, resumed after a kill, and remembered in a journal.

The study is Optuna's, in a journal file of its folder, or in a database for several machines. Whoever trains holds a
lock on the training, which the system releases when the process dies: what nobody holds and is not finished is taken
up again where its last checkpoint stands.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple

from tinysight.concurrency import usable_cores
from tinysight.config import load_run
from tinysight.errors import ConfigError, DataError, MissingDependency
from tinysight.files import lock_file, sha256
from tinysight.search.plan import SearchPlan, Training
from tinysight.search.shas import Scores

logger = logging.getLogger(__name__)

JOURNAL = "study.journal"
_POLL = 0.3  # seconds
Watch = Callable[[int, float], bool]  # epoch and score; True ends the training


class TrainingResult(NamedTuple):
    """What became of a training: its score, or why there is none; seconds it took; scores by epoch; its run folder."""

    score: float | None
    error: str
    seconds: float
    curve: tuple[tuple[int, float], ...]
    folder: str


class Runner:
    """Runs the trainings of a plan, each once.

    Args:
        plan: the search.
        storage: address of a database that several machines share; default: a journal file in the plan's folder.
        jobs: trainings at the same time.
        deadline: clock (`time.monotonic`) after which none begins.
        trials: trainings that may begin.

    Raises:
        MissingDependency: Optuna is not installed.
    """

    def __init__(
        self, plan: SearchPlan, storage: str | None = None, jobs: int = 1,
        deadline: float | None = None, trials: int | None = None,
    ) -> None:  # fmt: skip
        try:
            import optuna
        except ImportError as error:
            raise MissingDependency("optuna", "search", "tinysight search") from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.jobs, self.optuna = plan, jobs, optuna
        self._deadline, self._left, self._ending = deadline, trials, False
        self._budget = Lock()
        folder = Path(plan.out)
        for part in ("locks", "logs"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        if storage is None:
            from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

            path = str(folder / JOURNAL)
            backend = JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
            self.storage: Any = optuna.storages.JournalStorage(backend)
        else:
            self.storage = storage
        self.results: dict[Training, TrainingResult] = {}
        self._before = len(self.study("trainings").get_trials(deepcopy=False))

    def study(self, name: str, **options: Any) -> Any:
        """The study `name` of the storage, which is made if it is new."""
        about = {"storage": self.storage, "study_name": name, "direction": "maximize"}
        return self.optuna.create_study(**about, load_if_exists=True, **options)

    @contextmanager
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads for trainings, which end with the block: also at a signal, which the main thread alone hears."""
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                yield pool
            except BaseException:
                self._ending = True
                raise

    def run_all(self, trainings: Sequence[Training]) -> Scores:
        """The scores of trainings; equal ones are trained once, those of an earlier start not again.

        Raises:
            BudgetSpent: no more may begin.
        """
        wanted = list(dict.fromkeys(trainings))
        with self.pool() as pool:
            found = dict(zip(wanted, pool.map(self._one, wanted), strict=True))
        self.results |= {t: r for t, r in found.items() if r is not None}
        if any(r is None for r in found.values()):
            raise BudgetSpent
        return {t: self.results[t].score for t in wanted}

    def _one(self, training: Training) -> TrainingResult | None:
        """Train, or wait for whoever does; None where no more may begin."""
        while True:
            with held(Path(self.plan.out), training) as lock:
                if (found := self._known().get(key_of(training))) is not None:
                    return found
                if lock is not None:
                    if not self.may_begin():
                        return None
                    result = self.train(training, lock)
                    self._record(training, result)
                    say(training, result)
                    return result
            time.sleep(_POLL)

    def may_begin(self) -> bool:
        """Whether the budget has room for one more training; it is taken."""
        late = self._ending or (self._deadline is not None and time.monotonic() > self._deadline)
        with self._budget:
            if late or (self._left is not None and self._left <= 0):
                return False
            if self._left is not None:
                self._left -= 1
        return True

    def train(
        self, training: Training, lock: IO[str] | None = None, watch: Watch | None = None
    ) -> TrainingResult:
        """Train in a process of its own, or go on from its last checkpoint.

        Args:
            training: which.
            lock: its lock, which the process holds too: where the search alone is killed, it ends its work undisturbed.
            watch: called with each epoch and its score; may end the training.
        """
        started = time.monotonic()
        words = [sys.executable, "-m", "tinysight", "train", "-c", training.config]
        overrides, key = list(training.overrides), self.plan.output_key
        if key:
            overrides.append(f"{key}={training.folder}")
        try:
            config = load_run(training.config, overrides)
        except ConfigError as wrong:
            return TrainingResult(None, " ".join(str(wrong).split()), 0.0, (), training.folder)
        folder = config.run_folder if key else Path(training.folder)
        words += [] if key else ["--out", training.folder]
        words += ["-o", *overrides] if overrides else []
        if (folder / "recipe.yaml").is_file():
            words.append("--resume")
        log = Path(self.plan.out) / "logs" / f"{key_of(training)[:12]}.log"
        threads = str(max(1, usable_cores() // self.jobs))
        with log.open("ab") as stream:
            process = subprocess.Popen(
                words, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                pass_fds=[lock.fileno()] if lock and os.name == "posix" else (),
                env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)},
            )  # fmt: skip
            try:
                pruned = self._watched(process, folder, watch)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        curve = read_curve(folder)
        error = ""
        if pruned:
            error = "pruned"
        elif process.returncode not in (0, 1) or not curve:  # 1: some images could not be read
            said = log.read_text("utf-8", "replace").rpartition("error: ")[2].split()
            error = " ".join(said[-60:]) or f"ended with {process.returncode}"
        score = None if error else max(value for _, value in curve)
        return TrainingResult(score, error, time.monotonic() - started, curve, str(folder))

    def _watched(self, process: subprocess.Popen[bytes], folder: Path, watch: Watch | None) -> bool:
        """Wait for the process; True if the watcher has ended it. `BudgetSpent` if the search ends."""
        seen = 0
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL)
            if self._ending:
                raise BudgetSpent
            if watch is not None:
                curve = read_curve(folder)
                for epoch, value in curve[seen:]:
                    if watch(epoch, value) and process.poll() is None:
                        return True
                seen = len(curve)
            if process.poll() is not None:
                return False

    def _known(self) -> dict[str, TrainingResult]:
        """Finished trainings of the journal by key; those that failed before this start are tried again."""
        found = {}
        for trial in self.study("trainings").get_trials(deepcopy=False):
            key, old = trial.user_attrs.get("key"), trial.number < self._before
            if key and trial.state.is_finished() and not (old and trial.value is None):
                found[key] = read_result(trial)
        return found

    def _record(self, training: Training, result: TrainingResult) -> None:
        study = self.study("trainings")
        trial = study.ask()
        for name, value in (("key", key_of(training)), ("training", training), ("result", result)):
            trial.set_user_attr(name, value)
        if result.score is None:
            study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, result.score)


def read_result(trial: Any) -> TrainingResult:
    """What a trial of a study says of its training."""
    score, error, seconds, curve, folder = trial.user_attrs["result"]
    pairs = tuple((int(epoch), float(value)) for epoch, value in curve)
    return TrainingResult(score, error, seconds, pairs, folder)


class BudgetSpent(Exception):
    """The trials or hours of a search are used up, or it was told to end."""


def key_of(training: Training) -> str:
    """What tells trainings apart."""
    return sha256(json.dumps(training[:3]).encode())


@contextmanager
def held(folder: Path, training: Training) -> Iterator[IO[str] | None]:
    """The lock of a training, None where another process has it; the system lets go when all who hold it have died."""
    path = folder / "locks" / key_of(training)[:16]
    with path.open("a", encoding="utf-8") as file:
        try:
            lock_file(file, str(path))
        except DataError:
            yield None
            return
        yield file


def read_curve(folder: Path) -> tuple[tuple[int, float], ...]:
    """Epochs of a run and the first metric of each."""
    path, found = folder / "metrics.jsonl", []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # being written
            continue
        if record.get("metrics"):
            found.append((int(record["epoch"]), float(next(iter(record["metrics"].values())))))
    return tuple(found)


def say(training: Training, result: TrainingResult) -> None:
    """A line for each training that has ended."""
    score = f"{result.score:.5f}" if result.score is not None else result.error
    logger.info("%-40s %s  (%.0f s)", training.label, score, result.seconds)

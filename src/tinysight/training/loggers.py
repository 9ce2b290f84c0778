"""The curves of a run in MLflow and in Weights & Biases, as callbacks. Both are configured by their own variables.

A logger that cannot begin is an error before the first step; one that fails later is named, left out, and the training
goes on. A resumed run goes on in the same entry, whose id lies in `loggers.json` of the run folder.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tinysight.config import Recipe
from tinysight.disk import write_atomic
from tinysight.errors import ConfigError, MissingDependency
from tinysight.training.callbacks import Callback
from tinysight.training.events import scalars
from tinysight.training.folder import LOGGERS
from tinysight.validation import leaves, read_json

if TYPE_CHECKING:
    from tinysight.training.run import Run

logger = logging.getLogger(__name__)

# Neither tells its makers about its use, unless the user's own variables say so.
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
_LONGEST = 500  # characters of a parameter in MLflow


class MlflowLogger(Callback):
    """To MLflow, where MLFLOW_TRACKING_URI says, in the experiment of MLFLOW_EXPERIMENT_NAME or the task's."""

    name: ClassVar[str] = "mlflow"
    _module: Any = None  # while the entry is open

    def on_begin(self, run: Run) -> None:
        """Open the entry that the run folder names, or a new one, and note its id.

        Raises:
            MissingDependency: the package is not installed.
            ConfigError: it does not begin.
        """
        path = run.folder.path / LOGGERS
        ids = read_json(path, dict) if path.is_file() else {}
        for variable, value in _QUIET.items():
            os.environ.setdefault(variable, value)
        try:
            self._module = importlib.import_module(self.name)
            ids[self.name] = self._open(run, ids.get(self.name))
        except ModuleNotFoundError as error:
            raise MissingDependency(self.name, self.name, "train.loggers") from error
        except Exception as error:
            self._module = None
            raise ConfigError(
                "train.loggers", f"{self.name} cannot begin: {_line(error)}"
            ) from error
        write_atomic(path, json.dumps(ids) + "\n")

    def on_epoch(self, run: Run, record: Mapping[str, Any]) -> None:
        """Send the epoch's values."""
        values = {re.sub(r"[^\w\-. /]", "_at_", k): v for k, v in scalars(record)}  # recall@1
        self._tried(lambda: self._log(values, int(record["step"])))

    def on_end(self, run: Run) -> None:
        """Close the entry: as failed, if there are steps left and nobody has asked to leave them."""
        left = run.state.step < run.recipe.train.epochs * run.steps_per_epoch
        self._tried(lambda: self._close(left and not run.state.stopped and not run.stop_reason))
        self._module = None

    def _open(self, run: Run, known: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", run.recipe.task)
        self._module.set_experiment(name)
        about = self._module.start_run(known, run_name=None if known else str(run.folder.path))
        given = leaves(run.recipe.model_dump(mode="json")) if known is None else ()
        self._module.log_params({key: str(value)[:_LONGEST] for key, value in given})
        return str(about.info.run_id)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        self._module.log_metrics(dict(values), step=step)

    def _close(self, failed: bool) -> None:
        self._module.end_run("FAILED" if failed else "FINISHED")

    def _tried(self, send: Callable[[], None]) -> None:
        try:
            send() if self._module else None
        except Exception as error:
            self._module = None
            logger.warning("%s fails; the training goes on without it: %s", self.name, _line(error))


class WandbLogger(MlflowLogger):
    """To Weights & Biases, in the project of WANDB_PROJECT or the task's; WANDB_MODE=offline needs no account."""

    name = "wandb"

    def _open(self, run: Run, known: str | None) -> str:
        self._run = self._module.init(
            project=os.environ.get("WANDB_PROJECT", run.recipe.task), name=str(run.folder.path), id=known,
            dir=str(run.folder.path), config=run.recipe.model_dump(mode="json"), resume="allow",
        )  # fmt: skip
        return str(self._run.id)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def _close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]


def loggers_of(recipe: Recipe) -> list[Callback]:
    """The callbacks that `train.loggers` names."""
    known = {kind.name: kind for kind in (MlflowLogger, WandbLogger)}
    return [known[name]() for name in dict.fromkeys(recipe.train.loggers)]

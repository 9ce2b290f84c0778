"""What other frameworks' files mean here: the only way from the core to `compat`, and what comes back.

The core asks two things: *read this file*, *find the model of this name*. What answers is named here and imported at
the first question, so that a native run imports nothing of `compat`.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from tinysight.config import Recipe
    from tinysight.fetch import Artifact
    from tinysight.fetch.download import Report
    from tinysight.graph.onnx_file import OnnxModel

_HOME = "tinysight.compat.paddle"
_SECTIONS = re.compile(
    rb"^(?:Global|Arch|DataLoader|Loss|Optimizer|Metric|Infer|PreProcess|DetPreProcess|RecPreProcess|IndexProcess"
    rb"|base_config_file|distill_config_file|search_dict|ARCHITECTURE|LEARNING_RATE|TRAIN|VALID"
    rb"|_BASE_|architecture|PicoDet|TrainDataset|TrainReader)\s*:",
    re.MULTILINE,
)
_SYSTEMS = re.compile(rb"^(?:DetPreProcess|RecPreProcess|IndexProcess)\s*:", re.MULTILINE)


class LabelSource(NamedTuple):
    """The images that `tinysight infer` labels.

    Attributes:
        images: file, folder or pattern; with `listed` the folder that its paths are relative to. None: not set.
        listed: list file of the images.
        batch_size: images per batch, >= 1.
        save_dir: file that the results are also written to, as JSON.
    """

    images: str | None = None
    listed: str | None = None
    batch_size: int = 1
    save_dir: str | None = None


class TrainableProgram(NamedTuple):
    """A program whose weights are not part of its graph.

    Attributes:
        graph: its first input takes the images, (N, C, H, W); each other is a weight.
        weights: arrays by their names in the program.
    """

    graph: OnnxModel
    weights: Mapping[str, np.ndarray]


class RunConfig:
    """What a recipe of ours says; the reader of a foreign configuration returns a subclass that says more.

    Attributes:
        foreign: True if the file is a configuration of another framework.
        recipe: the run.
        notes: what the user should know about a foreign file, one line each.
    """

    foreign: ClassVar[bool] = False

    def __init__(self, recipe: Recipe, notes: tuple[str, ...] = ()) -> None:
        self.recipe = recipe
        self.notes = notes

    @property
    def run_folder(self) -> Path:
        """Where a run of it lies, unless the command says otherwise."""
        return Path("runs") / self.recipe.task

    @property
    def resumed_run(self) -> Path | None:
        """The run folder that training resumes; None: a new run."""
        return None

    @property
    def initial_weights(self) -> Path | str | None:
        """The weights that training begins with in place of the recipe's own."""
        return None

    @property
    def training_recipe(self) -> Recipe:
        """The recipe that training takes."""
        return self.recipe

    @property
    def trained_weights(self) -> Path | str | None:
        """The weights that are evaluated and exported; None: the published ones of the recipe."""
        return None

    @property
    def bundle_folder(self) -> Path:
        """Where an export goes, unless the command says otherwise."""
        return self.run_folder / "bundle"

    @property
    def label_source(self) -> LabelSource:
        """The images that `infer` labels."""
        return LabelSource()

    @property
    def device(self) -> str | None:
        """`cpu` or `gpu` where the file chooses one."""
        return None

    def training_notes(self, processes: int) -> list[str]:
        """What the user should know about a training run on so many processes."""
        return []


def is_foreign(path: Path) -> bool:
    """Whether a YAML file is written in another framework's language: one of its sections stands at the margin."""
    return bool(_SECTIONS.search(path.read_bytes()))


def read_config(path: Path, overrides: Sequence[str]) -> RunConfig:
    """The configuration at `path` as a recipe and what a command needs besides it."""
    return cast("RunConfig", _answer("dialect", "read_config")(path, overrides))


def read_search(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a search at `path` as plain data of ours."""
    return cast("dict[str, Any]", _answer("dialect.search", "read_search")(path, overrides))


def find_artifact(name: str, kind: str | None, where: str) -> Artifact:
    """The published file of that name."""
    return cast("Artifact", _answer("catalog", "find")(name, kind, where))


def find_weights(backbone: str, which: bool | str, where: str) -> Artifact:
    """The published weights of a network."""
    return cast("Artifact", _answer("catalog", "pretrained")(backbone, which, where))


def read_state(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a weight file by the names of its entries."""
    return cast("dict[str, np.ndarray]", _answer("pdparams", "read_paddle_state")(path))


def find_bundle(name: str, report: Report | None) -> Path:
    """The folder of the bundle that a public model became; fetched and translated if it is not in the cache."""
    return cast("Path", _answer("named_bundle", "fetched_bundle")(name, report=report))


def translate_program(source: Path, out: Path) -> None:
    """Write the bundle that an exported program becomes, with the usual transforms, to `out`."""
    _answer("bundle", "import_paddle")(source, out)


def is_system(source: str) -> bool:
    """Whether a file is a configuration of a recognition system, or of a part of one."""
    path = Path(source)
    return path.is_file() and bool(_SYSTEMS.search(path.read_bytes()))


def evaluate_system(source: str, overrides: Sequence[str]) -> list[str] | None:
    """The lines of an evaluation of a whole recognition system; None where `source` is another configuration."""
    if not is_system(source):
        return None
    return cast("list[str]", _answer("shitu", "evaluate")(source, overrides))


def import_index(source: Path, target: Path) -> Any:
    """The gallery in `target` of an index folder of another program."""
    return _answer("shitu_index", "import_index")(source, target)


def foreign_routes(names: str) -> tuple[Callable[[Any], tuple[Any, ...]], ...]:
    """What makes the routes of other servers' protocols, by their names with commas between."""
    return cast(
        "tuple[Callable[[Any], tuple[Any, ...]], ...]", _answer("envelopes", "compat_routes")(names)
    )


def read_program(name: str) -> TrainableProgram:
    """An exported program by its folder or public name, as a graph with its weights beside it."""
    return cast("TrainableProgram", _answer("named_bundle", "trainable_program")(name))


def _answer(module: str, function: str) -> Callable[..., object]:
    return cast("Callable[..., object]", getattr(import_module(f"{_HOME}.{module}"), function))

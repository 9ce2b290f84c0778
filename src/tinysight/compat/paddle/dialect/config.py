"""A training configuration of PaddleClas as a run: the recipe, and where its weights, runs and bundles lie.

Newer versions of PaddleClas write `output/best_model.pdparams`, older ones and its documents
`output/<network>/best_model.pdparams`; a name is given without the ending. Our run folder is `output/<network>`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from tinysight.compat.paddle.dialect.translate import Translation, translate
from tinysight.compat.paddle.dialect.tree import to_source_paths
from tinysight.config.load import check_tree
from tinysight.config.schema import Recipe
from tinysight.errors import CheckpointError, ConfigError
from tinysight.foreign import LabelSource, RunConfig

logger = logging.getLogger(__name__)

_CHECKPOINTS = {
    "best_model": "best.safetensors", "latest": "last.safetensors",
    "best_model_student": "best.safetensors",  # of a run with teachers the best is the student alone
}  # fmt: skip
_SUFFIX = ".pdparams"
_DEVICES = {"adamw": 8}  # that the published learning rates are for, by optimiser; the others 4


def read_config(path: Path, overrides: Sequence[str] = ()) -> PaddleConfig:
    """The configuration at `path`; logs its notes.

    Raises:
        ConfigError: with every problem found, each under the place in the configuration.
    """
    found = translate(path, overrides)
    recipe, problems = check_tree(found.tree)
    if recipe is None:
        raise ConfigError.of(str(path), [to_source_paths(p, found.tree) for p in problems])
    for note in found.notes:
        logger.warning("%s: %s", path, note)
    return PaddleConfig(recipe, found, overrides)


class PaddleConfig(RunConfig):
    """A configuration, with `Global.pretrained_model` and its like resolved when they are asked for."""

    foreign = True

    def __init__(self, recipe: Recipe, translation: Translation, overrides: Sequence[str]) -> None:
        super().__init__(recipe, translation.notes)
        self.run = translation.run
        self._label_source = translation.label_source
        self._own_rate = any(text.startswith("Optimizer.lr.") for text in overrides)

    @property
    def run_folder(self) -> Path:
        """`output/<network>`."""
        folder = Path(self.run.output_dir)
        return folder if folder.name == self.run.network else folder / self.run.network

    @property
    def resumed_run(self) -> Path | None:
        """The run folder of `Global.checkpoints`.

        Raises:
            CheckpointError: there is none, or it holds another framework's state.
        """
        name, where = self.run.checkpoints, "Global.checkpoints"
        if name is None:
            return None
        path = Path(name).with_name("latest")  # of an epoch that is named we keep the last one
        try:
            found = Path(self._find(str(path), where))
        except CheckpointError as error:
            raise CheckpointError(name, error.problems[0].what, error.problems[0].hint) from None
        if found.suffix == _SUFFIX:
            what = f"{where}: holds the state of another framework's optimiser"
            raise CheckpointError(str(found), what, "Global.pretrained_model takes its weights")
        return found.parent.parent

    @property
    def initial_weights(self) -> Path | str | None:
        """`Global.pretrained_model`, else a file or address in `Arch.pretrained`."""
        wanted = self.recipe.model.pretrained
        if self._named_weights or not isinstance(wanted, str) or wanted in ("ssld", "ssld_stage1"):
            return self._named_weights
        return self._find(wanted, "Arch.pretrained")

    @property
    def training_recipe(self) -> Recipe:
        """The recipe with the weights of its teachers found."""
        found = {}
        for name, teacher in self.recipe.teachers.items():
            wanted, published = teacher.pretrained, ("ssld", "ssld_stage1")
            if isinstance(wanted, str) and wanted not in published:
                wanted = str(self._find(wanted, f"Arch.models ({name}).pretrained"))
                teacher = teacher.model_copy(update={"pretrained": wanted})
            found[name] = teacher
        return self.recipe.model_copy(update={"teachers": found})

    @property
    def trained_weights(self) -> Path | str | None:
        """`Global.pretrained_model`, else the best of the run that lies in the run folder."""
        best = self.run_folder / "checkpoints" / _CHECKPOINTS["best_model"]
        if self._named_weights is None and best.is_file():
            logger.warning("Global.pretrained_model: not set, so it is %s", best)
            return best
        return self._named_weights

    @property
    def bundle_folder(self) -> Path:
        """`Global.save_inference_dir`."""
        return Path(self.run.save_inference_dir)

    @property
    def label_source(self) -> LabelSource:
        """The section `Infer`."""
        return self._label_source

    @property
    def device(self) -> str | None:
        """`Global.device`."""
        return self.run.device

    def training_notes(self, processes: int) -> list[str]:
        """That a published learning rate is for several devices, unless the user has set another one."""
        train = self.recipe.train
        published = _DEVICES.get(train.optimizer.name, 4)
        rate = f"Optimizer.lr.learning_rate: {train.lr:g} is used as it is"
        note = f"{rate}; published rates are for {published} cards, here is {processes}"
        return [] if self._own_rate or processes == published else [note]

    @property
    def _named_weights(self) -> Path | str | None:
        name = self.run.pretrained_model
        return None if name is None else self._find(name, "Global.pretrained_model")

    def _find(self, name: str, where: str) -> Path | str:
        """What the name of weights means: a file, or an address.

        Args:
            name: `output/best_model`, `output/<network>/best_model`, with or without `.pdparams`, a run folder, any
                weight file, an https address, or the name of published weights.
            where: the key that holds it, for messages.

        Raises:
            CheckpointError: there is nothing; says where it was looked for.
        """
        if "://" in name:
            return name
        looked = list(dict.fromkeys(self._places(name)))
        if found := [path for path in looked if path.is_file()]:
            return found[0]
        if Path(name).name == name and not Path(name).suffix:
            return name  # published weights, perhaps
        best = self.run_folder / "checkpoints" / _CHECKPOINTS["best_model"]
        hint = f"there is {self.run_folder / 'best_model'}" if best.is_file() else "train first"
        what = f"{where}: no such weights; looked for {', '.join(map(str, looked))}"
        raise CheckpointError(name, what, hint)

    def _places(self, name: str) -> Iterator[Path]:
        plain = Path(name.removesuffix(_SUFFIX))
        yield Path(name)
        yield plain
        yield plain.with_name(plain.name + _SUFFIX)
        yield plain / f"model{_SUFFIX}"
        yield plain / "checkpoints" / _CHECKPOINTS["best_model"]  # a run folder itself
        if ours := _CHECKPOINTS.get(plain.name):
            folder, network = plain.parent, self.run.network
            more = [folder.parent] if folder.name == network else []
            for place in (folder, folder / network, *more):
                yield place / "checkpoints" / ours

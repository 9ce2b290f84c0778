"""A recipe and what a command needs besides: folders, weights, images."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

from tinysight.config.schema import Recipe


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

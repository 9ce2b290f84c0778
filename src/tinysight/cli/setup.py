"""What `-c X.yaml -o KEY=VALUE` means for a verb: a recipe, and what a PaddleClas configuration says besides."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.config import Recipe, Translation

logger = logging.getLogger(__name__)


class Setup(NamedTuple):
    """A recipe; `translation` if it was written in PaddleClas' language."""

    recipe: Recipe
    translation: Translation | None = None

    @property
    def run_folder(self) -> Path:
        """Where a run of it lies, unless the command says otherwise."""
        if self.translation is None:
            return Path("runs") / self.recipe.task
        from tinysight.compat.paddle.dialect import run_folder

        return run_folder(self.translation.run)

    @property
    def weights(self) -> Path | str | None:
        """What `Global.pretrained_model` means; None where it is not set."""
        if self.translation is None or self.translation.run.pretrained_model is None:
            return None
        from tinysight.compat.paddle.dialect import find_weights

        return find_weights(self.translation.run.pretrained_model, self.translation.run)

    @property
    def beginning(self) -> Path | str | None:
        """The weights that a training begins with, where they are not published ones."""
        wanted = self.recipe.model.pretrained
        if self.translation is None or self.weights is not None:
            return self.weights
        if not isinstance(wanted, str) or wanted in ("ssld", "ssld_stage1"):
            return None
        from tinysight.compat.paddle.dialect import find_weights

        return find_weights(wanted, self.translation.run, "Arch.pretrained")

    @property
    def trained(self) -> Path | str | None:
        """`weights`, else the best of the run that lies in the run folder; None: the published ones."""
        best = self.run_folder / "checkpoints" / "best.safetensors"
        if self.weights is None and best.is_file():
            logger.warning("Global.pretrained_model: not set, so it is %s", best)
            return best
        return self.weights


def read_setup(args: argparse.Namespace) -> Setup:
    """The recipe of `args`; sets the device that a PaddleClas configuration asks for."""
    from tinysight.config import find_recipe, is_paddleclas, load_recipe, translated

    path = find_recipe(args.recipe)
    if not is_paddleclas(path):
        return Setup(load_recipe(args.recipe, args.override))
    recipe, translation = translated(path, args.override)
    if translation.run.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    return Setup(recipe, translation)


def require_paddleclas_config(args: argparse.Namespace, other: str) -> Setup:
    """The setup of a verb that takes a PaddleClas configuration in place of `other`.

    Raises:
        ConfigError: there is no configuration, or it is a recipe of ours.
    """
    if not args.recipe:
        raise ConfigError(other, "is missing", "or give a PaddleClas configuration with -c")
    setup = read_setup(args)
    if setup.translation is None:
        raise ConfigError(other, "is missing", f"{args.recipe} is a recipe, which names no weights")
    return setup


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show what the package logs, for as long as this command runs."""
    package = logging.getLogger("tinysight")
    handler = logging.StreamHandler(sys.stderr)
    before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)

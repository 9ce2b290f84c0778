"""What `-c FILE -o KEY=VALUE` means for a verb, and where its log goes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinysight.errors import ConfigError

if TYPE_CHECKING:
    from tinysight.config import RunConfig


def read_config(args: argparse.Namespace) -> RunConfig:
    """The recipe of `args`; hides the GPUs if its file chooses the CPU."""
    from tinysight.config import load_run

    config = load_run(args.recipe, args.override)
    if config.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks
    return config


def read_foreign_config(args: argparse.Namespace, other: str) -> RunConfig:
    """The configuration of a verb that takes a PaddleClas configuration in place of `other`.

    Raises:
        ConfigError: there is no configuration, or it is a recipe of ours.
    """
    if not args.recipe:
        raise ConfigError(other, "is missing", "or give a PaddleClas configuration with -c")
    config = read_config(args)
    if not config.foreign:
        raise ConfigError(other, "is missing", f"{args.recipe} is a recipe, which names no weights")
    return config


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

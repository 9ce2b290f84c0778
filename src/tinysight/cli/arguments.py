"""Arguments that several verbs share, what `-c FILE -o KEY=VALUE` means for a verb, and where its log goes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tinysight.errors import NO_KEYS, ConfigError

if TYPE_CHECKING:
    from tinysight.foreign import RunConfig


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one message like any other's, with the option or recipe key that may be meant."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse prints."""
        words = message.partition("unrecognized arguments: ")[2].split()
        unknown = next((word for word in words if word.startswith("-")), "")
        hint = self._hint(unknown, words) if unknown else f"`{self.prog} --help` explains it"
        raise ConfigError(self.prog, message, hint)

    def options(self) -> set[str]:
        """Every option of this parser and of those below it."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(*(below.options() for below in action.choices.values()))
        return found

    def _hint(self, unknown: str, words: Sequence[str]) -> str:
        from difflib import get_close_matches

        name, equals, value = unknown.lstrip("-").partition("=")
        key = name.replace("-", "_").lower()
        options = self.options()
        if key in NO_KEYS:
            return NO_KEYS[key]
        known = _recipe_keys() if "--recipe" in options else {}
        near = get_close_matches(f"--{name}".lower(), sorted(options), n=1)
        if key not in known and near:
            return f"did you mean {near[0]!r}?"
        if found := get_close_matches(key, known, n=1):
            after = words[words.index(unknown) + 1 :][:1]
            value = value if equals else after[0] if after and after[0][:1] != "-" else "..."
            return f"did you mean -o {known[found[0]]}={value}?"
        return f"`{self.prog} --help` lists the options"


def _recipe_keys() -> dict[str, str]:
    """The numbers and words that a recipe's main sections take, by the last part of their names."""
    from tinysight.config.schema import Data, Export, Model, RecipeSection, Train

    sections: dict[str, type[RecipeSection]]
    sections = {"export": Export, "model": Model, "data": Data, "train": Train}
    return {key: f"{name}.{key}" for name, of in sections.items() for key in of.model_fields}


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as it was written, 100 columns wide; asking for the terminal's width imports `shutil`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


_RECIPE = "a shipped recipe's name, a recipe file, or a PaddleClas configuration"


def add_recipe(parser: argparse.ArgumentParser, *, required: bool, text: str = _RECIPE) -> None:
    """`-c RECIPE` and `-o KEY=VALUE`; `--config` is PaddleClas' spelling."""
    names = ("-c", "--recipe", "--config")
    parser.add_argument(*names, required=required, metavar="RECIPE", help=text)
    add_override(parser)
    add_plugin(parser)


def add_override(parser: argparse.ArgumentParser) -> None:
    """`-o KEY=VALUE ...`; may be repeated."""
    add = parser.add_argument
    text = "change a value, such as train.epochs=5 or transforms.train.0.size=96"
    add("-o", "--override", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """`--plugin FILE.py`; may be repeated. The command line loads them before the verb runs."""
    add = parser.add_argument
    text = "Python file that registers your own components; may be repeated"
    add("--plugin", action="append", default=[], metavar="FILE.py", help=text)


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
    import logging  # a prediction does without

    package, handler = logging.getLogger("tinysight"), logging.StreamHandler(sys.stderr)
    before = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before)


@contextmanager
def naming_how_to_go_on(folder: Path, forced: bool = False) -> Iterator[None]:
    """Say, where Ctrl-C ends the block, what goes on with the run in `folder`; `forced`: it began with --force."""
    try:
        yield
    except KeyboardInterrupt:
        import logging

        kept = any(folder.glob("checkpoints/*.safetensors"))
        option = "--resume in place of --force" if forced else "--resume"
        how = f"with {option} goes on from its last checkpoint" if kept else "begins anew"
        logging.getLogger(__name__).info("\n%s: the same command %s", folder, how)
        raise


def add_engine(parser: argparse.ArgumentParser) -> None:
    """`--engine`, `--precision` and `--exact`: how a bundle is run."""
    add = parser.add_argument
    engines = "onnxruntime (default), openvino, or a variant of the bundle, such as ncnn"
    add("--engine", default="onnxruntime", metavar="NAME", help=engines)
    add("--precision", default="f32", metavar="P", help="for openvino: f32 (default), bf16, f16")
    add("--exact", action="store_true", help="disable reduced decoding")


def add_data_options(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """What is chosen for which images: shared with `tinysight train`."""
    add = parser.add_argument
    add(name, metavar="DATA", help=text)
    add("--minutes", type=float, metavar="M", help="time at hand for training (10)")
    budget = "longest time of the network for one image, on one thread here"
    add("--budget-ms", type=float, metavar="MS", help=budget)


def print_broken(broken: Sequence[tuple[str, str]]) -> None:
    """Name the images that are left out."""
    if broken:
        print(f"unreadable {len(broken)} images, left out:")
        print(*(f"  {path}: {reason}" for path, reason in broken), sep="\n")

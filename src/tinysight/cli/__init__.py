"""The command line: one file per verb; parse, call, render; no logic.

argparse, and one verb imported per call: `tinysight predict` on one image is timed as a whole process, and the start
of a larger command-line framework would cost as much as decoding and classifying the image.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from tinysight.errors import ConfigError, TinysightError, UnknownName, missing_dependency

VERBS = {
    "predict": "label images with a bundle",
    "train": "train a recipe",
    "eval": "evaluate a run or a bundle on labelled images",
    "infer": "label images with the weights of a PaddleClas configuration",
    "export": "make a bundle of a run",
    "bench": "time a bundle on this machine",
    "verify": "check that a bundle gives the results of the validated network",
    "data": "check images and lists, prepare them from annotated photographs",
    "models": "list, show, fetch and import public models",
    "recipe": "list, check, show, compare and convert recipes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done. 1: done, but some images were unreadable. 2: a mistake of the user, explained in one message on stderr.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except (TinysightError, ModuleNotFoundError) as error:
        known: Exception | None = error
        if isinstance(error, ModuleNotFoundError):
            known = missing_dependency(error, f"tinysight {' '.join(words[:1])}")
        if known is None:
            raise
        # Every process of a launcher meets the same mistake in a file; the first one says so.
        if os.environ.get("RANK", "0") == "0" or not isinstance(known, ConfigError):
            print(f"error: {known}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `tinysight predict ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def script() -> None:
    """The installed command: `main` in a process of its own.

    A prediction takes as long as its imports, so what lengthens them is left out: collecting
    garbage among objects that stay, starting NumPy's threads for linear algebra, of which there is
    none, and in the end taking the libraries down object by object, which takes longer than
    classifying an image and means nothing to a process that is over.
    """
    quick = sys.argv[1:2] == ["predict"]
    if quick:
        gc.disable()
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = main()
    if quick:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help as it was written, 100 columns wide; asking for the terminal's width imports `shutil`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)


def _run(words: list[str]) -> int:
    from tinysight import __version__

    verbs = "\n".join(f"  {verb:9s} {text}" for verb, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="tinysight",
        description="Train tiny, fast image classifiers; the same results everywhere.",
        formatter_class=_Help,
        epilog=f"verbs:\n{verbs}\n\n`tinysight VERB --help` explains one.",
    )
    parser.add_argument("--version", action="version", version=f"tinysight {__version__}")
    parser.add_argument("verb", metavar="VERB", help="what to do")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    known = parser.parse_args(words or ["--help"])
    if known.verb not in VERBS:
        raise UnknownName("verb", known.verb, VERBS, "tinysight")
    module = importlib.import_module(f"tinysight.cli.{known.verb}")
    name, text = f"tinysight {known.verb}", module.__doc__
    verb = argparse.ArgumentParser(prog=name, description=text, formatter_class=_Help)
    module.add_arguments(verb)
    # Options between names (`models list --networks NAME`) parse twice; a prediction does without.
    parse = verb.parse_args if known.verb in ("data", "predict") else verb.parse_intermixed_args
    args = parse(known.rest)
    for file in getattr(args, "plugin", ()):
        from tinysight.plugins import load_plugin

        load_plugin(file)
    return int(module.run(args))

"""The command line: one file per verb; parse, call, render; no logic.

argparse, and one verb imported per call: `tinysight predict` on one image is timed as a whole process, and the start
of a larger command-line framework would cost as much as decoding and classifying the image.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

# Nothing else is imported before `script` can answer a Ctrl-C.

VERBS = {
    "predict": "label images with a bundle",
    "train": "train on a folder of images, or by a recipe",
    "init": "write a recipe for a folder of images",
    "recognize": "recognise objects by a gallery",
    "runs": "list, show and compare runs",
    "eval": "evaluate a run or a bundle on labelled images",
    "infer": "label images with the weights of a PaddleClas configuration",
    "export": "make a bundle of a run",
    "distill": "train the best student that is fast enough on this machine",
    "search": "search for the best recipe",
    "bench": "time a bundle on this machine",
    "verify": "check that a bundle gives the results of the validated network",
    "gallery": "keep images that are known by their embeddings",
    "serve": "answer requests over REST and gRPC with bundles",
    "data": "check images and lists, prepare them from annotated photographs",
    "models": "list, show, fetch and import public models",
    "recipe": "list, check, show, compare and convert recipes",
}

# The exit codes of every verb; docs/commands.md has them in words.
FINE = 0
FINDINGS = 1  # done, but: unreadable images, problems, a difference, a check that fails
NOT_DONE = 2  # usage, refused input, or the system refused
SIGNALLED = 128  # and the number of the signal: 130 for Ctrl-C, 143 for SIGTERM

# What libraries say where the system refuses, in errors of their own.
_REFUSALS = (
    *("can't start new thread", "cannot allocate memory", "can't allocate memory", "bad_alloc"),
    *("Cannot allocate memory", "failed to map segment", "unable to open shared memory"),
    *("Too many open files", "unable to mmap", "Failed to allocate memory", "No space left"),
)
_STDOUT = "standard output"
_received: list[int] = []  # signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: `FINE`, `FINDINGS`, `NOT_DONE` or `SIGNALLED` and more."""
    from tinysight.disk import ENCODABLE

    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if (encodable := getattr(stream, "reconfigure", None)) is not None:
            encodable(errors=ENCODABLE)
    try:
        code = _run(words)
        sys.stdout.flush()
    except BaseException as error:  # what is none of these is raised again
        if _received or isinstance(error, KeyboardInterrupt):
            _end_at_signals()
            _say("interrupted")
            return SIGNALLED + (_received or [signal.SIGINT])[0]
        if isinstance(error, BrokenPipeError) and error.filename in (None, _STDOUT):
            _flushed()  # `tinysight predict ... | head`: the reader has seen enough
            return FINE
        if (message := _in_words(error, words)) is None:
            raise
        # Every process of a launcher meets the same mistake in a file; the first one says so.
        from tinysight.errors import ConfigError

        if os.environ.get("RANK", "0") == "0" or not isinstance(error, ConfigError):
            _say(f"error: {message}")
        return NOT_DONE
    return code


def script() -> None:
    """The installed command: `main` in a process of its own.

    A prediction takes as long as its imports, so what lengthens them is left out: collecting
    garbage among objects that stay, starting NumPy's threads for linear algebra, of which there is
    none, and in the end taking the libraries down object by object, which takes longer than
    classifying an image and means nothing to a process that is over.
    """
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
            signal.signal(signal.SIGINT, _interrupt)
        if "WORLD_SIZE" not in os.environ:  # of several processes each ends at once
            signal.signal(signal.SIGTERM, _interrupt)
        quick = sys.argv[1:2] == ["predict"]
        if quick:
            gc.disable()
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        _own_stdout()
        code = main()
        _end_at_signals()
        if quick:
            os._exit(code)
    except KeyboardInterrupt:
        code = SIGNALLED + (_received or [signal.SIGINT])[0]
    sys.exit(code)


def _interrupt(number: int, frame: object) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _end_at_signals() -> None:
    """From now on a signal ends the process at once: there is nothing left to be tidied up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, lambda number, frame: os._exit(SIGNALLED + number))


def _own_stdout() -> None:
    """Leave standard output to `print` alone: what libraries write to it goes to the error stream.

    A stream that is closed is opened on the null device, standard output so that writing fails; else the next file
    would get its number, and whatever others print.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, flags), number)
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    file = io.BufferedWriter(_Stdout(os.dup(1), "w"))
    sys.stdout = io.TextIOWrapper(file, encoding, line_buffering=os.isatty(1))
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    os.dup2(2, 1)


class _Stdout(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _STDOUT) from None


def _in_words(error: BaseException, words: Sequence[str]) -> str | None:
    """`error` for the user, if a mistake or the system is its cause; None: it is a bug of ours."""
    from tinysight.errors import TinysightError, missing_dependency

    here = f"tinysight {' '.join(words[:1])}"
    if isinstance(error, TinysightError):
        return str(error)
    if isinstance(error, SystemExit):  # the end of --help
        return None if _flushed() else f"{_STDOUT}: cannot be written"
    if isinstance(error, ModuleNotFoundError):
        missing = missing_dependency(error, here)
        return str(missing) if missing else None
    if isinstance(error, MemoryError):
        return f"{here}: there is not enough memory"
    if isinstance(error, OSError):
        where = error.filename or here
        _flushed()
        return f"{os.fsdecode(where)}: {error.strerror or error}"
    text = str(error)
    known = isinstance(error, ImportError | RuntimeError) and any(r in text for r in _REFUSALS)
    return f"{here}: the system refuses: {text.strip().splitlines()[-1]}" if known else None


def _flushed() -> bool:
    """Whether standard output takes what is left; else that is thrown away, for it would fail anew at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        return  # nobody hears it


def _run(words: list[str]) -> int:
    import argparse

    from tinysight import __version__
    from tinysight.cli.arguments import Help, Parser
    from tinysight.errors import UnknownName

    verbs = "\n".join(f"  {verb:9s} {text}" for verb, text in VERBS.items())
    parser = Parser(
        prog="tinysight",
        description="Train tiny, fast image classifiers; the same results everywhere.",
        formatter_class=Help,
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
    verb = Parser(prog=name, description=text, formatter_class=Help)
    module.add_arguments(verb)
    # Options between names (`models list --networks NAME`) parse twice; a prediction does without.
    parse = (
        verb.parse_args
        if known.verb in ("data", "gallery", "predict")
        else verb.parse_intermixed_args
    )
    args = parse(known.rest)
    for file in getattr(args, "plugin", ()):
        from tinysight.plugins import load_plugin

        load_plugin(file)
    return int(module.run(args))

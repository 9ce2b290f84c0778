"""The exceptions that tinysight raises for errors that a user can correct.

    TinysightError
    |-- ConfigError         a recipe, an override or an argument is wrong
    |   `-- UnknownName     a name that nobody registered
    |-- DataError           a list file, a folder or a label is wrong
    |-- ImageError          one image cannot be decoded
    |-- BundleError         a bundle is missing, truncated, tampered with or too new
    |-- CheckpointError     a checkpoint is missing, truncated or of another run
    |-- DistributedError    another process of a run has ended
    |-- WeightsError        a foreign weight file or program is damaged, unsafe or not supported
    |-- ExportError         the results of the exported model are not those of the trained one
    |-- GalleryError        a gallery is missing, damaged, in use, or of another bundle
    |-- FetchError          a file cannot be downloaded, is not what it was, or cannot be unpacked
    `-- MissingDependency   an optional package is needed and not installed

The command line catches `TinysightError` alone, prints it and exits with 2. Anything else that escapes is our bug and
keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeVar

ErrorT = TypeVar("ErrorT", bound="TinysightError")


class Problem(NamedTuple):
    """One thing that is wrong: the place, what is wrong there, and the way out (may be empty)."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.hint}" if self.hint else text


def join(*parts: object) -> str:
    """A dotted path, empty parts left out."""
    return ".".join(str(p) for p in parts if str(p))


class TinysightError(Exception):
    """Something is wrong that the user can put right. Carries one or more `Problem`s."""

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, what, hint),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls: type[ErrorT], source: str, problems: Sequence[Problem]) -> ErrorT:
        """One error for all `problems` found in `source`, each on a line of its own."""
        error = cls(*problems[0])
        error.problems = tuple(problems)
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        error.args = ("\n".join([f"{source}: {count}", *(f"  {p}" for p in problems)]),)
        return error


class ConfigError(TinysightError):
    """A recipe, an override or an argument is wrong; may hold several problems."""


class UnknownName(ConfigError):
    """A name that nobody registered; says where it was written and what is near it."""

    def __init__(self, kind: str, name: str, known: Collection[str], where: str) -> None:
        super().__init__(where, f"unknown {kind} {name!r}", nearest(name, known))


class DataError(TinysightError):
    """A list file, a folder or a label is wrong."""


class ImageError(TinysightError):
    """One image cannot be decoded. `where` is its path."""


class BundleError(TinysightError):
    """A bundle is missing, truncated, tampered with, or made by a newer version."""


class CheckpointError(TinysightError):
    """A checkpoint is missing, truncated, or belongs to another run."""


class DistributedError(TinysightError):
    """Another process of a run has ended, or never began. `where` is this one."""


class WeightsError(TinysightError):
    """A foreign weight file or exported program is damaged, unsafe, or needs what is not supported."""


class ExportError(TinysightError):
    """The results of the exported model are not those of the trained one."""


class GalleryError(TinysightError):
    """A gallery is missing, damaged, in use by another process, or made by another bundle."""


class FetchError(TinysightError):
    """A file cannot be downloaded, is not what it was, or cannot be unpacked.

    `status` is the HTTP status where a server answered with one, else 0.
    """

    status = 0


class MissingDependency(TinysightError):
    """An optional package is needed for this and is not installed.

    `extra` is the extra of ours that brings it; None for a package that none of them does.
    """

    def __init__(self, package: str, extra: str | None, needed_for: str) -> None:
        hint = f"pip install 'tinysight[{extra}]'" if extra else f"pip install {package}"
        super().__init__(needed_for, f"needs {package}, which is not installed", hint)


_TRAIN = ("PIL", "jinja2", "onnx", "onnxscript", "rich", "safetensors", "torch")
_SERVE = ("google", "grpc", "httptools", "msgspec", "starlette", "uvicorn", "uvloop")
_EXTRAS = {
    **dict.fromkeys(_TRAIN, "train"), **dict.fromkeys(_SERVE, "serve"), "openvino": "openvino",
}  # fmt: skip


def missing_dependency(error: ModuleNotFoundError, needed_for: str) -> MissingDependency | None:
    """`error` in words, if an optional package of ours is what is missing."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    return MissingDependency(package, extra, needed_for) if extra else None


def unseen(text: str) -> str:
    """The characters of `text` that leave no mark where it is shown, or look like a blank, as code points."""
    found = {c for c in text if c != " " and (c.isspace() or not c.isprintable())}
    return ", ".join(sorted(f"U+{ord(c):04X}" for c in found))


_DEVICE = (
    "training takes the GPU that PyTorch finds, CUDA_VISIBLE_DEVICES= before the command hides it;"
    " predictions run on the CPU"
)
NO_KEYS = dict.fromkeys(("device", "gpu", "gpus", "cuda", "use_gpu"), _DEVICE)
"""What is asked for and is no option and no key, with what there is in its place."""


def nearest(name: str, known: Collection[str]) -> str:
    """A hint: the known name most like `name`, or the list of known names."""
    from difflib import get_close_matches  # only a mistake needs it; prediction starts without

    folded = {k.lower(): k for k in known}
    if near := get_close_matches(name.lower(), folded, n=1):
        return f"did you mean {folded[near[0]]!r}?"
    return f"known: {', '.join(sorted(known))}" if known else ""

"""What every engine promises, and what engines share."""

from __future__ import annotations

import importlib
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np

from tinysight.errors import BundleError, ExportError, MissingDependency, TinysightError

if TYPE_CHECKING:
    from annotated_types import Ge

    from tinysight.graph.onnx_file import OnnxModel

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
EXPORT_AGAIN = "export the bundle again"
_REPORT = "please report it, with the bundle"


class Normalization(NamedTuple):
    """What makes a network's input of pixels: (value * scale - mean) / std for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float


class Tensor(NamedTuple):
    """An input or output of a network: name and shape, None where any number goes."""

    name: str
    shape: tuple[int | None, ...]


class VariantFiles(NamedTuple):
    """A network in the format of an engine.

    Attributes:
        files: verified contents of its files by name.
        precision: "fp32", "fp16", "bf16" or "int8".
        shape: shape of the network's input, (None, C, H, W).
        classes: K, the number of scores.
    """

    files: Mapping[str, bytes]
    precision: str
    shape: Sequence[int | None]
    classes: int

    def ending(self, end: str) -> tuple[str, bytes]:
        """Name and contents of the file whose name ends with `end`."""
        return next((name, data) for name, data in self.files.items() if name.endswith(end))


class OnnxNetwork:
    """A bundle's network, to be written in an engine's format.

    Args:
        model: contents of an ONNX file, images to scores.
        shape: shape of one image, (C, H, W).
        typical: typical images as the transforms give them, (N, C, H, W) float32; for int8.
    """

    def __init__(
        self, model: bytes, shape: tuple[int, int, int], typical: np.ndarray | None = None
    ) -> None:
        self.model, self.shape, self._typical = model, shape, typical

    @cached_property
    def graph(self) -> OnnxModel:
        """The network as a graph."""
        from tinysight.graph.onnx_file import read_onnx

        return read_onnx(self.model)

    @cached_property
    def quantized(self) -> bytes:
        """The ONNX file with its convolutions in int8.

        Raises:
            ExportError: there is no typical image.
        """
        from tinysight.engines.int8 import quantize

        return quantize(self.model, np.empty(0) if self._typical is None else self._typical)


class Engine(Protocol):
    """An engine: an instance runs one network; the class writes networks in the engine's format.

    `run` and `run_all` may be called from several threads at once.

    Attributes:
        reads_onnx: True if it runs a bundle's `model.onnx`; the others run a variant.
        precisions: precisions that `write` offers.
        packages: Python packages that run and write variants, the one that runs them first.
    """

    reads_onnx: ClassVar[bool]
    precisions: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]]

    @staticmethod
    def write(network: OnnxNetwork, precision: str, stem: str) -> dict[str, bytes]:
        """The network in this engine's format: contents by file name, each name beginning with `stem`.

        Raises:
            MissingDependency: the converter is not installed.
            ExportError: it cannot write this network.
        """

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The network's inputs."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The network's outputs."""

    def take_pixels(self, normalization: Normalization) -> bool:
        """Take uint8 (N, H, W, 3) from now on and normalise them inside, where that is faster.

        To be called before the first `run`; False, and nothing changes, where it is not faster.
        """

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, K) for a batch (N, C, H, W) float32, or of pixels once these are taken."""

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """All outputs for inputs by name, of networks that have several."""


class OneImageEngine:
    """Base of the engines whose programs take one image at a time, in one thread at a time.

    A subclass opens its program in `_open` and runs it in `_scores`.

    Args:
        model: the network in the engine's format.
        threads: CPU threads per image, >= 1.

    Raises:
        MissingDependency: the engine is not installed.
        BundleError: it cannot load the files.
    """

    title: ClassVar = ""  # in messages
    reads_onnx: ClassVar = False
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def __init__(self, model: VariantFiles, threads: Annotated[int, Ge(1)] = 1) -> None:
        self._shape = tuple(int(side or 1) for side in model.shape[1:])
        self._classes = model.classes
        self._one_at_a_time = threading.Lock()
        try:
            with first_use(f"{self.title}.open"):
                self._open(model, threads)
        except TinysightError:
            raise
        except Exception as error:  # of a damaged file libraries say anything
            file = next(iter(model.files), "")
            raise network_error(self.title, "cannot load it", error, file) from error

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The network's one input."""
        return (Tensor("images", (None, *self._shape)),)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The network's one output."""
        return (Tensor("scores", (None, self._classes)),)

    def take_pixels(self, normalization: Normalization) -> bool:
        """False: these programs take what the transforms give."""
        return False

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, K) for a batch (N, C, H, W) float32.

        Raises:
            BundleError: images of another shape, or the engine fails.
        """
        if batch.shape[1:] != self._shape:
            what = f"takes images {self._shape}, got {batch.shape[1:]}"
            raise BundleError(self.title, what, EXPORT_AGAIN)
        scores = np.empty((len(batch), self._classes), np.float32)
        with self._one_at_a_time, first_use(f"{self.title}.run"):
            for i, image in enumerate(np.ascontiguousarray(batch, np.float32)):
                try:
                    row = np.asarray(self._scores(image), np.float32).reshape(-1)
                except Exception as error:
                    raise network_error(self.title, "cannot run it", error, "") from error
                if row.size != self._classes:
                    what = f"gives {row.size} scores, not {self._classes}"
                    raise BundleError(self.title, what, EXPORT_AGAIN)
                scores[i] = row
        return scores

    def run_all(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The one output for the one input by its name."""
        (batch,) = feeds.values()
        return [self.run(batch)]

    def _open(self, model: VariantFiles, threads: int) -> None:
        raise NotImplementedError

    def _scores(self, image: np.ndarray) -> Any:
        """Scores, any shape of K numbers, for (C, H, W) float32; the caller holds the lock."""
        raise NotImplementedError


_first_use_lock = threading.RLock()
_used: set[str] = set()


@contextmanager
def first_use(of: str) -> Iterator[None]:
    """Let one thread alone make the first call of a binding; later ones pass without waiting.

    A binding initialises function-local statics in its first call. Two threads that make it together
    deadlock: one waits for the static while it holds the interpreter lock, the other initialises it
    and waits for that lock. OpenVINO hangs so, about once in twenty processes.

    Args:
        of: engine and kind of call, such as "openvino.run".
    """
    if of in _used:
        yield
        return
    with _first_use_lock:
        yield
        _used.add(of)


def network_error(name: str, what: str, error: Exception, file: str = "model.onnx") -> BundleError:
    """The error of the engine `name`, which cannot `what`, with the first line of its own message."""
    line = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
    return BundleError(file, f"{name} {what}: {line}", EXPORT_AGAIN)


def load_module(module: str, name: str, package: str = "", extra: str = "") -> Any:
    """Import what an engine needs.

    Args:
        module: name of the Python module.
        name: name of the engine that needs it.
        package: name of the package that has it; default: the engine's name.
        extra: extra of tinysight that brings it; default: the engine's name.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependency(package or name, extra or name, f"the engine {name}") from error


def convert(
    engine: str, command: Sequence[str], model: bytes, results: Mapping[str, str],
    seconds: float = 600,
) -> dict[str, bytes]:  # fmt: skip
    """Run a converter's program on `network.onnx` in an empty folder.

    Args:
        engine: name of the engine, for messages.
        command: the program and its arguments.
        model: contents of the ONNX file.
        results: files to be returned, by the name that each has in the folder.
        seconds: longest time that it may take.

    Returns:
        Contents by the values of `results`.

    Raises:
        ExportError: it fails, takes too long or writes no such file.
    """
    import tempfile  # a prediction does without

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "network.onnx").write_bytes(model)
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds,
                errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            what = f"its converter has not ended after {seconds:.0f} s"
            raise ExportError(engine, what, _REPORT) from error
        written = {name: Path(folder, file) for file, name in results.items()}
        if done.returncode == 0 and all(path.is_file() for path in written.values()):
            return {name: path.read_bytes() for name, path in written.items()}
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    what = f"its converter ends with {done.returncode}: {' | '.join(lines[-3:])[:300]}"
    raise ExportError(engine, what, _REPORT)

"""What an export target is given, and what it has to give."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

from tinysight.errors import ConfigError, ExportError
from tinysight.graph.onnx_file import OnnxModel, read_onnx

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


class Network:
    """The network to be written in another form.

    Args:
        model: contents of an ONNX file, images to probabilities.
        shape: of one image, (C, H, W).
        quantized: the same network with its convolutions in int8, where that was made.
    """

    def __init__(
        self, model: bytes, shape: tuple[int, int, int], quantized: bytes | None = None
    ) -> None:
        self.model = model
        self.shape = shape
        self.quantized = quantized

    @cached_property
    def graph(self) -> OnnxModel:
        """The network, read."""
        return read_onnx(self.model)


class Target(Protocol):
    """Writes one form.

    Attributes:
        precisions: that it can be written in.
        packages: whose versions the manifest names.
    """

    precisions: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]]

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """Contents by file name; each name begins with `stem`.

        Raises:
            MissingDependency: the converter is not installed.
            ExportError: it cannot write this network, or does not run on this system.
        """


def check_precision(name: str, target: Target, precision: str) -> None:
    """Refuse a precision that a target has not."""
    if precision not in target.precisions:
        what = f"{name} is not written in {precision} here"
        raise ConfigError("--precision", what, f"it has {', '.join(target.precisions)}")


def run_converter(name: str, command: Sequence[str], folder: Path, seconds: float = 600) -> None:
    """Run a converter's program in `folder`.

    Raises:
        ExportError: it fails or takes too long; with the end of what it said.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds,
            errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        what = f"its converter has not ended after {seconds:.0f} s"
        raise ExportError(name, what, "please report it, with the bundle") from error
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        what = f"its converter ends with {done.returncode}: {' | '.join(said[-3:])[:300]}"
        raise ExportError(name, what, "please report it, with the bundle")

"""An exported inference folder: the program and its weights, under any of the names that releases have used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinysight.compat.paddle.program import Program, read_program
from tinysight.compat.paddle.tensors import read_tensors, storage
from tinysight.errors import WeightsError

_STEMS = ("inference", "model", "__model__")
_WEIGHTS = ("__params__", "params", "model.pdiparams", "inference.pdiparams")


class PaddleModel(NamedTuple):
    """A program and its weights by internal name, as read-only views of the mapped file."""

    folder: Path
    program: Program
    weights: Mapping[str, np.ndarray]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, -1 where a side varies."""
        return self.program.types[self.program.inputs[0].value].shape

    @property
    def last_operation(self) -> str:
        """`softmax`, `sigmoid`, or the operator that makes the first output."""
        return self.program.last_operation


def find_files(folder: Path) -> tuple[Path, Path]:
    """The program and the weight file of a folder; the legacy program is preferred where both forms lie there.

    Args:
        folder: a folder, or the program's own path.

    Raises:
        WeightsError: either is missing; says what was looked for.
    """
    names = [f"{stem}{suffix}" for stem in _STEMS for suffix in (".pdmodel", ".json")]
    choices = [folder, *(folder / name for name in [*names, "__model__"])]
    nested = ("*.pdmodel", "*/inference.pdmodel", "*/inference.json")
    others = sorted(path for name in nested for path in folder.glob(name))
    program = next((path for path in [*choices, *others] if path.is_file()), None)
    if program is None:
        hint = "it needs inference.pdmodel or inference.json, and inference.pdiparams"
        raise WeightsError(str(folder), "no exported program", hint)
    beside = [program.with_suffix(".pdiparams"), *(program.parent / name for name in _WEIGHTS)]
    weights = next((path for path in beside if path.is_file()), None)
    if weights is None:
        raise WeightsError(str(program), "no weights beside it", f"looked for {beside[0].name}")
    return program, weights


def read_paddle_inference(folder: Path | str) -> PaddleModel:
    """Read an exported folder, either form.

    Args:
        folder: the folder (`inference.pdmodel` or `inference.json` with `inference.pdiparams`; `model.*`, `__model__`
            with `__params__`), or the path of the program.

    Raises:
        WeightsError: missing, truncated or damaged files, or weights of another program.
    """
    program_path, weights_path = find_files(Path(folder))
    program = read_program(program_path)
    names = list(program.parameters.values())
    weights = read_tensors(weights_path, names) if names else {}
    for value, name in program.parameters.items():
        expected, got = program.types.get(value), weights[name]
        if expected is None:
            raise WeightsError(str(program_path), f"parameter {name} has no type")
        if expected.shape != got.shape or storage(expected.dtype) != got.dtype:
            says = f"its program says {expected.dtype}{list(expected.shape)}"
            what = f"{name} is {got.dtype}{list(got.shape)}, {says}"
            raise WeightsError(str(weights_path), what, "do the two files belong together?")
    return PaddleModel(program_path.parent, program, weights)

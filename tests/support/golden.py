"""The recorded numbers of PaddleClas: where they are, the loader of them, and the rule that refills weights and inputs.

Two folders are read:

- `GOLDEN`: every case that is recorded. `TINYSIGHT_GOLDEN`, else `../shared/golden` beside the checkout, else
  `tests/golden`. `each_case` and `each_file` list it when tests are collected: a fixture that is dropped there is
  tested without a change of code. A folder that is missing, or has no case of a kind, fails the test.
- `OWN`: `tests/golden`, which belongs to the project. A test that needs one particular fixture reads it here, with
  `read_json`, `read_npz` and `own_path`, so that `GOLDEN` may hold any other cases.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

_REPO = Path(__file__).resolve().parents[2]
_BESIDE = _REPO.parent / "shared" / "golden"
OWN = _REPO / "tests" / "golden"
GOLDEN = Path(os.environ.get("TINYSIGHT_GOLDEN") or (_BESIDE if _BESIDE.is_dir() else OWN))


class Case(dict[str, Any]):
    """One recorded case: what its JSON says, with its `id`, and the arrays that are stored beside it."""

    def __init__(
        self, tree: dict[str, Any], name: str, path: Path, arrays: Path,
        around: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__({"id": name, **tree})
        self.path = path
        self.tree = around or tree  # of the whole file
        self._arrays = arrays

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.path.parent

    @property
    def file_arrays(self) -> dict[str, np.ndarray]:
        """All arrays of its NPZ file, which may be shared with other cases: not to be changed."""
        return _npz(self._arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Its own arrays; in a shared file those named `<id>|<name>`, under `<name>`."""
        if self._arrays.stem == self["id"] or self.path.name == "case.json":
            return self.file_arrays
        lead = f"{self['id']}|"
        return {k.removeprefix(lead): v for k, v in self.file_arrays.items() if k.startswith(lead)}


@lru_cache(maxsize=4)
def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def cases(kind: str, key: str = "cases", folder: Path = GOLDEN) -> list[Case]:
    """The recorded cases of one kind in `folder`, empty if there are none.

    A JSON file with a list `cases` holds several, with their arrays in `data.npz` or an NPZ of the file's name. Any
    other is one case, named after its file; so is a folder with a `case.json`, with its arrays in `outputs.npz`.
    """
    found = []
    for path in sorted((folder / kind).glob("*.json")):
        if path.stem in ("index", "info"):
            continue
        tree = json.loads(path.read_text("utf-8"))
        tree = {"cases": tree} if isinstance(tree, list) else tree
        arrays = path.with_suffix(".npz")
        if "cases" in tree:
            arrays = arrays if arrays.is_file() else path.with_name("data.npz")
            listed = enumerate(tree.get(key, ()))
            found += [
                Case(c, c.get("id", f"{path.stem}_{i}"), path, arrays, tree) for i, c in listed
            ]
        elif key == "cases":
            found.append(Case(tree, path.stem, path, arrays))
    for path in sorted((folder / kind).glob("*/case.json")):
        tree = json.loads(path.read_text("utf-8"))
        found.append(Case(tree, path.parent.name, path, path.with_name("outputs.npz")))
    return found


def each_case(
    kind: str, where: Callable[[Case], bool] = lambda _: True, key: str = "cases"
) -> Callable[[Any], Any]:
    """Run the test for each recorded case of `kind`, as its argument `case`; it is marked `golden`."""
    found = [pytest.param(c, id=c["id"]) for c in cases(kind, key) if where(c)]
    return each("case", found, f"{kind} {key}")


def each_file(kind: str, pattern: str) -> Callable[[Any], Any]:
    """Run the test for each file or folder of `kind` that matches, as its argument `path`; it is marked `golden`."""
    folder = GOLDEN / kind
    paths = sorted(folder.glob(pattern))
    found = [pytest.param(p, id=p.relative_to(folder).as_posix()) for p in paths]
    return each("path", found, f"{kind}/{pattern}")


def each(argument: str, found: Sequence[Any], what: str) -> Callable[[Any], Any]:
    """Run the test for each of the parameters `found`, of which there must be one; it is marked `golden`."""
    params = found or [pytest.param(_Missing(what), id="nothing recorded")]
    return lambda test: pytest.mark.golden(pytest.mark.parametrize(argument, params)(test))


class _Missing(str):
    """The argument of a test that no case was found for."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Fail a test of recorded numbers for which nothing is recorded."""
    if pyfuncitem.get_closest_marker("golden") is None:
        return
    if not GOLDEN.is_dir():
        pytest.fail(f"no folder of recorded numbers: {GOLDEN}; set TINYSIGHT_GOLDEN", pytrace=False)
    for value in pyfuncitem.funcargs.values():
        if isinstance(value, _Missing):
            pytest.fail(f"nothing recorded: {value} in {GOLDEN}", pytrace=False)


def case_named(kind: str, name: str) -> Case:
    """One particular case of the project's own; one that is too large for it is skipped if `GOLDEN` lacks it."""
    for folder in (OWN, GOLDEN):
        for case in cases(kind, folder=folder):
            if case["id"] == name:
                return case
    pytest.skip(f"no {kind} case {name} in {GOLDEN}")


def own_path(*parts: str) -> Path:
    """A file or folder of the project's own fixtures."""
    return OWN.joinpath(*parts)


def read_json(*parts: str) -> Any:
    """A JSON file of the project's own fixtures."""
    return json.loads(own_path(*parts).read_text("utf-8"))


def read_npz(*parts: str) -> dict[str, np.ndarray]:
    """An NPZ file of the project's own fixtures, read without pickle."""
    return dict(_npz(own_path(*parts)))


def not_built(what: str) -> NoReturn:
    """Report a fixture of something that does not exist yet: neither passed nor failed."""
    pytest.xfail(f"not built yet: {what}")


_STRUCTURAL = ("relative_position_index", "attn_mask")
_RES_LAST = re.compile(r"(^|\.)conv2\.(bn|_batch_norm)\.weight$")
_REP_BRANCH = re.compile(r"(^|\.)(linear_conv|dw_conv_list\.\d+)\.bn\.weight$")


def rng_for(name: str) -> np.random.RandomState:
    """The generator of one named entry; `RandomState` has a stream frozen by numpy's policy."""
    return np.random.RandomState(zlib.crc32(name.encode("utf-8")))


def synth(name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Weight of the entry `name` by the recording's rule, reference name and layout; None: keep as built."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf in _STRUCTURAL:
        return None
    rng = rng_for(name)
    if leaf.endswith("_mean"):
        value = rng.normal(0.0, 0.1, shape)
    elif leaf.endswith("_variance"):
        value = rng.uniform(0.5, 1.5, shape)
    elif leaf in ("weight", "weights") and len(shape) == 4:
        gain = 2.6 if shape[1] == 1 else 2.0
        value = rng.normal(0.0, np.sqrt(gain / (shape[1] * shape[2] * shape[3])), shape)
    elif leaf in ("weight", "weights") and len(shape) == 2:
        value = rng.normal(0.0, np.sqrt(2.0 / shape[0]), shape)
    elif leaf == "weight" and len(shape) == 1:
        low, high = 0.5, 1.5
        if _RES_LAST.search(name):
            low, high = 0.1, 0.3
        elif _REP_BRANCH.search(name):
            high = 1.0
        value = rng.uniform(low, high, shape)
    elif leaf == "scale":
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(0.0, 0.1, shape)
    return np.asarray(value, np.float64).astype(np.float32)


def synth_columns(name: str, shape: tuple[int, int], step: int) -> np.ndarray:
    """`synth(name, shape)[:, ::step]` of a weight too large to hold: its rows are drawn one by one."""
    rng, scale = rng_for(name), np.sqrt(2.0 / shape[0])
    rows = [rng.normal(0.0, scale, shape[1])[::step] for _ in range(shape[0])]
    return np.stack(rows).astype(np.float32)


def synth_input(n: int, h: int = 224, w: int = 224, c: int = 3, name: str = "input") -> np.ndarray:
    """A batch of the recording's synthetic images, (n, c, h, w) float32."""
    rng = rng_for(name)
    offset = rng.normal(0.0, 1.0, (n, c, 1, 1))
    coarse = rng.normal(0.0, 1.0, (n, c, 7, 7))
    noise = rng.normal(0.0, 0.5, (n, c, h, w))
    fh, fw = -(-h // 7), -(-w // 7)
    up = np.repeat(np.repeat(coarse, fh, axis=2), fw, axis=3)[:, :, :h, :w]
    return (offset + up + noise).astype(np.float32)

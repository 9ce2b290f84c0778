"""Damaged and hostile files: a typed error for each, nothing executed, little memory, little time.

All are read in one process of their own whose address space is limited, so allocating a declared size fails there.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.commands import execute
from support.golden import own_path
from tinysight.compat.paddle.pdparams import read_paddle_pickle
from tinysight.compat.paddle.tensors import read_tensors
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
from tinysight.errors import WeightsError

_SPEC = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
assert _SPEC
assert _SPEC.loader
hostile = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hostile)

READER = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from tinysight.errors import WeightsError
from tinysight.compat.paddle.pdparams import read_paddle_state
from tinysight.compat.paddle.tensors import read_tensors
from tinysight.compat.paddle.to_onnx import paddle_to_onnx
readers = {"pickle": read_paddle_state, "tensor": lambda path: read_tensors(path, ["alone"])}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
found, start = [], peak()
for kind, path in json.load(sys.stdin):
    before, rss = time.process_time(), peak()
    try:
        readers.get(kind, paddle_to_onnx)(path)
        error, text = "", ""
    except BaseException as problem:
        error, text = type(problem).__name__, str(problem)
    found.append([error, text, time.process_time() - before, peak() - rss])
json.dump({"found": found, "grown": peak() - start}, sys.stdout)
"""
NAMES = [
    *(name for _, name, _ in hostile.truncations()),
    *(f"pickle: {name}" for name, _ in hostile.pickles(Path("canary"))),
    *(f"tensor: {name}" for name, _ in hostile.streams()),
    *(f"legacy: {name}" for name, _ in hostile.legacy_programs()),
    *(f"numbered: {name}" for name, _ in hostile.numbered_programs()),
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("hostile")
    canary = root / "canary"
    files = hostile.write_all(root, canary)
    done = execute(
        [sys.executable, "-c", READER], cwd=root, timeout=300, OPENBLAS_NUM_THREADS="1",
        given=json.dumps([(reader, str(path)) for reader, _, path in files]),
    )  # fmt: skip
    assert done.code == 0, done.err[-2000:]
    result = json.loads(done.out)
    by_name = {name: one for (_, name, _), one in zip(files, result["found"], strict=True)}
    return {"by_name": by_name, "grown": result["grown"], "canary": canary}


def test_there_are_enough() -> None:
    assert len(NAMES) >= 250
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_refused(name: str, outcome: dict[str, Any]) -> None:
    error, text, seconds, grown = outcome["by_name"][name]
    assert error == "WeightsError", f"{error or 'read without an error'}: {text}"
    assert seconds < 5
    assert grown < 300, "MiB"
    if " cut at " in name:
        assert "truncated" in text


FUZZED = ["tiny_checkpoint.pdparams", "variety_protocol2.pdparams", "single_tensor_binary.pdtensor"]


@pytest.mark.parametrize("name", [*FUZZED, "inference.pdmodel", "inference.json"])
def test_random_damage(name: str, tmp_path: Path) -> None:
    """A few bytes changed, lost or added: what was read is an answer or a `WeightsError`, nothing else."""
    source = next(own_path("pdparams").rglob(name)).read_bytes()
    whole = (
        own_path("pdparams", "export_pir", "PPLCNet_x0_25_cls2", "inference.pdiparams")
    ).read_bytes()
    random, path = Random(name), tmp_path / name
    if name in FUZZED:
        reader = (
            partial(read_tensors, names=["x"]) if name.endswith("pdtensor") else read_paddle_pickle
        )
    else:
        reader = paddle_to_onnx
        (tmp_path / "inference.pdiparams").write_bytes(whole)
    refused = 0
    for _ in range(300 if name in FUZZED else 40):
        data = bytearray(source)
        for _ in range(random.choice((1, 2, 8))):
            start = random.randrange(len(data))
            data[start : start + random.randrange(4)] = random.randbytes(random.randrange(4))
        path.write_bytes(data)
        try:
            reader(path)
        except WeightsError:
            refused += 1
    assert refused > 10


def test_nothing_ran(outcome: dict[str, Any]) -> None:
    assert not outcome["canary"].exists()


def test_memory_is_bounded(outcome: dict[str, Any]) -> None:
    assert outcome["grown"] < 700, "MiB, over all files together"

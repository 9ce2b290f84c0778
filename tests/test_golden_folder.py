"""The oracle itself is present and is what it says: without it a green suite would prove nothing."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.commands import python
from support.golden import GOLDEN, OWN, cases, read_json, synth, synth_input

KINDS = ("losses", "lr", "metrics", "models", "postprocess", "preprocess", "programs", "train")
CHECKED = read_json("rule_check.json")
USE = """
from support.golden import each_case, each_file

@each_case("losses")
def test_loss(case):
    assert case["id"].removesuffix("_new")
    assert case.arrays["pred"].tolist() == [1.0]

@each_file("pdparams", "*.pdparams")
def test_file(path):
    assert path.is_file()
"""


@pytest.mark.golden
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", sorted({GOLDEN, OWN}), ids=lambda p: p.parent.name)
def test_every_kind_of_fixture_is_there(folder: Path, kind: str) -> None:
    found = cases(kind, folder=folder)
    assert found, f"no fixtures in {folder / kind}; set TINYSIGHT_GOLDEN"
    names = [case["id"] for case in found]
    assert len(names) == len(set(names))


@pytest.mark.golden
@pytest.mark.parametrize("name", sorted(CHECKED))
def test_the_weight_rule_gives_the_recorded_bytes(name: str) -> None:
    """The rule that everything else rests on."""
    kind, _, source = name.partition(":")
    shape = tuple(CHECKED[name]["shape"])
    made = kind == "synth_input"
    value = synth_input(*shape[:1], *shape[2:], name=source) if made else synth(name, shape)
    assert value is not None
    assert hashlib.sha256(value.tobytes()).hexdigest() == CHECKED[name]["sha256"]


def results(place: Path, golden: Path) -> str:
    """What a run of `USE` says, with `golden` as the folder of fixtures."""
    (place / "test_use.py").write_text(USE, "utf-8")
    words = "-p support.golden -p no:cacheprovider -q -rA -m golden -o markers=golden test_use.py"
    path = str(Path(__file__).parent)
    done = python(
        "-m", "pytest", *words.split(), cwd=place, PYTHONPATH=path, TINYSIGHT_GOLDEN=str(golden)
    )
    return done.out


def test_a_dropped_fixture_is_tested_and_a_missing_one_fails(tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    found = results(tmp_path, golden)
    assert "2 failed" in found
    assert "no folder of recorded numbers" in found
    (golden / "losses").mkdir(parents=True)
    (golden / "pdparams").mkdir()
    shutil.copy(OWN / "pdparams" / "single_tensor.pdparams", golden / "pdparams" / "mine.pdparams")
    found = results(tmp_path, golden)
    assert "PASSED test_use.py::test_file[mine.pdparams]" in found
    assert "nothing recorded: losses cases" in found
    (golden / "losses" / "more.json").write_text('{"cases": [{"id": "a_new"}, {"id": "b_new"}]}')
    np.savez(golden / "losses" / "more.npz", **{"a_new|pred": [1.0], "b_new|pred": [1.0]})
    found = results(tmp_path, golden)
    assert "PASSED test_use.py::test_loss[a_new]" in found
    assert "3 passed" in found

"""The same images through every engine, from files to answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.bundles import tiny_bundle
from support.golden import own_path
from tinysight.engines import onnx_engines
from tinysight.errors import ConfigError
from tinysight.pipelines.pipeline import Classifier

FILES = sorted(own_path("preprocess", "inputs").iterdir())


@pytest.mark.golden
@pytest.mark.parametrize("engine", onnx_engines())
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_engine_gives_the_scores_of_the_first(
    tmp_path: Path, engine: str, batch_size: int
) -> None:
    model = tiny_bundle(tmp_path / "model").folder
    expected = list(Classifier(model).scores(FILES))
    found = list(Classifier(model, engine=engine, batch_size=batch_size).scores(FILES))
    assert [n for names, _ in found for n in names] == [n for names, _ in expected for n in names]
    ours, theirs = (np.concatenate([s for _, s in x]) for x in (found, expected))
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.golden
@pytest.mark.parametrize("engine", onnx_engines())
def test_transforms_that_leave_no_pixels(tmp_path: Path, engine: str) -> None:
    """Something after the first normalisation: the engine cannot take over the last step."""
    specs = (
        {"name": "normalize", "mean": [0.0] * 3, "std": [1.0] * 3},
        {"name": "resize", "size": 8},
        {"name": "normalize", "mean": [0.1] * 3, "std": [1.0] * 3, "scale": 1.0},
    )
    model = tiny_bundle(tmp_path / "model", transforms=specs).folder
    ((_, expected),) = Classifier(model).scores(FILES[1])
    ((_, found),) = Classifier(model, engine=engine).scores(FILES[1])
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_precision_that_the_engine_has_not(tmp_path: Path) -> None:
    model = tiny_bundle(tmp_path / "model").folder
    with pytest.raises(ConfigError, match="bf16 is not for onnxruntime"):
        Classifier(model, precision="bf16")

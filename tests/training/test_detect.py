"""The objective of detectors: runs, resumed runs, processes, and what each says of the boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.scenes import NAMES, detection_recipe, make_scenes
from tinysight.data.labels import resolve_labels
from tinysight.training import fit
from tinysight.training.predictor import evaluate_run, finish


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.mark.parametrize(
    ("form", "loss"),
    [("picodet", "simota"), ("picodet_v2", "task_aligned"), ("picodet", "task_aligned")],
)
def test_a_run_trains_and_is_evaluated(form: str, loss: str, scenes: Path, tmp_path: Path) -> None:
    recipe = detection_recipe(scenes, tmp_path / "r.yaml", form, loss)
    assert resolve_labels(recipe).data.labels == NAMES
    result = fit(recipe, tmp_path / "run")
    assert set(result.metrics) >= {"ap", "ap50", "ar100"}
    found = evaluate_run(tmp_path / "run")
    assert found.metrics == pytest.approx(result.metrics, abs=1e-6)
    report = finish(tmp_path / "run")
    (table,) = report.sections()
    assert [row[0] for row in table.rows] == [*NAMES]
    assert (tmp_path / "run" / "report.html").is_file()

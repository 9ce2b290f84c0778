"""The end of a run: evaluates its best network again, chooses the threshold, writes the report."""

from __future__ import annotations

import json
from pathlib import Path

from tinysight.evaluation.report import EvaluationReport, assess
from tinysight.files import write_atomic
from tinysight.report import write_report
from tinysight.training.folder import RunFolder
from tinysight.training.predictor import subject_of_run

EVALUATION = "evaluation.json"


def finish(out: str | Path) -> EvaluationReport:
    """Assess the best network of the run in `out`; write `evaluation.json` and `report.html` there.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
        DataError: the evaluation list cannot be read.
    """
    folder = RunFolder(out)
    report = assess(subject_of_run(folder.path), latency=True)
    write_atomic(folder.path / EVALUATION, json.dumps(report.to_json(), indent=2) + "\n")
    write_report(folder.path, report)
    return report

"""Run folders, read without torch: listed, shown, and compared with the noise in mind."""

from tinysight.runs.compare import RunComparison, compare_runs
from tinysight.runs.records import RunRecord, find_runs, read_run

__all__ = ["RunComparison", "RunRecord", "compare_runs", "find_runs", "read_run"]

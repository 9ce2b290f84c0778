"""One self-contained HTML page about a run: metrics, curves, confusion, worst errors, how to repeat it."""

from tinysight.report.page import write_report

__all__ = ["write_report"]

"""One self-contained HTML page about a run: metrics, curves, confusion, operating points, worst errors, how to repeat."""

from tinysight.report.page import write_report

__all__ = ["write_report"]

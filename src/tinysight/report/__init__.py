"""One self-contained HTML page about an evaluation: the answer first, then the worst errors, then the rest."""

from tinysight.report.page import Subject, write_page, write_report

__all__ = ["Subject", "write_page", "write_report"]

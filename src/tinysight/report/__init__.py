"""One self-contained HTML page about an evaluation: the metric first, then the worst errors, then the rest."""

from tinysight.report.page import Page, write_page, write_report

__all__ = ["Page", "write_page", "write_report"]

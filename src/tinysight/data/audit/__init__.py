"""What is wrong with the images of a data set; `tinysight data check`."""

from tinysight.data.audit.check import Audit, Finding, Side, check
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups

__all__ = ["Audit", "Duplicate", "Finding", "Side", "check", "find_duplicates", "groups"]

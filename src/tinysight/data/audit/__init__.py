"""What is wrong with the pictures of a data set; `tinysight data check`."""

from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups

__all__ = ["Duplicate", "find_duplicates", "groups"]

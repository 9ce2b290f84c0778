"""What is wrong with the images of a data set; `tinysight data check`."""

from tinysight.data.audit.audit import Audit, Finding, audit_images
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups
from tinysight.data.audit.sources import SplitSide, sides_of_lists, sides_of_recipe

__all__ = [
    "Audit",
    "Duplicate",
    "Finding",
    "SplitSide",
    "audit_images",
    "find_duplicates",
    "groups",
    "sides_of_lists",
    "sides_of_recipe",
]

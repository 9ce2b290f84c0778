"""What is wrong with the images of a data set; `tinysight data check`."""

from tinysight.data.audit.audit import Audit, Finding, Side, audit_images
from tinysight.data.audit.duplicates import Duplicate, find_duplicates, groups

__all__ = ["Audit", "Duplicate", "Finding", "Side", "audit_images", "find_duplicates", "groups"]

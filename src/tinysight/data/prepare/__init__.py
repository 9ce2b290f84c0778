"""Crops of boxes, and lists divided in two; `tinysight data prepare`."""

from tinysight.data.prepare.dataset import Plan, Prepared, prepare

__all__ = ["Plan", "Prepared", "prepare"]

"""Losses: modules from logits and targets to one number, registered in `tinysight.registry`."""

from tinysight.losses.classification import CrossEntropy

__all__ = ["CrossEntropy"]

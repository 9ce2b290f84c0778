"""Losses: modules from logits and targets to one number, registered in `tinysight.registry`."""

from tinysight.losses.classification import CrossEntropy, MultiLabel, MultiLabelAsymmetric

__all__ = ["CrossEntropy", "MultiLabel", "MultiLabelAsymmetric"]

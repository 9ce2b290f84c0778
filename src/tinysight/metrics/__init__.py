"""How good predictions are: pure functions on NumPy, one implementation for runs and bundles.

Registered metrics take `scores` (N, K) and `labels` (N,) and return names and values; the first
value of a recipe's first metric picks its best epoch.
"""

from tinysight.metrics.binary import RocCurve, roc_auc, roc_curve, tpr_at_fpr
from tinysight.metrics.classification import (
    ClassReport,
    accuracy,
    class_report,
    confusion_matrix,
    topk,
)
from tinysight.metrics.intervals import Interval, bootstrap_interval, wilson_interval

__all__ = [
    "ClassReport",
    "Interval",
    "RocCurve",
    "accuracy",
    "bootstrap_interval",
    "class_report",
    "confusion_matrix",
    "roc_auc",
    "roc_curve",
    "topk",
    "tpr_at_fpr",
    "wilson_interval",
]

"""How good predictions are: pure functions on NumPy, one implementation for runs and bundles.

Registered metrics take `scores` (N, K) and `labels` (N,), or (N, K) for several labels a picture, and
return names and values; the first value of a recipe's first metric picks its best epoch.
"""

from tinysight.metrics.binary import (
    PrecisionRecallCurve,
    RocCurve,
    precision_recall_curve,
    roc_auc,
    roc_curve,
    tpr_at_fpr,
)
from tinysight.metrics.classification import (
    ClassReport,
    accuracy,
    class_report,
    confusion_matrix,
    topk,
)
from tinysight.metrics.intervals import Interval, bootstrap_interval, wilson_interval
from tinysight.metrics.multilabel import (
    LabelReport,
    average_precision,
    best_mean_accuracy,
    hamming,
    mean_accuracy,
    multilabel_accuracy,
    multilabel_map,
    multilabel_report,
)

__all__ = [
    "ClassReport",
    "Interval",
    "LabelReport",
    "PrecisionRecallCurve",
    "RocCurve",
    "accuracy",
    "average_precision",
    "best_mean_accuracy",
    "bootstrap_interval",
    "class_report",
    "confusion_matrix",
    "hamming",
    "mean_accuracy",
    "multilabel_accuracy",
    "multilabel_map",
    "multilabel_report",
    "precision_recall_curve",
    "roc_auc",
    "roc_curve",
    "topk",
    "tpr_at_fpr",
    "wilson_interval",
]

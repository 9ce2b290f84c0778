"""How good predictions are: pure functions on NumPy, one implementation for runs and bundles.

Registered metrics take `scores` (N, K) and `labels` (N,), or (N, K) for several labels an image, and
return names and values; the first value of a recipe's first metric picks its best epoch.
"""

from tinysight.metrics.binary import (
    PrecisionRecallCurve,
    RocCurve,
    pr_area,
    precision_recall_curve,
    roc_auc,
    roc_curve,
    tpr_at_fpr,
)
from tinysight.metrics.calibration import (
    Reliability,
    brier,
    calibration,
    confidences,
    fit_temperature,
    reliability,
    soften,
    soften_each,
)
from tinysight.metrics.classification import (
    ClassReport,
    accuracy,
    class_report,
    confusion_matrix,
    topk,
)
from tinysight.metrics.intervals import (
    Interval,
    bootstrap_interval,
    exact_interval,
    wilson_interval,
)
from tinysight.metrics.multilabel import (
    average_precision,
    best_mean_accuracy,
    hamming,
    label_report,
    mean_accuracy,
    multilabel_accuracy,
    multilabel_map,
)
from tinysight.metrics.operating_point import (
    Counts,
    Rate,
    ThresholdResult,
    at_target_fpr,
    at_target_precision,
    at_threshold,
    expected_fpr,
)
from tinysight.metrics.retrieval import retrieval

__all__ = [
    "ClassReport",
    "Counts",
    "Interval",
    "PrecisionRecallCurve",
    "Rate",
    "Reliability",
    "RocCurve",
    "ThresholdResult",
    "accuracy",
    "at_target_fpr",
    "at_target_precision",
    "at_threshold",
    "average_precision",
    "best_mean_accuracy",
    "bootstrap_interval",
    "brier",
    "calibration",
    "class_report",
    "confidences",
    "confusion_matrix",
    "exact_interval",
    "expected_fpr",
    "fit_temperature",
    "hamming",
    "label_report",
    "mean_accuracy",
    "multilabel_accuracy",
    "multilabel_map",
    "pr_area",
    "precision_recall_curve",
    "reliability",
    "retrieval",
    "roc_auc",
    "roc_curve",
    "soften",
    "soften_each",
    "topk",
    "tpr_at_fpr",
    "wilson_interval",
]

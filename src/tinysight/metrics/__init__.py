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
    apply_temperature,
    brier,
    calibration,
    confidences,
    fit_temperature,
    reliability,
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
    LabelReport,
    average_precision,
    best_mean_accuracy,
    hamming,
    mean_accuracy,
    multilabel_accuracy,
    multilabel_map,
    multilabel_report,
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

__all__ = [
    "ClassReport",
    "Counts",
    "ThresholdResult",
    "Interval",
    "LabelReport",
    "PrecisionRecallCurve",
    "Rate",
    "Reliability",
    "RocCurve",
    "accuracy",
    "apply_temperature",
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
    "mean_accuracy",
    "multilabel_accuracy",
    "multilabel_map",
    "multilabel_report",
    "pr_area",
    "precision_recall_curve",
    "reliability",
    "roc_auc",
    "roc_curve",
    "topk",
    "tpr_at_fpr",
    "wilson_interval",
]

"""Metrics: pure functions on NumPy, one implementation for runs and bundles.

Registered metrics take `scores` (N, K) and `labels` (N,), or (N, K) for several labels an image, and
return names and values; the first value of a recipe's first metric picks its best epoch.
"""

from tinysight.metrics.operating_point import at_target_fpr, expected_fpr

__all__ = ["at_target_fpr", "expected_fpr"]

"""int8: weights and activations of convolutions as whole numbers, calibrated on the user's pictures."""

from tinysight.export.quantize.graph import quantized
from tinysight.export.quantize.ranges import measure_ranges

__all__ = ["measure_ranges", "quantized"]

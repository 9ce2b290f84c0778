"""Engines that run a bundle's network behind one protocol."""

from tinysight.runtime.onnx import OnnxSession
from tinysight.runtime.openvino import OpenVinoSession
from tinysight.runtime.session import Session, Tensor

__all__ = ["OnnxSession", "OpenVinoSession", "Session", "Tensor"]

"""Engines that run a bundle's network behind one protocol."""

from tinysight.runtime.onnx import OnnxSession
from tinysight.runtime.openvino import OpenVinoSession
from tinysight.runtime.session import Normalization, Session, Tensor

__all__ = ["Normalization", "OnnxSession", "OpenVinoSession", "Session", "Tensor"]

"""Engines that run a bundle's network behind one protocol."""

from tinysight.registry import sessions
from tinysight.runtime.onnx import OnnxSession
from tinysight.runtime.openvino import OpenVinoSession
from tinysight.runtime.session import Normalization, Session, Tensor
from tinysight.runtime.targets import session_of

__all__ = ["Normalization", "OnnxSession", "OpenVinoSession", "Session", "Tensor"]

sessions.provide("target", session_of)

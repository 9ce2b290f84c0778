"""Engines that run a bundle's network behind one protocol."""

from tinysight.engines.base import Normalization, Session, Tensor
from tinysight.engines.onnxruntime import OnnxSession
from tinysight.engines.openvino import OpenVinoSession
from tinysight.engines.variants import session_of
from tinysight.registry import sessions

__all__ = ["Normalization", "OnnxSession", "OpenVinoSession", "Session", "Tensor"]

sessions.provide("target", session_of)

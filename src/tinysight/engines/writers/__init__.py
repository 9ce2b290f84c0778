"""The network of a bundle in the forms of other engines: one module each, one registry."""

from tinysight.engines.writers.base import Network, Target
from tinysight.engines.writers.coreml import CoreMl
from tinysight.engines.writers.executorch import ExecuTorch
from tinysight.engines.writers.litert import LiteRt
from tinysight.engines.writers.mnn import Mnn
from tinysight.engines.writers.ncnn import Ncnn
from tinysight.engines.writers.onnx import Onnx
from tinysight.engines.writers.openvino import OpenVino
from tinysight.engines.writers.pt2 import Pt2
from tinysight.engines.writers.tensorrt import TensorRt
from tinysight.engines.writers.torchscript import TorchScript

__all__ = [
    "CoreMl",
    "ExecuTorch",
    "LiteRt",
    "Mnn",
    "Ncnn",
    "Network",
    "Onnx",
    "OpenVino",
    "Pt2",
    "Target",
    "TensorRt",
    "TorchScript",
]

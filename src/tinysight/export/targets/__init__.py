"""The network of a bundle in the forms of other engines: one module each, one registry."""

from tinysight.export.targets.base import Network, Target
from tinysight.export.targets.coreml import CoreMl
from tinysight.export.targets.executorch import ExecuTorch
from tinysight.export.targets.litert import LiteRt
from tinysight.export.targets.mnn import Mnn
from tinysight.export.targets.ncnn import Ncnn
from tinysight.export.targets.onnx import Onnx
from tinysight.export.targets.openvino import OpenVino
from tinysight.export.targets.pt2 import Pt2
from tinysight.export.targets.tensorrt import TensorRt
from tinysight.export.targets.torchscript import TorchScript

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

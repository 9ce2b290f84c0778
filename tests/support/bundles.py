"""Tiny bundles: a network of four operators whose scores can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinysight.bundle import MODEL, Bundle
from tinysight.bundle.manifest import Input, Manifest, ShippedThreshold
from tinysight.graph.onnx_file import Node, OnnxModel, Port

SIDE = 8
LABELS = ("dark", "bright")
TRANSFORMS = (
    {"name": "resize", "size": SIDE},
    {"name": "normalize", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
)


def tiny_onnx(classes: int = 2, extra_bytes: int = 0) -> bytes:
    """Mean of each channel, a linear layer, softmax; class 1 wins where the image is bright.

    Logits are (6 - 12 m, 12 m - 6, 0, 0, ...) for the mean m of all channels, in [0, 1].
    """
    weight = np.zeros((3, classes), np.float32)
    weight[:, 0], weight[:, 1] = -4, 4
    bias = np.zeros(classes, np.float32)
    bias[0], bias[1] = 6, -6
    arrays = {"weight": weight, "bias": bias}
    if extra_bytes:
        arrays["ballast"] = np.zeros(extra_bytes // 4, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(a, name) for name, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def tiny_manifest(**changes: Any) -> Manifest:
    """A manifest for `tiny_onnx`: dark or bright, at 0.5."""
    values: dict[str, Any] = {
        "task": "brightness",
        "description": "Is the image bright?",
        "input": Input("images", (None, 3, SIDE, SIDE), "float32"),
        "output": "scores",
        "transforms": TRANSFORMS,
        "postprocess": {"name": "threshold", "threshold": 0.5, "positive": "bright", "default": 0},
        "labels": LABELS,
        "threshold": ShippedThreshold(0.5, "by hand", (0.4, 0.6)),
        "metrics": {"top1": 1.0},
        "made_with": {"tinysight": "0"},
        "created": "2000-01-01T00:00:00Z",
    }
    return Manifest(**{**values, **changes})


def tiny_bundle(folder: Path, **changes: Any) -> Bundle:
    """Write a tiny bundle to `folder`."""
    classes = len(changes.get("labels", LABELS))
    return Bundle.write(folder, tiny_manifest(**changes), {MODEL: tiny_onnx(classes)})


def tiny_detector(folder: Path, *, scaled: bool = True, **changes: Any) -> Bundle:
    """A detector that finds one thing in a bright image and nothing else: class 1, box 2 1 6 5 in its 8 x 8 pixels.

    The score is the mean of all channels, in [0, 1]. With `scaled` the network takes the scale factor and gives boxes
    in pixels of the image, as detectors of PaddleClas do; else in its own.
    """
    f32, i64 = np.float32, np.int64
    nodes = [
        ("ReduceMean", ["images", "places"], ["score"], {"keepdims": 0}),
        ("Unsqueeze", ["score", "one"], ["column"], {}),
        ("Mul", ["column", "zero"], ["nothing"], {}),
        ("Add", ["nothing", "unit"], ["label"], {}),
        ("Add", ["nothing", "box"], ["corners"], {}),
        ("Concat", ["label", "column", "placed"], ["boxes"], {"axis": 1}),
        ("Squeeze", ["label", "one"], ["ones"], {}),
        ("Cast", ["ones"], ["counts"], {"to": np.dtype(np.int32)}),
    ]
    if scaled:
        nodes.insert(5, ("Gather", ["scale_factor", "turns"], ["factors"], {"axis": 1}))
        nodes.insert(6, ("Div", ["corners", "factors"], ["placed"], {}))
    else:
        nodes.insert(5, ("Identity", ["corners"], ["placed"], {}))
    constants = {
        "places": np.array([1, 2, 3], i64), "one": np.array([1], i64), "zero": np.array(0, f32),
        "unit": np.array(1, f32), "box": np.array([2, 1, 6, 5], f32), "turns": np.array([1, 0, 1, 0], i64),
    }  # fmt: skip
    inputs = [Port("images", np.dtype(f32), ("N", 3, SIDE, SIDE))]
    feeds = {"scale_factor": "scale_factor"} if scaled else {}
    inputs += [Port(name, np.dtype(f32), ("N", 2)) for name in feeds]
    model = OnnxModel(
        tuple(Node(op, tuple(i), tuple(o), a, o[0]) for op, i, o, a in nodes), constants, tuple(inputs),
        (Port("boxes", np.dtype(f32), (None, 6)), Port("counts", np.dtype(np.int32), ("N",))), 18,
    )  # fmt: skip
    manifest = tiny_manifest(
        output="boxes", postprocess={"name": "boxes", "threshold": 0.5}, labels=("dull", "bright"),
        threshold=None, feeds=feeds, more_outputs=("counts",),
    )  # fmt: skip
    return Bundle.write(folder, manifest._replace(**changes), {MODEL: model.to_bytes()})

"""Whether the fast path gives the plain path's answers, and what each of its parts saves.

    python benchmarks/fast_path.py [--model NAME|FOLDER] [--images FOLDER] [--count 1000]
    python benchmarks/fast_path.py --parts

The plain path is what one would write by hand: OpenCV decodes whole, the bundle's transforms run one
after the other, ONNX Runtime gets one image at a time. Compared with it on images made of those
in FOLDER (cuts of five sizes): `predict` as it is with `--exact`, with OpenVINO, and with the reduced
decoding that the bundle allows, if it does. The exit code is 1 if an exact score differs by more than
1e-5, or if one label in a thousand changes anywhere.

`--parts` times, in turns: decoders, ways to normalise, and forms of the network's input.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from predict import SAMPLES, make_images
from tinysight.bundle import Bundle
from tinysight.pipelines.pipeline import Classifier
from tinysight.registry import postprocesses
from tinysight.tasks.results import ClassResult
from tinysight.transforms import Compose, InputPipeline, to_batch
from tinysight.transforms.decode import decode_jpeg
from tinysight.transforms.geometry import resize_to, short_size
from tinysight.transforms.header import read_header
from tinysight.transforms.photometric import IMAGENET_MEAN, IMAGENET_STD

EXACT = 1e-5
FLIPS = 0.001


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or time the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="clarity_assessment")
    parser.add_argument("--images", default=str(SAMPLES))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--parts", action="store_true")
    args = parser.parse_args(arguments)
    bundle = Bundle.load(args.model)
    with tempfile.TemporaryDirectory(prefix="tinysight-fast-") as folder:
        if args.parts:
            parts(bundle, make_images(args.images, Path(folder), 25))
            return 0
        return compared(bundle, make_images(args.images, Path(folder), args.count))


def compared(bundle: Bundle, paths: list[str]) -> int:
    """Print a line for each way; 1 if one of them is too far off."""
    expected = plain(bundle, paths)
    ways: dict[str, tuple[dict[str, Any], float]] = {
        "exact, ONNX Runtime": ({"exact": True}, EXACT),
        "exact, in batches of 8": ({"exact": True, "batch_size": 8}, EXACT),
    }
    if installed("openvino"):
        ways["exact, OpenVINO f32"] = ({"exact": True, "engine": "openvino"}, 1e-3)
    if bundle.manifest.decode is not None:
        ways["reduced, ONNX Runtime"] = ({}, 1.0)
    failed = False
    answer = postprocesses.build(bundle.manifest.postprocess, labels=bundle.manifest.labels)
    for name, (options, limit) in ways.items():
        found = np.concatenate([s for _, s in Classifier(bundle, **options).scores(paths)])
        difference = float(np.abs(found - expected).max())
        flips = sum(a != b for a, b in zip(ids(answer(expected)), ids(answer(found)), strict=True))
        wrong = difference > limit or flips >= max(1, FLIPS * len(paths))
        failed |= wrong
        print(
            f"{name:24s} {len(paths)} images, scores differ by {difference:.3g} at most, "
            f"{flips} labels change: {'TOO FAR' if wrong else 'holds'}"
        )
    if bundle.manifest.decode is None:
        print("reduced decoding         not allowed by this bundle: every image is decoded whole")
    return int(failed)


def plain(bundle: Bundle, paths: list[str]) -> np.ndarray:
    """Scores of the path written by hand; JPEGs without orientation."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(bundle.model, options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    compose = Compose.from_specs(bundle.manifest.transforms)
    scores = []
    for path in paths:
        image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        scores.append(session.run(None, {name: to_batch([compose(image)])})[0])
    return np.concatenate(scores)


def ids(results: Sequence[ClassResult]) -> list[list[int]]:
    """Class ids of each result."""
    return [result.class_ids.tolist() for result in results]


def installed(name: str) -> bool:
    """Whether a package is there."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


def parts(bundle: Bundle, paths: list[str]) -> None:
    """Milliseconds of processor time per image, the least of twenty rounds in turns."""
    files = [Path(p).read_bytes() for p in paths]
    images = [cv2.cvtColor(cv2.imread(p), cv2.COLOR_BGR2RGB) for p in paths]
    cuts = [resize_to(i, *short_size(i, 256))[16:240, 16:240] for i in images]
    compose = Compose.from_specs([{"name": "normalize"}])
    prepare = InputPipeline(compose)
    rows = [prepare(c) for c in cuts]
    headers = [read_header(data) for data in files]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    numbered = range(len(paths))
    forms: dict[str, Callable[[int], Any]] = {
        "decode: OpenCV": lambda i: cv2.cvtColor(
            cv2.imdecode(np.frombuffer(files[i], np.uint8), flags), cv2.COLOR_BGR2RGB
        ),
        "decode: simplejpeg": lambda i: decode_jpeg(headers[i]),
        "decode: at a half": lambda i: decode_jpeg(headers[i], 2),
        "decode: at a quarter": lambda i: decode_jpeg(headers[i], 4),
        "normalise: step by step": lambda i: to_batch([compose(cuts[i])]),
        "normalise: tables into planes": lambda i: prepare(cuts[i]),
        **networks(bundle.model, rows, cuts, prepare),
    }
    least = dict.fromkeys(forms, 1e9)
    for _ in range(20):
        for name, form in forms.items():
            started = time.thread_time()
            for i in numbered:
                form(i)
            least[name] = min(least[name], (time.thread_time() - started) / len(paths) * 1e3)
    for name, milliseconds in least.items():
        print(f"{name:60s} {milliseconds:7.3f} ms")


def networks(
    model: bytes, rows: list[np.ndarray], cuts: list[np.ndarray], prepare: InputPipeline
) -> dict[str, Callable[[int], Any]]:
    """The network alone, from tables, and with the arithmetic in the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    bare = onnxruntime.InferenceSession(model, options, providers)
    folded = onnxruntime.InferenceSession(with_uint8_input(model), options, providers)
    name = bare.get_inputs()[0].name
    forms: dict[str, Callable[[int], Any]] = {
        "ONNX Runtime: float input alone": lambda i: bare.run(None, {name: rows[i]}),
        "ONNX Runtime: tables, float input": lambda i: bare.run(None, {name: prepare(cuts[i])}),
        "ONNX Runtime: uint8 input, scale folded in the convolution": lambda i: folded.run(
            None, {name: np.ascontiguousarray(cuts[i])[None]}
        ),
    }
    if installed("openvino"):
        forms |= openvino_forms(model, rows, cuts, prepare)
    return forms


def openvino_forms(
    model: bytes, rows: list[np.ndarray], cuts: list[np.ndarray], prepare: InputPipeline
) -> dict[str, Callable[[int], Any]]:
    """The same in OpenVINO, whose own preprocessing fuses what it can."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    read = core.read_model(model=model)
    read.reshape([1, 3, 224, 224])
    bare = core.compile_model(read.clone(), "CPU", settings).create_infer_request()
    steps = PrePostProcessor(read)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    mean, std = [m * 255 for m in IMAGENET_MEAN], [s * 255 for s in IMAGENET_STD]
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    folded = core.compile_model(steps.build(), "CPU", settings).create_infer_request()

    def run(request: Any, array: np.ndarray) -> None:
        request.set_input_tensor(openvino.Tensor(array, shared_memory=True))
        request.infer()

    return {
        "OpenVINO: float input alone": lambda i: run(bare, rows[i]),
        "OpenVINO: tables, float input": lambda i: run(bare, prepare(cuts[i])),
        "OpenVINO: uint8 input, its own preprocessing": lambda i: run(
            folded, np.ascontiguousarray(cuts[i])[None]
        ),
    }


def with_uint8_input(model: bytes) -> bytes:
    """The network taking uint8 (N, H, W, 3): Transpose, Cast, Sub, and 1 / std in the first weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    name = graph.input[0].name
    first = next(node for node in graph.node if name in node.input)
    weight = next(w for w in graph.initializer if w.name == first.input[1])
    scale = 255 * np.array(IMAGENET_STD, np.float32).reshape(1, 3, 1, 1)
    array = (numpy_helper.to_array(weight) / scale).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    mean = 255 * np.array(IMAGENET_MEAN, np.float32).reshape(1, 3, 1, 1)
    graph.initializer.append(numpy_helper.from_array(mean, "mean_of_input"))
    shape = ["N", 224, 224, 3]
    graph.input[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, shape))
    first.input[0] = "normalised"
    nodes = [
        helper.make_node("Transpose", [name], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["as_float", "mean_of_input"], ["normalised"]),
    ]
    for i, node in enumerate(nodes):
        graph.node.insert(i, node)
    return bytes(proto.SerializeToString())


if __name__ == "__main__":
    sys.exit(main())

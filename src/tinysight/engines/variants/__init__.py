"""The other forms of a bundle's network, run behind the same protocol.

`tinysight export --to` writes them beside `model.onnx`; the manifest says which files belong together.
Each engine is imported when a session of it is made, never before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinysight.errors import BundleError, UnknownName

if TYPE_CHECKING:
    from tinysight.bundle import Bundle
    from tinysight.engines.base import Session

# The home of each session. Those that hand tensors of torch to their engine live beside the exporters.
HOMES = {
    "coreml": "tinysight.engines.writers.coreml:CoreMlSession",
    "executorch": "tinysight.engines.writers.executorch:ExecuTorchSession",
    "litert": "tinysight.engines.variants.litert:LiteRtSession",
    "mnn": "tinysight.engines.variants.mnn:MnnSession",
    "ncnn": "tinysight.engines.variants.ncnn:NcnnSession",
    "onnx": "tinysight.engines.variants.onnx:OnnxTargetSession",
    "openvino": "tinysight.engines.variants.openvino:OpenVinoTargetSession",
    "pt2": "tinysight.engines.writers.pt2:Pt2Session",
    "tensorrt": "tinysight.engines.writers.tensorrt:TensorRtSession",
    "torchscript": "tinysight.engines.writers.torchscript:TorchScriptSession",
}


def session_of(name: str, where: str = "") -> Any:
    """The constructor of the target `name`'s sessions: what `sessions` finds as `target/<name>`.

    Raises:
        UnknownName: there is no such target.
    """
    if name not in HOMES:
        raise UnknownName("target", name, HOMES, where)
    module, _, attribute = HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def open_target(bundle: Bundle, name: str, threads: int = 1, streams: int = 1) -> Session:
    """A session of one of the forms in a bundle's manifest, made of verified bytes.

    Args:
        bundle: a verified bundle.
        name: key of `manifest.variants`: `ncnn`, `openvino-int8`, ...
        threads: of one inference.
        streams: inferences that go on at the same time, where the engine can.

    Raises:
        BundleError: the bundle has no such form, or a file of it is missing or altered.
        MissingDependency: the engine is not installed.
    """
    entry = bundle.manifest.variants.get(name)
    if entry is None:
        there = ", ".join(sorted(bundle.manifest.variants)) or "none"
        what = f"has no form {name!r} of its network"
        raise BundleError(str(bundle.folder), what, f"it has: {there}; tinysight export --to adds")
    make = session_of(name.partition("-")[0], str(bundle.folder))
    made: Session = make(
        {file: bundle.read(file) for file in entry.files},
        bundle.manifest.input.shape,
        len(bundle.manifest.labels),
        precision=entry.precision,
        threads=threads,
        streams=streams,
    )
    return made

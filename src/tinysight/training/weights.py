"""Every weight file that can be read here, under our names and in our layout.

safetensors, our checkpoints, PyTorch state dicts (tensors alone, nothing is executed), `.pdparams`, and ONNX files
whose batch norms are not fused. The content tells which it is; ONNX has no mark, so there it is the ending `.onnx`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tinysight import foreign
from tinysight.errors import CheckpointError
from tinysight.models.recognizer import Network
from tinysight.models.weights import from_reference
from tinysight.registry import engines
from tinysight.training.checkpoint import KEY, load_checkpoint, read_safetensors

if TYPE_CHECKING:
    from tinysight.graph.weights import OnnxWeights

_LAYERS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.BatchNorm2d: "norm",
    nn.Linear: "linear",
}
# The first object of PyTorch's format before 1.6.
_TORCH_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."
_TOLERANCE = 1e-4  # of probabilities, between a file's own graph and our network with its weights


def read_weights(path: Path, model: Network, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of `path` by our names; those that `model` does not know keep the file's.

    Args:
        path: the file.
        model: the network they are for: it says which weights are transposed in PaddleClas, and in what order its
            layers run.
        prefix: only entries whose names begin so, without it (`Student.`, `backbone.`).

    Raises:
        CheckpointError: the file is missing, damaged, holds no entry under `prefix`, or is of another network.
        WeightsError: the same of a foreign format.
    """
    kind = _kind(path)
    if kind == "onnx":
        if prefix:
            raise CheckpointError(str(path), "an ONNX file has no prefixes")
        return _from_onnx(path, model)
    if kind == "paddle":
        return from_reference(model, _under(prefix, foreign.read_state(path), path))
    if kind == "torch":
        return _under(prefix, _plain_names(_load_torch(path)), path)
    metadata, tensors = read_safetensors(path)
    if KEY in metadata:
        tensors = load_checkpoint(path).model
    return _under(prefix, tensors, path)


def classes_of(path: Path, model: Network, prefix: str = "") -> int | None:
    """How many classes the classifier in `path` has, for a network like `model`; None if there is none."""
    if _kind(path) == "onnx":
        from tinysight.graph.weights import read_onnx_weights

        last = [layer for layer in read_onnx_weights(path).layers if layer.kind == "linear"]
        return len(last[-1].arrays["weight"]) if last else None
    weight = read_weights(path, model, prefix).get(f"{model.classifier_name}.weight")
    return None if weight is None else len(weight)


def _kind(path: Path) -> str:
    if path.suffix.lower() == ".onnx":
        return "onnx"
    try:
        with path.open("rb") as file:
            head, size = file.read(len(_TORCH_OLD)), path.stat().st_size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        what = "no such file" if missing else str(error.strerror).lower()
        raise CheckpointError(str(path), what) from None
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return "safetensors"
    if head.startswith(b"PK\x03\x04") or head == _TORCH_OLD:
        return "torch"
    return "paddle" if head.startswith(b"\x80") else "safetensors"


def _under(prefix: str, entries: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found = {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}
    if not found:
        first = sorted({k.split(".")[0] for k in entries})[:5]
        hint = f"names begin with {', '.join(first)}"
        raise CheckpointError(str(path), f"no entry begins with {prefix!r}", hint)
    return found


def _load_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file fails in many ways
        reason = (str(error).splitlines() or [""])[0][:100]
        what = f"no PyTorch file of plain tensors, or damaged ({reason})"
        raise CheckpointError(str(path), what) from None
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(str(path), "holds no state dict")
    return {str(k): v for k, v in content.items()}


def _plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that parallel training puts before every name."""
    if all(name.startswith(_PARALLEL) for name in state):
        return {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return state


def _from_onnx(path: Path, model: Network) -> dict[str, Tensor]:
    """Layers of the file and of the network, matched by kind and order, and proved by running both."""
    from tinysight.graph.weights import KINDS, read_onnx_weights

    file = read_onnx_weights(path)
    linear = [layer for layer in file.layers if layer.kind == "linear"]
    twin = copy.deepcopy(model)
    if linear:  # the file's own number of classes
        classifier = nn.Linear(twin.features, len(linear[-1].arrays["weight"]))
        twin.set_submodule(twin.classifier_name, classifier)
    size = tuple(side or 224 for side in file.input_shape) or (3, 224, 224)
    state: dict[str, Tensor] = {}
    order = _execution_order(twin, size)
    for kind in KINDS:
        theirs = [layer for layer in file.layers if layer.kind == kind]
        ours = [name for name, found in order if found == kind]
        if len(theirs) != len(ours):
            counts = f"{len(theirs)} {kind} layers in the file, {len(ours)} in the network"
            hint = "batch norms that are fused cannot be taken apart" if kind == "norm" else ""
            raise CheckpointError(str(path), f"does not fit the network: {counts}", hint)
        for name, layer in zip(ours, theirs, strict=True):
            for leaf, array in layer.arrays.items():
                state[f"{name}.{leaf}"] = torch.from_numpy(np.array(array))
    state |= {name: torch.empty(0) for name in file.left_over}
    _prove(path, file, twin, state, size)
    return state


def _execution_order(model: Network, size: tuple[int, ...]) -> list[tuple[str, str]]:
    """Name and kind of the layers, as they run."""
    order: list[tuple[str, str]] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, entry=(name, kind): order.append(entry))
        for name, module in model.named_modules()
        for cls, kind in _LAYERS.items()
        if isinstance(module, cls)
    ]
    with _evaluating(model), torch.inference_mode():
        model(torch.zeros(1, *size))
    for hook in hooks:
        hook.remove()
    return order


def _prove(
    path: Path, file: OnnxWeights, twin: Network, state: dict[str, Tensor], size: tuple[int, ...]
) -> None:
    """Order alone could put two layers of one shape the wrong way round; the answers would tell."""
    own = twin.state_dict()
    shapes = {k: v.shape for k, v in own.items() if not k.endswith("num_batches_tracked")}
    if shapes != {k: v.shape for k, v in state.items()}:
        return  # the caller lists what does not fit
    twin.load_state_dict({**own, **state})
    images = torch.rand((2, *size), generator=torch.Generator().manual_seed(0)) * 4 - 2
    session = engines.build({"name": "onnxruntime"}, model=path.read_bytes(), threads=1)
    theirs = session.run(images.numpy())
    with _evaluating(twin), torch.inference_mode():
        logits = twin(images)
    ours = {"logits": logits, "softmax": logits.softmax(1), "sigmoid": logits.sigmoid()}
    away = min(float(np.abs(y.numpy() - theirs).max()) for y in ours.values())
    if not away <= _TOLERANCE:
        what = f"its weights fit the network, but its own graph gives other results (by {away:.2g})"
        raise CheckpointError(str(path), what, "is it a network of the same name and options?")


@contextmanager
def _evaluating(model: Network) -> Iterator[None]:
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)

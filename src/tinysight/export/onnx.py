"""A torch network as one self-contained ONNX file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tinysight.engines.torch_graph import quiet
from tinysight.errors import MissingDependency
from tinysight.graph.onnx_file import read_onnx
from tinysight.graph.simplify import simplify
from tinysight.graph.suppression import suppressed
from tinysight.models import Backbone
from tinysight.models.detector import PicoDet
from tinysight.models.outputs import activate, network_output

INPUT = "images"
CELLS = ("cells", "scores")  # outputs of a detector that does not choose among its boxes


class _Cells(nn.Module):
    """A detector's boxes (N, A, 4), in pixels of the input, and scores (N, K, A)."""

    def __init__(self, model: PicoDet) -> None:
        super().__init__()
        self.network = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(images)
        return found.get("boxes"), found.get("scores").transpose(1, 2)


class _Scores(nn.Module):
    """A network that ends in its task's activation, as a bundle's does."""

    def __init__(self, model: nn.Module, source: str, activation: str, temperature: float) -> None:
        super().__init__()
        self.network, self.source = model, source
        self.activation, self.temperature = activation, temperature

    def forward(self, images: Tensor) -> Tensor:
        outputs = network_output(self.network, images, self.source)
        return activate(outputs, self.activation, self.temperature)


def to_onnx(
    model: nn.Module, shape: tuple[int, int, int], *, opset: int, metadata: Mapping[str, str],
    source: str = "logits", activation: str = "softmax", outputs: tuple[str, ...] = ("scores",),
    temperature: float = 1.0,
) -> bytes:  # fmt: skip
    """`model` to scores as an ONNX file, in the form that engines run fastest.

    Batch normalisation, factors and offsets are folded into the weights; shapes that are known are constants. The same
    network gives the same bytes. Nothing of the place where it was made is in them.

    Args:
        model: from (N, C, H, W) to (N, K); exported in evaluation mode, any N.
        shape: (C, H, W).
        opset: of ONNX.
        metadata: texts by name that the file carries.
        source: output of the network that the activation takes, as a task gives it.
        activation: name of the function that the graph ends in, as a task gives it.
        outputs: names of the graph's outputs. Those of a detector are rows and counts, unless they are `CELLS`.
        temperature: divides the outputs before the activation.

    Raises:
        MissingDependency: onnx or onnxscript is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it, and asks less plainly
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnx", "train", "the export") from None
    copied = copy.deepcopy(model).eval()
    if isinstance(copied, Backbone | PicoDet):
        copied.reparameterize()  # the parallel branches of its training form become one convolution
    detects = isinstance(copied, PicoDet)
    wrapped: nn.Module = _Scores(copied, source, activation, temperature)
    if isinstance(copied, PicoDet):
        wrapped = _Cells(copied)
    # Two images: from one alone the exporter may conclude that there is always one.
    images = torch.zeros((2, *shape), device=next(model.parameters()).device)
    sizes = {INPUT: {0: torch.export.Dim("N", min=1)}}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            wrapped.eval(), (images,), dynamo=True, input_names=[INPUT],
            output_names=list(CELLS if detects else outputs),
            dynamic_shapes=sizes, opset_version=opset, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported = read_onnx(program.model_proto.SerializeToString())
    # The exporter's notes (source lines, paths of this machine) are not read, so they are not written.
    made = simplify(replace(exported, metadata=dict(metadata)))
    if isinstance(copied, PicoDet) and outputs != CELLS:
        made = suppressed(made, (outputs[0], outputs[1]), **copied.rule)
    data = made.to_bytes()
    onnx.checker.check_model(onnx.load_model_from_string(data), full_check=True)
    return data

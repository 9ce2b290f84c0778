"""TensorRT, where there is a GPU of NVIDIA's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from tinysight.engines.one_image import OneImageSession, load_module
from tinysight.engines.writers.base import Network
from tinysight.errors import ExportError, MissingDependency
from tinysight.registry import targets


@targets.register("tensorrt")
class TensorRt:
    """`.plan` for the GPU that writes it; engines of TensorRT run on no other kind."""

    precisions: ClassVar = ("fp32", "fp16")
    packages: ClassVar = ("tensorrt",)

    def write(self, network: Network, precision: str, stem: str) -> dict[str, bytes]:
        """`<stem>.plan`, for batches of 1 to 16 images."""
        if not torch.cuda.is_available():
            what = "an engine is built and checked on the GPU it is for, and there is none here"
            raise ExportError("tensorrt", what, "export on a machine with a GPU of NVIDIA's")
        try:
            import tensorrt
        except ModuleNotFoundError as error:
            raise MissingDependency("tensorrt", None, "the target tensorrt") from error
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        builder = tensorrt.Builder(logger)
        definition = builder.create_network(0)
        parser = tensorrt.OnnxParser(definition, logger)
        if not parser.parse(network.model):
            what = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ExportError("tensorrt", f"its parser refuses the network: {what}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        sizes = [(count, *network.shape) for count in (1, 1, 16)]
        profile.set_shape(definition.get_input(0).name, *sizes)
        config.add_optimization_profile(profile)
        if precision == "fp16":
            config.set_flag(tensorrt.BuilderFlag.FP16)
        plan = builder.build_serialized_network(definition, config)
        if plan is None:
            raise ExportError("tensorrt", "its builder finds no engine for the network")
        return {f"{stem}.plan": bytes(plan)}


class TensorRtSession(OneImageSession):
    """A network as `.plan`, on the first GPU."""

    engine = "TensorRT"

    def _open(self) -> None:
        engine = load_module("tensorrt", "tensorrt", None, "the engine TensorRT")
        runtime = engine.Runtime(engine.Logger(engine.Logger.ERROR))
        self._plan = runtime.deserialize_cuda_engine(self._named(".plan"))
        if self._plan is None:
            raise ValueError("the plan is for another GPU or another version of TensorRT")
        self._context = self._plan.create_execution_context()
        self._input, self._output = (self._plan.get_tensor_name(i) for i in range(2))

    def _answer(self, image: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(image[None].copy()).cuda()
        scores = torch.empty((1, self._classes), device="cuda")
        self._context.set_input_shape(self._input, tuple(given.shape))
        self._context.set_tensor_address(self._input, given.data_ptr())
        self._context.set_tensor_address(self._output, scores.data_ptr())
        stream = torch.cuda.current_stream()
        self._context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return np.array(scores.cpu().numpy())

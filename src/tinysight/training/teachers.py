"""The teachers of a recipe: networks of ours with weights, or programs that an engine runs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinysight import foreign
from tinysight.bundle import Bundle
from tinysight.concurrency import usable_cores
from tinysight.config import Recipe
from tinysight.config.schema import Teacher
from tinysight.data.labels import label_names
from tinysight.engines import Engine
from tinysight.errors import CheckpointError, ConfigError
from tinysight.graph.onnx_file import read_onnx
from tinysight.registry import engines
from tinysight.tasks.base import Task, task_of_bundle, task_of_recipe
from tinysight.training.networks import freeze_all, initial_model
from tinysight.training.pretrained import CLASSIFIER

logger = logging.getLogger(__name__)

_LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: torch.log(scores.clamp(min=1e-12)),
    "sigmoid": lambda scores: torch.logit(scores, eps=1e-7),
}


class Taught(NamedTuple):
    """A teacher.

    Attributes:
        network: that `run_network` runs.
        frozen: its modules that stay in evaluation mode.
        pixels: (2, 1, C, 1, 1): factor and summand that make its input of the student's; None: they have the same.
    """

    network: nn.Module
    frozen: tuple[nn.Module, ...] = ()
    pixels: Tensor | None = None


class EngineTeacher(nn.Module):
    """A network that ONNX Runtime runs on the CPU; it has no gradient.

    Args:
        model: contents of the ONNX file: one input (N, C, H, W), one or more outputs, the first of which counts.
        activation: what its outputs went through last, which is undone: `softmax`, `sigmoid` or another.
    """

    def __init__(self, model: bytes, activation: str) -> None:
        super().__init__()
        # Half of the cores: the student trains on the others.
        threads = max(1, usable_cores() // 2)
        self._engine: Engine = engines.build({"name": "onnxruntime"}, model=model, threads=threads)
        (given, *_) = self._engine.inputs
        self._one = given.shape[0] == 1
        sides = given.shape[2:]
        self._size = tuple(int(s or 0) for s in sides) if all(sides) else None
        self._logits = _LOGITS.get(activation, lambda scores: scores)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W), brought to the size that the network takes -> logits (N, K)."""
        x = images.detach().float()
        if self._size and x.shape[2:] != self._size:
            x = F.interpolate(x, self._size, mode="bilinear", antialias=True)
        rows = x.cpu().contiguous().numpy()
        parts = [rows[i : i + 1] for i in range(len(rows))] if self._one else [rows]
        scores = torch.cat([torch.from_numpy(self._engine.run(part)) for part in parts])
        logits: Tensor = self._logits(scores)  # type: ignore[no-untyped-call]
        return logits.to(images.device)


def load_teacher(name: str, recipe: Recipe) -> Taught:
    """Teacher `name` of a resolved recipe.

    Raises:
        ConfigError: it has no weights, or teaches other labels.
        CheckpointError: its weights do not fit, or are missing.
        BundleError: its bundle or ONNX file cannot be run.
        WeightsError: its program cannot be translated.
    """
    section, where = recipe.teachers[name], f"teachers.{name}"
    pixels = None
    if section.run is not None:
        from tinysight.training.predictor import load_model

        network, own = load_model(section.run)
        network.train()
        _check_task(task_of_recipe(own), label_names(own.data), recipe, where)
        pixels = _pixels([t.spec for t in own.transforms.eval], recipe)
    elif section.backbone is None:
        network, pixels = _engine_teacher(section, recipe, where)
    else:
        network = _own_network(section, recipe, where)
    if section.learns:
        return Taught(network.requires_grad_(True), (), pixels)
    held = freeze_all(network.train(section.batch_statistics))
    return Taught(network, () if section.batch_statistics else held, pixels)


def _own_network(section: Teacher, recipe: Recipe, where: str) -> nn.Module:
    parts = {k: getattr(section, k) for k in ("backbone", "neck", "head", "pretrained", "skip")}
    more = {"freeze": (), "freeze_statistics": False, "linear_probe": False}
    model = recipe.model.model_copy(update={**parts, **more})
    if not (section.learns or section.pretrained):
        what = "a frozen teacher without weights would teach noise"
        raise ConfigError(f"{where}.pretrained", what, "name the weights that it was trained to")
    if not section.learns and CLASSIFIER in section.skip:
        what = "a frozen teacher without its classifier's weights would teach noise"
        raise ConfigError(f"{where}.skip", what, "train it first, then name its run")
    return initial_model(recipe.model_copy(update={"model": model}))


def _engine_teacher(section: Teacher, recipe: Recipe, where: str) -> tuple[nn.Module, Any]:
    if section.onnx is not None:
        try:
            data = Path(section.onnx).read_bytes()
        except OSError as error:
            what = (error.strerror or str(error)).lower()
            raise CheckpointError(section.onnx, what) from None
        graph = read_onnx(data)
        maker = next((n for n in graph.nodes if graph.outputs[0].name in n.outputs), None)
        return EngineTeacher(data, maker.op.lower() if maker else ""), None
    if section.program is not None:
        with tempfile.TemporaryDirectory(prefix="tinysight-") as folder:
            foreign.translate_program(Path(section.program), out := Path(folder, "bundle"))
            bundle = Bundle.load(out)
    else:
        bundle = Bundle.load(str(section.bundle))
    manifest = bundle.manifest
    task = task_of_bundle(manifest)
    _check_task(task, manifest.labels, recipe, where)
    return EngineTeacher(bundle.model, task.activation), _pixels(manifest.transforms, recipe)


def _check_task(task: Task, names: Sequence[str], recipe: Recipe, where: str) -> None:
    """Refuse a detector, and a network of other labels; identities may be others."""
    if task.source == "detections":
        raise ConfigError(where, "it is a detector, whose boxes teach nothing here")
    if task.has_classes:
        _check_labels(names, recipe, where)


def _check_labels(names: Sequence[str], recipe: Recipe, where: str) -> None:
    own = label_names(recipe.data)
    if len(names) != len(own):
        what = f"it knows {len(names)} labels, the student {len(own)}"
        raise ConfigError(where, what, "a teacher is trained on the same labels")
    if tuple(names) == tuple(own):
        return
    if set(names) == set(own):
        raise ConfigError(where, f"its labels are in another order: {', '.join(names[:5])}")
    logger.warning("%s: its labels have other names (%s)", where, ", ".join(names[:5]))


def _pixels(steps: Sequence[dict[str, Any]], recipe: Recipe) -> Tensor | None:
    """What makes the teacher's normalised image of the student's, (2, 1, C, 1, 1); None if they are the same."""
    own = [t.spec for t in recipe.transforms.train]
    both = [[s for s in some if s["name"] == "normalize"][-1:] for some in (own, steps)]
    if not all(both) or _numbers(both[0][0]).equal(_numbers(both[1][0])):
        return None
    mean, std, scale = _numbers(both[0][0])
    other_mean, other_std, other_scale = _numbers(both[1][0])
    ratio = other_scale / scale
    pair = torch.stack([std * ratio / other_std, (mean * ratio - other_mean) / other_std])
    return pair.float()[:, None, :, None, None]


def _numbers(spec: dict[str, Any]) -> Tensor:
    """Mean, deviation and factor of each channel, (3, 3)."""
    keys = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255}
    rows = [torch.as_tensor(spec.get(k, d), dtype=torch.float64) for k, d in keys.items()]
    return torch.stack([row.expand(3) for row in rows])

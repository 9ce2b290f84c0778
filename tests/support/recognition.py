"""Recorded training steps of recognition networks, run from the text of PaddleClas' configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from support.golden import Case, synth, synth_input
from support.networks import fill
from support.paddleclas import TRAINING
from tinysight.compat.paddle.dialect import read_config
from tinysight.config import Recipe
from tinysight.data.labels import label_names
from tinysight.data.loader import Batch
from tinysight.data.samples import Gathered, SampleList
from tinysight.files import parse_yaml, to_yaml
from tinysight.models.layers import DownscaleDropout
from tinysight.models.outputs import Outputs
from tinysight.training.objective import Supervised, Terms, total
from tinysight.training.objective.supervised import supervised
from tinysight.training.optim import set_lr
from tinysight.training.run import _optimizers

QUERY = {
    "dataset": {
        "name": "VeriWild",
        "image_root": "./images/",
        "cls_label_path": "./images/val_list.txt",
        "transform_ops": [{"ResizeImage": {"size": 64}}, {"NormalizeImage": {"order": ""}}],
    },
    "sampler": {"name": "DistributedBatchSampler", "batch_size": 4},
}


def recorded_recipe(case: Case, folder: Any) -> Recipe:
    """The recipe of the configuration's text, with the sections that the recording leaves out."""
    tree = parse_yaml(TRAINING, "TRAINING") | parse_yaml(case["config_yaml"], case["id"])
    tree["Global"] |= {"eval_mode": "retrieval", "image_shape": [3, *case["input_hw"]]}
    tree["DataLoader"]["Eval"] = {"Query": QUERY, "Gallery": QUERY}
    tree["Metric"] = {"Eval": [{"Recallk": {"topk": [1]}}]}
    tree.pop("Infer", None)
    if "Head" not in tree["Arch"]:
        (folder / "images").mkdir()
        lines = "".join(f"{i}.png {i}\n" for i in range(max(map(max, case["labels"][0])) + 9))
        (folder / "images" / "train_list.txt").write_text(lines, "utf-8")
        tree["DataLoader"]["Train"]["dataset"] |= {
            "image_root": str(folder / "images"),
            "cls_label_path": str(folder / "images" / "train_list.txt"),
        }
    path = folder / "config.yaml"
    path.write_text(to_yaml(tree), "utf-8")
    return read_config(path).recipe


class RecordedRun:
    """The objective and the optimisers of a recipe, filled by the recording's rule."""

    def __init__(self, case: Case, folder: Any, dtype: torch.dtype = torch.float32) -> None:
        self.case, self.recipe = case, recorded_recipe(case, folder)
        into = Gathered()
        into.begin(folder, folder)
        for i in range(len(label_names(self.recipe.data))):
            into.add(b"x", i)
        samples: SampleList = into.done()
        self.objective: Supervised = supervised(self.recipe, samples)
        self.network = self.objective.network
        for module in self.network.modules():
            if isinstance(module, DownscaleDropout):
                module.p = 0.0
        kept = {n: b.clone() for n, b in self.network.named_buffers() if ".batch_" in n}
        self.before = fill(self.network)
        for name, value in kept.items():  # of AdaMargin, which the recording keeps as built
            self.network.get_buffer(name).copy_(value)
            self.before[name] = value.numpy()
        self._fill_losses()
        self.objective.to(dtype)
        self.dtype = dtype
        self.outputs: Outputs | None = None
        for name in ("outputs", "vectors"):
            setattr(self.network, name, self._kept(getattr(self.network, name)))
        self.optimizers = _optimizers(self.objective, self.recipe.train)

    def _kept(self, compute: Callable[..., Outputs]) -> Callable[..., Outputs]:
        def call(*given: Any) -> Outputs:
            self.outputs = compute(*given)
            return self.outputs

        return call

    def _fill_losses(self) -> None:
        """Centres lie at `loss.loss_func.<place>.centers` of the recording."""
        for place, loss in enumerate(self.objective.losses.values()):
            for name, parameter in loss.named_parameters():
                recorded = f"loss.loss_func.{place}.{name}"
                value = synth(recorded, tuple(parameter.shape))
                assert value is not None
                parameter.data = torch.from_numpy(value)
                self.before[recorded] = value

    def batch(self, step: int) -> Batch:
        case = self.case
        images = synth_input(
            case["batch_sizes"][step], *case["input_hw"], name=case["input_names"][step]
        )
        self.labels = torch.from_numpy(np.array(case["labels"][step])[:, 0]).long()
        return Batch(torch.from_numpy(images).to(self.dtype), self.labels, ())

    def cross_entropy_as_shown(self) -> float | None:
        """What PaddlePaddle's softmax gives on a CPU, which takes no logit for more than 64 below the largest.

        The gradient is the same. None where every logit is nearer.
        """
        found = self.outputs.logits if self.outputs else None
        if found is None:
            return None
        shifted = found.detach() - found.detach().amax(1, keepdim=True)
        if float(shifted.min()) > -64.0:
            return None
        shifted = shifted.clamp(min=-64.0)
        return float(torch.nn.functional.cross_entropy(shifted, self.labels))

    def step(self, step: int) -> tuple[Terms, torch.Tensor]:
        """The terms and the loss of one step, whose gradients stay until the next."""
        self.objective.train()
        rates = [self.recipe.train.lr]
        if apart := self.recipe.train.loss_optimizer:
            rates.append(apart.lr)
        for optimizer, rate in zip(self.optimizers, rates, strict=True):
            optimizer.zero_grad()
            set_lr(optimizer, rate)
        terms = self.objective(self.batch(step))
        loss = total(terms)
        loss.backward()
        return terms, loss.detach()

    def change(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

"""An objective of two networks and three terms, with a loss that has parameters and one that has a memory."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from support.tiny import tiny_recipe
from tinysight.config import Recipe
from tinysight.data.loader import Batch
from tinysight.data.samples import SampleList
from tinysight.models import create_model
from tinysight.registry import embedding_losses
from tinysight.training import fit
from tinysight.training.networks import initial_model
from tinysight.training.objective import Objective, Term, Terms

MEMORY = {"name": "contrastive_xbm", "size": 16, "start": 1}


class Twins(Objective):
    """The recipe's network learns from labels and from a second network, which learns from it in turn."""

    def __init__(self, recipe: Recipe, samples: SampleList) -> None:
        student, twin = initial_model(recipe), create_model("pplcnet_x0_25", 2)
        super().__init__({"student": student, "twin": twin}, ("labels", "mutual", "distances"))
        self.centers = embedding_losses.build(
            {"name": "center"}, num_classes=2, features=student.features
        )
        self.memory = embedding_losses.build(MEMORY, features=student.features)

    def forward(self, batch: Batch) -> Terms:
        wanted = ("logits", "embedding", "blocks6")
        student, twin = (self.outputs(name, batch, wanted) for name in ("student", "twin"))
        assert (
            student.get("blocks6").shape[:2]
            == twin.get("blocks6").shape[:2]
            == (len(batch.targets), 128)
        )
        mutual = F.mse_loss(student.get("logits"), twin.get("logits"))
        unit = student.get("embedding")
        distances = self.centers(unit, batch.targets) + self.memory(unit, batch.targets)
        return {
            "labels": Term(1.0, F.cross_entropy(student.get("logits"), batch.targets)),
            "mutual": Term(0.5, mutual),
            "distances": Term(5e-4, distances),
        }


def train(argv: list[str]) -> int:
    """Train the recipe of the images in `argv[0]` into `argv[2]`, and resume where `--resume` says so."""
    images, _, out, *more = argv
    overrides = [text for text in more if not text.startswith("--")]
    with torch.random.fork_rng():
        fit(tiny_recipe(Path(images), *overrides), out, resume="--resume" in more, objective=Twins)
    return 0

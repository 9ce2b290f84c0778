"""The initial classifier: logistic regression on the features of the pretrained network.

The first gradients of a fresh classifier are noise, and the features pay for it before it has learned anything. One
that fits them from the start leaves in them what they came with: linear probing, then fine-tuning (Kumar et al., 2022,
arXiv:2202.10054).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinysight.data.lists import Sample
from tinysight.errors import ConfigError
from tinysight.evaluation.predictor import Predict, predict_all
from tinysight.models import Backbone
from tinysight.tasks.base import Task
from tinysight.transforms import Compose

logger = logging.getLogger(__name__)

MOST = 10_000
"""Images that are used at most: more teach a linear layer little."""

_DECAYS = tuple(10.0**exponent for exponent in np.arange(1.0, -4.1, -0.5))
_FOLDS = 5
_ONE_FOLD_FROM = 2_000  # so many held-out images in one fold tell the decays apart


class Probe(NamedTuple):
    """A linear layer and how it was found.

    Attributes:
        weight: (K, D) float64, of the features as they are.
        bias: (K,) float64.
        decay: the penalty that was chosen, > 0.
        held_out_loss: mean loss with it on images that were left out.
    """

    weight: Tensor
    bias: Tensor
    decay: float
    held_out_loss: float


@torch.no_grad()
def begin_with_probe(
    model: Backbone, samples: Sequence[Sample], prepare: Compose, batch_size: int, task: Task
) -> list[tuple[int, str]]:
    """Give the classifier of `model` the weights of a probe on the images of `samples`.

    Args:
        model: a network with pretrained weights; its classifier is changed in place; left in evaluation mode.
        samples: labelled images; an even selection of `MOST` of them if there are more.
        prepare: the transforms of evaluation.
        batch_size: images per pass.
        task: of the network.

    Returns:
        (place in `samples`, reason) of each image that could not be read.

    Raises:
        ConfigError: fewer than two images could be read, or none of them has a label.
    """
    places = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), MOST)).astype(int))
    chosen = [samples[int(i)] for i in places]
    found = predict_all(_features(model), chosen, prepare, batch_size)
    features, labels = torch.from_numpy(found.outputs), torch.from_numpy(found.targets)
    known = torch.from_numpy(task.known(found.targets) if len(found.targets) else np.zeros(0, bool))
    if known.sum() < 2:
        what = f"{int(known.sum())} images with a label could be read, two are needed"
        raise ConfigError("model.linear_probe", what, "set it to false")
    classifier = model.get_submodule(model.classifier_name)
    assert isinstance(classifier, nn.Linear)
    probe = fit_probe(features[known], labels[known], classifier.out_features)
    classifier.weight.copy_(probe.weight)
    classifier.bias.copy_(probe.bias)
    logger.info(
        "model.linear_probe: the classifier begins fitted to %d images (loss on left-out ones %.3f, penalty %.2g)",
        int(known.sum()), probe.held_out_loss, probe.decay,
    )  # fmt: skip
    return [(int(places[i]), reason) for i, reason in found.unreadable]


def fit_probe(features: Tensor, labels: Tensor, classes: int) -> Probe:
    """Penalised logistic regression: softmax over class ids, or each label by itself.

    Minimises mean loss + decay / 2 * |W|^2, where W is that of features divided by their standard deviation. The decay
    is the one with the smallest loss on images that were left out: five folds, from 2,000 images on one.

    Args:
        features: (N, D).
        labels: class ids (N,), or 0, 1 and -1 (unknown) (N, K).
        classes: K.
    """
    features = features.double().cpu()
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0)
    # A feature that hardly ever varies is not blown up to the size of the others.
    scale = scale.clamp(min=max(0.01 * float(scale.square().mean().sqrt()), 1e-12))
    scaled = (features - mean) / scale
    parts = min(_FOLDS, len(labels))
    fold = _folds(labels, parts)
    left_out = range(1 if len(labels) >= _ONE_FOLD_FROM else parts)
    fresh = torch.zeros(classes, features.shape[1] + 1, dtype=torch.float64)
    losses = torch.zeros(len(_DECAYS), dtype=torch.float64)
    for held in (fold == i for i in left_out):
        joint = fresh
        for i, decay in enumerate(_DECAYS):  # the strongest first: each is a good start of the next
            joint = _minimise(joint, scaled[~held], labels[~held], decay)
            losses[i] += _loss(_logits(joint, scaled[held]), labels[held]) / len(left_out)
    best = int(losses.argmin())
    joint = _minimise(fresh, scaled, labels, _DECAYS[best])
    weight = joint[:, :-1] / scale
    return Probe(weight, joint[:, -1] - weight @ mean, _DECAYS[best], float(losses[best]))


def _features(model: Backbone) -> Predict:
    """From images to what the classifier takes, (N, D), in evaluation mode."""
    place = next(model.parameters()).device
    model.eval()

    def predict(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(place)
        features: np.ndarray = model.pre_logits(model.forward_features(batch)).float().cpu().numpy()
        return features

    return predict


def _folds(labels: Tensor, parts: int) -> Tensor:
    """The fold of each image (N,): every class, and every set of labels, in turn to all of them."""
    _, kind = torch.unique(labels, dim=0, return_inverse=True)
    folds = torch.empty(len(labels), dtype=torch.int64)
    folds[torch.argsort(kind, stable=True)] = torch.arange(len(labels)) % parts
    return folds


def _minimise(start: Tensor, features: Tensor, labels: Tensor, decay: float) -> Tensor:
    """Weights and bias (K, D + 1) of the least penalised loss; convex, so wherever it starts."""
    joint = start.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [joint], max_iter=200, tolerance_grad=1e-6, tolerance_change=1e-9,
        history_size=20, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        solver.zero_grad()
        penalty = decay / 2 * joint[:, :-1].square().sum()
        value = _loss(_logits(joint, features), labels) + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(closure)  # type: ignore[no-untyped-call]
    return joint.detach()


def _logits(joint: Tensor, features: Tensor) -> Tensor:
    return features @ joint[:, :-1].T + joint[:, -1]


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.shape != logits.shape:  # class ids
        return F.cross_entropy(logits, labels)
    known = labels >= 0
    targets = labels.clamp(min=0).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return each[known].mean()

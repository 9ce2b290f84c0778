"""From facts about a data set, and about this machine, to a recipe; every rule of thumb stands here."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

SIZES = (192, 160, 128, 96)  # pixels that a network is given
OVERHEAD = 35.0  # seconds of a run that no epoch takes: reading, report, export and certificate
_LITE: dict[str, Any] = {"mean": [127.0] * 3, "std": [128.0] * 3, "scale": 1.0}


class StartNetwork(NamedTuple):
    """A backbone to begin with.

    Attributes:
        name: of the backbone.
        normalize: what its weights were trained with, as the transform's keys; empty: the usual.
        macs: multiply-accumulates of one image of 224 px, millions.
    """

    name: str
    normalize: dict[str, Any]
    macs: float


NETWORKS = (  # with ImageNet's weights the more accurate first
    StartNetwork("efficientnet_lite0", _LITE, 385.0),
    StartNetwork("pplcnet_x1_0", {}, 161.0),
    StartNetwork("pplcnet_x0_5", {}, 47.0),
)
FRESH = (
    StartNetwork("pplcnet_x1_0", {}, 161.0),
    NETWORKS[2],
    StartNetwork("pplcnet_x0_25", {}, 18.0),
)


class Facts(NamedTuple):
    """What the choice depends on.

    Attributes:
        labels: label names.
        train: number of training images.
        val: number of validation images.
        side: median of the images' shorter sides, pixels.
        weights: what `model.pretrained` says for each network whose weights are at hand.
        cores: processors.
    """

    labels: tuple[str, ...]
    train: int
    val: int
    side: int
    weights: dict[str, bool | str]
    cores: int = 2


class Choice(NamedTuple):
    """A network, its weights (`model.pretrained`; None: fresh ones) and the size of its images, pixels."""

    network: StartNetwork
    pretrained: bool | str | None
    size: int

    @property
    def cost(self) -> float:
        """Millions of multiply-accumulates for one image."""
        return self.network.macs * (self.size / 224) ** 2


class Pace(NamedTuple):
    """Seconds that one image takes in training, in an evaluation, and to be read and prepared."""

    train: float
    evaluate: float
    read: float

    def times(self, factor: float) -> Pace:
        """That of a network that computes so many times as much for an image."""
        return Pace(self.train * factor, self.evaluate * factor, self.read)


def choices(facts: Facts) -> list[Choice]:
    """What may be trained, the best first: published weights before fresh ones, large images before small ones.

    Small images are enlarged at most about twice: there is nothing more to be seen in them.
    """
    wanted = next((s for s in SIZES if s <= 2 * facts.side), SIZES[-1])
    sizes = [s for s in SIZES if s <= wanted]
    known = [(n, facts.weights[n.name]) for n in NETWORKS if n.name in facts.weights]
    rows: list[tuple[StartNetwork, bool | str | None]] = [*known, *((n, None) for n in FRESH)]
    return [Choice(n, w, s) for n, w in rows for s in (sizes if w else sizes[-3:])]


def smaller(choice: Choice) -> Choice | None:
    """The same with smaller images, if there is a size left."""
    return next((choice._replace(size=s) for s in SIZES if s < choice.size), None)


def least_epochs(choice: Choice) -> int:
    """Epochs below which smaller images are the better way to save time."""
    return 4 if choice.pretrained else 12


def length(facts: Facts, choice: Choice, pace: Pace, minutes: float) -> tuple[int, int, float]:
    """As many epochs as the number of images asks for, and fewer where they would not fit into `minutes`.

    Returns:
        The number of epochs, the number without a limit, and the seconds that the whole is expected to take.
    """
    images, most = (4_000, 16) if choice.pretrained else (24_000, 120)
    wanted = max(least_epochs(choice), min(most, images // facts.train))
    read = pace.read / facts.cores
    evaluation = facts.val * (pace.evaluate + read) / _eval_every(wanted)
    epoch = facts.train * (pace.train + read) + evaluation
    probe = facts.train * (pace.evaluate + read) if choice.pretrained else 0.0
    once = OVERHEAD + probe + 2 * facts.val * (pace.evaluate + read)
    epochs = max(1, min(wanted, int((60 * minutes - once) / epoch)))
    return epochs, wanted, once + epochs * epoch


def recipe_of(facts: Facts, choice: Choice, epochs: int) -> dict[str, Any]:
    """The recipe as plain data, without the images; the rest is in its base."""
    size, known = choice.size, choice.pretrained is not None
    normalize: dict[str, Any] = {"name": "normalize", **choice.network.normalize}
    area = {"interpolation": "area"}
    crop = {"size": size, "scale": [0.5 if known else 0.35, 1.0], "log_ratio": True, **area}
    train = [{"name": "random_resized_crop", **crop}, {"name": "random_flip"}, normalize]
    if not may_flip(facts.labels):
        del train[1]
    eval_ = [{"name": "resize", "size": [size, size], **area}, normalize]
    weights = {"pretrained": choice.pretrained} if known else {}
    batch = next((b for b in (32, 16) if facts.train >= 4 * b), 8)
    warm = {"warmup_epochs": min(2, epochs // 4)}
    return {
        "base": "_base/finetune.yaml" if known else "_base/fresh.yaml",
        "data": {
            "batch_size": batch,
            "drop_last": not known and facts.train >= batch,  # one image has no statistics
            "workers": min(8, facts.cores) if facts.cores > 1 and facts.train >= 64 else 0,
        },
        "transforms": {"train": train, "eval": eval_},
        "model": {"backbone": {"name": choice.network.name}, **weights},
        "train": {"epochs": epochs, "schedule": warm, "eval_every": _eval_every(epochs)},
    }


def _eval_every(epochs: int) -> int:
    return max(1, epochs // 16)


def may_flip(labels: Collection[str]) -> bool:
    """False where a mirrored image may be of another class: letters, digits, numbers, sides, turns."""
    words = {word for label in labels for word in re.split(r"[\W_]+", label.lower())}
    symbols = all(len(label) == 1 or label.isdecimal() for label in labels)
    return not symbols and not words & {"left", "right", "clockwise", "anticlockwise"}

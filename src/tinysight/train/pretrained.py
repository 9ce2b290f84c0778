"""Weights to begin with: a safetensors file, or a checkpoint of another run."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from torch import nn

from tinysight.errors import CheckpointError
from tinysight.train.checkpoint import KEY, load_checkpoint, read_safetensors

logger = logging.getLogger(__name__)

_COUNTER = "num_batches_tracked"  # kept by PyTorch, absent elsewhere, used by no network here
_SHOWN = 5


def load_pretrained(model: nn.Module, path: Path) -> None:
    """Load all weights of `path` into `model`.

    The classifier keeps its fresh weights if its shapes, and nothing else, differ: another number
    of classes. That is logged.

    Raises:
        CheckpointError: the file cannot be read, or lacks entries, has others, or other shapes.
    """
    metadata, tensors = read_safetensors(path)
    if KEY in metadata:
        tensors = load_checkpoint(path).model
    own = model.state_dict()
    missing = [k for k in own if k not in tensors and not k.endswith(_COUNTER)]
    extra = [k for k in tensors if k not in own]
    other = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    classifier = f"{getattr(model, 'classifier_name', 'fc')}."
    fresh = [k for k in other if k.startswith(classifier)]
    if missing or extra or len(fresh) < len(other):
        shapes = [f"{k} {tuple(tensors[k].shape)} for {tuple(own[k].shape)}" for k in other]
        found = [
            _listed("missing", missing),
            _listed("left over", extra),
            _listed("of another shape", shapes),
        ]
        what = "does not fit the network: " + "; ".join(filter(None, found))
        raise CheckpointError(str(path), what, "is model.backbone the network it was trained with?")
    model.load_state_dict({**own, **{k: v for k, v in tensors.items() if k not in fresh}})
    if fresh:
        there, here = len(tensors[fresh[0]]), len(own[fresh[0]])
        logger.info("%s: %d classes there, %d here: the classifier is new", path, there, here)


def _listed(what: str, names: Collection[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(list(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({shown}{more})"

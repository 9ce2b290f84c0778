"""A weight file of any format as safetensors under our names: readable without its framework, and hashed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save

from tinysight.fetch.cache import digest_of
from tinysight.files import write_atomic
from tinysight.models import create_model
from tinysight.registry import backbones
from tinysight.training.pretrained import load_pretrained, part_names
from tinysight.training.weights import classes_of

KEY = "tinysight-weights"  # the one entry of the metadata: more would be stored in any order


class ImportedWeights(NamedTuple):
    """A file that was written: number of its entries and of their values; number of classes (None: no classifier)."""

    path: Path
    network: str
    entries: int
    numbers: int
    num_classes: int | None


def import_weights(
    source: Path,
    network: str,
    out: Path,
    *,
    skip: Sequence[str] = (),
    prefix: str = "",
    options: Mapping[str, Any] | None = None,
) -> ImportedWeights:
    """Read `source` for `network`, strictly, and write `out`.

    The number of classes is the file's. What `skip` names is left out of `out`.

    Args:
        source: a file of any format of `training.weights`.
        network: a name of `list_models()`.
        out: the safetensors file; written whole or not at all.
        skip: parts that may differ or be absent: `classifier`, or the beginning of an entry's name.
        prefix: only entries whose names begin so (`Student.`, `backbone.`).
        options: of the network, where they change its weights or what runs (`strides`).

    Raises:
        CheckpointError: the weights do not fit; says what is missing and what is left over.
        WeightsError: a foreign file is damaged or unsafe.
        UnknownName: no such network.
    """
    options = dict(options or {})
    model = create_model(network, **options)
    classes = classes_of(source, model, prefix)
    if classes is not None and classes != 1000:
        model = create_model(network, num_classes=classes, **options)
    load_pretrained(model, source, skip=skip, prefix=prefix)
    left_out = part_names(model, skip, "skip")
    state = {
        name: value.contiguous()
        for name, value in model.state_dict().items()
        if not (left_out and name.startswith(left_out)) and not name.endswith("num_batches_tracked")
    }
    if not any(name.startswith(f"{model.classifier_name}.") for name in state):
        classes = None
    name = backbones.resolve(network)
    about = {
        "network": name,
        "options": options,
        "num_classes": classes,
        "source": source.name,
        "sha256": digest_of(source).hexdigest(),
    }
    write_atomic(out, save(state, {KEY: json.dumps(about, sort_keys=True)}))
    numbers = sum(value.numel() for value in state.values())
    return ImportedWeights(out, name, len(state), numbers, classes)

